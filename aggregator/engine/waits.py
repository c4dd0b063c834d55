"""How long records have waited at this node, the blocks since it first saw each of them; and how much of whom waits.

A record that waits is asked about again after every block; one that is asked about no more has left the mempool
without getting into a block, and makes room when room is needed. Beyond its bound, what comes counts as not waiting.
Of each author only a share may wait, or whoever is admitted could fill the mempool with numbers whose turn never comes.
Forgotten with the process: a node that starts again begins to count anew. Used from several threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Final, NamedTuple

ASKED_WITHIN: Final = 2
"""Blocks within which whatever still waits has been asked about again."""


SHARE_RECORDS_MAX: Final = 1024
"""Records of one author that may wait: more than a gateway has under way (`in_flight_max`)."""

SHARE_BYTES_MAX: Final = 8 << 20
"""What they may come to: a thirtieth of what all may (`NodeConfig.txs_bytes_max`). One alone may be larger."""


class _Seen(NamedTuple):
    first: int
    last: int
    author: str
    size: int


class _Share(NamedTuple):
    """What waits of one author."""

    records: int = 0
    bytes: int = 0


class Waits:
    """The heights at which each waiting record was first and last seen, by its envelope's digest."""

    def __init__(
        self, records_max: int, *, share_records_max: int = SHARE_RECORDS_MAX, share_bytes_max: int = SHARE_BYTES_MAX
    ) -> None:
        """Remember at most `records_max` records, of one author so many of so many bytes."""
        self._records_max = records_max
        self._share_max = _Share(share_records_max, share_bytes_max)
        self._seen: dict[bytes, _Seen] = {}
        self._shares: dict[str, _Share] = {}
        self._cleared = -1
        """Height at which room was last made."""
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._seen)

    def see(self, digest: bytes, height: int, author: str, size: int) -> bool:
        """A record waits, the last block being that of `height`.

        Args:
            digest: of its envelope.
            height: of the engine.
            author: whose it is.
            size: of its envelope, in bytes.

        Returns:
            False if so much of this author waits that this one may not.
        """
        with self._lock:
            before = self._seen.get(digest)
            if before is not None:
                self._seen[digest] = before._replace(last=height)
                return True
            if len(self._seen) >= self._records_max or not self._has_room(author, size):
                self._make_room(height)
            if not self._has_room(author, size):
                return False
            if len(self._seen) < self._records_max:
                self._seen[digest] = _Seen(height, height, author, size)
                self._count(author, 1, size)
            return True

    def waited(self, digest: bytes, height: int) -> int:
        """Blocks up to that of `height` that closed without a record since it was seen."""
        seen = self._seen.get(digest)
        return 0 if seen is None else max(0, height - seen.first)

    def forget(self, digests: Iterable[bytes]) -> None:
        """These wait no longer."""
        with self._lock:
            for digest in digests:
                self._drop(digest)

    def forget_all(self) -> None:
        """Begin anew: the heights before mean nothing any more."""
        with self._lock:
            self._seen.clear()
            self._shares.clear()
            self._cleared = -1

    def _make_room(self, height: int) -> None:
        """Forget what nobody has asked about lately; once per block at most."""
        if self._cleared < height:
            self._cleared = height
            for digest in [one for one, seen in self._seen.items() if seen.last < height - ASKED_WITHIN]:
                self._drop(digest)

    def _has_room(self, author: str, size: int) -> bool:
        share = self._shares.get(author)
        if share is None:
            return True
        return share.records < self._share_max.records and share.bytes + size <= self._share_max.bytes

    def _drop(self, digest: bytes) -> None:
        seen = self._seen.pop(digest, None)
        if seen is not None:
            self._count(seen.author, -1, -seen.size)

    def _count(self, author: str, records: int, size: int) -> None:
        share = self._shares.get(author, _Share())
        self._shares[author] = _Share(share.records + records, share.bytes + size)
        if not self._shares[author].records:
            del self._shares[author]
