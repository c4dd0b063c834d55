"""What every program's file says about a power network: points, lines, where it meets the outside, who is connected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    """A number of a row of a file.

    Raises:
        NotThatFormat: there is none, and no default.
    """
    value = row.get(key, default)
    if value is None:
        value = default
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotThatFormat(f"expected a number {key!r}, got {value!r:.40}")
    return float(value)


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
