"""What may be found about an interval: what could not be known, and what cannot be true."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.canonical import Value
from protocol.errors import EncodingError
from protocol.fields import integer, items, name, uint

FINDINGS_MAX: Final = 10_000
AMOUNTS_MAX: Final = 8
"""Numbers that one finding may tell."""


class FindingKind(IntEnum):
    """What may be found about an interval. Numbered on the wire."""

    NO_PATH = 1
    """No branch leads from the reference node to the subject, a node with energy."""
    NO_SOLUTION = 2
    """The power flow has no solution; everybody has the region's average mix."""
    UNMETERED = 3
    """The subject, a meter, sent no reading; a pseudo-measurement stands in. Amounts: power assumed, W."""
    UNOBSERVABLE = 4
    """The state cannot be estimated from what was measured; the subject is a node that too little is known of."""
    IMPOSSIBLE_READING = 5
    """What the subject, a meter, says cannot be true beside all the others.
    Amounts: power said, power estimated, W; below 0 is imported."""
    INCONSISTENT = 6
    """The readings contradict each other, but no single meter explains it; the subject is the region.
    Amounts: sum of squared residuals, and its limit, in thousandths."""
    FROM_NOTHING = 7
    """The subject, a converter, gave more than it can make of what it took. Amounts: Wh in, Wh out, Wh possible."""
    OVERDRAWN = 8
    """The subject, a storage, gave more than it held. Amounts: Wh given, Wh held."""
    OVERFILLED = 9
    """The subject, a storage, was charged beyond its capacity; it is taken for full. Amounts: Wh, capacity."""
    NO_HISTORY = 10
    """What arrived through the subject, a pipe, was sent before the region began: of unknown origin. Amounts: Wh."""
    UNBALANCED = 11
    """In the subject, a network, more was taken or fed in than its meters' accuracy explains.
    Amounts: Wh fed in, taken, rest."""
    VOLTAGE = 12
    """The subject, a node, is outside ±10 % of its rated voltage. Amounts: voltage, mV."""
    AMBIGUOUS_READING = 13
    """One of several readings cannot be true, and nothing tells which; the subject is one of these meters.
    Amounts: power said, power that would explain it, W; below 0 is imported."""
    IMPOSSIBLE_VOLTAGE = 14
    """The voltage that the subject, a meter, says cannot be; its power is believed.
    Amounts: said, estimated, mV between lines."""
    MISPLACED = 15
    """What the subject, a meter, says fits another node. Amounts: that node's place in the grid file, from 0."""
    RATINGS_DIFFER = 16
    """The subject, a branch, joins nodes of different rated voltage, and is taken for open. Amounts: both, mV."""
    CHECK_DIFFERS = 20
    """What flows by at the subject, a check meter in a pipe, is not what follows from all the others.
    Amounts: power said, power estimated, W; below 0 into the pipe."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What could not be known, or cannot be true."""

    kind: FindingKind
    subject: str
    """Name of a meter, node, converter, …, as the kind says."""
    amounts: tuple[int, ...] = ()


def spell_findings(findings: Iterable[Finding]) -> list[Value]:
    """Findings, as records hold them."""
    return [[finding.kind.value, finding.subject, *finding.amounts] for finding in findings]


def read_findings(value: Value) -> tuple[Finding, ...]:
    """Read findings.

    Raises:
        EncodingError: they are none.
    """
    return tuple(map(_read_finding, items(value, "findings", FINDINGS_MAX)))


def _read_finding(value: Value) -> Finding:
    line = items(value, "finding", AMOUNTS_MAX + 2)
    if len(line) < 2:
        raise EncodingError("finding: a kind and a subject are missing")
    kind, subject, *amounts = line
    try:
        known = FindingKind(uint(kind, "kind"))
    except ValueError as error:
        raise EncodingError(f"finding: no kind {kind}") from error
    return Finding(known, name(subject, "subject"), tuple(integer(amount, "amount") for amount in amounts))
