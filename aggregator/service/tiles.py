"""A log cut into tiles (c2sp.org/tlog-tiles): which there are, where each lies, and what a bundle of entries holds.

A tile is 256 hashes of one level, 8 levels above those of the tile below it; the last of a level may be narrower. Pure:
it is told the log's size, and knows no disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 256
LEVEL_BITS: Final = 8
ENTRY_BYTES_MAX: Final = 0xFFFF
"""A longer entry does not fit the format: its length is told in 16 bits."""

ENTRIES: Final = "entries"
LARGE_ENTRIES: Final = "large-entries"
"""Where a bundle lies of which an entry is larger than that: the same, with lengths of 32 bits."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile of a log, or the bundle of entries below it."""

    level: int | str
    """Number of the level; or what kind of bundle."""
    number: int
    width: int = WIDTH

    @property
    def first(self) -> int:
        """Position of its first hash or entry in its level."""
        return self.number * WIDTH

    @property
    def last(self) -> int:
        """Position of its last hash or entry in its level."""
        return self.first + self.width - 1

    @property
    def is_full(self) -> bool:
        """Whether it will never change any more."""
        return self.width == WIDTH

    @property
    def path(self) -> str:
        """Where it lies below the log's prefix."""
        return self._whole if self.is_full else f"{self.parts}/{self.width}"

    @property
    def parts(self) -> str:
        """Where the narrower ones lie that came before it."""
        return f"{self._whole}.p"

    @property
    def _whole(self) -> str:
        *above, last = _digits(self.number)
        return "/".join(["tile", str(self.level), *(f"x{digits}" for digits in above), last])

    def bundle(self, kind: str) -> Tile:
        """The bundle of the same entries."""
        return Tile(kind, self.number, self.width)


def tiles_of(size: int) -> Iterator[Tile]:
    """All tiles of a log of `size` leaves, level by level, the leaves' own level first."""
    level = 0
    while count := size >> LEVEL_BITS * level:
        for first in range(0, count, WIDTH):
            yield Tile(level, first // WIDTH, min(WIDTH, count - first))
        level += 1


def spelled_bundle(entries: Iterable[bytes], *, is_large: bool) -> Iterator[bytes]:
    """A bundle: each entry behind its length."""
    for entry in entries:
        yield len(entry).to_bytes(4 if is_large else 2)
        yield entry


def _digits(number: int) -> list[str]:
    """A number in groups of three digits."""
    groups = [f"{number % 1000:03}"]
    while number := number // 1000:
        groups.append(f"{number % 1000:03}")
    return groups[::-1]
