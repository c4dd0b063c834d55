"""A whole ledger in one portable file: what `export` writes, and what `audit` replays where there is no database.

A CBOR sequence (RFC 8742) in este's one spelling: a header, then each block, followed by its envelopes. Leaves, trees,
state and balances are not in it, because they follow. Format: docs/spec/README.md and este.cddl.

Whoever reads one trusts nothing in it: every length is bounded before anything is read, one part at a time, so a file
of any size takes no more memory than its largest record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from aggregator.engine.order_note import WAITED_MAX
from aggregator.ledger.record import RECORD_BYTES_MAX
from aggregator.service.history import History, HistoryError, PastBlock, PastEntry
from config.key_files import write_new
from protocol.canonical import encode
from protocol.checkpoint import HEAD_BYTES_MAX
from protocol.errors import OperatorError
from protocol.fields import NAME_MAX, is_name

MAGIC: Final = "este-ledger"
VERSION: Final = 5
CHECKPOINT_BYTES_MAX: Final = HEAD_BYTES_MAX + 1024
"""A head in its envelope."""
BLOCKS_MAX: Final = 1 << 40
BLOCK_RECORDS_MAX: Final = 1 << 20
CODE_MAX: Final = 0xFFFF
OWNER_ONLY: Final = 0o600
"""An export holds every reading of every household."""

Progress = Callable[[int, int], None]
"""Told the block that has been written, and the last one."""

_UNSIGNED, _OCTETS, _TEXT, _ARRAY = 0, 2, 3, 4


def export(path: Path, history: History, progress: Progress = lambda _done, _of: None) -> None:
    """Write a ledger to a new file, for its owner alone, whole or not at all.

    Raises:
        OperatorError: there is a file already, or it cannot be written.
        HistoryError, StoreError: the ledger cannot be read.
    """
    write_new(path, _spelled(history, progress), mode=OWNER_ONLY)


class PortableLedger:
    """An exported ledger, open to be read once."""

    def __init__(self, path: Path) -> None:
        """Open the file and read its header.

        Raises:
            OperatorError: there is no such file.
            HistoryError: it is no exported ledger.
        """
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise OperatorError(path, "", "a file that export wrote", error.strerror or str(error)) from error
        self._at = 0
        try:
            self._array(4)
            magic, version = self._text(), self._uint(CODE_MAX)
            if (magic, version) != (MAGIC, VERSION):
                raise self._wrong(f"a {magic!r} of version {version} where {MAGIC!r} of version {VERSION} is read")
            self._region = self._text()
            self._blocks = self._uint(BLOCKS_MAX)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def region(self) -> str:
        """Whose ledger the header says it is."""
        return self._region

    @property
    def blocks(self) -> int:
        """How many blocks the header says there are."""
        return self._blocks

    def items(self) -> Iterator[PastBlock | PastEntry]:
        """Every block from the genesis on, each followed by its envelopes.

        Raises:
            HistoryError: a byte that belongs elsewhere, a part beyond its bound, or the file ends early or late.
        """
        for _ in range(self._blocks):
            self._array(3)
            head, checkpoint = self._octets(HEAD_BYTES_MAX), self._octets(CHECKPOINT_BYTES_MAX)
            records = self._uint(BLOCK_RECORDS_MAX)
            yield PastBlock(head, checkpoint, records)
            for _ in range(records):
                self._array(3)
                yield PastEntry(self._uint(CODE_MAX), self._uint(WAITED_MAX), self._octets(RECORD_BYTES_MAX))
        if self._file.read(1):
            raise self._wrong("bytes behind the last block")

    def _array(self, length: int) -> None:
        if (found := self._head(_ARRAY)) != length:
            raise self._wrong(f"an array of {found} where {length} parts belong")

    def _uint(self, bound: int) -> int:
        value = self._head(_UNSIGNED)
        if value > bound:
            raise self._wrong(f"{value} where at most {bound} is allowed")
        return value

    def _text(self) -> str:
        text = self._bytes(self._head(_TEXT), NAME_MAX)
        name = text.decode("ascii", errors="replace")
        if not is_name(name):
            raise self._wrong("text that is no name")
        return name

    def _octets(self, bound: int) -> bytes:
        return self._bytes(self._head(_OCTETS), bound)

    def _bytes(self, length: int, bound: int) -> bytes:
        """So many bytes, bounded before they are read."""
        if length > bound:
            raise self._wrong(f"{length} bytes where at most {bound} are allowed")
        return self._read(length)

    def _head(self, major: int) -> int:
        """The argument of the next head (RFC 8949 §3), which must be of `major` type and in its shortest spelling."""
        first = self._read(1)[0]
        if first >> 5 != major:
            raise self._wrong(f"a byte {first:#04x} that does not belong here")
        argument = first & 0x1F
        if argument < 24:
            return argument
        if argument > 27:
            raise self._wrong("a length that is not told, or not in CBOR")
        width = 1 << argument - 24
        argument = int.from_bytes(self._read(width))
        if argument < (24 if width == 1 else 1 << 4 * width):
            raise self._wrong(f"{argument} in a longer head than it needs")
        return argument

    def _read(self, length: int) -> bytes:
        try:
            data = self._file.read(length)
        except OSError as error:
            raise self._wrong(f"it cannot be read: {error.strerror or error}") from error
        if len(data) != length:
            raise self._wrong("the file ends early")
        self._at += length
        return data

    def _wrong(self, finding: str) -> HistoryError:
        return HistoryError(f"byte {self._at} of the file: {finding}")


def _spelled(history: History, progress: Progress) -> Iterator[bytes]:
    last, done = history.blocks, 0
    yield encode([MAGIC, VERSION, history.region, last])
    for item in history.items():
        if isinstance(item, PastBlock):
            progress(done, last)
            done += 1
            yield encode([item.head, item.checkpoint, item.records])
        else:
            yield encode([item.code, item.waited, item.envelope])
    progress(done, last)
