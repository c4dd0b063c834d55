"""The ledger on disk: one SQLite file in WAL, a block and its state in one transaction.

The tables are those of `schema`. A block is durable when `write` returns, and not before does anybody get a receipt.
Whoever opens the file read-only sees whole blocks only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import lru_cache
from pathlib import Path
from typing import Final, Self

from aggregator.ledger.block import Block
from aggregator.ledger.table import Change
from aggregator.service.sqlite_port import Database, connect, create
from aggregator.service.stored import (
    POSITION_BITS,
    POSITION_MAX,
    StoredEntry,
    StoredLeaf,
    StoreError,
    chain_of,
    entry_of,
    entry_rows,
)
from protocol.checkpoint import BlockHead, ChainName
from protocol.merkle import NodeSource, Range, leaf_hash

KEPT_FROM_LEVEL: Final = 4
"""Subtrees of 16 leaves and more are kept in memory once a proof has needed them: others will need them, too."""
SUBTREES_KEPT_MAX: Final = 1 << 17
"""So many, at some 300 bytes each: all that there are in a log of a million leaves."""


class Store:
    """A ledger file, open for one writer or for readers."""

    def __init__(self, db: Database) -> None:
        """Use `create`, `open` or `open_read_only`."""
        self._db = db
        self._kept_subtree = lru_cache(maxsize=SUBTREES_KEPT_MAX)(self._subtree)

    @classmethod
    def create(cls, folder: Path) -> Self:
        """Begin an empty ledger file, readable by its owner only.

        Raises:
            OperatorError: there is one already.
        """
        create(folder)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a ledger file to go on with it. One process at a time may.

        Raises:
            OperatorError: there is none, another version of este made it, or another process holds it.
        """
        db = connect(folder, "rw")
        with ExitStack() as on_error:
            on_error.callback(db.close)
            db.hold(folder)
            on_error.pop_all()
        return cls(db)

    @classmethod
    def open_read_only(cls, folder: Path) -> Self:
        """Open a ledger file to look at it, while another process may be writing.

        Raises:
            OperatorError: there is none, or another version of este made it.
        """
        return cls(connect(folder, "ro"))

    def frozen(self) -> AbstractContextManager[None]:
        """Read as of one block, whatever a node writes meanwhile."""
        return self._db.frozen()

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def write(
        self, block: Block, checkpoint: bytes, statements: Iterable[tuple[str, int, bytes]], engine_height: int = 0
    ) -> None:
        """Keep a block, what it changed, and what is to be told about it, all or nothing.

        Args:
            block: comes next.
            checkpoint: the node's own; empty where its word counts for nothing.
            statements: as (gateway, number, envelope).
            engine_height: height of the engine's own block that brought it.

        Raises:
            StoreError: the disk is full or failing.
        """
        height = block.head.height
        with self._db.writing(f"block {height}"):
            self._db.execute("INSERT INTO block VALUES (?, ?, ?)", (height, block.head.encode(), checkpoint))
            self._db.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)", entry_rows(block))
            leaves = [(leaf.chain, leaf.index, height, leaf.body) for leaf in block.leaves]
            self._db.executemany("INSERT INTO leaf VALUES (?, ?, ?, ?)", leaves)
            self._db.executemany("INSERT INTO node VALUES (?, ?, ?, ?)", block.nodes)
            self._write_state(block)
            self._db.executemany("INSERT OR REPLACE INTO statement VALUES (?, ?, ?)", statements)
            self._write_engine_height(engine_height)

    def adopt(
        self, head: BlockHead, logs: Mapping[ChainName, Range], rows: Iterable[Change], engine_height: int
    ) -> None:
        """Take the state of a later block instead of the genesis'. The blocks between are not here, and never will be.

        Raises:
            StoreError: the disk is full or failing.
        """
        with self._db.writing(f"the snapshot at block {head.height}"):
            self._db.execute("INSERT OR IGNORE INTO block VALUES (?, ?, ?)", (head.height, head.encode(), b""))
            self._db.execute("DELETE FROM state")
            self._db.executemany("INSERT INTO state VALUES (?, ?)", rows)
            peaks = [(name.value, *node) for name, log in logs.items() for node in log.subtrees()]
            self._db.executemany("INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?)", peaks)
            self._db.execute("INSERT OR REPLACE INTO engine VALUES (0, ?, ?)", (engine_height, head.height))

    def begins_at(self) -> int:
        """Height of the first block from which on every one is here: 1, or that of the snapshot that was adopted."""
        return int(self._db.one("SELECT coalesce(max(begins_at), 1) FROM engine")[0])

    def write_engine_height(self, engine_height: int) -> None:
        """Keep how far the engine has come, where its block changed nothing.

        Raises:
            StoreError: the disk is full or failing.
        """
        with self._db.writing(f"the engine's height {engine_height}"):
            self._write_engine_height(engine_height)

    def engine_height(self) -> int:
        """Height of the engine's last block; 0 before its first."""
        return int(self._db.one("SELECT coalesce(max(height), 0) FROM engine")[0])

    def write_seal(self, height: int, seal: bytes) -> None:
        """Keep the seal of a block, in the place of an earlier one. It may come long after the block.

        Raises:
            StoreError: the disk is full or failing.
        """
        with self._db.writing(f"the seal of block {height}"):
            self._db.execute("INSERT OR REPLACE INTO seal VALUES (?, ?)", (height, seal))

    def seal(self, height: int) -> bytes | None:
        """The seal of a block, or None where there is none yet."""
        row = self._db.one("SELECT seal FROM seal WHERE height = ?", (height,))
        return row[0] if row else None

    def last_sealed_height(self) -> int | None:
        """The newest block that has a seal, or None."""
        return next(self._db.all("SELECT max(height) FROM seal"))[0]  # type: ignore[no-any-return]

    def last_block(self) -> BlockHead | None:
        """The head of the newest block, or None before genesis."""
        row = self._db.one("SELECT head FROM block ORDER BY height DESC LIMIT 1")
        return BlockHead.decode(row[0]) if row else None

    def block(self, height: int) -> tuple[bytes, bytes] | None:
        """Head and checkpoint of a block, in bytes."""
        row = self._db.one("SELECT head, checkpoint FROM block WHERE height = ?", (height,))
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
        rows = self._db.all("SELECT chain, idx, body FROM leaf WHERE height = ? ORDER BY chain, idx", (height,))
        return [StoredLeaf(chain_of(chain), index, height, body) for chain, index, body in rows]

    def leaves_between(self, chain: ChainName, first: int, last: int) -> Iterator[StoredLeaf]:
        """Some leaves of a chain's log, oldest first; the last one, too."""
        return self._leaves("chain = ? AND idx BETWEEN ? AND ? ORDER BY idx", (chain.value, first, last))

    def leaves(self, chain: ChainName) -> Iterator[StoredLeaf]:
        """All leaves of a chain's log, oldest first."""
        return self._leaves("chain = ? ORDER BY idx", (chain.value,))

    def leaves_with(self, chain: ChainName, part: bytes) -> Iterator[StoredLeaf]:
        """The leaves of a chain's log that hold some bytes, oldest first. Reads the whole log."""
        return self._leaves("chain = ? AND instr(envelope, ?) ORDER BY idx", (chain.value, part))

    def bodies_of_block(self, height: int) -> Iterator[bytes]:
        """All leaves that a block added to the chains: its accepted records, and what it brought about itself."""
        yield from (entry.envelope for entry in self.entries(height) if not entry.code)
        yield from (leaf.body for leaf in self.leaves_of_block(height))

    def counts(self) -> dict[str, int]:
        """How many rows each table of the history has."""
        return {table: self._db.one(f"SELECT count(*) FROM {table}")[0] for table in ("block", "entry", "leaf", "node")}  # noqa: S608

    def refused(self) -> int:
        """How many records stand in blocks as refused."""
        return int(self._db.one("SELECT count(*) FROM entry WHERE code <> 0")[0])

    def node(self, chain: ChainName, level: int, position: int) -> bytes | None:
        """The hash of one perfect subtree of a chain's log."""
        log = chain.value
        if level == 0:
            sql = (
                "SELECT envelope FROM entry WHERE code = 0 AND chain = ? AND leaf = ?"
                " UNION ALL SELECT body FROM leaf WHERE chain = ? AND idx = ?"
            )
            if (row := self._db.one(sql, (log, position, log, position))) is not None:
                return leaf_hash(row[0])
        row = self._db.one(
            "SELECT hash FROM node WHERE chain = ? AND level = ? AND position = ?", (log, level, position)
        )
        return row[0] if row else None

    def nodes(self, chain: ChainName, level: int, first: int, last: int) -> list[tuple[int, bytes]]:
        """The perfect subtrees of one level from position `first` to `last`, each with its position."""
        if level == 0:
            return [(leaf.index, leaf_hash(leaf.body)) for leaf in self.leaves_between(chain, first, last)]
        sql = "SELECT position, hash FROM node WHERE chain = ? AND level = ? AND position BETWEEN ? AND ? ORDER BY 1"
        return list(self._db.all(sql, (chain.value, level, first, last)))

    def node_source(self, chain: ChainName) -> NodeSource:
        """Where `protocol.merkle` finds the subtrees that it needs for a proof."""

        def source(level: int, position: int) -> bytes:
            read = self._kept_subtree if level >= KEPT_FROM_LEVEL else self._subtree
            return read(chain, level, position)

        return source

    def _subtree(self, chain: ChainName, level: int, position: int) -> bytes:
        """The hash of a perfect subtree, which never changes once it is there."""
        found = self.node(chain, level, position)
        if found is None:
            raise StoreError(f"the {chain.name.lower()} log lacks its subtree {level}/{position}")
        return found

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
        yield from self._db.all("SELECT key, value FROM state ORDER BY key")

    def statements(self) -> list[tuple[str, int, bytes]]:
        """The last statement to each gateway, as (gateway, number, envelope)."""
        rows = self._db.all("SELECT gateway, number, envelope FROM statement ORDER BY gateway")
        return [(gateway, number, envelope) for gateway, number, envelope in rows]

    def is_sound(self) -> str | None:
        """What SQLite itself finds wrong with the file, or None."""
        return self._db.is_sound()

    def _write_engine_height(self, engine_height: int) -> None:
        self._db.execute(
            "INSERT INTO engine VALUES (0, ?, 1) ON CONFLICT DO UPDATE SET height = excluded.height", (engine_height,)
        )

    def _write_state(self, block: Block) -> None:
        gone = [(change.key,) for change in block.changes if change.value is None]
        kept = [(change.key, change.value) for change in block.changes if change.value is not None]
        self._db.executemany("DELETE FROM state WHERE key = ?", gone)
        self._db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", kept)

    def _entries(self, where: str, arguments: tuple[object, ...]) -> Iterator[StoredEntry]:
        columns = "id, author, sequence, code, chain, leaf, waited, envelope"
        for row in self._db.all(f"SELECT {columns} FROM entry WHERE {where}", arguments):  # noqa: S608
            yield entry_of(row)

    def _leaves(self, where: str, arguments: tuple[object, ...]) -> Iterator[StoredLeaf]:
        sql = (
            "SELECT * FROM (SELECT chain, leaf AS idx, id >> ? AS height, envelope FROM entry WHERE code = 0"  # noqa: S608
            f" UNION ALL SELECT chain, idx, height, body FROM leaf) WHERE {where}"
        )
        for chain, index, height, body in self._db.all(sql, (POSITION_BITS, *arguments)):
            yield StoredLeaf(chain_of(chain), index, height, body)
