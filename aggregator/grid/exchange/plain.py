"""What every program's file says about a power network: points, lines, where it meets the outside, who is connected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Any, Final

SAID_MAX: Final = 5
"""Names told in one remark."""
BELOW_0: Final = "power below 0: does it flow the other way?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A node."""

    name: str
    rated_v: float
    """Between lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A power line, three-phase."""

    name: str
    one: str
    other: str
    """Names of its points."""
    resistance_ohm: float
    reactance_ohm: float
    rating_a: float | None
    """None is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """A load or a generator."""

    name: str
    point: str
    power_w: float
    """Rated, or what the file has it take or give; 0 is not told."""
    is_generator: bool


@dataclass(slots=True)
class Plain:
    """A power network, and what of its file could not be taken along."""

    points: list[Point] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    connected: list[Connected] = field(default_factory=list)
    outside: str | None = None
    """Point where it meets the network outside."""
    remarks: list[str] = field(default_factory=list)
    """Sentences."""


class NotThatFormat(Exception):
    """The file is not what it was taken for; says what is missing."""


def number(row: dict[str, Any], key: str, default: float | None = None) -> float:
    """A number of a row of a file; what is NaN there is not told.

    Raises:
        NotThatFormat: there is none, and no default; or it is infinite.
    """
    value = row.get(key)
    if value is None or (isinstance(value, float) and isnan(value)):
        if default is None:
            raise NotThatFormat(f"no number {key!r} where one has to stand")
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise NotThatFormat(f"{value!r:.40} for the number {key!r}")
    return float(value)


def remarks_on(what: str, names: Sequence[str], says: str) -> list[str]:
    """What is to be said of some objects of a kind, in one sentence; none of none."""
    if len(names) < 2:
        return [f"{what} {name}: {says}" for name in names]
    shown = ", ".join(names[:SAID_MAX])
    more = f" and {len(names) - SAID_MAX} more" if len(names) > SAID_MAX else ""
    return [f"{len(names)} × {what}: {says} ({shown}{more})"]


def unique(names: list[str]) -> list[str]:
    """Names that stand once each: a repeated one gets a number behind it."""
    taken: set[str] = set()
    told = []
    for name in names:
        fresh, count = name, 2
        while fresh in taken:
            fresh, count = f"{name}-{count}", count + 1
        taken.add(fresh)
        told.append(fresh)
    return told
