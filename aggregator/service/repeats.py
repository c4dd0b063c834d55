"""What anybody can make this node say, said once and then counted.

Rubbish costs its sender nothing, so a line in the log for each would let anybody fill the disk and hide what matters.
The first of a kind is told at once; what follows within ten seconds is summed up in one line. Is given its time.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

SUM_UP_MS: Final = 10_000

KINDS_MAX: Final = 1000
"""Kinds that are counted apart. Beyond them nothing is told until one of them has been quiet for a while."""


@dataclass(slots=True)
class _Count:
    since_ms: int
    untold: int = 0


class Repeats(Generic[K]):
    """Counts of what came, by kind, since it was last told."""

    def __init__(self) -> None:
        self._counts: dict[K, _Count] = {}

    def is_news(self, kind: K, now_ms: int) -> bool:
        """Whether this one is to be told at once: the first of its kind. Any other is counted."""
        count = self._counts.get(kind)
        if count is not None:
            count.untold += 1
            return False
        if len(self._counts) >= KINDS_MAX:
            return False
        self._counts[kind] = _Count(now_ms)
        return True

    def summed_up(self, now_ms: int) -> Iterator[tuple[K, int]]:
        """What is to be told now: each kind that came again, and how often. One that did not is news the next time."""
        for kind, count in list(self._counts.items()):
            if now_ms - count.since_ms < SUM_UP_MS:
                continue
            if count.untold:
                yield kind, count.untold
                self._counts[kind] = _Count(now_ms)
            else:
                del self._counts[kind]
