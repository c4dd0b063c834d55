"""A contract's way through the operation chain: who may do what, what cannot be, and what it comes to in money."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from aggregator.chains.contracts import book as contract_book
from aggregator.chains.contracts.parties import AHEAD_MAX_MS
from aggregator.chains.five import wire
from aggregator.chains.metering.correction import Correction, Delta
from aggregator.economy.accounts import MovementKind
from aggregator.economy.contracts.bill import Party
from aggregator.economy.contracts.delivery import Amounts
from aggregator.economy.contracts.states import State
from aggregator.grid.interval import IntervalPhysics
from protocol.agreement import Agreement, seal_offer
from protocol.canonical import decode
from protocol.contract_news import NEWS_MAX, ContractNews
from protocol.duty import Duty
from protocol.errors import EncodingError
from protocol.messages import MessageType, Statement
from protocol.money import millionths_of
from protocol.refusals import RefusalCode, Refused
from tests.builders import a_key
from tests.contract_village import (
    DISPUTE_MS,
    EVEN_W,
    EVEN_WH,
    IMBALANCE,
    Market,
    a_market_grid,
    settled,
)
from tests.unit.protocol.mutation import with_field
from tests.village import INTERVAL_MS, REGION, Village

PRICE = 2 * EVEN_WH
"""Of the plain contract, in minor units."""


@pytest.fixture
def market() -> Market:
    """Readings have come in for two intervals."""
    market = Market()
    market.live_even(2)
    return market


# -- Agreement


def test_a_contract_is_confirmed_in_the_block_that_holds_its_agreement(market: Market) -> None:
    digest = market.made()
    now_ms = market.now_ms
    assert market.contract(digest).history == tuple(
        (state, now_ms) for state in (State.AGREED, State.VERIFIED, State.CONFIRMED)
    )
    assert market.five.operation.contracts.totals.agreed == market.contract(digest).place == 1


def test_the_buyer_may_offer_and_the_seller_agree(market: Market) -> None:
    terms = market.terms()
    assert market.agree(terms, offers="gw-home", agrees="gw-wind") is None
    assert market.state(terms.digest) is State.CONFIRMED


def test_every_state_that_a_contract_passes_is_a_leaf(market: Market) -> None:
    digest = market.made()
    leaves = [decode(leaf.body, size_max=1 << 10) for leaf in market.blocks[-1].leaves]
    passed = [State.AGREED, State.VERIFIED, State.CONFIRMED]
    assert leaves == [["contract", digest, state.value, market.now_ms, *[None] * 5] for state in passed]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"seller": "nobody"}, RefusalCode.UNKNOWN_PARTY, id="of nobody"),
        pytest.param({"buyer": "wind"}, RefusalCode.SELF_TRADE, id="with oneself"),
        pytest.param({"buyer": "gas"}, RefusalCode.NOT_A_PARTY, id="for somebody else"),
        pytest.param({"expires_ms": 1}, RefusalCode.OFFER_EXPIRED, id="too late"),
        pytest.param({"fee": 1}, RefusalCode.FEE_NOT_COVERED, id="with a fee that the buyer does not have"),
        pytest.param({"region": "elsewhere"}, RefusalCode.OFFER_NOT_SIGNED, id="for another region"),
    ],
)
def test_an_agreement_that_is_not_in_order_is_refused(market: Market, changes: Any, code: RefusalCode) -> None:
    terms = market.terms(**changes)
    assert market.agree(terms) is code
    assert terms.digest not in market.five.operation.contracts.book.rows
    assert market.five.operation.contracts.totals.agreed == 0


def test_a_window_is_ahead_and_of_whole_intervals(market: Market) -> None:
    now_ms = market.now_ms
    past = market.terms(start_ms=now_ms - INTERVAL_MS, end_ms=now_ms + INTERVAL_MS)
    far_ms = now_ms + AHEAD_MAX_MS + INTERVAL_MS
    far = market.terms(start_ms=far_ms, end_ms=far_ms + INTERVAL_MS)
    assert market.agree(past) is market.agree(far) is RefusalCode.WINDOW_NOT_AHEAD
    for changes in ({"start_ms": now_ms + 1}, {"end_ms": now_ms + 3 * INTERVAL_MS + 1}):
        assert market.agree(market.terms(**changes)) is RefusalCode.WINDOW_NOT_WHOLE
    assert market.agree(market.terms(start_ms=now_ms)) is None


@pytest.mark.parametrize(("offers", "agrees"), [("gw-wind", "gw-wind"), ("gw-home", "gw-home"), ("gw", "gw-home")])
def test_each_side_signs_with_a_gateway_of_its_own(market: Market, offers: str, agrees: str) -> None:
    refusal = market.agree(market.terms(), offers, agrees)
    expected = None if offers == "gw" else RefusalCode.NOT_A_PARTY  # the village's gateway reads both their meters
    assert refusal is expected


def test_an_offer_that_a_stranger_signed_is_refused(market: Market) -> None:
    offer = seal_offer(market.terms(), a_key(99))
    agreement = Agreement.to(market.link("gw-home"), offer)
    outcome = market.put(agreement, MessageType.AGREEMENT, "gw-home")
    assert outcome.refusal is RefusalCode.OFFER_NOT_SIGNED


def test_an_offer_whose_terms_were_changed_is_refused(market: Market) -> None:
    dear, cheap = (seal_offer(market.terms(price_per_mwh=price), market.keys["gw-wind"]) for price in (2, 1))
    changed = dear[:-64] + cheap[-64:]
    outcome = market.put(Agreement.to(market.link("gw-home"), changed), MessageType.AGREEMENT, "gw-home")
    assert outcome.refusal is RefusalCode.OFFER_NOT_SIGNED


def test_an_offer_for_another_region_binds_nobody_here(market: Market) -> None:
    terms = market.terms(region="elsewhere")
    agreement = Agreement.to(market.link("gw-home"), seal_offer(terms, market.keys["gw-wind"]))
    assert market.put(agreement, MessageType.AGREEMENT, "gw-home").refusal is RefusalCode.OFFER_NOT_SIGNED


def test_the_regulator_offers_nothing(market: Market) -> None:
    assert market.agree(market.terms(), offers="regulator") is RefusalCode.OFFER_NOT_SIGNED


def test_what_is_no_offer_is_no_agreement(market: Market) -> None:
    with pytest.raises(EncodingError):
        Agreement.to(market.link("gw-home"), market.sign(market.a_purchase(), MessageType.PURCHASE))


def test_an_acceptance_that_is_sent_again_changes_nothing(market: Market) -> None:
    terms = market.terms()
    assert market.agree(terms) is None
    assert market.agree(terms) is RefusalCode.AGREED_ALREADY
    assert market.agree(terms, offers="gw-home", agrees="gw-wind") is RefusalCode.AGREED_ALREADY


# -- One negotiation comes to one contract


def test_an_offer_whose_counter_was_accepted_cannot_be_accepted_any_more(market: Market) -> None:
    offer = market.terms(quantity_wh=10)
    counter = replace(offer, quantity_wh=9, answers=offer.digest)
    assert market.agree(counter, offers="gw-home", agrees="gw-wind") is None
    assert market.agree(offer) is RefusalCode.NEGOTIATED_ALREADY
    assert offer.digest not in market.five.operation.contracts.book.rows


def test_a_counter_to_what_is_a_contract_already_cannot_be_accepted(market: Market) -> None:
    offer = market.terms(quantity_wh=10)
    assert market.agree(offer) is None
    counter = replace(offer, quantity_wh=9, answers=offer.digest, nonce=bytes([9] * 16))
    assert market.agree(counter, offers="gw-home", agrees="gw-wind") is RefusalCode.NEGOTIATED_ALREADY


def test_of_several_counters_to_one_offer_one_can_be_accepted(market: Market) -> None:
    offer = market.terms(quantity_wh=10)
    cheap, cheaper = (
        replace(offer, price_per_mwh=price, answers=offer.digest, nonce=bytes([price] * 16)) for price in (2, 1)
    )
    assert market.agree(cheap, offers="gw-home", agrees="gw-wind") is None
    assert market.agree(cheaper, offers="gw-home", agrees="gw-wind") is RefusalCode.NEGOTIATED_ALREADY


def test_rounds_that_never_came_to_the_chain_are_known_by_their_nonce(market: Market) -> None:
    first = market.terms(quantity_wh=10)
    second = replace(first, quantity_wh=9, answers=first.digest)
    third = replace(first, quantity_wh=8, answers=second.digest)
    assert market.agree(third) is None
    assert market.agree(first) is RefusalCode.NEGOTIATED_ALREADY
    assert market.agree(second, offers="gw-home", agrees="gw-wind") is RefusalCode.NEGOTIATED_ALREADY


def test_nobody_else_ends_the_negotiation_of_two_by_answering_their_offer(market: Market) -> None:
    offer = market.terms(quantity_wh=10)
    market.made(seller="gas", buyer="grid", quantity_wh=1, answers=offer.digest, nonce=bytes([9] * 16))
    assert market.agree(offer) is None
    assert market.state(offer.digest) is State.CONFIRMED


def test_what_was_rejected_may_be_negotiated_further(market: Market) -> None:
    offer = market.terms(quantity_wh=200)
    assert market.agree(offer) is None
    assert market.state(offer.digest) is State.REJECTED
    less = replace(offer, quantity_wh=10, answers=offer.digest)
    assert market.agree(less, offers="gw-home", agrees="gw-wind") is None
    assert market.state(less.digest) is State.CONFIRMED


def test_where_no_rules_are_laid_down_no_contracts_are_made() -> None:
    village = Village()
    terms = Market().terms()
    agreement = Agreement.to(village.link(), seal_offer(terms, village.keys["gw"]))
    record = village.record(village.sign(agreement, MessageType.AGREEMENT))
    assert village.close([record]).outcomes[0].refusal is RefusalCode.NO_CONTRACTS
    assert village.five.bid(record).fee == 0


def test_nobody_fills_the_book_for_all_others(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_book, "CONTRACTS_MAX", 4)  # of four participants, so that each may be party to two
    book = market.five.operation.contracts.book
    for number in range(2):
        assert market.agree(market.terms(nonce=bytes([number] * 16), quantity_wh=1)) is None
    assert not book.has_room_for("wind")
    assert not book.has_room_for("home", "gas")
    assert market.agree(market.terms(nonce=bytes([2] * 16))) is RefusalCode.TOO_MANY_CONTRACTS
    assert book.has_room_for("gas", "grid")
    assert market.state(market.made(seller="gas", buyer="grid", quantity_wh=1)) is State.CONFIRMED


def test_what_is_rejected_counts_until_it_is_forgotten(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_book, "CONTRACTS_MAX", 2)
    rejected(market, quantity_wh=200)
    assert market.agree() is RefusalCode.TOO_MANY_CONTRACTS


def test_what_is_settled_makes_room(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract_book, "CONTRACTS_MAX", 2)
    settled(market, market.made())
    assert market.five.operation.contracts.book.has_room_for("wind", "home")


def test_what_is_rejected_is_forgotten_a_day_after_its_offer_is_void() -> None:
    market = Market(grid=a_market_grid(time={"day_ms": 20_000}))
    market.live_even(2)
    terms = market.terms(quantity_wh=200, expires_ms=market.now_ms + 60_000)
    assert market.agree(terms) is None
    assert market.agree(terms) is RefusalCode.AGREED_ALREADY
    market.live_even(4)
    assert market.state(terms.digest) is State.REJECTED
    market.live_even(4)  # the window has begun, and 20 seconds are over since
    assert terms.digest not in market.five.operation.contracts.book.rows
    assert market.agree(terms) is RefusalCode.WINDOW_NOT_AHEAD


# -- Verdict


def rejected(market: Market, **changes: Any) -> tuple[RefusalCode, str, int]:
    """Make a contract that cannot be, and say why it cannot."""
    contract = market.contract(market.made(**changes))
    assert contract.state is State.REJECTED
    assert contract.objection is not None
    leaf = decode(market.blocks[-1].leaves[-1].body, size_max=1 << 10)
    reason = contract.objection
    assert leaf[4:] == [reason.rule.value, reason.subject, reason.start_ms, reason.excess_w, reason.excess_money]
    return reason.rule, reason.subject, reason.excess_w


def test_nobody_sells_more_than_their_sources_make_or_takes_more_than_their_fuses_carry(market: Market) -> None:
    much = 51_000 * 10 // 3600  # 51 kW for two intervals, rounded down
    assert rejected(market, quantity_wh=much) == (RefusalCode.SELLER_CANNOT, "wind", 760)
    assert rejected(market, seller="home", buyer="wind") == (RefusalCode.SELLER_CANNOT, "home", EVEN_W)
    other = Market(grid=with_weak_home())
    assert rejected(other) == (RefusalCode.BUYER_CANNOT, "home", EVEN_W - 30_000)


def with_weak_home() -> Any:
    grid = a_market_grid()
    meters = tuple(m.model_copy(update={"power_max_w": 30_000}) if m.id == "m-home" else m for m in grid.meters)
    return grid.model_copy(update={"meters": meters})


def test_gas_does_not_serve_a_contract_for_clean_energy_only(market: Market) -> None:
    assert rejected(market, seller="gas", clean_only=True) == (RefusalCode.NOT_CLEAN, "gas", EVEN_W)
    assert market.state(market.made(clean_only=True)) is State.CONFIRMED


def test_energy_is_neither_sold_nor_bought_twice(market: Market) -> None:
    market.made()
    other = {"nonce": bytes([1] * 16)}
    assert rejected(market, **other) == (RefusalCode.SOLD_ALREADY, "wind", 2 * EVEN_W - 50_000)
    assert rejected(market, seller="gas", **other) == (RefusalCode.BOUGHT_ALREADY, "home", 2 * EVEN_W - 50_000)
    later = market.terms().end_ms
    assert market.state(market.made(start_ms=later, end_ms=later + 2 * INTERVAL_MS)) is State.CONFIRMED


def test_what_a_line_cannot_carry_is_rejected_with_the_line_and_by_how_much() -> None:
    market = Market(grid=a_market_grid(rating_ma=50_000, lines_ppm=500_000))
    limit_w = 17_320  # half of √3 · 400 V · 50 A
    reason = rejected(market, seller="grid")
    assert reason == (RefusalCode.LINE_FULL, "b1", EVEN_W - limit_w)
    assert market.state(market.made(seller="gas")) is State.CONFIRMED  # which does not use the line


def test_networks_of_two_carriers_do_not_balance() -> None:
    grid = a_market_grid()
    cut = grid.model_copy(update={"branches": ()})
    assert rejected(Market(grid=cut), seller="grid") == (RefusalCode.NO_CONNECTION, "home", 0)


def test_whoever_is_frozen_or_owes_tokens_makes_no_contract(market: Market) -> None:
    assert market.freeze("wind") is None
    assert rejected(market) == (RefusalCode.PARTY_FROZEN, "wind", 0)
    assert market.freeze("wind", is_frozen=False) is None
    assert market.state(market.made(nonce=bytes([1] * 16))) is State.CONFIRMED


def test_whoever_owes_tokens_makes_no_contract() -> None:
    market = Market(grid=a_market_grid(time={"period_ms": 30_000}))
    market.live(50)  # the gas engine exceeds its permit
    assert market.five.payment.balance("gas") < 0
    assert rejected(market, seller="gas") == (RefusalCode.PARTY_RESTRICTED, "gas", 0)


def test_a_freeze_needs_somebody_and_changes_something(market: Market) -> None:
    assert market.freeze("nobody") is RefusalCode.UNKNOWN_PARTY
    assert market.freeze("wind", is_frozen=False) is RefusalCode.FROZEN_OR_NOT_ALREADY
    assert market.freeze("wind") is None
    assert market.freeze("wind") is RefusalCode.FROZEN_OR_NOT_ALREADY


def test_a_freeze_does_not_end_what_was_agreed_before(market: Market) -> None:
    digest = market.made()
    market.freeze("wind")
    assert settled(market, digest).booked.price == millionths_of(PRICE)


def test_the_network_is_not_asked_again_for_what_was_released(market: Market) -> None:
    digest = market.made()
    assert market.terminate(digest) is None
    assert market.state(market.made(nonce=bytes([1] * 16))) is State.CONFIRMED


# -- Approval


@pytest.fixture
def watched() -> Market:
    """A region in which contracts of 100 Wh and more need the regulator's approval."""
    market = Market(grid=a_market_grid(approval_from_wh=PRICE))
    market.live_even(2)
    return market


def test_a_large_contract_waits_for_the_regulator_and_its_lines_and_devices_with_it(watched: Market) -> None:
    digest = watched.made()
    assert watched.state(digest) is State.VERIFIED
    assert rejected(watched, nonce=bytes([1] * 16), quantity_wh=60)[0] is RefusalCode.SOLD_ALREADY
    assert watched.approve(digest) is None
    assert watched.state(digest) is State.CONFIRMED
    assert settled(watched, digest).booked.price == millionths_of(PRICE)


def test_what_nobody_has_approved_when_its_window_begins_is_rejected(watched: Market) -> None:
    digest = watched.made()
    watched.live_even(2)
    contract = watched.contract(digest)
    assert contract.state is State.REJECTED
    assert contract.objection is not None and contract.objection.rule is RefusalCode.NOT_APPROVED
    assert watched.approve(digest) is RefusalCode.NO_SUCH_STEP
    assert watched.five.operation.contracts.totals.rejected == 1


def test_a_smaller_contract_needs_no_approval(watched: Market) -> None:
    digest = watched.made(quantity_wh=PRICE - 1)
    assert watched.state(digest) is State.CONFIRMED
    assert watched.approve(digest) is RefusalCode.NO_SUCH_STEP
    assert watched.approve(bytes(32)) is RefusalCode.NO_SUCH_CONTRACT


def test_a_party_takes_back_what_waits_for_approval_and_owes_nothing(watched: Market) -> None:
    digest = watched.made()
    assert watched.terminate(digest, "home", "gw-wind") is RefusalCode.NOT_THEIR_CONTRACT
    assert watched.terminate(digest, "home", "gw-home") is None
    contract = watched.contract(digest)
    assert contract.state is State.REJECTED
    assert contract.objection is not None
    assert (contract.objection.rule, contract.objection.subject) == (RefusalCode.WITHDRAWN, "home")
    for gateway, participant in (("gw-wind", "wind"), ("gw-home", "home")):
        assert told(watched, gateway, participant)[0].rule is RefusalCode.WITHDRAWN
    assert watched.approve(digest) is RefusalCode.NO_SUCH_STEP
    assert watched.state(watched.made()) is State.VERIFIED  # what was kept free is free again
    assert watched.owed() == {}


# -- Order and fees


@pytest.fixture
def rich() -> Market:
    """The home has earned tokens, to pay fees with."""
    market = Market(grid=a_market_grid(time={"period_ms": 30_000}))
    market.live(50)
    assert market.five.payment.balance("wind") > 20
    transfer = market.a_transfer("wind", "home", amount=20)
    market.close([market.record(market.sign(transfer, MessageType.TRANSFER))])
    return market


def test_the_fee_is_paid_by_the_buyer_when_the_agreement_is_taken_into_a_block(rich: Market) -> None:
    balance, reserve = rich.five.payment.balance("home"), rich.five.payment.totals.reserve
    rich.made(fee=7)
    assert (rich.five.payment.balance("home"), rich.five.payment.totals.reserve) == (balance - 7, reserve + 7)
    assert rich.five.payment.totals.fees == 7
    kinds = [decode(leaf.body, size_max=1 << 10)[:2] for leaf in rich.blocks[-1].leaves]
    assert ["movement", MovementKind.FEE.value] in kinds


def test_a_contract_that_is_rejected_has_had_its_place(rich: Market) -> None:
    balance = rich.five.payment.balance("home")
    assert rejected(rich, fee=7, quantity_wh=200)[0] is RefusalCode.SELLER_CANNOT
    assert rich.five.payment.balance("home") == balance - 7


def test_an_agreement_bids_with_its_fee_where_it_is_in_order(rich: Market) -> None:
    good = rich.record(rich.sign(rich.agreement(rich.terms(fee=7)), MessageType.AGREEMENT, "gw-home"))
    bid = rich.five.bid(good)
    assert (bid.payer, bid.fee, bid.cost, bid.balance) == ("home", 7, 7, rich.five.payment.balance("home"))
    late = rich.record(rich.sign(rich.agreement(rich.terms(fee=7, expires_ms=1)), MessageType.AGREEMENT, "gw-home"))
    assert rich.five.bid(late).fee == 0


def test_whoever_comes_first_in_the_block_gets_what_is_scarce(market: Market) -> None:
    first, second = market.terms(), market.terms(nonce=bytes([1] * 16))
    records = []
    for terms in (first, second):
        data = market.sign(market.agreement(terms), MessageType.AGREEMENT, "gw-home")
        records.append(market.record(data))
    market.close(records)
    assert (market.state(first.digest), market.state(second.digest)) == (State.CONFIRMED, State.REJECTED)


# -- Delivery and settlement


def test_what_is_delivered_is_paid_when_the_time_for_disputes_is_over(market: Market) -> None:
    digest = market.made()
    end_ms = market.contract(digest).terms.end_ms
    contract = settled(market, digest)
    assert contract.amounts == Amounts(PRICE, PRICE)
    assert [state for state, _ in contract.history[3:]] == [State.DELIVERING, State.FULFILLED, State.SETTLED]
    assert contract.history[3][1] == contract.terms.start_ms
    assert contract.since_ms == end_ms + DISPUTE_MS
    assert market.owed() == {"wind": PRICE, "home": -PRICE}


def test_a_seller_who_falls_short_pays_the_penalty_and_the_region_makes_up_for_the_rest(market: Market) -> None:
    contract = settled(market, market.made(), wind=0, gas=-EVEN_W)
    delivered = contract.amounts.delivered_wh
    missing = PRICE - delivered
    assert missing > 80  # all but what the turbine gave while it stopped
    assert State.BREACHED in dict(contract.history)
    assert contract.amounts == Amounts(PRICE, delivered, seller_short_wh=missing, extra_wh=missing)
    penalty = Fraction(missing, 5)
    assert market.owed() == {
        "wind": delivered - penalty,
        "home": penalty - delivered - IMBALANCE * missing,
        "reserve": IMBALANCE * missing,
    }


def test_a_buyer_who_does_not_take_it_pays_the_penalty(market: Market) -> None:
    contract = settled(market, market.made(), home=0)
    assert contract.amounts.buyer_short_wh == contract.amounts.surplus_wh == PRICE - contract.amounts.delivered_wh > 80
    assert contract.booked.penalty < 0
    assert sum(market.owed().values()) == 0


def test_a_shortfall_within_the_tolerance_is_no_breach() -> None:
    market = Market(grid=a_market_grid(tolerance_ppm=600_000))
    market.live_even(2)
    contract = settled(market, market.made(), wind=-EVEN_W // 2)
    assert State.FULFILLED in dict(contract.history)
    assert contract.booked.penalty == 0 < contract.amounts.seller_short_wh


# -- Ending early


def test_a_contract_that_is_ended_before_it_begins_costs_what_was_agreed(market: Market) -> None:
    digest = market.made()
    assert market.terminate(digest) is None
    contract = market.contract(digest)
    assert (contract.state, contract.ended_by, contract.ended_ms) == (
        State.TERMINATED,
        Party.SELLER,
        contract.terms.start_ms,
    )
    market.live_even(8)
    assert market.five.operation.contracts.totals.settled == 1
    assert market.owed() == {"wind": -PRICE // 10, "home": PRICE // 10}


def test_a_contract_that_has_begun_is_ended_at_the_next_interval(market: Market) -> None:
    digest = market.made()
    market.live_even(2)
    assert market.state(digest) is State.DELIVERING
    market.now_ms += 1
    assert market.terminate(digest, "home", "gw-home") is None
    market.now_ms -= 1
    market.live_even(8)
    contract = market.contract(digest)
    assert contract.amounts == Amounts(EVEN_WH, EVEN_WH)
    assert market.owed() == {"wind": EVEN_WH + EVEN_WH // 10, "home": -EVEN_WH - EVEN_WH // 10}


def test_nothing_is_left_of_a_contract_whose_last_interval_has_begun(market: Market) -> None:
    digest = market.made()
    market.live_even(3)
    market.now_ms += 1
    assert market.terminate(digest) is RefusalCode.NOTHING_LEFT


def test_only_a_party_ends_a_contract_and_only_while_it_binds(market: Market) -> None:
    digest = market.made()
    assert market.terminate(bytes(32)) is RefusalCode.NO_SUCH_CONTRACT
    assert market.terminate(digest, "gas", "gw") is RefusalCode.NOT_THEIR_CONTRACT
    assert market.terminate(digest, "home", "gw-wind") is RefusalCode.NOT_THEIR_CONTRACT
    market.live_even(8)
    assert market.terminate(digest) is RefusalCode.NO_SUCH_STEP
    assert market.dispute(digest) is RefusalCode.NO_SUCH_STEP


# -- Dispute and arbitration


@pytest.fixture
def disputed(market: Market) -> bytes:
    """A contract of which half was delivered, and whose buyer says otherwise."""
    digest = market.made()
    market.live_even(2)
    market.live_even(2, wind=-EVEN_W // 2)
    market.live_even(2)
    assert market.state(digest) is State.BREACHED
    assert market.dispute(digest) is None
    return digest


def test_a_disputed_contract_waits_for_the_regulator(market: Market, disputed: bytes) -> None:
    market.live_even(10)
    assert market.state(disputed) is State.DISPUTED
    assert market.owed() == {}


def test_the_regulator_says_what_counts_and_who_answers_for_the_rest(market: Market, disputed: bytes) -> None:
    measured = market.contract(disputed).amounts
    delivered_wh, extra_wh = measured.delivered_wh, measured.extra_wh
    assert market.arbitrate(disputed, 90, Party.BUYER) is None
    assert market.state(disputed) is State.ARBITRATED
    market.live_even(3)
    contract = market.contract(disputed)
    assert contract.state is State.SETTLED
    assert (contract.booked.price, contract.booked.penalty) == (millionths_of(90), millionths_of(-2))
    beyond_wh = 90 - delivered_wh  # that the turbine did not feed in: it buys them, so that the home does not pay twice
    assert market.owed() == {
        "wind": 92 - IMBALANCE * beyond_wh,
        "home": -92 - IMBALANCE * (extra_wh - beyond_wh),
        "reserve": IMBALANCE * extra_wh,
    }


def test_no_more_is_awarded_than_was_due_and_only_what_is_disputed_is_arbitrated(
    market: Market, disputed: bytes
) -> None:
    assert market.arbitrate(disputed, PRICE + 1) is RefusalCode.MORE_THAN_WAS_DUE
    assert market.arbitrate(bytes(32), 0) is RefusalCode.NO_SUCH_CONTRACT
    other = market.made(nonce=bytes([1] * 16))
    assert market.arbitrate(other, 0) is RefusalCode.NO_SUCH_STEP


def test_only_a_party_disputes(market: Market, disputed: bytes) -> None:
    assert market.dispute(disputed, "gas", "gw") is RefusalCode.NOT_THEIR_CONTRACT


def test_a_gateway_does_not_arbitrate(market: Market) -> None:
    with pytest.raises(Refused) as refused:
        market.ledger_check(MessageType.FREEZE)
    assert refused.value.code is RefusalCode.NOT_THEIR_TYPE


# -- What is kept


def test_a_contract_that_was_judged_and_taken_back_leaves_no_trace(market: Market) -> None:
    book, ledger = market.five.operation.contracts.book, market.five.ledger
    record = ledger.check(market.sign(market.agreement(market.terms()), MessageType.AGREEMENT, "gw-home"))
    ledger.finalize(market.now_ms, [record])
    assert len(book.bound()) == 1
    ledger.abandon()
    assert (len(book.rows), book.bound(), book.awake()) == (0, [], [])
    assert (book.costs_of("home"), book.costs_of("wind"), book.agreed_wh(market.terms())) == (0, 0, 0)
    assert not book._agreed
    assert market.state(market.made()) is State.CONFIRMED


def test_a_node_that_starts_again_goes_on_with_what_is_agreed(market: Market) -> None:
    market.made()
    rejected(market, nonce=bytes([1] * 16))
    ledger = market.five.ledger
    again = wire(REGION, IntervalPhysics())
    assert ledger.head is not None
    rows = [(row.key, row.value or b"") for row in ledger.rows()]
    again.ledger.restore(ledger.head, {name: log.copy() for name, log in ledger.logs.items()}, rows)
    assert again.operation.contracts.book.in_order() == market.five.operation.contracts.book.in_order()
    assert again.operation.contracts.book.bound() == market.five.operation.contracts.book.bound()
    assert again.operation.contracts.book.costs_of("home") == millionths_of(PRICE)
    assert again.operation.contracts.book.agreed_wh(market.terms()) == PRICE
    assert again.ledger.broken_invariants() == []


def test_what_is_settled_is_forgotten_when_it_can_change_no_more() -> None:
    market = Market(grid=a_market_grid(time={"period_ms": 60_000, "restate_periods": 0}))
    market.live_even(2)
    digest = market.made()
    market.live_even(8)
    assert market.state(digest) is State.SETTLED
    market.live_even(8)
    assert digest not in market.five.operation.contracts.book.rows
    assert market.five.operation.contracts.totals.settled == 1
    assert market.owed() == {"wind": PRICE, "home": -PRICE}


def test_what_was_ended_before_it_began_is_forgotten_as_soon_as_it_is_settled(market: Market) -> None:
    """So nobody fills the state with contracts that are made, ended and made again."""
    book = market.five.operation.contracts.book
    for number in range(3):
        digest = market.made(nonce=bytes([number] * 16))
        assert market.terminate(digest) is None
        market.live_even(7)
        assert digest not in book.rows
    assert market.five.operation.contracts.totals.settled == 3
    assert market.owed() == {"wind": -3 * PRICE // 10, "home": 3 * PRICE // 10}
    assert market.five.ledger.broken_invariants() == []


# -- What comes late


@pytest.fixture
def silent() -> tuple[Market, bytes, list[bytes]]:
    """A contract that was settled while nothing was heard, and the batches that come too late."""
    market = Market(grid=a_market_grid(time={"restate_after_ms": 0, "period_ms": 120_000}))
    market.live_even(2)
    digest = market.made()
    market.live_even(2)
    batches = []
    for _ in range(2):
        batch = market.a_batch({"m-wind": -EVEN_W, "m-home": EVEN_W, "m-gas": 0, "m-grid": 0})
        market.now_ms += INTERVAL_MS
        market.close([])
        data = market.sign(batch, MessageType.BATCH)
        market.record(data)
        batches.append(data)
    market.now_ms += 8 * INTERVAL_MS
    market.close([])
    market.close_due()
    assert market.state(digest) is State.SETTLED
    return market, digest, batches


def test_what_comes_late_is_settled_after_all(silent: tuple[Market, bytes, list[bytes]]) -> None:
    market, digest, batches = silent
    before = market.contract(digest)
    assert before.amounts.delivered_wh < 15  # what flowed until the last reading that was heard
    market.close([market.five.ledger.check(data) for data in batches])
    market.live_even(4)
    after = market.contract(digest)
    assert after.state is State.SETTLED
    delivered = after.amounts.delivered_wh  # but what the meters counted last lies somewhere in the silence behind it
    assert after.amounts == Amounts(PRICE, delivered)
    assert delivered > 85
    assert market.owed() == {"wind": delivered, "home": -delivered}
    bills = [
        decode(leaf.body, size_max=1 << 10)[2:]
        for block in market.blocks
        for leaf in block.leaves
        if decode(leaf.body, size_max=1 << 20)[:2] == ["bill", digest]
    ]
    assert len(bills) > 1
    assert [sum(column) for column in zip(*bills, strict=True)] == [millionths_of(delivered), 0, 0, 0, 0, 0]


def test_the_regulator_s_word_outlasts_what_comes_late(silent: tuple[Market, bytes, list[bytes]]) -> None:
    market, _, batches = silent
    market.close([market.five.ledger.check(data) for data in batches])
    market.live_even(4)
    digest = market.made(nonce=bytes([2] * 16))
    market.live_even(2)
    market.live_even(2, wind=-EVEN_W // 2)
    market.live_even(2)
    assert market.dispute(digest) is None
    assert market.arbitrate(digest, 80, Party.NOBODY) is None
    start_ms = market.contract(digest).terms.start_ms
    market.live_even(3)
    correction = Correction(market.link("regulator"), "m-wind", (Delta(start_ms, 0, 5),), "seals were broken")
    assert market.put(correction, MessageType.CORRECTION, "regulator").refusal is None
    before = market.contract(digest)
    market.live_even(2)
    after = market.contract(digest)
    assert after.amounts.delivered_wh == before.amounts.delivered_wh + 5
    assert (after.booked.price, after.booked.penalty) == (millionths_of(80), 0)
    assert after.booked.surplus == before.booked.surplus + millionths_of(5 * IMBALANCE)
    assert after.booked.extra == before.booked.extra


def test_a_breach_that_was_none_is_fulfilled_before_it_is_settled() -> None:
    market = Market(grid=a_market_grid(time={"restate_after_ms": 0}, dispute_ms=20 * INTERVAL_MS))
    market.live_even(2)
    digest = market.made()
    start_ms = market.contract(digest).terms.start_ms
    market.live_even(2)
    market.live_even(2, wind=-EVEN_W // 2)
    market.live_even(2)
    assert market.state(digest) is State.BREACHED
    for start in (start_ms, start_ms + INTERVAL_MS):
        correction = Correction(market.link("regulator"), "m-wind", (Delta(start, 0, EVEN_WH),), "a wrong ratio")
        assert market.put(correction, MessageType.CORRECTION, "regulator").refusal is None
    market.live_even(4)
    contract = market.contract(digest)
    assert [state for state, _ in contract.history[-2:]] == [State.BREACHED, State.FULFILLED]
    assert contract.amounts.delivered_wh == PRICE
    assert contract.amounts.surplus_wh > 0


# -- What the parties are told


def told(market: Market, gateway: str, participant: str) -> tuple[ContractNews, ...]:
    """What the last block's statement to a gateway says of somebody's contracts."""
    (made,) = [one for one in market.five.statements.made if one.gateway == gateway]
    standings = Statement.decode(made.payload).standings
    return next(one.contracts for one in standings if one.participant == participant)


def test_both_parties_are_told_what_became_of_a_contract_and_what_they_are_to_do(market: Market) -> None:
    digest = market.made()
    terms = market.contract(digest).terms
    window = (market.now_ms, EVEN_W, terms.start_ms, terms.end_ms)
    assert told(market, "gw-wind", "wind") == (ContractNews(digest, State.CONFIRMED, *window),)
    assert told(market, "gw-home", "home")[0].power_w == -EVEN_W
    market.live_even(2)
    assert told(market, "gw-wind", "wind")[0].state is State.DELIVERING


def test_both_parties_are_told_why_a_contract_cannot_be(market: Market) -> None:
    reason = rejected(market, seller="gas", quantity_wh=200)
    for gateway, participant in (("gw", "gas"), ("gw-home", "home")):
        (news,) = told(market, gateway, participant)
        assert (news.state, news.rule) == (State.REJECTED, reason[0])
        assert news.why == f"gas, in the interval from {news.start_ms} by {reason[2]} W"


def test_what_is_to_be_delivered_is_told_first_and_what_was_rejected_is_told_all_the_same(market: Market) -> None:
    start_ms = market.terms().start_ms
    for number in range(NEWS_MAX + 3):
        later = {"start_ms": start_ms + INTERVAL_MS, "end_ms": start_ms + 2 * INTERVAL_MS} if number < 5 else {}
        assert market.agree(market.terms(nonce=bytes([number] * 16), quantity_wh=1, **later)) is None
    for number in range(2):
        rejected(market, nonce=bytes([99, *[number] * 15]), quantity_wh=200)
    market.live_even(2)
    news = told(market, "gw-wind", "wind")
    assert [one.state for one in news] == [State.DELIVERING] * 14 + [State.REJECTED] * 2
    for number in range(8):
        rejected(market, nonce=bytes([98, *[number] * 15]), quantity_wh=200)
    news = told(market, "gw-wind", "wind")
    assert [one.state for one in news] == [State.DELIVERING] * 12 + [State.REJECTED] * 4
    assert [one.since_ms for one in news[12:]] == sorted([one.since_ms for one in news[12:]], reverse=True)


def test_what_delivers_goes_before_what_is_confirmed_for_later(market: Market) -> None:
    terms = market.terms()
    late = market.made(nonce=bytes([1] * 16), quantity_wh=1, start_ms=terms.end_ms, end_ms=terms.end_ms + INTERVAL_MS)
    soon = market.made(nonce=bytes([2] * 16), quantity_wh=1, start_ms=terms.start_ms, end_ms=terms.end_ms)
    market.live_even(2)
    gone = market.made(nonce=bytes([3] * 16), quantity_wh=200)
    assert [one.contract for one in told(market, "gw-home", "home")] == [soon, late, gone]


def duties(market: Market, gateway: str, participant: str) -> tuple[Duty, ...]:
    """What the last block's statement to a gateway says is due of somebody."""
    (made,) = [one for one in market.five.statements.made if one.gateway == gateway]
    return next(one.duties for one in Statement.decode(made.payload).standings if one.participant == participant)


def test_what_is_due_is_summed_over_all_contracts_however_few_a_statement_tells_of(market: Market) -> None:
    count = NEWS_MAX + 3
    made = [market.made(nonce=bytes([number] * 16), quantity_wh=1) for number in range(count)]
    power_w = sum(market.contract(digest).promise.power_w for digest in made)
    terms = market.contract(made[0]).terms
    soon = Duty("electricity", 0, 0, terms.start_ms)
    assert duties(market, "gw-wind", "wind") == (soon, Duty("electricity", power_w, 0, terms.end_ms))
    market.live_even(2)
    assert len(told(market, "gw-wind", "wind")) == NEWS_MAX
    assert duties(market, "gw-wind", "wind") == (Duty("electricity", power_w, 0, terms.end_ms),)
    assert duties(market, "gw-home", "home") == (Duty("electricity", 0, power_w, terms.end_ms),)


def test_what_a_party_ends_is_due_until_its_interval_is_over(market: Market) -> None:
    digest = market.made()
    market.live_even(2)
    market.now_ms += 1_000
    assert market.terminate(digest, "home", "gw-home") is None
    left = market.contract(digest)
    assert (left.state, left.ended_ms > market.now_ms) == (State.TERMINATED, True)
    assert duties(market, "gw-wind", "wind") == (Duty("electricity", EVEN_W, 0, left.ended_ms),)


def test_duties_follow_one_another_and_nothing_is_due_of_what_was_rejected(market: Market) -> None:
    terms = market.terms()
    market.made(quantity_wh=2, end_ms=terms.start_ms + INTERVAL_MS)
    market.made(nonce=bytes([1] * 16), quantity_wh=1, start_ms=terms.start_ms + INTERVAL_MS, end_ms=terms.end_ms)
    rejected(market, nonce=bytes([2] * 16), quantity_wh=200)
    steps = [duty.until_ms - terms.start_ms for duty in duties(market, "gw-wind", "wind")]
    assert steps == [0, INTERVAL_MS, terms.end_ms - terms.start_ms]


def test_a_standing_without_contracts_says_nothing_of_them(market: Market) -> None:
    market.live_even(1)
    (made,) = [one for one in market.five.statements.made if one.gateway == "gw-wind"]
    assert all(not {8, 9} & set(standing) for standing in decode(made.payload, size_max=1 << 16)[7])
    with pytest.raises(EncodingError, match="left out"):
        Statement.decode(with_field(made.payload, (7, 0, 8), []))
    with pytest.raises(EncodingError, match="left out"):
        Statement.decode(with_field(made.payload, (7, 0, 9), []))
