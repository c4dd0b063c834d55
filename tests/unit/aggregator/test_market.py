"""Quotes on the operation chain: who may quote what, what comes of it, and what a clearing has to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from aggregator.chains.market.clearing import ClearingResult
from aggregator.ledger.block import Block
from protocol.contract import PRICE_MAX, QUANTITY_MAX_WH, price_of
from protocol.errors import EncodingError
from protocol.messages import MessageType
from protocol.quote import Quote, QuoteCancel, TimeInForce
from protocol.refusals import RefusalCode, Refused
from tests.market_village import (
    BUY,
    SELL,
    SOON_MS,
    a_call_market,
    a_market,
    a_quote,
    cancel,
    contracts,
    market_of,
    match_leaves,
    quote,
    said,
    standing,
)  # fmt: skip
from tests.village import INTERVAL_MS, START_MS, Village

GTC, IOC, FOK = TimeInForce


@pytest.fixture
def village() -> Village:
    """Continuous trading."""
    return a_market()


# -- Continuous trading


def test_a_quote_that_nobody_answers_stands(village: Village) -> None:
    assert quote(village, "wind", SELL) is None
    assert standing(village) == [("wind", SELL, 10, 25_000)]
    assert not contracts(village)


def test_two_quotes_that_meet_are_a_contract_at_the_price_of_the_one_that_stood(village: Village) -> None:
    quote(village, "wind", SELL, price_per_mwh=20_000)
    assert quote(village, "home", BUY, quantity_wh=6, clean_only=True) is None
    (terms,) = contracts(village)
    assert said(terms) == ("wind", "home", 6, 20_000)
    assert (terms.carrier, terms.clean_only, terms.start_ms, terms.end_ms) == (
        "electricity", True, SOON_MS, SOON_MS + INTERVAL_MS,
    )  # fmt: skip
    assert (terms.penalty_ppm, terms.termination_ppm, terms.expires_ms) == (100_000, 100_000, SOON_MS)
    assert standing(village) == [("wind", SELL, 4, 20_000)]


def test_a_match_names_the_two_quotes_whose_signatures_stand_under_it(village: Village) -> None:
    quote(village, "wind", SELL)
    quote(village, "home", BUY)
    envelopes = [outcome.record.envelope.digest for block in village.blocks[1:] for outcome in block.outcomes]
    ((_, number, sell, buy, buy_price, rent, _),) = match_leaves(village)
    assert (number, [sell, buy], buy_price, rent) == (1, envelopes, 25_000, 0)


def test_two_contracts_with_like_terms_are_two(village: Village) -> None:
    for _ in range(2):
        quote(village, "wind", SELL)
        quote(village, "home", BUY)
    first, second = contracts(village)
    assert first.digest != second.digest
    assert replace(first, nonce=second.nonce) == second


def test_quotes_of_one_block_meet_in_the_order_of_the_block(village: Village) -> None:
    records = []
    for participant, side, price in (("gas", SELL, 24_000), ("wind", SELL, 24_000), ("home", BUY, 30_000)):
        made = a_quote(village, participant, side, price_per_mwh=price)
        records.append(village.record(village.sign(made, MessageType.QUOTE)))
    village.close(records)
    assert [said(terms) for terms in contracts(village)] == [("gas", "home", 10, 24_000)]


@pytest.mark.parametrize("time_in_force", [IOC, FOK])
def test_what_is_to_be_filled_at_once_is_refused_where_it_cannot(village: Village, time_in_force: TimeInForce) -> None:
    assert quote(village, "home", BUY, time_in_force=time_in_force) is RefusalCode.NOT_FILLED
    assert standing(village) == []


def test_what_is_left_of_an_immediate_quote_does_not_stand(village: Village) -> None:
    quote(village, "wind", SELL, quantity_wh=4)
    assert quote(village, "home", BUY, time_in_force=IOC) is None
    assert standing(village) == []
    assert contracts(village)[0].quantity_wh == 4


def test_a_quote_is_taken_back_by_whoever_signed_it(village: Village) -> None:
    quote(village, "wind", SELL)
    (digest,) = market_of(village).quotes
    assert cancel(village, digest, "gw-2") is RefusalCode.NOT_THEIR_QUOTE
    assert cancel(village, digest) is None
    assert cancel(village, digest) is RefusalCode.NO_SUCH_QUOTE
    assert standing(village) == []
    assert market_of(village).totals.cancelled == 1


def test_a_quote_lapses_when_its_gate_closes(village: Village) -> None:
    quote(village, "wind", SELL)
    village.now_ms = SOON_MS - INTERVAL_MS - 1
    village.close([])
    assert len(standing(village)) == 1
    village.now_ms += 1
    village.close([])
    assert standing(village) == []
    assert market_of(village).totals.lapsed == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"participant": "nobody", "meter": "m-home"}, RefusalCode.UNKNOWN_PARTICIPANT),
        ({"participant": "shed"}, RefusalCode.NOT_THEIR_PARTICIPANT),
        ({"start_ms": SOON_MS + 1}, RefusalCode.NO_SUCH_INTERVAL),
        ({"start_ms": START_MS + 21 * INTERVAL_MS}, RefusalCode.NO_SUCH_INTERVAL),
        ({"start_ms": START_MS - INTERVAL_MS}, RefusalCode.GATE_CLOSED),
        ({"start_ms": START_MS + INTERVAL_MS}, RefusalCode.GATE_CLOSED),
        ({"meter": "m-home"}, RefusalCode.NOT_THEIR_CONNECTION),
        ({"meter": "m-nothing"}, RefusalCode.NOT_THEIR_CONNECTION),
        ({"quantity_wh": 70}, RefusalCode.ABOVE_CONNECTION),
        ({"quantity_wh": QUANTITY_MAX_WH}, RefusalCode.ABOVE_CONNECTION),
        ({"price_per_mwh": 1_000_001}, RefusalCode.PRICE_ABOVE_CAP),
        ({"partner": "wind"}, RefusalCode.UNKNOWN_PARTNER),
        ({"partner": "nobody"}, RefusalCode.UNKNOWN_PARTNER),
    ],
    ids=lambda value: value.name if isinstance(value, RefusalCode) else ", ".join(value),
)
def test_what_may_not_be_quoted_is_refused(village: Village, changes: dict[str, Any], code: RefusalCode) -> None:
    made = replace(a_quote(village, "wind", SELL), **changes)
    block = village.close([village.record(village.sign(made, MessageType.QUOTE))])
    assert block.outcomes[0].refusal is code
    assert standing(village) == []


def test_all_quotes_together_are_no_more_than_the_connection_carries(village: Village) -> None:
    assert quote(village, "wind", SELL, quantity_wh=60) is None
    assert quote(village, "wind", SELL, quantity_wh=10) is RefusalCode.ABOVE_CONNECTION
    assert quote(village, "wind", BUY, quantity_wh=10, price_per_mwh=1) is None
    assert quote(village, "wind", SELL, quantity_wh=10, start_ms=SOON_MS + INTERVAL_MS) is None


def test_nobody_trades_with_themselves(village: Village) -> None:
    quote(village, "wind", SELL)
    assert quote(village, "wind", BUY) is RefusalCode.CROSSES_ITSELF
    assert quote(village, "wind", BUY, price_per_mwh=24_999) is None


def test_nobody_has_more_quotes_standing_than_their_share_and_nobody_crowds_out_others() -> None:
    village = a_market(quotes_max=10)
    for _ in range(2):
        assert quote(village, "wind", SELL) is None
    assert quote(village, "wind", SELL) is RefusalCode.BOOK_FULL
    assert quote(village, "gas", SELL) is None
    assert cancel(village, next(iter(market_of(village).quotes))) is None
    assert quote(village, "wind", SELL) is None


def test_what_has_traded_counts_against_a_share_until_its_interval_is_closed() -> None:
    village = a_market(quotes_max=10)
    for _ in range(2):
        assert quote(village, "wind", SELL, quantity_wh=1) is None
        assert quote(village, "home", BUY, quantity_wh=1) is None
    assert standing(village) == []
    for participant, side in (("wind", SELL), ("home", BUY)):
        assert quote(village, participant, side) is RefusalCode.BOOK_FULL
    village.live((SOON_MS - START_MS) // 1000 + 10)
    later = village.now_ms - village.now_ms % INTERVAL_MS + 2 * INTERVAL_MS
    assert quote(village, "wind", SELL, start_ms=later) is None


def test_where_the_rules_have_no_market_nothing_is_quoted() -> None:
    assert quote(Village(), "wind", SELL) is RefusalCode.NO_MARKET
    assert cancel(Village(), bytes(32)) is RefusalCode.NO_MARKET


def test_a_block_that_is_taken_back_leaves_the_books_as_they_were(village: Village) -> None:
    quote(village, "wind", SELL)
    before = standing(village)
    made = a_quote(village, "home", BUY)
    record = village.five.ledger.check(village.sign(made, MessageType.QUOTE))
    village.five.ledger.finalize(village.now_ms, [record])
    village.five.ledger.abandon()
    assert standing(village) == before
    assert village.five.ledger.broken_invariants() == []
    assert quote(village, "home", BUY) is None
    assert len(contracts(village)) == 1


def test_what_was_traded_is_told_by_carrier_and_interval_until_it_is_closed(village: Village) -> None:
    quote(village, "wind", SELL, price_per_mwh=20_000)
    quote(village, "gas", SELL, price_per_mwh=30_000)
    quote(village, "home", BUY, quantity_wh=15, price_per_mwh=30_000)
    traded = market_of(village).traded["electricity", SOON_MS]
    assert (traded.matches, traded.quantity_wh, traded.low, traded.high, traded.last) == (2, 15, 20_000, 30_000, 30_000)
    village.live((SOON_MS - START_MS) // 1000 + 10)
    assert not len(market_of(village).traded)


@pytest.mark.parametrize(
    "changes",
    [{"quantity_wh": 0}, {"clean_only": True}, {"price_per_mwh": PRICE_MAX + 1}, {"quantity_wh": QUANTITY_MAX_WH + 1}],
    ids=["of nothing", "a seller who asks for clean energy", "price", "quantity"],
)
def test_what_is_no_quote_is_not_decoded(village: Village, changes: dict[str, Any]) -> None:
    with pytest.raises(EncodingError):
        Quote.decode(a_quote(village, "wind", SELL, **changes).encode())


def test_a_quote_and_its_cancellation_come_back_as_they_were(village: Village) -> None:
    made = a_quote(village, "home", BUY, partner="wind", is_local=True, clean_only=True, time_in_force=FOK)
    assert Quote.decode(made.encode()) == made
    taken_back = QuoteCancel(village.link(), bytes(range(32)))
    assert QuoteCancel.decode(taken_back.encode()) == taken_back


# -- Call auctions

LINE_WH = 27
"""What a line of 400 V and 28.9 A carries in an interval: 20 kW for five seconds."""


def a_lived_auction(rating_ma: int = 200_000, **market: Any) -> Village:
    """Wind and the network outside sell, the home and the shed buy; the gate closes."""
    village = a_call_market(rating_ma=rating_ma, **market)
    quotes = [
        ("grid", SELL, 60, 200_000), ("wind", SELL, 30, 300_000),
        ("home", BUY, 50, 900_000), ("gas", SELL, 60, 800_000),
    ]  # fmt: skip
    for participant, side, quantity_wh, price in quotes:
        made = {"quantity_wh": quantity_wh, "price_per_mwh": price}
        assert quote(village, participant, side, **made) is None
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    return village


def test_in_a_call_auction_quotes_wait_for_the_gate() -> None:
    village = a_call_market()
    quote(village, "wind", SELL)
    quote(village, "home", BUY)
    assert len(standing(village)) == 2
    assert village.compute.due_record(village.five) is None
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    village.close_due()
    assert standing(village) == []
    assert [said(terms) for terms in contracts(village)] == [("wind", "home", 10, 25_000)]


def test_where_the_line_is_wide_enough_the_cheapest_serves_all() -> None:
    village = a_lived_auction()
    village.close_due()
    assert [said(terms) for terms in contracts(village)] == [("grid", "home", 50, 200_000)]


def test_where_the_line_is_full_the_dearer_neighbour_serves_the_rest_and_the_region_has_the_rent() -> None:
    village = a_lived_auction(rating_ma=28_900)
    village.close_due()
    assert [said(terms) for terms in contracts(village)] == [
        ("wind", "home", 50 - LINE_WH, 300_000),
        ("grid", "home", LINE_WH, 200_000),
    ]
    rents = [leaf[5] for leaf in match_leaves(village)]
    assert rents == [0, price_of(LINE_WH, 300_000) - price_of(LINE_WH, 200_000)]
    assert market_of(village).totals.rent == sum(rents)


def test_paid_as_bid_a_contract_is_at_the_seller_s_limit() -> None:
    village = a_lived_auction(pricing="pay_as_bid")
    village.close_due()
    assert [said(terms) for terms in contracts(village)] == [("grid", "home", 50, 200_000)]
    assert match_leaves(village)[0][4] == 900_000


def test_the_clearing_is_the_dispatch_record_of_its_interval() -> None:
    village = a_lived_auction(rating_ma=28_900)
    village.close_due()
    (result,) = [
        outcome.record.message
        for block in village.blocks
        for outcome in block.outcomes
        if isinstance(outcome.record.message, ClearingResult)
    ]
    assert result.clearing.fills_wh == (LINE_WH, 50 - LINE_WH, 50, 0)
    assert result.clearing.flows_mwh == (LINE_WH * 1000,)
    assert result.clearing.prices == (200_000_000, 300_000_000)
    assert ClearingResult.decode(result.encode()) == result


def refused(village: Village, change: Callable[[ClearingResult], ClearingResult]) -> RefusalCode:
    """What a node that votes says of a clearing in which one thing was changed; a block says the same."""
    data = village.compute.due_record(village.five)
    assert data is not None
    right: ClearingResult = village.five.ledger.check(data).message
    record = village.record(village.sign(change(right), MessageType.CLEARING, "node"))
    with pytest.raises(Refused) as told:
        village.five.ledger.vet(record)
    block: Block = village.close([record])
    assert block.outcomes[0].refusal is told.value.code
    return told.value.code


def with_clearing(**changes: Any) -> Callable[[ClearingResult], ClearingResult]:
    return lambda result: replace(result, clearing=replace(result.clearing, **changes))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (with_clearing(fills_wh=(28, 22, 50, 0), flows_mwh=(28_000,)), RefusalCode.CLEARING_INFEASIBLE),
        (with_clearing(fills_wh=(0, 0, 0, 0), flows_mwh=(0,)), RefusalCode.CLEARING_NOT_OPTIMAL),
        (with_clearing(prices=(200_000_000, 299_999_000)), RefusalCode.CLEARING_BREAKS_LIMIT),
        (lambda result: replace(result, start_ms=SOON_MS + INTERVAL_MS), RefusalCode.OUT_OF_TURN),
    ],
    ids=["overload", "nobody trades", "below a limit", "another interval"],
)
def test_a_clearing_that_is_not_right_is_voted_down_and_changes_nothing(
    change: Callable[[ClearingResult], ClearingResult], code: RefusalCode
) -> None:
    village = a_lived_auction(rating_ma=28_900)
    before = standing(village)
    assert refused(village, change) is code
    assert standing(village) == before


def test_a_clearing_before_its_gate_closes_is_out_of_turn() -> None:
    village = a_call_market()
    quote(village, "wind", SELL)
    auction = market_of(village).auction(SOON_MS)
    clearing = village.compute.clear(auction)
    assert clearing is not None
    early = ClearingResult(village.link("node"), SOON_MS, clearing)
    block = village.close([village.record(village.sign(early, MessageType.CLEARING, "node"))])
    assert block.outcomes[0].refusal is RefusalCode.OUT_OF_TURN


@pytest.mark.parametrize("changes", [{"partner": "wind"}, {"is_local": True}, {"time_in_force": FOK}], ids=str)
def test_an_auction_knows_no_partners_and_no_other_time_in_force(changes: dict[str, Any]) -> None:
    assert quote(a_call_market(), "home", BUY, **changes) is RefusalCode.NOT_IN_AUCTION


def test_in_an_auction_everybody_is_on_one_side() -> None:
    village = a_call_market()
    quote(village, "wind", SELL)
    assert quote(village, "wind", BUY, price_per_mwh=1) is RefusalCode.CROSSES_ITSELF


def test_a_quote_in_an_auction_whose_gate_has_closed_is_not_taken_back() -> None:
    village = a_lived_auction()
    digest = next(iter(market_of(village).quotes))
    assert cancel(village, digest) is RefusalCode.GATE_CLOSED


def test_quotes_that_nobody_could_clear_lapse_when_delivery_begins() -> None:
    village = a_lived_auction()
    village.now_ms = SOON_MS - 1
    village.close([])
    assert len(standing(village)) == 4
    assert market_of(village).due_clearing(village.now_ms) == SOON_MS
    village.now_ms = SOON_MS
    village.close([])
    assert standing(village) == []
    assert market_of(village).totals.lapsed == 4
    assert market_of(village).due_clearing(village.now_ms) is None


def test_an_auction_is_not_cleared_once_delivery_has_begun() -> None:
    village = a_lived_auction()
    late = village.compute.due_record(village.five)
    assert late is not None
    record = village.record(late)
    village.now_ms = SOON_MS
    assert village.close([record]).outcomes[0].refusal is RefusalCode.OUT_OF_TURN
    assert contracts(village) == []


def test_a_gateway_may_not_clear_and_a_node_may_not_quote(village: Village) -> None:
    made = replace(a_quote(village, "wind", SELL), link=village.link("node"))
    with pytest.raises(Refused) as told:
        village.record(village.sign(made, MessageType.QUOTE, "node"))
    assert told.value.code is RefusalCode.NOT_THEIR_TYPE
