"""Nobody's quote is used up by what cannot be a contract: quotes are judged before they stand, and before they meet.

The home and the network outside live at n0, gas and wind at n1; a line of 400 V joins both nodes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aggregator.chains.contracts import book
from aggregator.chains.contracts.orders import Freeze
from aggregator.chains.market.quoting import see_that_they_can
from aggregator.chains.market.standing import Standing
from aggregator.economy.contracts.feasibility import Site
from aggregator.economy.contracts.states import State
from config.grid_model import Grid
from config.load import check
from protocol.canonical import decode
from protocol.messages import MessageType
from protocol.quote import TimeInForce
from protocol.refusals import RefusalCode, Refused
from tests.contract_village import Market, a_market_document
from tests.market import a_sell
from tests.market_village import BUY, SELL, SOON_MS, cancel, contracts, market_of, quote, said, standing
from tests.village import GRACE_MS, INTERVAL_MS, Village, a_grid_document, some_keys

GTC, IOC, FOK = TimeInForce
NARROW_MA = 28_900
"""A line of 20 kW: 27 Wh in an interval."""
LINE_WH = 27


def a_region(rating_ma: int = 200_000, period_ms: int = 600_000, **market: Any) -> Village:
    """A village with a market in which contracts are made; the home lives at the other end of the line."""
    document = a_grid_document()
    document["rules"] |= {
        "market": {"gate_ms": INTERVAL_MS, "ahead_ms": 20 * INTERVAL_MS} | market,
        "contracts": {"imbalance_per_mwh": 40_000, "dispute_ms": 2 * INTERVAL_MS},
    }
    document["rules"]["time"] |= {"period_ms": period_ms, "grace_ms": INTERVAL_MS + GRACE_MS}
    document["branches"][0]["rating_ma"] = rating_ma
    for meter in document["meters"]:
        if meter["id"] == "m-home":
            meter["node"] = "n0"
    grid: Grid = check(document, Grid, "grid.yaml")
    return Village(grid=grid, keys=some_keys("gw"))


def freeze(village: Village, participant: str) -> None:
    """Let the regulator freeze somebody."""
    order = Freeze(village.link("regulator"), participant, True, "an inquiry")
    village.close([village.record(village.sign(order, MessageType.FREEZE, "regulator"))])


def states(village: Village) -> list[State]:
    """Of every contract, first made first."""
    return [one.state for one in village.five.operation.contracts.book.in_order()]


def passed_over(village: Village) -> list[list[Any]]:
    """What blocks say of quotes that passed others over."""
    rows = [decode(leaf.body, size_max=1 << 16) for block in village.blocks for leaf in block.leaves]
    return [row for row in rows if row[0] == "passed-over"]


# -- Before a quote stands


def test_a_home_without_a_generator_does_not_empty_the_book() -> None:
    village = a_region()
    assert quote(village, "gas", BUY) is None
    assert quote(village, "home", SELL) is RefusalCode.SELLER_CANNOT
    assert standing(village) == [("gas", BUY, 10, 25_000)]
    assert states(village) == []


def test_a_home_without_a_generator_sets_no_auction_s_price() -> None:
    village = a_region(mechanism="call")
    assert quote(village, "home", SELL, price_per_mwh=1) is RefusalCode.SELLER_CANNOT
    assert standing(village) == []


def test_whoever_only_feeds_in_buys_nothing() -> None:
    site = Site(feed_in_w=50_000)
    with pytest.raises(Refused) as refused:
        see_that_they_can(replace(a_sell(1, 10, 1), side=BUY), site, site, Standing(), INTERVAL_MS)
    assert refused.value.code is RefusalCode.BUYER_CANNOT


def test_whoever_the_regulator_has_frozen_quotes_nothing() -> None:
    village = a_region()
    freeze(village, "wind")
    assert quote(village, "wind", SELL) is RefusalCode.PARTY_FROZEN
    assert quote(village, "gas", SELL) is None


def test_whoever_owes_tokens_quotes_nothing() -> None:
    village = a_region(period_ms=30_000)
    village.live(50)
    assert village.five.payment.balance("gas") < 0
    start_ms = village.now_ms - village.now_ms % INTERVAL_MS + 3 * INTERVAL_MS
    assert quote(village, "gas", SELL, start_ms=start_ms) is RefusalCode.PARTY_RESTRICTED
    assert quote(village, "wind", SELL, start_ms=start_ms) is None


def test_two_meters_of_one_participant_sell_no_more_than_their_devices_give() -> None:
    standing_, site = Standing(), Site(feed_in_w=7200, clean_w=7200)  # 10 Wh in five seconds
    standing_.count(a_sell(1, 6, 1, participant="annia", meter="m1"), 1)
    other = a_sell(2, 4, 1, participant="annia", meter="m2")
    assert see_that_they_can(other, site, site, standing_, INTERVAL_MS) == other
    with pytest.raises(Refused) as refused:
        see_that_they_can(replace(other, quantity_wh=5), site, site, standing_, INTERVAL_MS)
    assert refused.value.code is RefusalCode.SOLD_ALREADY


def test_what_is_clean_is_quoted_as_clean_once() -> None:
    standing_, site = Standing(), Site(feed_in_w=14_400, clean_w=7200)
    standing_.count(a_sell(1, 6, 1, participant="annia", is_clean=True), 1)
    for quantity_wh, is_clean in ((4, True), (5, False)):
        other = a_sell(2, quantity_wh, 1, participant="annia", is_clean=True)
        assert see_that_they_can(other, site, site, standing_, INTERVAL_MS).is_clean is is_clean


def test_where_the_book_of_contracts_is_full_nothing_is_quoted_and_nothing_is_eaten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    village = a_region()
    assert quote(village, "wind", SELL, quantity_wh=20) is None
    assert quote(village, "home", BUY) is None
    monkeypatch.setattr(book, "CONTRACTS_MAX", 1)
    assert quote(village, "home", BUY) is RefusalCode.TOO_MANY_CONTRACTS
    assert standing(village) == [("wind", SELL, 10, 25_000)]
    assert states(village) == [State.CONFIRMED]


def test_nobody_cuts_a_quote_into_less_than_the_lot() -> None:
    village = a_region(quantity_min_wh=10)
    assert quote(village, "wind", SELL, quantity_wh=25) is None
    assert quote(village, "home", BUY, quantity_wh=9) is RefusalCode.QUANTITY_TOO_SMALL
    for _ in range(3):
        assert quote(village, "home", BUY) is None
    assert [said(terms)[2] for terms in contracts(village)] == [10, 10, 5], "a rest is traded, whatever it is"
    assert standing(village) == [("home", BUY, 5, 25_000)]


def test_what_a_line_leaves_of_a_match_is_a_lot_or_nothing() -> None:
    village = a_region(NARROW_MA, quantity_min_wh=10)
    quote(village, "wind", SELL, quantity_wh=60)
    assert quote(village, "home", BUY, quantity_wh=LINE_WH - 9, time_in_force=IOC) is None
    assert quote(village, "home", BUY, quantity_wh=20, time_in_force=IOC) is RefusalCode.LINE_FULL
    assert standing(village) == [("wind", SELL, 60 - LINE_WH + 9, 25_000)]


# -- Before quotes meet


def test_what_a_full_line_cannot_carry_leaves_the_other_its_quantity_and_its_place() -> None:
    village = a_region(NARROW_MA)
    quote(village, "wind", SELL, quantity_wh=60, price_per_mwh=20_000)
    quote(village, "gas", SELL, quantity_wh=60, price_per_mwh=20_000)
    assert quote(village, "home", BUY, quantity_wh=50) is None
    assert [said(terms) for terms in contracts(village)] == [("wind", "home", LINE_WH, 20_000)]
    assert states(village) == [State.CONFIRMED]
    rest = [("wind", SELL, 60 - LINE_WH, 20_000), ("gas", SELL, 60, 20_000), ("home", BUY, 50 - LINE_WH, 25_000)]
    assert standing(village) == rest
    ((_, _, rule, line, start_ms, excess_w),) = passed_over(village)
    assert (rule, line, start_ms) == (RefusalCode.LINE_FULL, "b1", SOON_MS)
    assert excess_w > 0
    assert quote(village, "gas", BUY, quantity_wh=5, price_per_mwh=20_000) is None
    assert said(contracts(village)[-1]) == ("wind", "gas", 5, 20_000), "the older one is still the first"


def test_who_is_behind_a_full_line_is_passed_over_and_the_neighbour_trades() -> None:
    village = a_region(NARROW_MA)
    quote(village, "wind", SELL, quantity_wh=40, price_per_mwh=20_000)
    quote(village, "grid", SELL, quantity_wh=40, price_per_mwh=22_000)
    assert quote(village, "home", BUY, quantity_wh=50) is None
    assert [said(terms) for terms in contracts(village)] == [
        ("wind", "home", LINE_WH, 20_000),
        ("grid", "home", 50 - LINE_WH, 22_000),
    ]
    assert states(village) == [State.CONFIRMED] * 2


@pytest.mark.parametrize("time_in_force", [IOC, FOK])
def test_what_is_to_be_filled_at_once_is_told_which_line_is_full(time_in_force: TimeInForce) -> None:
    village = a_region(NARROW_MA)
    quote(village, "wind", SELL, quantity_wh=60)
    assert quote(village, "home", BUY, quantity_wh=LINE_WH, time_in_force=time_in_force) is None
    assert quote(village, "home", BUY, quantity_wh=5, time_in_force=time_in_force) is RefusalCode.LINE_FULL
    assert standing(village) == [("wind", SELL, 60 - LINE_WH, 25_000)]


def test_whoever_is_frozen_meanwhile_is_passed_over() -> None:
    village = a_region()
    quote(village, "wind", SELL, price_per_mwh=20_000)
    quote(village, "gas", SELL, price_per_mwh=22_000)
    freeze(village, "wind")
    assert quote(village, "home", BUY) is None
    assert [said(terms) for terms in contracts(village)] == [("gas", "home", 10, 22_000)]


def test_whoever_is_frozen_meanwhile_is_in_no_auction() -> None:
    village = a_region(mechanism="call")
    quote(village, "wind", SELL, price_per_mwh=20_000)
    quote(village, "gas", SELL, price_per_mwh=22_000)
    quote(village, "home", BUY)
    freeze(village, "wind")
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    assert [row[0] for row in standing(village)] == ["gas", "home"]
    village.close_due()
    assert [said(terms)[:3] for terms in contracts(village)] == [("gas", "home", 10)]


def test_where_the_book_of_contracts_has_filled_up_meanwhile_nobody_is_in_the_auction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    village = a_region(mechanism="call")
    quote(village, "wind", SELL)
    quote(village, "home", BUY)
    monkeypatch.setattr(book, "CONTRACTS_MAX", 0)
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    assert standing(village) == []
    assert contracts(village) == []


def test_a_match_for_whose_contract_there_is_no_room_after_all_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    village = a_region(mechanism="call")
    quote(village, "wind", SELL)
    quote(village, "home", BUY)
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    monkeypatch.setattr(book, "CONTRACTS_MAX", 0)
    monkeypatch.setattr(type(market_of(village)), "begin_block", lambda *_: None)
    village.close_due()
    assert len(contracts(village)) == 1
    assert states(village) == []
    assert [row[2:4] for row in passed_over(village)] == [[RefusalCode.TOO_MANY_CONTRACTS, "wind"]] * 2


# -- Beside what two agree on by themselves


def a_market(rating_ma: int = 200_000, **market: Any) -> Market:
    """A village in which two may agree by themselves, too; all live at n1, the network outside at n0."""
    document = a_market_document(rating_ma)
    document["rules"]["market"] = {"gate_ms": INTERVAL_MS, "ahead_ms": 20 * INTERVAL_MS} | market
    return Market(grid=check(document, Grid, "grid.yaml"))


def test_nobody_agrees_on_what_they_quote_until_they_cancel() -> None:
    market = a_market()
    window = {"start_ms": SOON_MS, "end_ms": SOON_MS + INTERVAL_MS}
    assert quote(market, "wind", SELL, quantity_wh=20) is None
    assert market.agree(market.terms(quantity_wh=50, **window)) is RefusalCode.QUOTED_ALREADY
    assert market.agree(market.terms(quantity_wh=49, **window)) is None
    assert quote(market, "home", BUY, quantity_wh=20, price_per_mwh=1) is None
    later = {"start_ms": SOON_MS + INTERVAL_MS, "end_ms": SOON_MS + 2 * INTERVAL_MS}
    assert market.agree(market.terms(quantity_wh=69, **later)) is None
    (digest,) = [digest for digest, one in market_of(market).quotes.items() if one.side is BUY]
    more = market.terms(seller="gas", quantity_wh=1, **window, nonce=bytes([1] * 16))
    assert market.agree(more, "gw", "gw-home") is RefusalCode.QUOTED_ALREADY
    assert cancel(market, digest) is None
    assert market.agree(more, "gw", "gw-home") is None


def test_nobody_escapes_an_auction_by_agreeing_on_the_same_behind_its_gate() -> None:
    market = a_market(mechanism="call")
    window = {"start_ms": SOON_MS, "end_ms": SOON_MS + INTERVAL_MS, "expires_ms": SOON_MS}
    quote(market, "wind", SELL, quantity_wh=60, price_per_mwh=1)
    quote(market, "home", BUY, quantity_wh=50, price_per_mwh=900_000)
    market.now_ms = SOON_MS - INTERVAL_MS
    market.close([])
    escape = market.terms(buyer="grid", quantity_wh=60, price_per_mwh=0, **window)
    assert market.agree(escape, agrees="gw") is RefusalCode.GATE_CLOSED
    market.close_due()
    assert [said(terms)[:3] for terms in contracts(market)] == [("wind", "home", 50)]
    assert states(market) == [State.CONFIRMED]


def test_an_auction_leaves_a_line_what_two_have_agreed_on() -> None:
    market = a_market(NARROW_MA, mechanism="call")
    window = {"start_ms": SOON_MS, "end_ms": SOON_MS + INTERVAL_MS}
    market.made(seller="grid", quantity_wh=20, **window)
    quote(market, "grid", SELL, quantity_wh=40, price_per_mwh=200_000)
    quote(market, "wind", SELL, quantity_wh=40, price_per_mwh=300_000)
    quote(market, "home", BUY, quantity_wh=40, price_per_mwh=900_000)
    market.now_ms = SOON_MS - INTERVAL_MS
    market.close([])
    assert market.agree(market.terms(quantity_wh=1, **window, expires_ms=SOON_MS)) is RefusalCode.GATE_CLOSED
    market.close_due()
    assert [said(terms)[:3] for terms in contracts(market)] == [
        ("wind", "home", 40 - (LINE_WH - 20)),
        ("grid", "home", LINE_WH - 20),
    ]
    assert states(market) == [State.CONFIRMED] * 3
    assert market.agree(market.terms(quantity_wh=1, **window, expires_ms=SOON_MS)) is None
