"""What contracts have to say of quotes, before these stand and before they meet. Nothing is written here.

A match that cannot be a contract never comes about: how much of it can be is asked first, beside all that is confirmed
and beside what the same quote has matched before. So nobody's quote is used up by a contract that is rejected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from aggregator.chains.contracts.contracts import Contracts
from aggregator.chains.market.rows import Deal
from aggregator.chains.region import Region
from aggregator.economy.contracts.feasibility import (
    NO_SITE,
    Objection,
    Plan,
    Promise,
    Site,
    SiteKey,
    energy_wh,
    power_w,
)
from aggregator.economy.contracts.risk import worst_of
from aggregator.economy.market.clearing import Taken
from aggregator.economy.market.quotes import Match
from aggregator.ledger.chain import BlockTime
from protocol.refusals import RefusalCode, Refused
from protocol.units import PPM

Agreed = Callable[[Deal, BlockTime], Iterable[bytes]]
"""What is to be done with a contract that quotes have come to; further leaves."""

ROUNDS_MAX: Final = 8
"""How often less of a match is tried; where a line is one of several ways, each takes half of what is too much off."""


@dataclass(slots=True)
class Trial:
    """Matches of one quote, judged one after the other."""

    contracts: Contracts
    plan: Plan
    interval_ms: int
    share_ppm: int
    """Of the price: what it costs to fall short, or to end a contract of the market, whichever is more."""
    lot_wh: int = 1
    """Less than that is not taken of a match, unless it is all of it."""
    taken: list[Promise] = field(default_factory=list)
    costs: dict[str, int] = field(default_factory=dict)
    """By participant: what they may come to owe by what is taken, in millionths of a minor unit."""
    reason: Objection | None = None
    """Why less of a match could be than quotes came to, the first time."""

    def allowed_wh(self, match: Match) -> int:
        """How much of a match can be, beside those before it."""
        start_ms = match.sell.start_ms
        for who in (match.sell.participant, match.buy.participant):
            if (rule := bar_of(self.contracts, who, len(self.taken))) is not None:
                return self._no(Objection(rule, who, start_ms, 0))
        least_wh = min(match.quantity_wh, self.lot_wh)
        allowed_wh = match.quantity_wh
        for who, cost in zip((match.buy.participant, match.sell.participant), self._ppm_costs(match), strict=True):
            allowed_wh = min(allowed_wh, self._affordable_wh(who, cost, allowed_wh))
            if allowed_wh < least_wh:
                return self._no(Objection(RefusalCode.BEYOND_CREDIT, who, start_ms, 0))
        promise = Promise(
            seller=match.sell.participant,
            buyer=match.buy.participant,
            carrier=match.sell.carrier,
            start_ms=start_ms,
            end_ms=start_ms + self.interval_ms,
            power_w=power_w(allowed_wh, self.interval_ms),
            clean_only=match.buy.clean_only,
        )
        for _ in range(ROUNDS_MAX):
            objection = self.plan.objection(promise)
            if objection is None:
                self.plan.take(promise)
                self.taken.append(promise)
                self._count(match, allowed_wh)
                return allowed_wh
            self.reason = self.reason or objection
            if not objection.excess_w:
                return 0
            allowed_wh = energy_wh(max(0, promise.power_w - objection.excess_w), self.interval_ms)
            promise = replace(promise, power_w=power_w(allowed_wh, self.interval_ms))
            if allowed_wh < least_wh:
                return 0
        return 0

    def _ppm_costs(self, match: Match) -> tuple[int, int]:
        """What a watt-hour may cost the buyer, and the seller: millionths of a millionth of a minor unit."""
        share = match.sell_price * self.share_ppm
        return max(share, match.buy_price * PPM), share

    def _affordable_wh(self, who: str, ppm_cost: int, wanted_wh: int) -> int:
        """How much of what is wanted a party may come to owe for."""
        if ppm_cost <= 0:
            return wanted_wh
        return max(0, self.contracts.credit_left(who) - self.costs.get(who, 0)) * PPM // ppm_cost

    def _count(self, match: Match, energy_wh: int) -> None:
        risks = worst_of(energy_wh, match.sell_price, match.rent_per_mwh, self.share_ppm)
        for who, risk in zip((match.sell.participant, match.buy.participant), risks, strict=True):
            self.costs[who] = self.costs.get(who, 0) + risk

    def _no(self, objection: Objection) -> int:
        self.reason = self.reason or objection
        return 0


class QuoteVerdicts:
    """The market's way to contracts."""

    def __init__(self, contracts: Contracts, agreed: Agreed) -> None:
        """`agreed` says what is to be done with a contract that quotes have come to."""
        self._contracts = contracts
        self.agreed = agreed

    def see_may_trade(self, participant: str) -> None:
        """See that a participant may make a contract now.

        Raises:
            Refused: they may not: see the codes 120 to 122.
        """
        if (rule := bar_of(self._contracts, participant, 0)) is not None:
            raise Refused(rule, f"{participant} may make no contract now")

    def credit_left(self, participant: str) -> int:
        """What a participant may still come to owe, in millionths of a minor unit."""
        return self._contracts.credit_left(participant)

    def site(self, region: Region, key: SiteKey) -> Site:
        """What a participant's devices can."""
        return self._contracts.book.plan(region).limits.sites.get(key, NO_SITE)

    def free(self, region: Region, key: SiteKey, start_ms: int) -> Site:
        """What of that no contract promises yet in an interval."""
        return self._contracts.book.plan(region).free(key, start_ms, start_ms + region.rules.time.interval_ms)

    def taken_w(self, region: Region, start_ms: int) -> tuple[Taken, ...]:
        """What contracts have of lines in an interval: number of the line, and watts each way."""
        plan, end_ms = self._contracts.book.plan(region), start_ms + region.rules.time.interval_ms
        lines = enumerate(region.traded_network.lines)
        taken = ((number, *plan.used_w(line.name, start_ms, end_ms)) for number, line in lines)
        return tuple(row for row in taken if any(row[1:]))

    @contextmanager
    def trial(self, region: Region) -> Iterator[Trial | None]:
        """Judge matches for a while; None where the region's rules have no contracts."""
        rule = region.rules.market
        if region.rules.contracts is None or rule is None:
            yield None
            return
        share_ppm = max(rule.penalty_ppm, rule.termination_ppm)
        plan, interval_ms = self._contracts.book.plan(region), region.rules.time.interval_ms
        trial = Trial(self._contracts, plan, interval_ms, share_ppm, rule.quantity_min_wh)
        try:
            yield trial
        finally:
            for promise in trial.taken:
                trial.plan.release(promise)


def bar_of(contracts: Contracts, participant: str, taken: int) -> RefusalCode | None:
    """Why a participant may make no contract at all now, beside so many that are being made, if they may not."""
    if contracts.book.has_room_for(participant, beside=taken):
        return contracts.barred(participant)
    return RefusalCode.TOO_MANY_CONTRACTS
