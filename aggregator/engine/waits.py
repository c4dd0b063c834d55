"""How long records have waited at this node: the blocks since it first saw each of them.

Bounded: what comes while too many are remembered counts as not waiting. Forgotten with the process: a node that starts
again begins to count anew. Used from several threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock


class Waits:
    """The height at which each waiting record was first seen, by its envelope's digest."""

    def __init__(self, records_max: int) -> None:
        """Remember at most `records_max` records."""
        self._records_max = records_max
        self._seen: dict[bytes, int] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._seen)

    def see(self, digest: bytes, height: int) -> None:
        """A record may wait from now on, the last block being that of `height`; nothing changes if it does already."""
        with self._lock:
            if len(self._seen) < self._records_max:
                self._seen.setdefault(digest, height)

    def waited(self, digest: bytes, height: int) -> int:
        """Blocks up to that of `height` that closed without a record since it was seen."""
        return max(0, height - self._seen.get(digest, height))

    def forget(self, digests: Iterable[bytes]) -> None:
        """These wait no longer."""
        with self._lock:
            for digest in digests:
                self._seen.pop(digest, None)

    def forget_all(self) -> None:
        """Begin anew: the heights before mean nothing any more."""
        with self._lock:
            self._seen.clear()
