"""What was found about an interval, as sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from aggregator.chains.intervals.findings import Finding, FindingKind

FOUND: Final[Mapping[FindingKind, str]] = {
    FindingKind.NO_PATH: "no line leads there from where the region is fed",
    FindingKind.NO_SOLUTION: "the power flow has no solution: everybody has the region's average mix",
    FindingKind.UNMETERED: "was not heard; 0 is supposed",
    FindingKind.UNOBSERVABLE: "{0} powers around it are unknown, and the balance yields {1}: the rest is spread",
    FindingKind.IMPOSSIBLE_READING: "says {0}, where all others say {1}: it earns nothing",
    FindingKind.INCONSISTENT: "the readings contradict each other",
    FindingKind.FROM_NOTHING: "gave {1} Wh of {0} Wh, where {2} Wh are possible",
    FindingKind.OVERDRAWN: "gave {0} Wh, and held {1} Wh",
    FindingKind.OVERFILLED: "charged to {0} Wh, above its capacity of {1} Wh: taken for full",
    FindingKind.NO_HISTORY: "{0} Wh arrived that were sent before the region began",
    FindingKind.UNBALANCED: "fed in {0} Wh, taken {1} Wh, lost {3} Wh: {2} Wh unexplained",
    FindingKind.VOLTAGE: "{0} mV, more than 10 % off its rating",
    FindingKind.AMBIGUOUS_READING: "says {0}, where {1} would fit: it is wrong, or another is",
    FindingKind.IMPOSSIBLE_VOLTAGE: "says {0} mV, where all others say {1} mV",
    FindingKind.MISPLACED: "what it says fits another node: number {0} of the grid file, counted from 0",
    FindingKind.RATINGS_DIFFER: "joins {0} mV and {1} mV, so is taken for open",
    FindingKind.CHECK_DIFFERS: "says {0} W, where all others say {1} W",
}
"""Sentence of each kind of finding, with its amounts and without its subject.

Powers of kinds that name a meter, and what is lost of a balance, come in words and numbers of their own."""


def found(finding: Finding) -> str:
    """A finding as a sentence."""
    try:
        said = FOUND[finding.kind].format(*_amounts(finding))
    except IndexError:  # fewer amounts than the kind should have
        said = f"{finding.kind.name.lower().replace('_', ' ')} {' '.join(map(str, finding.amounts))}".rstrip()
    return f"{finding.subject}: {said.replace('-', '−')}"


def _amounts(finding: Finding) -> list[str]:
    match finding.kind, finding.amounts:
        case ((FindingKind.IMPOSSIBLE_READING | FindingKind.AMBIGUOUS_READING), amounts):
            return list(map(_power, amounts))
        case FindingKind.UNBALANCED, (fed_in, taken, rest):
            return [f"{amount:,}" for amount in (fed_in, taken, rest, fed_in - taken - rest)]
    return [f"{amount:,}" for amount in finding.amounts]


def _power(power_w: int) -> str:
    """Power at a meter; in findings, what is fed in is above 0."""
    way = " imported" if power_w < 0 else " exported" if power_w else ""
    return f"{abs(power_w):,} W{way}"
