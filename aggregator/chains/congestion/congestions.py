"""Who loads a power line that is nearly full, as the record of an interval says: which way, watts, and relief.

Every row has its own spelling in records (docs/spec/este.cddl).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocol.canonical import Value
from protocol.errors import EncodingError
from protocol.fields import items, name, row, uint
from protocol.limits import Direction, read_direction
from protocol.units import PPM

NEARLY_FULL_PPM: Final = 900_000
"""Loading of a line from which on the record tells who loads it, whether or not somebody is limited for its sake."""


@dataclass(frozen=True, slots=True)
class LineLoad:
    """How a participant whose devices can be limited loads a power line, one way: by what they take, or feed in."""

    participant: str
    direction: Direction
    power_w: int
    """What they take, or feed in, on average over all their meters of electricity; 0 where they could."""
    relief_ppm: int
    """By how many millionths of a watt the line carries less when this is a watt less; above 0."""

    @property
    def key(self) -> tuple[str, int]:
        """Who, and the number of the direction."""
        return self.participant, self.direction.value


@dataclass(frozen=True, slots=True)
class Congestion:
    """Who loads a power line that carries nearly what it is rated for, or more."""

    branch: str
    loads: tuple[LineLoad, ...]
    """In the order of their names, taken before fed in; what relieves the line is left out."""


def spell_congestions(congestions: Iterable[Congestion]) -> list[Value]:
    """All of them, as records hold them."""
    return [
        [one.branch, [[load.participant, load.direction.value, load.power_w, load.relief_ppm] for load in one.loads]]
        for one in congestions
    ]


def read_congestions(value: Value, rows_max: int) -> tuple[Congestion, ...]:
    """Read them.

    Raises:
        EncodingError: they are none.
    """
    congestions = tuple(_read_congestion(one, rows_max) for one in items(value, "congestions", rows_max))
    if len({one.branch for one in congestions}) < len(congestions):
        raise EncodingError("congestions: each power line once")
    return congestions


def _read_congestion(value: Value, rows_max: int) -> Congestion:
    branch, loads = row(value, "congestion", 2)
    read = tuple(map(_read_load, items(loads, "loads", rows_max)))
    keys = [(load.participant, load.direction) for load in read]
    if keys != sorted(set(keys)):
        raise EncodingError("loads: each participant once in a direction, in the order of their names")
    return Congestion(name(branch, "branch"), read)


def _read_load(value: Value) -> LineLoad:
    participant, direction, power_w, relief_ppm = row(value, "load", 4)
    if uint(relief_ppm, "relief", PPM) == 0:
        raise EncodingError("load: what relieves no line is left out")
    return LineLoad(name(participant, "participant"), read_direction(direction), uint(power_w, "power"), relief_ppm)
