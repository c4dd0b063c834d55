"""What a gateway believes of a statement, and what it buys for its participants after one.

Statements are numbered and linked like records, so that an aggregator that tells two histories convicts itself by its
own signatures: whatever does not follow from the last one is told and not believed. Standing orders come from the
settings; each buys the right for the period to come, once. Given verified statements only; signs and keeps nothing
itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

from config.settings.agent import StandingOrder
from protocol.crypto import digest_of
from protocol.envelope import Envelope
from protocol.messages import RightKind, Standing, Statement

REST_AFTER_REFUSAL_MS: Final = 86_400_000
"""An order whose purchase was refused rests for a day, by the statements' time: every refusal stands on the chain."""


@dataclass(frozen=True, slots=True)
class Believed:
    """The last statement that was believed."""

    statement: Statement
    digest: bytes
    """Of its payload, which is the same whichever node signed it."""

    @classmethod
    def of(cls, envelope: Envelope, statement: Statement) -> Believed:
        """Take what a verified envelope says."""
        return cls(statement, digest_of(envelope.payload))


class Verdict(Enum):
    """What a verified statement is, beside the last one."""

    NEWER = auto()
    KNOWN = auto()
    """The same again: the broker retains it."""
    OLDER = auto()
    CONTRADICTS = auto()
    """Both cannot be true: the aggregator signed two histories."""


def judge(last: Believed | None, statement: Statement, digest: bytes) -> Verdict:
    """Compare a verified statement with the last one; `digest` is its payload's."""
    if last is None:
        return Verdict.NEWER
    if digest == last.digest:
        return Verdict.KNOWN
    if statement.number < last.statement.number:
        return Verdict.OLDER
    is_next = statement.number == last.statement.number + 1
    if (
        statement.number == last.statement.number
        or statement.height < last.statement.height
        or (is_next and statement.previous != last.digest)
    ):
        return Verdict.CONTRADICTS
    return Verdict.NEWER


OrderKey = tuple[str, RightKind]
"""Participant and right: one order each."""


def key_of(order: StandingOrder) -> OrderKey:
    """What tells a standing order apart."""
    return order.participant, order.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The last purchase that was signed for a standing order, and what came of it."""

    participant: str
    right: RightKind
    sequence: int
    """Of the purchase's record."""
    height: int | None = None
    """The block that holds it, once there is a receipt."""
    rest_until_ms: int | None = None
    """If it was refused: buy again when a statement is from then or later, UTC."""

    @property
    def key(self) -> OrderKey:
        """Which order it was for."""
        return self.participant, self.right

    def received(self, height: int) -> Placed:
        """Its receipt came."""
        return replace(self, height=height)

    def refused(self, statement_ms: int) -> Placed:
        """It was refused, while the last statement was from `statement_ms`."""
        return replace(self, rest_until_ms=statement_ms + REST_AFTER_REFUSAL_MS)

    def is_settled_in(self, statement: Statement) -> bool:
        """Whether `statement` already knows what came of it: until then nothing more is bought."""
        if self.rest_until_ms is not None:
            return statement.time_ms >= self.rest_until_ms
        return self.height is not None and statement.height > self.height


def orders_due(
    orders: Sequence[StandingOrder], placed: Mapping[OrderKey, Placed], statement: Statement
) -> list[StandingOrder]:
    """The standing orders that buy now, after a newer statement."""
    standings = {standing.participant: standing for standing in statement.standings}
    due = []
    for order in orders:
        standing = standings.get(order.participant)
        last = placed.get(key_of(order))
        if standing is None or (last is not None and not last.is_settled_in(statement)):
            continue
        if _can_afford(order, standing) and not _holds_next(order.kind, standing, statement.time_ms):
            due.append(order)
    return due


def buyers_unknown_to(orders: Sequence[StandingOrder], statement: Statement) -> list[str]:
    """The participants of standing orders that the statement does not know: what buys for them buys nothing."""
    known = {standing.participant for standing in statement.standings}
    return sorted({order.participant for order in orders} - known)


def _can_afford(order: StandingOrder, standing: Standing) -> bool:
    return standing.balance - order.price_max - order.fee >= order.balance_min


def _holds_next(kind: RightKind, standing: Standing, time_ms: int) -> bool:
    """Whether a right of this kind is yet to begin. One that runs does not count: who waits for its end is too late."""
    return any(right.kind is kind and right.start_ms > time_ms for right in standing.rights)
