"""How long records have waited at this node: the blocks since it first saw each of them.

A record that waits is asked about again after every block; one that is asked about no more has left the mempool
without getting into a block, and makes room when room is needed. Beyond its bound, what comes counts as not waiting.
Forgotten with the process: a node that starts again begins to count anew. Used from several threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock
from typing import Final, NamedTuple

ASKED_WITHIN: Final = 2
"""Blocks within which whatever still waits has been asked about again."""


class _Seen(NamedTuple):
    first: int
    last: int


class Waits:
    """The heights at which each waiting record was first and last seen, by its envelope's digest."""

    def __init__(self, records_max: int) -> None:
        """Remember at most `records_max` records."""
        self._records_max = records_max
        self._seen: dict[bytes, _Seen] = {}
        self._cleared = -1
        """Height at which room was last made."""
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._seen)

    def see(self, digest: bytes, height: int) -> None:
        """A record waits, the last block being that of `height`."""
        with self._lock:
            before = self._seen.get(digest)
            if before is None and len(self._seen) >= self._records_max:
                self._make_room(height)
                if len(self._seen) >= self._records_max:
                    return
            self._seen[digest] = _Seen(before.first if before else height, height)

    def waited(self, digest: bytes, height: int) -> int:
        """Blocks up to that of `height` that closed without a record since it was seen."""
        seen = self._seen.get(digest)
        return 0 if seen is None else max(0, height - seen.first)

    def forget(self, digests: Iterable[bytes]) -> None:
        """These wait no longer."""
        with self._lock:
            for digest in digests:
                self._seen.pop(digest, None)

    def forget_all(self) -> None:
        """Begin anew: the heights before mean nothing any more."""
        with self._lock:
            self._seen.clear()
            self._cleared = -1

    def _make_room(self, height: int) -> None:
        """Forget what nobody has asked about lately; once per block at most."""
        if self._cleared < height:
            self._cleared = height
            kept = {digest: seen for digest, seen in self._seen.items() if seen.last >= height - ASKED_WITHIN}
            self._seen = kept
