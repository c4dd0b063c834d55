"""Who loads a congested power line, as the record of an interval says: watts, and millionths of relief.

Every row has its own spelling in records (docs/spec/este.cddl).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from protocol.canonical import Value
from protocol.errors import EncodingError
from protocol.fields import integer, items, name, row
from protocol.units import PPM


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
    congestions = tuple(_read_congestion(one, rows_max) for one in items(value, "congestions", rows_max))
    if len({one.branch for one in congestions}) < len(congestions):
        raise EncodingError("congestions: each power line once")
    return congestions


def _read_congestion(value: Value, rows_max: int) -> Congestion:
    branch, loads = row(value, "congestion", 2)
    read = tuple(map(_read_load, items(loads, "loads", rows_max)))
    names = [load.participant for load in read]
    if names != sorted(set(names)):
        raise EncodingError("loads: each participant once, in the order of their names")
    return Congestion(name(branch, "branch"), read)


def _read_load(value: Value) -> LineLoad:
    participant, taken_w, relief_ppm = row(value, "load", 3)
    if abs(integer(relief_ppm, "relief")) > PPM:
        raise EncodingError("load: a watt relieves no line by more than a watt")
    return LineLoad(name(participant, "participant"), integer(taken_w, "taken"), relief_ppm)
