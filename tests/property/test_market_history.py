"""Whatever gateways send, and whatever time it is: books, totals and leaves say the same, and a copy goes on alike."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aggregator.chains.contracts.limits import limits_of
from aggregator.chains.five import wire
from aggregator.economy.contracts.feasibility import power_w
from aggregator.economy.contracts.states import State
from aggregator.economy.market.quotes import OpenQuote
from config.rules import Mechanism, Pricing
from protocol.contract import Terms, price_of
from protocol.crypto import digest_of
from protocol.messages import MessageType
from protocol.quote import Side, TimeInForce
from tests.market_village import a_market, a_quote, cancel, market_of, match_leaves
from tests.village import INTERVAL_MS, START_MS

ALL = ("gas", "wind", "grid", "home")


class Trading(RuleBasedStateMachine):
    """A region with a market, and what its participants have signed."""

    @initialize(
        mechanism=st.sampled_from(Mechanism), pricing=st.sampled_from(Pricing), rating=st.integers(1, 60),
        makes_contracts=st.booleans(),
    )  # fmt: skip
    def found(self, mechanism: Mechanism, pricing: Pricing, rating: int, *, makes_contracts: bool) -> None:
        rules = {"mechanism": mechanism.value, "pricing": pricing.value, "quotes_max": 40}
        self.village = a_market(rating * 1000, makes_contracts=makes_contracts, **rules)
        self.makes_contracts = makes_contracts
        self.signed: dict[bytes, Any] = {}

    @rule(
        participant=st.sampled_from(ALL), side=st.sampled_from(Side), quantity_wh=st.integers(1, 80),
        price=st.sampled_from([0, 20_000, 25_000, 10**6]), ahead=st.sampled_from([1, 2, 2, 2, 3]),
        time_in_force=st.sampled_from([*TimeInForce, *[TimeInForce.GOOD_TILL_CANCELLED] * 4]), clean_only=st.booleans(),
    )  # fmt: skip
    def quote(self, participant: str, side: Side, ahead: int, price: int, **changes: Any) -> None:
        now = self.village.now_ms - self.village.now_ms % INTERVAL_MS
        changes["clean_only"] = changes["clean_only"] and side is Side.BUY
        made = a_quote(
            self.village, participant, side, start_ms=now + ahead * INTERVAL_MS, price_per_mwh=price, **changes
        )
        record = self.village.record(self.village.sign(made, MessageType.QUOTE))
        block = self.village.close([record])
        if block.outcomes[0].refusal is None:
            self.signed[record.envelope.digest] = made

    @rule(place=st.integers(0, 50))
    def take_back(self, place: int) -> None:
        if self.signed:
            cancel(self.village, list(self.signed)[place % len(self.signed)])

    @rule(intervals=st.sampled_from([0, 1, 1]), beyond_ms=st.integers(0, INTERVAL_MS - 1))
    def let_time_pass(self, intervals: int, beyond_ms: int) -> None:
        self.village.now_ms += intervals * INTERVAL_MS + (beyond_ms if intervals else 0)
        self.village.close([])
        self.village.close_due()

    @rule()
    def begin_a_block_and_take_it_back(self) -> None:
        before = self.rows()
        made = a_quote(self.village, "home", Side.BUY, start_ms=START_MS + 15 * INTERVAL_MS)
        record = self.village.five.ledger.check(self.village.sign(made, MessageType.QUOTE))
        self.village.five.ledger.finalize(self.village.now_ms + 3 * INTERVAL_MS, [record])
        self.village.five.ledger.abandon()
        assert self.rows() == before

    @rule()
    def a_copy_has_the_same_books(self) -> None:
        ledger = self.village.five.ledger
        assert ledger.head is not None
        copy = wire(ledger.region, self.village.physics)
        copy.ledger.restore(ledger.head, ledger.logs, [(row.key, row.value or b"") for row in ledger.rows()])
        assert books_of(copy.operation.market) == books_of(market_of(self.village))
        assert copy.ledger.broken_invariants() == []

    @invariant()
    def nobody_trades_beyond_quantity_or_limit(self) -> None:
        filled: Counter[bytes] = Counter()
        for _, _, sell, buy, buy_price, _, spelled in match_leaves(self.village):
            terms, seller, buyer = Terms.decode(spelled), self.signed[sell], self.signed[buy]
            filled[sell] += terms.quantity_wh
            filled[buy] += terms.quantity_wh
            assert (terms.seller, terms.buyer) == (seller.participant, buyer.participant)
            assert terms.seller != terms.buyer
            assert terms.price_per_mwh >= seller.price_per_mwh
            assert buy_price <= buyer.price_per_mwh
            assert terms.clean_only is buyer.clean_only
            assert not buyer.clean_only or seller.participant == "wind"
        assert all(filled[digest] <= self.signed[digest].quantity_wh for digest in filled)
        for digest, quote in market_of(self.village).quotes.items():
            assert quote.quantity_wh + filled[digest] == self.signed[digest].quantity_wh

    @invariant()
    def every_match_is_a_contract_that_can_be(self) -> None:
        book = self.village.five.operation.contracts.book
        matched = [digest_of(leaf[6]) for leaf in match_leaves(self.village)] if self.makes_contracts else []
        assert [one.digest for one in book.in_order()] == matched
        assert all(one.state is not State.REJECTED for one in book.in_order())

    @invariant()
    def nobody_quotes_what_devices_cannot_do(self) -> None:
        sites = limits_of(self.village.five.asset.region).sites
        wanted: Counter[tuple[str, Side, int]] = Counter()
        for _, one in market_of(self.village).quotes.items():
            wanted[one.participant, one.side, one.start_ms] += one.quantity_wh
        for (participant, side, _), quantity_wh in wanted.items():
            site = sites[participant, "electricity"]
            assert power_w(quantity_wh, INTERVAL_MS) <= (site.feed_in_w if side is Side.SELL else site.take_w)

    @invariant()
    def totals_are_the_sums_of_the_leaves(self) -> None:
        leaves, totals = match_leaves(self.village), market_of(self.village).totals
        assert [leaf[1] for leaf in leaves] == list(range(1, totals.matches + 1))
        terms = [Terms.decode(leaf[6]) for leaf in leaves]
        assert totals.traded_wh == sum(one.quantity_wh for one in terms)
        rents = [price_of(one.quantity_wh, leaf[4]) - one.price for one, leaf in zip(terms, leaves, strict=True)]
        assert rents == [leaf[5] for leaf in leaves]
        assert totals.rent == sum(rents)
        assert totals.quotes == len(self.signed)

    def rows(self) -> list[Any]:
        return [*self.village.five.ledger.rows(), books_of(market_of(self.village))]


def books_of(market: Any) -> list[list[OpenQuote]]:
    """What stands, in the order of its books."""
    return [market.books.of(key).side(side) for key in market.books.markets() for side in Side]


TestTrading = Trading.TestCase
TestTrading.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
