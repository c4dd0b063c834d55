"""A ledger's state in portable parts, so that a node can begin without the past.

A *manifest* holds the last block's head, the peaks of the five logs and the digest of every part; the parts hold the
rows of the state. Whoever trusts the head, because a quorum has signed it, can check everything else against it: the
peaks fold to the logs' roots, the rows to the state root. Nothing here is believed before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.ledger.ledger import Ledger
from aggregator.ledger.table import Change
from protocol.canonical import decode, encode, fields_of
from protocol.checkpoint import BlockHead, ChainName
from protocol.crypto import digest_of
from protocol.errors import EncodingError, ProofError, TruncatedError
from protocol.fields import digest, items
from protocol.merkle import Range

MANIFEST_BYTES_MAX: Final = 1 << 20
PARTS_MAX: Final = 10_000
PEAKS_MAX: Final = 63
LENGTH_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot consists of."""

    head: BlockHead
    peaks: tuple[tuple[bytes, ...], ...]
    """Of each log, in the order of `ChainName`, largest first."""
    parts: tuple[bytes, ...]
    """Digest of each part, in order."""

    def encode(self) -> bytes:
        """Spell the manifest."""
        return encode({1: self.head.encode(), 2: [list(peaks) for peaks in self.peaks], 3: list(self.parts)})

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            EncodingError: not the one spelling of a manifest.
        """
        fields = fields_of(decode(data, size_max=MANIFEST_BYTES_MAX), (1, 2, 3), "snapshot")
        peaks = tuple(
            tuple(digest(peak, "peak") for peak in items(log, "peaks", PEAKS_MAX))
            for log in items(fields[2], "logs", len(ChainName))
        )
        if len(peaks) != len(ChainName):
            raise EncodingError("snapshot: the peaks of every log")
        parts = tuple(digest(part, "part") for part in items(fields[3], "parts", PARTS_MAX))
        if type(fields[1]) is not bytes:
            raise EncodingError("snapshot: the head in its own bytes")
        return cls(BlockHead.decode(fields[1]), peaks, parts)

    def logs(self) -> dict[ChainName, Range]:
        """How far each chain's log has grown."""
        return {name: Range(self.head.log(name).size, list(self.peaks[name - 1])) for name in ChainName}

    def check(self) -> None:
        """See that the peaks are those of the head's logs.

        Raises:
            ProofError: they are not.
        """
        for name, log in self.logs().items():
            if len(log.peaks) != log.size.bit_count() or log.root() != self.head.log(name).root:
                raise ProofError(f"the peaks of the {name.name.lower()} log do not fit the head")


def take(ledger: Ledger, part_bytes_max: int) -> tuple[Manifest, list[bytes]]:
    """A snapshot of the last committed state, in parts of at most `part_bytes_max` bytes."""
    assert ledger.head is not None, "a ledger with a genesis"
    parts = list(cut(ledger.rows(), part_bytes_max))
    peaks = tuple(tuple(ledger.logs[name].peaks) for name in ChainName)
    return Manifest(ledger.head, peaks, tuple(map(digest_of, parts))), parts


def restore(ledger: Ledger, manifest: Manifest, parts: Sequence[bytes]) -> None:
    """Take up a snapshot in an empty ledger.

    Raises:
        EncodingError: the parts are not rows.
        ProofError: they do not add up to what the head says.
    """
    manifest.check()
    ledger.restore(manifest.head, manifest.logs(), join(parts))


def cut(rows: Iterable[Change], part_bytes_max: int) -> Iterator[bytes]:
    """Rows one after another, each key and value with its length before it, cut wherever a part is full."""
    buffer = bytearray()
    for key, value in rows:
        assert value is not None, "a row that is there"
        for octets in (key, value):
            buffer += len(octets).to_bytes(LENGTH_BYTES) + octets
        while len(buffer) >= part_bytes_max:
            yield bytes(buffer[:part_bytes_max])
            del buffer[:part_bytes_max]
    if buffer:
        yield bytes(buffer)


def join(parts: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The rows that parts hold.

    Raises:
        TruncatedError: they end within a row.
    """
    data, place = b"".join(parts), 0

    def following() -> bytes:
        nonlocal place
        begin = place + LENGTH_BYTES
        end = begin + int.from_bytes(data[place:begin])
        if begin > len(data) or end > len(data):
            raise TruncatedError("a snapshot that ends within a row")
        place = end
        return data[begin:end]

    while place < len(data):
        yield following(), following()
