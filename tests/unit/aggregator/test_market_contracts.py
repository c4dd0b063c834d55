"""What quotes come to is a contract like any other: judged beside all others, delivered, and settled."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.accounts.money import CLEARING
from aggregator.chains.contracts.rows import Contract
from aggregator.economy.contracts.bill import NO_BILL
from aggregator.economy.contracts.states import State
from config.grid_model import Grid
from config.load import check
from protocol.contract import price_of
from protocol.refusals import RefusalCode
from tests.market_village import BUY, SELL, SOON_MS, contracts, quote
from tests.village import GRACE_MS, INTERVAL_MS, Village, a_grid_document, some_keys


def a_region(rating_ma: int = 200_000, **market: Any) -> Village:
    """A village with a market in which contracts are made."""
    grid: Grid = check(a_document(rating_ma, **market), Grid, "grid.yaml")
    return Village(grid=grid, keys=some_keys("gw"))


def a_document(rating_ma: int = 200_000, **market: Any) -> dict[str, Any]:
    """Its grid file."""
    document = a_grid_document()
    document["rules"] |= {
        "market": {"gate_ms": INTERVAL_MS, "ahead_ms": 20 * INTERVAL_MS} | market,
        "contracts": {"imbalance_per_mwh": 40_000, "dispute_ms": 2 * INTERVAL_MS},
    }
    document["rules"]["time"] |= {"period_ms": 600_000, "grace_ms": INTERVAL_MS + GRACE_MS}
    document["branches"][0]["rating_ma"] = rating_ma
    return document


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


def a_full_line(**changes: Any) -> tuple[Village, Contract]:
    """A village whose auction has filled its line, and the contract that passes it: grid for home, 27 Wh."""
    village = a_region(rating_ma=28_900, mechanism="call", **changes)
    quote(village, "grid", SELL, quantity_wh=60, price_per_mwh=200_000)
    quote(village, "wind", SELL, quantity_wh=30, price_per_mwh=300_000)
    quote(village, "home", BUY, quantity_wh=50, price_per_mwh=900_000)
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    village.close_due()
    (contract,) = (one for one in made(village) if one.terms.seller == "grid")
    assert (contract.state, contract.rent_per_mwh) == (State.CONFIRMED, 300_000 - 200_000)
    return village, contract


def now(village: Village, contract: Contract) -> Contract:
    """The contract as it is by now."""
    return village.five.operation.contracts.book.rows[contract.digest]


def test_the_rent_of_a_full_line_is_not_owed_before_anything_is_delivered() -> None:
    village, contract = a_full_line()
    assert contract.risks[1] == price_of(27, 300_000)
    assert not len(village.five.payment.money.accounts)


@pytest.mark.parametrize("grid_w", [0, -9_720, -19_440])
def test_the_rent_of_a_full_line_follows_what_is_delivered(grid_w: int) -> None:
    village, contract = a_full_line()
    village.live(5, {"m-grid": 0, "m-wind": -16_560, "m-home": 36_000, "m-gas": -19_440})
    village.live(60, {"m-grid": grid_w, "m-wind": -16_560, "m-home": 36_000, "m-gas": -19_440 - grid_w})
    contract = now(village, contract)
    assert contract.state is State.SETTLED
    assert contract.amounts.delivered_wh == pytest.approx(-grid_w * 5 / 3600, abs=1)
    assert contract.booked.rent == price_of(contract.amounts.delivered_wh, 100_000)
    money = village.five.payment.money
    booked = [one.booked for one in made(village)]
    assert money.owed_to(CLEARING) == sum(one.clearing for one in booked)
    assert money.owed_to("home") == sum(one.buyer for one in booked)
    assert list(village.five.payment.broken_invariants()) == []


def test_no_rent_is_owed_for_a_contract_that_nobody_approves() -> None:
    document = a_document(rating_ma=28_900, mechanism="call")
    document["rules"]["contracts"]["approval_from_wh"] = 25
    village = Village(grid=check(document, Grid, "grid.yaml"), keys=some_keys("gw"))
    quote(village, "grid", SELL, quantity_wh=60, price_per_mwh=200_000)
    quote(village, "wind", SELL, quantity_wh=30, price_per_mwh=300_000)
    quote(village, "home", BUY, quantity_wh=50, price_per_mwh=900_000)
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    village.close_due()
    (contract,) = (one for one in made(village) if one.terms.seller == "grid")
    assert (contract.state, contract.rent_per_mwh) == (State.VERIFIED, 100_000)
    village.live(65, {"m-grid": -19_440, "m-wind": -16_560, "m-home": 36_000, "m-gas": 0})
    contract = now(village, contract)
    assert (contract.state, contract.booked) == (State.REJECTED, NO_BILL)


def test_it_is_delivered_and_paid_for_from_what_meters_count() -> None:
    village = a_region()
    quote(village, "wind", SELL, quantity_wh=10, price_per_mwh=1_000_000)
    quote(village, "home", BUY, quantity_wh=10, price_per_mwh=1_000_000)
    village.live((SOON_MS - village.now_ms) // 1000 + 60, {"m-wind": -36_000, "m-home": 36_000, "m-gas": 0})
    (contract,) = made(village)
    assert contract.state in (State.FULFILLED, State.SETTLED)
    assert contract.amounts.delivered_wh == 10
