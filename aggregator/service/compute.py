"""The compute node: works out what is due, and signs it as records of its own.

What is due follows from the chains alone: an interval once it is frozen, a period's factors once its intervals are
closed, its tokens once its factors are drawn up; a restatement once late energy has waited long enough, and an
adjustment once a settled period is restated. Each step needs the block of the one before. A call auction is cleared
once its gate has closed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from aggregator.chains.analysis import Recompute
from aggregator.chains.five import Five
from aggregator.chains.intervals.restatement import PeriodAdjustment, Restatement
from aggregator.chains.intervals.results import IntervalResult, PeriodFactors, PeriodSettlement
from aggregator.chains.market.clearing import ClearingResult
from aggregator.chains.metering.interval_energy import energies_root
from aggregator.chains.periods.carbon import factor_leaf
from aggregator.chains.periods.deeds import deeds_of
from aggregator.economy.market.clearing import Auction, Clearing
from aggregator.service.auctions import AuctionClearing
from aggregator.service.stated import LeafSource, flows_of, known_of
from protocol.crypto import SigningKey
from protocol.envelope import seal
from protocol.link import Link
from protocol.merkle import root_of
from protocol.messages import MessageType


class Message(Protocol):
    """Anything that can be put into an envelope."""

    def encode(self) -> bytes:
        """Spell it."""


Due = tuple[MessageType, Callable[[Link], Message]]


@dataclass(frozen=True, slots=True)
class ComputeNode:
    """One member that may sign results."""

    name: str
    key: SigningKey
    physics: Recompute
    history: LeafSource
    """Where it finds what the state has forgotten."""
    clear: Callable[[Auction], Clearing | None] = field(default_factory=AuctionClearing)
    """How it clears an auction; None where it cannot."""

    def due_record(self, five: Five) -> bytes | None:
        """The envelope of the one result that is due now, or None."""
        tasks = [self._clearing, self._interval, self._factors, self._settlement, self._restatement, self._adjustment]
        if five.analysis.is_leaving_unadjusted() and not five.analysis.is_leaving_unstated():
            tasks.insert(0, self._adjustment)  # or restatements that keep coming due could hold up the next factors
        due = next((found for task in tasks if (found := task(five)) is not None), None)
        if due is None:
            return None
        type_, message_of = due
        last = five.ledger.last_record(self.name)
        link = Link(five.ledger.region, self.name, last.sequence + 1, last.digest)
        return seal(self.key, region=five.ledger.region, type_=type_, payload=message_of(link).encode())

    def _clearing(self, five: Five) -> Due | None:
        market, head = five.operation.market, five.ledger.head
        start_ms = None if head is None else market.due_clearing(head.time_ms)
        clearing = None if start_ms is None else self.clear(market.auction(start_ms))
        if start_ms is None or clearing is None:
            return None
        return MessageType.CLEARING, lambda link: ClearingResult(link, start_ms, clearing)

    def _interval(self, five: Five) -> Due | None:
        interval = five.analysis.due_interval()
        if interval is None:
            return None
        flows = self.physics(five.asset.region, interval, five.analysis.known(interval))
        return MessageType.INTERVAL, lambda link: IntervalResult(link, interval.start_ms, interval.end_ms, flows)

    def _factors(self, five: Five) -> Due | None:
        period = five.analysis.due_period()
        if period is None:
            return None
        root = root_of(map(factor_leaf, five.analysis.factor_rows()))
        return MessageType.FACTORS, lambda link: PeriodFactors(link, period.start_ms, period.end_ms, root)

    def _settlement(self, five: Five) -> Due | None:
        due = five.payment.due_settlement()
        if due is None:
            return None
        return MessageType.SETTLEMENT, lambda link: PeriodSettlement(
            link, due.start_ms, due.end_ms, due.factors_root, due.minted, due.charged, root_of(due.leaves)
        )

    def _restatement(self, five: Five) -> Due | None:
        interval = five.analysis.due_restatement()
        if interval is None:
            return None
        start, end, region = interval.start_ms, interval.end_ms, five.asset.region
        former = known_of(self.history, five.analysis, five.data, start)
        stated = flows_of(self.history, five.data, start)
        if former is None or stated is None:
            return None  # this node's log does not reach back so far: another one's does
        deeds = deeds_of(region, interval, stated, former).sums
        known = replace(former, energies=five.data.restated(start, former.energies))
        flows, root = self.physics(region, interval, known), energies_root(known.energies)
        return MessageType.RESTATEMENT, lambda link: Restatement(
            link, start, end, former.energies, deeds, root, replace(former, energies={}), flows
        )

    def _adjustment(self, five: Five) -> Due | None:
        due = five.payment.due_adjustment()
        if due is None:
            return None
        return MessageType.ADJUSTMENT, lambda link: PeriodAdjustment(
            link, due.start_ms, due.end_ms, due.restatements, due.minted, due.burned, root_of(due.leaves)
        )
