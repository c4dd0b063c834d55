"""Words that parts of an explanation share: findings as sentences, places, shares, and what energy was made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aggregator.chains.findings import Finding, FindingKind
from aggregator.service.past import Place
from config.tables import Table

FOUND: Final = {
    FindingKind.NO_PATH: "no line leads to this node",
    FindingKind.NO_SOLUTION: "the power flow has no solution: everybody has the region's average mix",
    FindingKind.UNMETERED: "no reading: {0} W assumed",
    FindingKind.UNOBSERVABLE: "too little is known of this node",
    FindingKind.IMPOSSIBLE_READING: "says {0} W, where all others say {1} W: it earns nothing",
    FindingKind.INCONSISTENT: "the readings contradict each other",
    FindingKind.FROM_NOTHING: "gave {1} Wh of {0} Wh, where {2} Wh are possible",
    FindingKind.OVERDRAWN: "gave {0} Wh, and held {1} Wh",
    FindingKind.OVERFILLED: "holds {0} Wh, above its capacity of {1} Wh",
    FindingKind.NO_HISTORY: "{0} Wh arrived that were sent before the region began",
    FindingKind.UNBALANCED: "fed in {0} Wh, taken {1} Wh, rest {2} Wh",
    FindingKind.VOLTAGE: "{0} mV, more than 10 % off its rating",
}
"""Sentence of each kind of finding, with its amounts."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a part of what is told."""

    text: str


Told = str | Heading | Table
"""A line, a heading, or a table."""


def found(finding: Finding) -> str:
    """A finding as a sentence."""
    try:
        return f"{finding.subject}: {FOUND[finding.kind].format(*(f'{amount:,}' for amount in finding.amounts))}"
    except (KeyError, IndexError):
        kind = finding.kind.name.lower().replace("_", " ")
        return f"{finding.subject}: {kind} {' '.join(map(str, finding.amounts))}".rstrip()


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
