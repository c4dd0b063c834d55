"""Any history in which tokens buy something beside contracts: channels are not oversold together with contracts, a fee
never buys a place behind a lower one, and tokens lie apart for exactly the disputes that are open.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from aggregator.economy.contracts.states import PROMISING, State
from aggregator.engine.order import broken_order, in_order
from config.grid_model import Grid
from protocol.channel import ChannelPurchase
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from tests.contract_village import GATEWAYS, Market, a_market_document
from tests.property.test_contracts import Contracts, names
from tests.village import INTERVAL_MS, a_grid

LINE_W = 41_568
"""Three quarters of √3 · 400 V · 80 A."""
powers = st.sampled_from([LINE_W, LINE_W // 2, LINE_W // 3, 7_000])
FED_AT = {"wind": "n1", "gas": "n1", "home": "n1", "grid": "n0"}
"""One line is between the two nodes."""


def a_region() -> Grid:
    """Much is earned, and channels are sold."""
    time = {"restate_after_ms": 0, "period_ms": 30_000, "restate_periods": 24}
    rules = {"tolerance_ppm": 100_000, "approval_from_wh": 90, "lines_ppm": 750_000}
    document = a_market_document(80_000, time, **rules, dispute_deposit=3, arbitration_ms=4 * INTERVAL_MS)
    document["rules"]["tokens"] |= {"reward": 1000, "tokens_max": 400}
    document["rules"]["rights"] = [{"right": "channel_use", "price": 360}]
    return a_grid(**document)


class BesideChannels(Contracts):
    """The same people; they have tokens, and buy channels."""

    def __init__(self) -> None:
        super().__init__()
        self.market = Market(grid=a_region())
        self.market.live_even(10)
        for receiver in ("home", "grid"):
            transfer = self.market.a_transfer("wind", receiver, amount=self.market.five.payment.balance("wind") // 3)
            assert self.market.put(transfer, MessageType.TRANSFER, "gw").refusal is None

    @rule(who=names, watts=powers, ahead=st.integers(1, 3), intervals=st.integers(1, 4))
    def buy_channel(self, who: str, watts: int, ahead: int, intervals: int) -> None:
        """Somebody buys a channel, if there is room for it and they can pay."""
        start_ms = self.market.now_ms - self.market.now_ms % INTERVAL_MS + ahead * INTERVAL_MS
        window = {"start_ms": start_ms, "end_ms": start_ms + intervals * INTERVAL_MS, "price_max": 10**9}
        gateway = GATEWAYS[who]
        link = self.market.link(gateway)
        order = ChannelPurchase(link=link, participant=who, branch="b1", power_w=watts, **window)
        refusal = self.market.put(order, MessageType.CHANNEL, gateway).refusal
        assert refusal in (None, RefusalCode.CHANNEL_SOLD, RefusalCode.BALANCE_TOO_LOW)

    @rule(fees=st.tuples(*[st.integers(0, 6)] * 3), watts=powers)
    def agree_at_once(self, fees: tuple[int, int, int], watts: int) -> None:
        """Three buyers bid for the same block; whoever can pay more comes first."""
        market, records = self.market, []
        for (seller, buyer), fee in zip((("grid", "home"), ("gas", "wind"), ("wind", "grid")), fees, strict=True):
            terms = market.terms(
                seller=seller,
                buyer=buyer,
                quantity_wh=1 + watts * INTERVAL_MS // 3_600_000,
                fee=fee,
                nonce=(1 << 100 | len(market.blocks) << 4 | len(records)).to_bytes(16, "big"),
            )
            agreement = market.agreement(terms, GATEWAYS[seller], GATEWAYS[buyer])
            records.append(market.record(market.sign(agreement, MessageType.AGREEMENT, GATEWAYS[buyer])))
        bids = {record.message.terms.digest: market.five.bid(record).fee for record in records}
        waited = [0] * len(records)
        ordered = [records[place] for place in in_order(records, waited, market.five.bid)]
        assert broken_order(ordered, waited, market.five.bid) is None
        outcomes = market.close(ordered).outcomes
        made = [one.record.message.terms.digest for one in outcomes if one.refusal is None]
        paid = [bids[number] for number in sorted(made, key=lambda number: market.contract(number).place)]
        assert paid == sorted(paid, reverse=True)

    @invariant()
    def no_line_is_promised_twice(self) -> None:
        """Instant by instant: contracts over the line, and what holders of channels leave unused."""
        channels = self.market.five.payment.rights.channels_of("b1")
        bound = [one.promise for one in self.market.five.operation.contracts.book.in_order() if one.state in PROMISING]
        across = [one for one in bound if FED_AT[one.seller] != FED_AT[one.buyer]]
        for at_ms in sorted({one.start_ms for one in (*channels, *across)}):
            bought = dict.fromkeys(GATEWAYS, 0)
            for channel in channels:
                bought[channel.participant] += channel.power_w * channel.covers(at_ms)
            for node in ("n0", "n1"):
                on = [one for one in across if FED_AT[one.seller] == node and one.start_ms <= at_ms < one.end_ms]
                left = dict(bought)
                for one in on:
                    left[one.seller if bought[one.seller] else one.buyer] -= one.power_w
                asked_w = sum(one.power_w for one in on) + sum(max(0, watts) for watts in left.values())
                assert asked_w <= LINE_W

    @invariant()
    def tokens_lie_apart_for_the_disputes_that_are_open(self) -> None:
        """And for nothing else."""
        contracts, deposits = self.market.five.operation.contracts.book.in_order(), self.market.five.payment.deposits
        is_open = {one.digest for one in contracts if one.state in (State.DISPUTED, State.ARBITRATED)}
        assert set(deposits.rows) == is_open
        assert deposits.held == 3 * len(is_open)


TestBesideChannels = BesideChannels.TestCase
TestBesideChannels.settings = settings(max_examples=8, stateful_step_count=15, deadline=None)
del Contracts
