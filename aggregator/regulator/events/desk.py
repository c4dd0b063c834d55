"""What the regulator signs about events, and the events as people are shown them.

Decides nothing that the rules of the operation chain do not decide again: what is said here is said before anything is
signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.chains.congestion.events import Cancellation, ResponseEvent
from aggregator.chains.five import Five
from aggregator.regulator.desk import Regulator, RegulatorError, Sealed
from protocol.crypto import SigningKey
from protocol.messages import MessageType


@dataclass(frozen=True, slots=True)
class EventView:
    """One event that is not over."""

    event: int
    branch: str
    """Empty: for the region as a whole."""
    start_ms: int
    end_ms: int
    called: tuple[str, ...]
    is_on: bool
    """Whether it has begun, by the time of the last block."""


def events_of(five: Five) -> list[EventView]:
    """Every event whose intervals are not all closed, in the order of their numbers."""
    head, region = five.ledger.head, five.asset.region
    now_ms = head.time_ms if head else 0
    return [
        EventView(
            event=number,
            branch=event.branch,
            start_ms=event.start_ms,
            end_ms=event.end_ms,
            called=event.participants or region.responding,
            is_on=event.start_ms <= now_ms,
        )
        for number, event in five.operation.events.items()
    ]


def call(
    regulator: Regulator, span: tuple[int, int], branch: str, participants: Sequence[str], key: SigningKey
) -> Sealed:
    """Sign an event.

    Args:
        regulator: in front of the ledger.
        span: from when until when, UTC; both are rounded up to the boundary of an interval.
        branch: the power line to relieve, or empty.
        participants: who is called; nobody means all that respond.
        key: the regulator's.

    Raises:
        RegulatorError: there is no such line, somebody does not respond, no time is left, or the key is another's.
        WouldBeRefusedError: it begins too soon, or too many would be called.
    """
    region = regulator.asset.region
    interval_ms = region.rules.time.interval_ms
    start_ms, end_ms = (-(-instant // interval_ms) * interval_ms for instant in span)
    if branch and branch not in region.lines:
        raise RegulatorError(f"there is no power line {branch}; the grid has {', '.join(sorted(region.lines))}")
    called = tuple(sorted(set(participants)))
    for name in called:
        if name not in region.responding:
            raise RegulatorError(f"{name} does not take part in demand response: see `responds` in the grid file")
    if not region.responding:
        raise RegulatorError("nobody takes part in demand response: see `responds` in the grid file")
    if not 0 < end_ms - start_ms <= region.rules.time.day_ms:
        raise RegulatorError("an event lasts an interval or more, and a day at most")
    return regulator.seal(
        lambda link: ResponseEvent(link, start_ms, end_ms, branch, called).encode(), MessageType.EVENT, key
    )


def cancel(regulator: Regulator, event: int, reason: str, key: SigningKey) -> Sealed:
    """Sign that an event is taken back.

    Raises:
        RegulatorError: the key is not the regulator's.
        WouldBeRefusedError: there is no such event, or it has begun.
    """
    return regulator.seal(lambda link: Cancellation(link, event, reason).encode(), MessageType.CANCELLATION, key)
