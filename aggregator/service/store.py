"""The ledger on disk: one SQLite file in WAL, a block and its state in one transaction.

The only importer of sqlite3 and sqlite_utils in this program. A block is durable when `write` returns, and not before
does anybody get a receipt. Whoever opens the file read-only sees whole blocks only.

    block      height → head, and the node's checkpoint of it
    entry      the envelopes of a block, in order, with what became of them; an accepted one is a leaf of its chain
    leaf       the leaves that blocks themselves brought about: factors, movements, refusals
    node       perfect subtrees of the logs, of two leaves and more, for proofs
    state      the rows of all tables, as of the last block
    statement  the last word to each gateway
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from sqlite_utils import Database

from aggregator.ledger.block import Block
from config import lock
from protocol.checkpoint import BlockHead, ChainName
from protocol.errors import EsteError, OperatorError
from protocol.merkle import NodeSource, Range, leaf_hash

FILE_NAME: Final = "ledger.sqlite"
LOCK_NAME: Final = "ledger.lock"
SCHEMA_VERSION: Final = 1
PAGE_ROWS: Final = 1000
PAGE_BYTES: Final = 1 << 14
"""Several envelopes to a page: with the usual 4 KiB each would spill into pages of its own, and cost twice as much."""
WAL_BYTES_MAX: Final = 1 << 27
"""How far the write-ahead log grows before it is folded back into the file."""

POSITION_BITS: Final = 20
POSITION_MAX: Final = (1 << POSITION_BITS) - 1
"""An entry's id is its block's height and, in the low bits, its position there: no block has more records."""


class StoreError(EsteError):
    """The disk is full or failing, or the file is damaged. Nothing of a block that could not be written was kept."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One envelope of a block, and what became of it."""

    height: int
    position: int
    author: str
    sequence: int
    code: int
    """0, or the refusal's number."""
    chain: ChainName
    index: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """One leaf of a chain's log."""

    chain: ChainName
    index: int
    height: int
    body: bytes
    """What was hashed: an envelope, or what the block itself brought about."""


class Store:
    """A ledger file, open for one writer or for readers."""

    def __init__(self, db: sqlite3.Connection) -> None:
        """Use `create`, `open` or `open_read_only`."""
        self._db = db
        self._held = ExitStack()
        """What `close` lets go of."""
        self._held.callback(db.close)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Begin an empty ledger file, readable by its owner only.

        Raises:
            OperatorError: there is one already.
        """
        path = folder / FILE_NAME
        try:
            path.touch(mode=0o600, exist_ok=False)
        except FileExistsError as error:
            raise OperatorError(path, "", "no ledger yet", "one that is there already") from error
        with closing(sqlite3.connect(path)) as db:
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA journal_mode = WAL")
            _create_schema(Database(db))
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            db.commit()
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a ledger file to go on with it. One process at a time may.

        Raises:
            OperatorError: there is none, another version of este made it, or another process holds it.
        """
        store = cls(_connect(folder, "rw"))
        with ExitStack() as on_error:
            on_error.callback(store.close)
            held = lock.hold(folder / LOCK_NAME, what="a ledger", holder="an aggregator")
            store._held.callback(lock.release, held)
            store._db.execute("PRAGMA journal_mode = WAL")
            store._db.execute("PRAGMA synchronous = FULL")
            store._db.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES_MAX // PAGE_BYTES}")
            on_error.pop_all()
        return store

    @classmethod
    def open_read_only(cls, folder: Path) -> Self:
        """Open a ledger file to look at it, while another process may be writing.

        Raises:
            OperatorError: there is none, or another version of este made it.
        """
        return cls(_connect(folder, "ro"))

    def close(self) -> None:
        """Let go of the file."""
        self._held.close()

    def write(self, block: Block, checkpoint: bytes, statements: Iterable[tuple[str, int, bytes]]) -> None:
        """Keep a block, what it changed, and what is to be told about it, all or nothing.

        Raises:
            StoreError: the disk is full or failing.
        """
        height = block.head.height
        try:
            with self._db:
                self._db.execute("INSERT INTO block VALUES (?, ?, ?)", (height, block.head.encode(), checkpoint))
                self._db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?)", _entry_rows(block))
                leaves = [(leaf.chain, leaf.index, height, leaf.body) for leaf in block.leaves]
                self._db.executemany("INSERT INTO leaf VALUES (?, ?, ?, ?)", leaves)
                self._db.executemany("INSERT INTO node VALUES (?, ?, ?, ?)", block.nodes)
                self._write_state(block)
                self._db.executemany("INSERT OR REPLACE INTO statement VALUES (?, ?, ?)", statements)
        except sqlite3.Error as error:
            raise StoreError(f"block {height} could not be written: {error}") from error

    def last_block(self) -> BlockHead | None:
        """The head of the newest block, or None before genesis."""
        row = self._one("SELECT head FROM block ORDER BY height DESC LIMIT 1")
        return BlockHead.decode(row[0]) if row else None

    def block(self, height: int) -> tuple[bytes, bytes] | None:
        """Head and checkpoint of a block, in bytes."""
        row = self._one("SELECT head, checkpoint FROM block WHERE height = ?", (height,))
        return (row[0], row[1]) if row else None

    def entries(self, height: int) -> list[StoredEntry]:
        """The envelopes of a block, in order."""
        first = height << POSITION_BITS
        return list(self._entries("id BETWEEN ? AND ? ORDER BY id", (first, first + POSITION_MAX)))

    def entry_of(self, author: str, sequence: int) -> StoredEntry | None:
        """What an author's record of a certain number became."""
        return next(self._entries("author = ? AND sequence = ?", (author, sequence)), None)

    def entries_of(self, author: str) -> Iterator[StoredEntry]:
        """All records of an author, newest first."""
        return self._entries("author = ? ORDER BY sequence DESC", (author,))

    def leaf(self, chain: ChainName, index: int) -> StoredLeaf | None:
        """One leaf of a chain's log."""
        return next(self._leaves("chain = ? AND idx = ?", (chain.value, index)), None)

    def leaves_of_block(self, height: int) -> list[StoredLeaf]:
        """The leaves that a block brought about beside its accepted records."""
        rows = self._all("SELECT chain, idx, body FROM leaf WHERE height = ? ORDER BY chain, idx", (height,))
        return [StoredLeaf(_chain(chain), index, height, body) for chain, index, body in rows]

    def leaves(self, chain: ChainName) -> Iterator[StoredLeaf]:
        """All leaves of a chain's log, oldest first."""
        return self._leaves("chain = ? ORDER BY idx", (chain.value,))

    def bodies_of_block(self, height: int) -> Iterator[bytes]:
        """All leaves that a block added to the chains: its accepted records, and what it brought about itself."""
        yield from (entry.envelope for entry in self.entries(height) if not entry.code)
        yield from (leaf.body for leaf in self.leaves_of_block(height))

    def counts(self) -> dict[str, int]:
        """How many rows each table of the history has."""
        return {table: self._one(f"SELECT count(*) FROM {table}")[0] for table in ("block", "entry", "leaf", "node")}  # noqa: S608

    def refused(self) -> int:
        """How many records stand in blocks as refused."""
        return int(self._one("SELECT count(*) FROM entry WHERE code <> 0")[0])

    def node(self, chain: ChainName, level: int, position: int) -> bytes | None:
        """The hash of one perfect subtree of a chain's log."""
        if level == 0:
            leaf = self.leaf(chain, position)
            return leaf_hash(leaf.body) if leaf else None
        sql = "SELECT hash FROM node WHERE chain = ? AND level = ? AND position = ?"
        row = self._one(sql, (chain.value, level, position))
        return row[0] if row else None

    def node_source(self, chain: ChainName) -> NodeSource:
        """Where `protocol.merkle` finds the subtrees that it needs for a proof."""

        def source(level: int, position: int) -> bytes:
            found = self.node(chain, level, position)
            if found is None:
                raise StoreError(f"the {chain.name.lower()} log lacks its subtree {level}/{position}")
            return found

        return source

    def log(self, chain: ChainName, size: int) -> Range:
        """The state of a chain's log of a certain size."""
        source, peaks, start = self.node_source(chain), [], 0
        for level in range(size.bit_length() - 1, -1, -1):
            if size >> level & 1:
                peaks.append(source(level, start >> level))
                start += 1 << level
        return Range(size, peaks)

    def state(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows of the state, in the order of their keys."""
        yield from self._all("SELECT key, value FROM state ORDER BY key")

    def statements(self) -> list[tuple[str, int, bytes]]:
        """The last statement to each gateway, as (gateway, number, envelope)."""
        rows = self._all("SELECT gateway, number, envelope FROM statement ORDER BY gateway")
        return [(gateway, number, envelope) for gateway, number, envelope in rows]

    def is_sound(self) -> str | None:
        """What SQLite itself finds wrong with the file, or None."""
        try:
            found = [row[0] for row in self._db.execute("PRAGMA integrity_check(1)")]
        except sqlite3.Error as error:
            return str(error)
        return None if found == ["ok"] else str(found[0])

    def _write_state(self, block: Block) -> None:
        gone = [(change.key,) for change in block.changes if change.value is None]
        kept = [(change.key, change.value) for change in block.changes if change.value is not None]
        self._db.executemany("DELETE FROM state WHERE key = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", kept)

    def _entries(self, where: str, arguments: tuple[object, ...]) -> Iterator[StoredEntry]:
        columns = "id, author, sequence, code, chain, leaf, envelope"
        for row in self._all(f"SELECT {columns} FROM entry WHERE {where}", arguments):  # noqa: S608
            place, author, sequence, code, chain, index, envelope = row
            height, position = place >> POSITION_BITS, place & POSITION_MAX
            yield StoredEntry(height, position, author, sequence, code, _chain(chain), index, envelope)

    def _leaves(self, where: str, arguments: tuple[object, ...]) -> Iterator[StoredLeaf]:
        sql = (
            "SELECT * FROM (SELECT chain, leaf AS idx, id >> ? AS height, envelope FROM entry WHERE code = 0"  # noqa: S608
            f" UNION ALL SELECT chain, idx, height, body FROM leaf) WHERE {where}"
        )
        for chain, index, height, body in self._all(sql, (POSITION_BITS, *arguments)):
            yield StoredLeaf(_chain(chain), index, height, body)

    def _one(self, sql: str, arguments: tuple[object, ...] = ()) -> Any:
        return next(self._all(sql, arguments), None)

    def _all(self, sql: str, arguments: tuple[object, ...] = ()) -> Iterator[Any]:
        """Rows of a query.

        Raises:
            StoreError: the file is damaged, or the disk is failing.
        """
        try:
            cursor = self._db.execute(sql, arguments)
            while rows := cursor.fetchmany(PAGE_ROWS):
                yield from rows
        except sqlite3.Error as error:
            raise StoreError(f"the ledger file cannot be read: {error}") from error


def _chain(number: int) -> ChainName:
    try:
        return ChainName(number)
    except ValueError as error:
        raise StoreError(f"the ledger file names a chain {number}") from error


def _connect(folder: Path, mode: str) -> sqlite3.Connection:
    path = folder / FILE_NAME
    if not path.is_file():
        raise OperatorError(path, "", "a ledger", "nothing there; make one with: este-aggregator init")
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, check_same_thread=False, timeout=30)
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise OperatorError(path, "", "a ledger that can be opened", str(error)) from error
    if version != SCHEMA_VERSION:
        db.close()
        raise OperatorError(path, "", f"a ledger of version {SCHEMA_VERSION}", f"version {version}")
    return db


def _create_schema(db: Database) -> None:
    db.table("block").create({"height": int, "head": bytes, "checkpoint": bytes}, pk="height", strict=True)
    entry = {"id": int, "author": str, "sequence": int, "code": int, "chain": int, "leaf": int, "envelope": bytes}
    db.table("entry").create(entry, pk="id", not_null=set(entry), strict=True)
    db.table("entry").create_index(["author", "sequence"], unique=True)
    db.table("entry").create_index(["chain", "leaf"], unique=True)
    leaf = {"chain": int, "idx": int, "height": int, "body": bytes}
    db.table("leaf").create(leaf, pk=("chain", "idx"), not_null=set(leaf), strict=True)
    db.table("leaf").create_index(["height"])
    db.execute(
        "CREATE TABLE node (chain INTEGER, level INTEGER, position INTEGER, hash BLOB NOT NULL,"
        " PRIMARY KEY (chain, level, position)) STRICT, WITHOUT ROWID"
    )
    db.execute("CREATE TABLE state (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID")
    db.table("statement").create({"gateway": str, "number": int, "envelope": bytes}, pk="gateway", strict=True)


def _entry_rows(block: Block) -> Iterator[tuple[object, ...]]:
    first = block.head.height << POSITION_BITS
    for position, outcome in enumerate(block.outcomes):
        link, code = outcome.record.link, outcome.refusal or 0
        envelope = outcome.record.envelope.data
        yield first + position, link.author, link.sequence, code, outcome.chain, outcome.index, envelope
