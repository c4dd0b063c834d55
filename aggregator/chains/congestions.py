"""Who loads a congested power line, as the record of an interval says: watts, and millionths of relief.

Every row has its own spelling in records (docs/spec/este.cddl).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.canonical import Value
from protocol.fields import integer, items, name, row


@dataclass(frozen=True, slots=True)
class LineLoad:
    """What a participant whose devices can be limited has to do with a congested power line."""

    participant: str
    taken_w: int
    """Mean power over all their meters of electricity; below 0, fed in."""
    relief_ppm: int
    """By how many millionths of a watt the line carries less when this is a watt less; below 0, it carries more."""


@dataclass(frozen=True, slots=True)
class Congestion:
    """Who loads a power line that carries more than it is rated for."""

    branch: str
    loads: tuple[LineLoad, ...]
    """In the order of their names; whoever takes and feeds in nothing is left out."""


def spell_congestions(congestions: Iterable[Congestion]) -> list[Value]:
    """All of them, as records hold them."""
    return [
        [one.branch, [[load.participant, load.taken_w, load.relief_ppm] for load in one.loads]] for one in congestions
    ]


def read_congestions(value: Value, rows_max: int) -> tuple[Congestion, ...]:
    """Read them.

    Raises:
        EncodingError: they are none.
    """
    return tuple(_read_congestion(one, rows_max) for one in items(value, "congestions", rows_max))


def _read_congestion(value: Value, rows_max: int) -> Congestion:
    branch, loads = row(value, "congestion", 2)
    return Congestion(name(branch, "branch"), tuple(map(_read_load, items(loads, "loads", rows_max))))


def _read_load(value: Value) -> LineLoad:
    participant, taken_w, relief_ppm = row(value, "load", 3)
    return LineLoad(name(participant, "participant"), integer(taken_w, "taken"), integer(relief_ppm, "relief"))
