"""The outbox on disk: one SQLite file, opened by one agent at a time, in which things happen wholly or not at all.

In WAL mode a transaction survives the end of the process at any instant; a *durable* one survives the end of power too.
Says whose file it is and of which version, tells a full disk from a damaged file, and may be looked at while its agent
runs. Knows the tables but not what they mean: see `books` and `memory`. The only importer of `sqlite3`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from agent.outbox.schema import APPLICATION_ID, FROM_VERSION, SCHEMA, VERSION
from config import lock
from protocol.errors import OperatorError, WorldError
from protocol.link import NO_RECORD

FILE_NAME: Final = "outbox.sqlite"
"""In the folder that the settings call `data`."""

LOCK_NAME: Final = "outbox.lock"

BUSY_TIMEOUT_S: Final = 30.0
"""How long to wait for somebody else who reads or backs up the file."""

CACHE_KIB: Final = 256
"""Of pages in memory: the file is written front to back, and hardly ever read."""


class StorageError(WorldError):
    """The disk takes nothing more for now. What was counted before is safe."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=True)


class OutboxFile:
    """An open outbox. One program at a time may hold it for writing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._held = ExitStack()
        """What `close` lets go of."""

    @classmethod
    def open(cls, folder: Path, *, region: str, gateway: str) -> OutboxFile:
        """Open the outbox in `folder` for this gateway, or make it.

        Raises:
            OperatorError: another program holds it, it is another gateway's, or a newer este wrote it.
            StorageError: the disk is full.
        """
        path = folder / FILE_NAME
        with ExitStack() as stack:
            _make_folder(folder)
            stack.callback(lock.release, lock.hold(folder / LOCK_NAME, what="an outbox", holder="an agent"))
            _make(path)
            outbox = cls(stack.enter_context(closing(_connect(f"{path.as_uri()}?mode=rw"))))
            outbox._prepare(path, region, gateway)
            outbox._held = stack.pop_all()
        return outbox

    @classmethod
    def look(cls, folder: Path) -> OutboxFile:
        """Open the outbox in `folder` to read what it says, while its agent runs or not.

        Raises:
            OperatorError: there is none, or another este wrote it.
        """
        return cls._beside(folder, "ro")

    @classmethod
    def join(cls, folder: Path) -> OutboxFile:
        """Open the outbox in `folder` to leave something in it for its agent, whether that runs or not.

        Raises:
            OperatorError: there is none, or another este wrote it.
        """
        return cls._beside(folder, "rw")

    @classmethod
    def _beside(cls, folder: Path, mode: str) -> OutboxFile:
        path = folder / FILE_NAME
        if not path.exists():
            raise OperatorError(path, "", "the outbox of an agent that has run (este-agent run)", "no such file")
        with ExitStack() as stack:
            outbox = cls(stack.enter_context(closing(_connect(f"{path.as_uri()}?mode={mode}"))))
            outbox._check_version(path)
            outbox._held = stack.pop_all()
        return outbox

    def close(self) -> None:
        """Let go of the file."""
        self._held.close()

    def owner(self) -> tuple[str, str]:
        """Region and gateway that the file belongs to."""
        ((region, gateway),) = self.rows("SELECT region, gateway FROM head")
        return region, gateway

    def bytes_used(self) -> int:
        """How much of the file is in use."""
        size, free, pages = (self._one(f"PRAGMA {name}") for name in ("page_size", "freelist_count", "page_count"))
        return int(size * (pages - free))

    def rows(self, sql: str, *parameters: object) -> list[Any]:
        """All rows that a question brings."""
        with _storage_errors():
            return self._db.execute(sql, parameters).fetchall()

    def rows_one_by_one(self, sql: str, *parameters: object) -> Iterator[Any]:
        """The rows that a question brings, no further than they are asked for; inside a transaction."""
        return iter(self._db.execute(sql, parameters))

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[None]:
        """All of it or nothing; if `durable`, on the disk and not only in the machine's memory.

        Raises:
            StorageError: the disk takes nothing more; then nothing of it happened.
        """
        with _storage_errors():
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def execute(self, sql: str, *parameters: object) -> int:
        """Change something, inside a transaction.

        Returns:
            How many rows were changed.
        """
        return self._db.execute(sql, parameters).rowcount

    def execute_many(self, sql: str, rows: Iterable[Sequence[object]]) -> int:
        """Change something once for each of `rows`, inside a transaction.

        Returns:
            How many rows were changed altogether.
        """
        return self._db.executemany(sql, rows).rowcount

    def _prepare(self, path: Path, region: str, gateway: str) -> None:
        if not self._one("SELECT count(*) FROM sqlite_schema"):
            with self.transaction(durable=True):
                for statement in SCHEMA:
                    self.execute(statement)
                sql = "INSERT INTO head (region, gateway, previous) VALUES (?, ?, ?)"
                self.execute(sql, region, gateway, NO_RECORD)
                self.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self.execute(f"PRAGMA user_version = {VERSION}")
        self._check_version(path, from_version=min(FROM_VERSION))
        if self.owner() != (region, gateway):
            expected = f"the outbox of {gateway} in {region}: give each gateway a `data` folder of its own"
            raise OperatorError(path, "", expected, "that of {1} in {0}".format(*self.owner()))
        self._bring_up_to_date()
        self.rows("PRAGMA journal_mode = WAL")
        self.rows(f"PRAGMA cache_size = -{CACHE_KIB}")
        with self.transaction():
            self.execute("DELETE FROM note")
            self.execute("UPDATE meter SET with_slow = NULL")
            # Boots stand in their order in the journal: its first row tells the oldest, however many wait behind it.
            self.execute(
                "DELETE FROM boot WHERE id < coalesce((SELECT boot FROM journal ORDER BY id LIMIT 1), 1 << 62)"
                " AND id NOT IN (SELECT boot FROM meter WHERE boot IS NOT NULL)"
            )

    def _bring_up_to_date(self) -> None:
        """Take the way from an older version, all of it or nothing."""
        version = self._one("PRAGMA user_version")
        if version == VERSION:
            return
        with self.transaction(durable=True):
            for statement in (statement for old in range(version, VERSION) for statement in FROM_VERSION[old]):
                self.execute(statement)
            self.execute(f"PRAGMA user_version = {VERSION}")

    def _check_version(self, path: Path, *, from_version: int = VERSION) -> None:
        application, version = self._one("PRAGMA application_id"), self._one("PRAGMA user_version")
        if application != APPLICATION_ID:
            raise OperatorError(path, "", "an outbox of este-agent", "another kind of file")
        if not from_version <= version <= VERSION:
            expected = f"an outbox of version {VERSION}: use the este that wrote it, or a newer one"
            raise OperatorError(path, "", expected, f"version {version}")

    def _one(self, sql: str, *parameters: object) -> Any:
        return self.rows(sql, *parameters)[0][0]


def is_held(folder: Path) -> bool:
    """Whether an agent holds the outbox in `folder`."""
    return lock.is_held(folder / LOCK_NAME)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(folder, "", "a folder to write to", error.strerror or str(error)) from error


def _make(path: Path) -> None:
    """See that there is a file, readable by its owner alone; SQLite gives its other files the same permissions."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise OperatorError(path, "", "a file to write to", error.strerror or str(error)) from error


def _connect(uri: str) -> sqlite3.Connection:
    with _storage_errors():
        # Calls come one at a time, but from the thread that does the waiting for the disk.
        return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Sort SQLite's errors by who can act: the disk may have room again, a damaged file needs a person."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        primary = error.sqlite_errorcode & 0xFF if hasattr(error, "sqlite_errorcode") else None
        if primary in _MAY_PASS:
            raise StorageError(f"the outbox cannot be written: {error}") from error
        if primary in _IS_DAMAGED:
            raise OperatorError(FILE_NAME, "", "an intact outbox: move it aside and keep it", str(error)) from error
        raise


_MAY_PASS: Final = frozenset(
    (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
)

_IS_DAMAGED: Final = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))
