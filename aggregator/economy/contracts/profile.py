"""How much of something is promised at every instant: a line that steps up and down, as contracts begin and end."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import NamedTuple


class Peak(NamedTuple):
    """Where most is promised."""

    level: int
    at_ms: int
    """The first instant of it."""

    def plus(self, more: int) -> Peak:
        """The same, with so much more all the time."""
        return Peak(self.level + more, self.at_ms)


class Profile:
    """Amounts that hold in windows of time, and add up where these overlap. Empty at first."""

    def __init__(self) -> None:
        self._instants: list[int] = []
        self._levels: list[int] = []
        """What holds from each instant to the next; behind the last, and before the first, there is nothing."""

    def add(self, start_ms: int, end_ms: int, amount: int) -> None:
        """Let so much more hold from one instant until another, which does not belong to it."""
        first, last = self._cut(start_ms), self._cut(end_ms)
        for place in range(first, last):
            self._levels[place] += amount
        self._join(last)
        self._join(first)

    def __len__(self) -> int:
        """At how many instants it steps."""
        return len(self._instants)

    def peak(self, start_ms: int, end_ms: int) -> Peak:
        """The most that holds anywhere in a window."""
        first, last = bisect_right(self._instants, start_ms), bisect_left(self._instants, end_ms)
        level = self._levels[first - 1] if first else 0
        best = Peak(level, start_ms)
        for place in range(first, last):
            if self._levels[place] > best.level:
                best = Peak(self._levels[place], self._instants[place])
        return best

    def steps(self, start_ms: int, end_ms: int) -> list[tuple[int, int]]:
        """Every instant of a window at which the line steps, the first among them, each with what holds from there."""
        first, last = bisect_right(self._instants, start_ms), bisect_left(self._instants, end_ms)
        begin = (start_ms, self._levels[first - 1] if first else 0)
        return [begin, *zip(self._instants[first:last], self._levels[first:last], strict=True)]

    def _cut(self, at_ms: int) -> int:
        """Make an instant one at which the line may step."""
        place = bisect_left(self._instants, at_ms)
        if place == len(self._instants) or self._instants[place] != at_ms:
            self._levels.insert(place, self._levels[place - 1] if place else 0)
            self._instants.insert(place, at_ms)
        return place

    def _join(self, place: int) -> None:
        """Forget an instant at which the line does not step."""
        if self._levels[place] == (self._levels[place - 1] if place else 0):
            del self._levels[place], self._instants[place]
