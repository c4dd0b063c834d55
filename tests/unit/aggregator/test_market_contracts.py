"""What quotes come to is a contract like any other: judged beside all others, delivered, and settled."""

from __future__ import annotations

from typing import Any

from aggregator.chains.accounts.money import CLEARING
from aggregator.chains.contracts.rows import Contract
from aggregator.economy.contracts.states import State
from config.grid_model import Grid
from config.load import check
from protocol.contract import price_of
from protocol.refusals import RefusalCode
from tests.market_village import BUY, SELL, SOON_MS, contracts, quote
from tests.village import GRACE_MS, INTERVAL_MS, Village, a_grid_document, some_keys


def a_region(rating_ma: int = 200_000, **market: Any) -> Village:
    """A village with a market in which contracts are made."""
    document = a_grid_document()
    document["rules"] |= {
        "market": {"gate_ms": INTERVAL_MS, "ahead_ms": 20 * INTERVAL_MS} | market,
        "contracts": {"imbalance_per_mwh": 40_000, "dispute_ms": 2 * INTERVAL_MS},
    }
    document["rules"]["time"] |= {"period_ms": 600_000, "grace_ms": INTERVAL_MS + GRACE_MS}
    document["branches"][0]["rating_ma"] = rating_ma
    grid: Grid = check(document, Grid, "grid.yaml")
    return Village(grid=grid, keys=some_keys("gw"))


def made(village: Village) -> list[Contract]:
    """Every contract, first made first."""
    return village.five.operation.contracts.book.in_order()


def test_two_quotes_that_meet_are_a_confirmed_contract() -> None:
    village = a_region()
    quote(village, "wind", SELL)
    quote(village, "home", BUY)
    (contract,) = made(village)
    assert (contract.state, contract.terms) == (State.CONFIRMED, contracts(village)[0])


def test_what_contracts_promise_already_is_not_quoted_once_more() -> None:
    village = a_region()
    assert quote(village, "wind", SELL, quantity_wh=60) is None
    assert quote(village, "home", BUY, quantity_wh=60) is None
    assert quote(village, "wind", SELL, quantity_wh=10) is RefusalCode.SOLD_ALREADY
    assert quote(village, "home", BUY, quantity_wh=10) is RefusalCode.BOUGHT_ALREADY
    assert quote(village, "wind", SELL, quantity_wh=9) is None
    assert quote(village, "wind", SELL, quantity_wh=10, start_ms=SOON_MS + INTERVAL_MS) is None
    assert [one.state for one in made(village)] == [State.CONFIRMED]


def test_the_rent_of_a_full_line_is_owed_to_the_region_with_the_contract() -> None:
    village = a_region(rating_ma=28_900, mechanism="call")
    quote(village, "grid", SELL, quantity_wh=60, price_per_mwh=200_000)
    quote(village, "wind", SELL, quantity_wh=30, price_per_mwh=300_000)
    quote(village, "home", BUY, quantity_wh=50, price_per_mwh=900_000)
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    village.close_due()
    assert [one.state for one in made(village)] == [State.CONFIRMED, State.CONFIRMED]
    rent = price_of(27, 300_000) - price_of(27, 200_000)
    assert rent > 0
    money = village.five.payment.money
    assert (money.owed_to(CLEARING), money.owed_to("home")) == (rent, -rent)


def test_it_is_delivered_and_paid_for_from_what_meters_count() -> None:
    village = a_region()
    quote(village, "wind", SELL, quantity_wh=10, price_per_mwh=1_000_000)
    quote(village, "home", BUY, quantity_wh=10, price_per_mwh=1_000_000)
    village.live((SOON_MS - village.now_ms) // 1000 + 60, {"m-wind": -36_000, "m-home": 36_000, "m-gas": 0})
    (contract,) = made(village)
    assert contract.state in (State.FULFILLED, State.SETTLED)
    assert contract.amounts.delivered_wh == 10
