"""What a participant's contracts come to, all together, from a statement's time on: to their gateway, the instruction.

A statement tells of some contracts, for people; what is to be done is summed over all of them. Format:
docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from protocol.canonical import Value
from protocol.contract import CARRIERS
from protocol.errors import EncodingError
from protocol.fields import items, row, uint

DUTIES_MAX: Final = 8
"""Of one participant and carrier, one after another."""
DUTIES_PER_STATEMENT_MAX: Final = 2048


@dataclass(frozen=True, slots=True)
class Duty:
    """What is due of one carrier until an instant: from the end of the duty before it, or from the statement's time."""

    carrier: str
    """One of `CARRIERS`."""
    feed_in_w: int
    """Promised by all contracts in which the participant sells."""
    take_w: int
    """Promised by all contracts in which they buy."""
    until_ms: int
    """When that may change, UTC; does not belong to it."""

    def spell(self) -> Value:
        """As a statement holds it."""
        return [CARRIERS.index(self.carrier), self.feed_in_w, self.take_w, self.until_ms]


def read_duties(value: Value) -> tuple[Duty, ...]:
    """Read what a statement says is due: by carrier, one after another.

    Raises:
        EncodingError: it is not that, or not in this order.
    """
    duties = tuple(map(_read, items(value, "duties", DUTIES_MAX * len(CARRIERS))))
    if not duties:
        raise EncodingError("standing: where nothing is due, duties are left out")
    order = [(CARRIERS.index(duty.carrier), duty.until_ms) for duty in duties]
    if any(before >= after for before, after in pairwise(order)):
        raise EncodingError("duties: not in their order")
    return duties


def duty_at(duties: Sequence[Duty], carrier: str, time_ms: int) -> Duty | None:
    """What is due of a carrier at an instant; None where nothing is known to be."""
    found = (duty for duty in duties if duty.carrier == carrier and time_ms < duty.until_ms)
    duty = next(found, None)
    return duty if duty is not None and (duty.feed_in_w or duty.take_w) else None


def _read(value: Value) -> Duty:
    carrier, feed_in_w, take_w, until_ms = row(value, "duty", 4)
    return Duty(
        carrier=CARRIERS[uint(carrier, "carrier", len(CARRIERS) - 1)],
        feed_in_w=uint(feed_in_w, "power to feed in"),
        take_w=uint(take_w, "power to take"),
        until_ms=uint(until_ms, "until"),
    )
