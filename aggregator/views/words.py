"""Words that parts of an explanation share: places, shares, long lines, and what energy was made from."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Final

from aggregator.service.past import Place
from config.tables import Table

WIDTH: Final = 80


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a part of what is told."""

    text: str


Told = str | Heading | Table
"""A line, a heading, or a table."""


def at(place: Place) -> str:
    """Where a record stands."""
    return f"block {place.height}, {place.chain} {place.index}"


def mix_words(origin_wh: dict[str, int], whole_wh: int, parts_max: int = 9) -> str:
    """What energy was made from, the largest part first; the rest in one."""
    if not whole_wh:
        return "–"
    parts = sorted(origin_wh.items(), key=lambda part: (-part[1], part[0]))
    shown = [f"{source.replace('_', ' ')} {percent(amount, whole_wh)}" for source, amount in parts[:parts_max]]
    rest = sum(amount for _, amount in parts[parts_max:])
    return " · ".join([*shown, *([f"+ {percent(rest, whole_wh)}"] if rest else [])])


def percent(part: int, whole: int) -> str:
    """A share, for people; a dash where there is no whole."""
    return f"{100 * part / whole:.0f} %" if whole else "–"


def many(count: int, word: str) -> str:
    """A count with its noun."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def wrapped(line: str) -> list[str]:
    """A long line as several, each further in than the first."""
    return textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent=" " * 8)
