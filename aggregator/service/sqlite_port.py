"""One SQLite file in WAL: opened, locked, written in transactions, read in pages.

The only importer of sqlite3 in this program. Which tables there are is for its callers to know.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from aggregator.service.schema import SCHEMA_VERSION, create_schema
from aggregator.service.stored import StoreError
from config import lock
from protocol.errors import OperatorError

FILE_NAME: Final = "ledger.sqlite"
LOCK_NAME: Final = "ledger.lock"
PAGE_ROWS: Final = 1000
PAGE_BYTES: Final = 1 << 14
"""Several envelopes to a page: with the usual 4 KiB each would spill into pages of its own, and cost twice as much."""
WAL_BYTES_MAX: Final = 1 << 27
"""How far the write-ahead log grows before it is folded back into the file."""


class Database:
    """An open file."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Use `open_to_write` or `open_to_read`."""
        self._connection = connection
        self._held = ExitStack()
        """What `close` lets go of."""
        self._held.callback(connection.close)
        self.execute = connection.execute
        self.executemany = connection.executemany

    def close(self) -> None:
        """Let go of the file."""
        self._held.close()

    def hold(self, folder: Path) -> None:
        """Be the one who writes.

        Raises:
            OperatorError: another process is.
        """
        held = lock.hold(folder / LOCK_NAME, what="a ledger", holder="an aggregator")
        self._held.callback(lock.release, held)
        self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = FULL")
        self.execute(f"PRAGMA wal_autocheckpoint = {WAL_BYTES_MAX // PAGE_BYTES}")

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """One transaction, all or nothing.

        Raises:
            StoreError: the disk is full or failing.
        """
        try:
            with self._connection:
                yield
        except sqlite3.Error as error:
            raise StoreError(f"{what} could not be written: {error}") from error

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Read as of one moment, whatever somebody writes meanwhile."""
        self.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.rollback()

    def one(self, sql: str, arguments: tuple[object, ...] = ()) -> Any:
        """The first row of a query, or None.

        Raises:
            StoreError: the file is damaged, or the disk is failing.
        """
        try:
            return self.execute(sql, arguments).fetchone()
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    def all(self, sql: str, arguments: tuple[object, ...] = ()) -> Iterator[Any]:
        """Rows of a query.

        Raises:
            StoreError: the file is damaged, or the disk is failing.
        """
        try:
            cursor = self.execute(sql, arguments)
            while rows := cursor.fetchmany(PAGE_ROWS):
                yield from rows
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    def is_sound(self) -> str | None:
        """What SQLite itself finds wrong with the file, or None."""
        try:
            found = [row[0] for row in self.execute("PRAGMA integrity_check(1)")]
        except (sqlite3.Error, UnicodeDecodeError) as error:  # it quotes damaged bytes in its finding
            return str(error)
        return None if found == ["ok"] else str(found[0])


def _unreadable(error: sqlite3.Error) -> StoreError:
    return StoreError(f"the ledger file cannot be read: {error}")


def create(folder: Path) -> None:
    """Begin an empty file with its tables, readable by its owner only.

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
        create_schema(db)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.commit()


def connect(folder: Path, mode: str) -> Database:
    """Open the file in `folder`; `mode` is ro or rw.

    Raises:
        OperatorError: there is none, or another version of este made it.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        got = "nothing there; it is in the folder `data`, below the one that este-aggregator init or join made"
        raise OperatorError(path, "", "a ledger", got)
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True, check_same_thread=False, timeout=30)
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise OperatorError(path, "", "a ledger that can be opened", str(error)) from error
    if version != SCHEMA_VERSION:
        db.close()
        raise OperatorError(
            path, "", f"a ledger of version {SCHEMA_VERSION}: use the este that wrote it", f"version {version}"
        )
    return Database(db)
