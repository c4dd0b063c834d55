"""Who delivered what, and what it costs whom: to the watt-hour, and to the minor unit of money."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.economy.contracts.bill import NO_BILL, Party, Prices, arbitrated, bill_of
from aggregator.economy.contracts.delivery import NOTHING, Amounts, Due, Metered, due_wh, share_out
from aggregator.economy.market.quotes import Match
from protocol.contract import PRICE_MAX, QUANTITY_MAX_WH, Terms, price_of
from protocol.fields import UINT_MAX
from protocol.money import MILLIONTHS
from protocol.units import PPM
from tests.unit.protocol.test_contract import some_terms

PER_WH = 1_000_000
FIRST, SECOND = b"1", b"2"
PRICES = Prices(imbalance_per_mwh=3 * PER_WH, tolerance_ppm=0)


def a_due(contract: bytes = FIRST, wh: int = 100, **changes: Any) -> Due:
    return replace(Due(contract, "wind", "home", wh), **changes)


def shared(*dues: Due, fed_in: int = 100, taken: int = 100, **metered: Any) -> list[Amounts]:
    found = share_out(dues, Metered({"wind": fed_in}, {"home": taken}, **metered))
    return [found[due.contract] for due in dues]


def test_what_is_fed_in_and_taken_is_delivered() -> None:
    assert shared(a_due()) == [Amounts(due_wh=100, delivered_wh=100)]


def test_whoever_does_less_falls_short_and_the_other_has_it_left() -> None:
    assert shared(a_due(), fed_in=70) == [Amounts(100, 70, seller_short_wh=30, extra_wh=30)]
    assert shared(a_due(), taken=70) == [Amounts(100, 70, buyer_short_wh=30, surplus_wh=30)]


def test_where_both_do_less_only_the_difference_harms_anybody() -> None:
    assert shared(a_due(), fed_in=40, taken=70) == [Amounts(100, 40, seller_short_wh=30, extra_wh=30)]
    assert shared(a_due(), fed_in=0, taken=0) == [Amounts(100, 0)]


def test_what_is_more_is_surplus_of_the_seller_and_extra_of_the_buyer() -> None:
    assert shared(a_due(), fed_in=110, taken=125) == [Amounts(100, 100, surplus_wh=10, extra_wh=25)]


def test_whoever_was_confirmed_first_is_served_first() -> None:
    first, second = shared(a_due(), a_due(SECOND, buyer="home"), fed_in=130, taken=300)
    assert first == Amounts(100, 100)
    assert second == Amounts(100, 30, seller_short_wh=70, extra_wh=170)


def test_a_contract_for_clean_energy_needs_clean_energy_of_its_seller() -> None:
    for clean_wh in (100, 60, 0):
        (amounts,) = shared(a_due(clean_only=True), clean_fed_in_wh={"wind": clean_wh})
        assert (amounts.delivered_wh, amounts.seller_short_wh) == (clean_wh, 100 - clean_wh)
        assert (amounts.surplus_wh, amounts.extra_wh) == (100 - clean_wh, 100 - clean_wh)


def test_clean_energy_is_delivered_once() -> None:
    metered: dict[str, Any] = {"clean_fed_in_wh": {"wind": 100}}
    first, second = shared(a_due(clean_only=True), a_due(SECOND, clean_only=True), fed_in=200, taken=200, **metered)
    assert (first.delivered_wh, second.delivered_wh) == (100, 0)


@given(st.integers(0, 10**15), st.integers(1, 50))
def test_an_even_delivery_adds_up_to_the_quantity(quantity_wh: int, intervals: int) -> None:
    window = (700, 700 + 10 * intervals)
    parts = [due_wh(quantity_wh, window, (start, start + 10)) for start in range(*window, 10)]
    assert sum(parts) == quantity_wh
    assert max(parts) - min(parts) <= 1


AMOUNTS = st.integers(0, 200)
NAMES = st.sampled_from(["a", "b", "c"])
DUES = st.lists(st.tuples(NAMES, NAMES, AMOUNTS, st.booleans()).filter(lambda due: due[0] != due[1]), max_size=6)
BY_NAME = st.dictionaries(NAMES, AMOUNTS)


@given(DUES, BY_NAME, BY_NAME, BY_NAME)
def test_every_watt_hour_is_delivered_once_and_nothing_is_left_over(
    dues: list[tuple[str, str, int, bool]], fed: dict[str, int], taken: dict[str, int], clean: Any
) -> None:
    listed = [Due(bytes([i]), *due) for i, due in enumerate(dues)]
    found = share_out(listed, Metered(fed, taken, clean))
    for due in listed:
        amounts = found[due.contract]
        assert min(amounts.columns) >= 0
        assert amounts.delivered_wh + amounts.seller_short_wh + amounts.buyer_short_wh <= amounts.due_wh == due.due_wh
    for name in "abc":
        sold = [found[due.contract] for due in listed if due.seller == name]
        bought = [found[due.contract] for due in listed if due.buyer == name]
        if sold:
            assert sum(one.delivered_wh + one.surplus_wh for one in sold) == fed.get(name, 0)
        if bought:
            assert sum(one.delivered_wh + one.extra_wh for one in bought) == taken.get(name, 0)
        green = [found[due.contract].delivered_wh for due in listed if due.seller == name and due.clean_only]
        assert sum(green) <= clean.get(name, 0)


# -- Bills

ANY_AMOUNTS = st.builds(Amounts, *[st.integers(0, 10**12)] * 6)


def in_units(*amounts: int) -> list[Fraction]:
    """Amounts of money in minor units, exactly."""
    return [Fraction(amount, MILLIONTHS) for amount in amounts]


def terms(**changes: Any) -> Terms:
    plain = {"quantity_wh": 100, "price_per_mwh": PER_WH, "penalty_ppm": 200_000, "termination_ppm": 100_000}
    return some_terms(**plain | changes)


def test_what_is_delivered_is_paid() -> None:
    bill = bill_of(terms(), Amounts(100, 100), PRICES)
    assert in_units(bill.seller, bill.buyer, bill.clearing) == [100, -100, 0]


def test_a_seller_who_falls_short_pays_a_penalty_and_the_rest_is_bought_at_the_imbalance_price() -> None:
    bill = bill_of(terms(), Amounts(100, 70, seller_short_wh=30, extra_wh=30), PRICES)
    assert in_units(bill.price, bill.penalty, bill.extra) == [70, 6, 90]
    assert in_units(bill.seller, bill.buyer, bill.clearing) == [64, 6 - 70 - 90, 90]


def test_a_buyer_who_falls_short_pays_it_the_other_way() -> None:
    bill = bill_of(terms(), Amounts(100, 70, buyer_short_wh=30, surplus_wh=30), PRICES)
    assert in_units(bill.seller, bill.buyer, bill.clearing) == [70 + 6 + 90, -76, -90]


def test_what_may_be_missing_costs_no_penalty() -> None:
    amounts, tolerant = Amounts(100, 95, seller_short_wh=5), Prices(0, 50_000)
    assert tolerant.is_fulfilled(amounts) and bill_of(terms(), amounts, tolerant).penalty == 0
    assert not PRICES.is_fulfilled(amounts) and bill_of(terms(), amounts, PRICES).penalty == MILLIONTHS


@pytest.mark.parametrize(("party", "seller"), [(Party.SELLER, 40 - 6), (Party.BUYER, 40 + 6)])
def test_whoever_ends_it_early_pays_for_the_rest(party: Party, seller: int) -> None:
    bill = bill_of(terms(), Amounts(40, 40), PRICES, party)
    assert in_units(bill.seller, bill.buyer) == [seller, -seller]


def test_the_rent_of_a_full_line_follows_what_is_delivered() -> None:
    bill = bill_of(terms(), Amounts(100, 70, buyer_short_wh=30), PRICES, rent_per_mwh=PER_WH // 2)
    assert in_units(bill.price, bill.penalty, bill.rent) == [70, -6, 35]
    assert in_units(bill.seller, bill.buyer, bill.clearing) == [76, -76 - 35, 35]


@given(st.integers(1, QUANTITY_MAX_WH), st.integers(0, PRICE_MAX), st.integers(0, PRICE_MAX))
def test_what_the_market_forms_a_price_by_is_what_the_contract_is_settled_by(
    wh: int, sell_price: int, buy_price: int
) -> None:
    match = Match(cast("Any", None), cast("Any", None), wh, sell_price, buy_price)
    agreed = terms(quantity_wh=wh, price_per_mwh=sell_price)
    bill = bill_of(agreed, Amounts(wh, wh), PRICES, rent_per_mwh=match.rent_per_mwh)
    assert (bill.seller, -bill.buyer) == (price_of(wh, sell_price), price_of(wh, buy_price))
    assert bill.clearing == match.rent


def test_a_contract_costs_what_its_slices_cost() -> None:
    agreed = terms(price_per_mwh=25_000, penalty_ppm=0)
    sliced = [bill_of(agreed, Amounts(19, 19), PRICES) for _ in range(1_000)]
    whole = bill_of(agreed, Amounts(19_000, 19_000), PRICES)
    assert sum(one.price for one in sliced) == whole.price == 475 * MILLIONTHS


def test_the_regulator_s_word_stands_and_every_watt_hour_is_still_paid_once() -> None:
    """The home took 100 Wh: 80 from the turbine, by the ruling, and 20 beyond it. The turbine fed in 10 of its 80."""
    measured = Amounts(100, 10, seller_short_wh=90, extra_wh=90)
    beyond = {"surplus_wh": -70, "extra_wh": 20}
    assert arbitrated(measured, 80, Party.BUYER) == Amounts(100, 80, buyer_short_wh=20, **beyond)
    assert arbitrated(measured, 80, Party.NOBODY) == Amounts(100, 80, **beyond)
    assert arbitrated(measured, 0, Party.SELLER) == Amounts(100, 0, seller_short_wh=100, surplus_wh=10, extra_wh=100)


@given(ANY_AMOUNTS, st.integers(0, 10**12), st.sampled_from(Party))
def test_no_ruling_changes_what_the_meters_measured(measured: Amounts, delivered_wh: int, responsible: Party) -> None:
    ruled = arbitrated(measured, delivered_wh, responsible)
    assert ruled.delivered_wh + ruled.surplus_wh == measured.delivered_wh + measured.surplus_wh
    assert ruled.delivered_wh + ruled.extra_wh == measured.delivered_wh + measured.extra_wh


@given(ANY_AMOUNTS, ANY_AMOUNTS, st.sampled_from(Party), st.integers(0, PRICE_MAX), st.integers(0, PPM))
def test_a_bill_adds_up_to_nothing(now: Amounts, before: Amounts, party: Party, price: int, ppm: int) -> None:
    agreed = terms(price_per_mwh=price, penalty_ppm=ppm, termination_ppm=ppm, quantity_wh=QUANTITY_MAX_WH)
    bill, former = (bill_of(agreed, amounts, PRICES, party, price // 3) for amounts in (now, before))
    change = bill.minus(former)
    assert bill.seller + bill.buyer + bill.clearing == change.seller + change.buyer + change.clearing == 0
    assert bill.minus(bill) == NO_BILL
    assert now.minus(now) == NOTHING


@given(st.data(), st.sampled_from(Party), st.integers(0, PPM))
def test_price_penalty_and_termination_of_the_largest_contract_fit_63_bits(
    data: st.DataObject, party: Party, ppm: int
) -> None:
    """What is delivered, what is missing of what was due, and what was not due yet are the quantity, all together."""
    due_wh = data.draw(st.integers(0, QUANTITY_MAX_WH))
    delivered_wh = data.draw(st.integers(0, due_wh))
    amounts = Amounts(due_wh, delivered_wh, seller_short_wh=due_wh - delivered_wh)
    agreed = terms(price_per_mwh=PRICE_MAX, penalty_ppm=ppm, termination_ppm=ppm, quantity_wh=QUANTITY_MAX_WH)
    bill = bill_of(agreed, amounts, PRICES, party)
    assert bill.price + abs(bill.penalty) + abs(bill.termination) <= QUANTITY_MAX_WH * PRICE_MAX < UINT_MAX
