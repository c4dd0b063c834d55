"""One root over everything that the chains remember, from which any row can be proven.

Rows fall into 1,024 buckets by the hash of their key. A bucket's digest covers the digests of its rows in the order
of their keys; the state root is the Merkle root (RFC 6962) over the buckets. A block rehashes only the buckets it
touched. A proof of one row is that row, the digests of the other rows of its bucket, and ten hashes: a few kilobytes,
for a state of a million rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from aggregator.ledger.table import Change
from protocol.crypto import digest_of
from protocol.errors import ProofError
from protocol.merkle import inclusion_proof, leaf_hash, node_hash, verify_inclusion

BUCKETS: Final = 1024


@dataclass(frozen=True, slots=True)
class RowProof:
    """What it takes to see that a row is in the state with a certain root."""

    key: bytes
    value: bytes
    before: tuple[bytes, ...]
    """Digests of the rows that stand before it in its bucket."""
    after: tuple[bytes, ...]
    path: tuple[bytes, ...]
    """Inclusion of the bucket among the buckets."""

    def verify(self, root: bytes) -> None:
        """See that the row is in the state with `root`.

        Raises:
            ProofError: it is not.
        """
        bucket = _bucket_digest((*self.before, row_digest(self.key, self.value), *self.after))
        verify_inclusion(
            hash_of_leaf=leaf_hash(bucket), index=bucket_of(self.key), size=BUCKETS, proof=self.path, root=root
        )


class StateTree:
    """The digests of all rows, kept up to date block by block."""

    def __init__(self) -> None:
        """An empty state."""
        self._rows: list[dict[bytes, bytes]] = [{} for _ in range(BUCKETS)]
        empty = leaf_hash(_bucket_digest(()))
        self._levels = _levels_above([empty] * BUCKETS)

    @property
    def root(self) -> bytes:
        """Root over the whole state."""
        return self._levels[-1][0]

    def apply(self, changes: Iterable[Change]) -> bytes:
        """Take in what a block changed.

        Returns:
            The new root.
        """
        touched = set()
        for change in changes:
            number = bucket_of(change.key)
            touched.add(number)
            if change.value is None:
                self._rows[number].pop(change.key, None)
            else:
                self._rows[number][change.key] = row_digest(change.key, change.value)
        for number in sorted(touched):
            self._levels[0][number] = leaf_hash(self._digest(number))
        self._raise(touched)
        return self.root

    def prove(self, key: bytes, value: bytes) -> RowProof:
        """Make the proof of a row that is there.

        Raises:
            ProofError: the state holds no such row.
        """
        number = bucket_of(key)
        rows = self._rows[number]
        if rows.get(key) != row_digest(key, value):
            raise ProofError("the state holds no such row")
        keys = sorted(rows)
        place = keys.index(key)
        return RowProof(
            key=key,
            value=value,
            before=tuple(rows[k] for k in keys[:place]),
            after=tuple(rows[k] for k in keys[place + 1 :]),
            path=tuple(inclusion_proof(lambda level, position: self._levels[level][position], number, BUCKETS)),
        )

    def _digest(self, number: int) -> bytes:
        rows = self._rows[number]
        return _bucket_digest(rows[key] for key in sorted(rows))

    def _raise(self, touched: set[int]) -> None:
        """Rehash what stands above the touched buckets."""
        for below, level in zip(self._levels, self._levels[1:], strict=False):
            touched = {number >> 1 for number in touched}
            for number in sorted(touched):
                level[number] = node_hash(below[2 * number], below[2 * number + 1])


def bucket_of(key: bytes) -> int:
    """Which bucket a row falls into."""
    return int.from_bytes(digest_of(key)[:2]) >> 6


def row_digest(key: bytes, value: bytes) -> bytes:
    """Digest of one row; the length keeps key and value apart."""
    return digest_of(len(key).to_bytes(4) + key + value)


def _bucket_digest(digests: Iterable[bytes]) -> bytes:
    return digest_of(b"".join(digests))


def _levels_above(leaves: list[bytes]) -> list[list[bytes]]:
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below), 2)])
    return levels
