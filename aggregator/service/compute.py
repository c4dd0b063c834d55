"""The compute node: works out what is due, and signs it as records of its own.

What is due follows from the chains alone: an interval once it is frozen, a period's factors once its intervals are
closed, its tokens once its factors are drawn up. Each step needs the block of the one before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aggregator.chains.analysis import Recompute
from aggregator.chains.carbon import factor_leaf
from aggregator.chains.five import Five
from aggregator.chains.results import IntervalResult, PeriodFactors, PeriodSettlement
from protocol.crypto import SigningKey
from protocol.envelope import seal
from protocol.link import Link
from protocol.merkle import root_of
from protocol.messages import MessageType


class Message(Protocol):
    """Anything that can be put into an envelope."""

    def encode(self) -> bytes:
        """Spell it."""


@dataclass(frozen=True, slots=True)
class ComputeNode:
    """One member that may sign results."""

    name: str
    key: SigningKey
    physics: Recompute

    def due_record(self, five: Five) -> bytes | None:
        """The envelope of the one result that is due now, or None."""
        due = self._interval(five) or self._factors(five) or self._settlement(five)
        if due is None:
            return None
        type_, message_of = due
        last = five.ledger.last_record(self.name)
        link = Link(five.ledger.region, self.name, last.sequence + 1, last.digest)
        return seal(self.key, region=five.ledger.region, type_=type_, payload=message_of(link).encode())

    def _interval(self, five: Five) -> tuple[MessageType, Callable[[Link], Message]] | None:
        interval = five.analysis.due_interval()
        if interval is None:
            return None
        flows = self.physics(five.asset.region, interval, five.data.energy_of(interval.start_ms))
        return MessageType.INTERVAL, lambda link: IntervalResult(link, interval.start_ms, interval.end_ms, flows)

    def _factors(self, five: Five) -> tuple[MessageType, Callable[[Link], Message]] | None:
        period = five.analysis.due_period()
        if period is None:
            return None
        root = root_of(map(factor_leaf, five.analysis.factor_rows()))
        return MessageType.FACTORS, lambda link: PeriodFactors(link, period.start_ms, period.end_ms, root)

    def _settlement(self, five: Five) -> tuple[MessageType, Callable[[Link], Message]] | None:
        due = five.payment.due_settlement()
        if due is None:
            return None
        return MessageType.SETTLEMENT, lambda link: PeriodSettlement(
            link, due.start_ms, due.end_ms, due.factors_root, due.minted, due.charged, root_of(due.leaves)
        )
