"""How people quote: between what they get and pay without a market, by plenty and need, the same for the same seed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings.fleet import FleetSettings
from firmware_sim.demo.market.strategies import (
    BUYERS_MAX,
    MOOD_PER_MWH,
    SELLERS_MAX,
    Trader,
    quote_of,
    round_of,
    traders_of,
)
from firmware_sim.rules import FEED_IN_PER_MWH, RETAIL_PER_MWH
from firmware_sim.scenario import compose

ROOF = Trader(participant="anna", meter="m-anna", power_max_w=10_000)
QUARTER_MS = 900_000

powers = st.integers(min_value=-12_000, max_value=12_000)
moods = st.integers(min_value=-MOOD_PER_MWH, max_value=MOOD_PER_MWH)


def price(power_w: int, mood: int = 0) -> int:
    quote = quote_of(ROOF, power_w, mood, start_ms=0, interval_ms=QUARTER_MS)
    assert quote is not None
    return quote.price_per_mwh


@given(powers, moods)
def test_nobody_quotes_what_the_network_outside_does_better(power_w: int, mood: int) -> None:
    quote = quote_of(ROOF, power_w, mood, start_ms=0, interval_ms=QUARTER_MS)
    assert quote is None or FEED_IN_PER_MWH <= quote.price_per_mwh <= RETAIL_PER_MWH


@given(powers, moods)
def test_nobody_promises_more_than_they_did(power_w: int, mood: int) -> None:
    quote = quote_of(ROOF, power_w, mood, start_ms=0, interval_ms=QUARTER_MS)
    assert quote is None or 4 * quote.quantity_wh <= abs(power_w)


def test_whoever_feeds_in_sells_and_whoever_uses_buys() -> None:
    sale, purchase = (quote_of(ROOF, power_w, 0, start_ms=0, interval_ms=QUARTER_MS) for power_w in (-4_000, 4_000))
    assert sale and purchase and sale.is_sale and not purchase.is_sale
    assert (sale.quantity_wh, purchase.quantity_wh) == (900, 900)


@pytest.mark.parametrize("more_w", [2_000, 5_000, 9_000])
def test_plenty_makes_it_cheaper_and_need_dearer(more_w: int) -> None:
    assert price(-more_w) < price(-1_000) and price(more_w) > price(1_000)


def test_who_has_nothing_worth_a_watt_hour_does_not_quote() -> None:
    assert quote_of(ROOF, 3, 0, start_ms=0, interval_ms=QUARTER_MS) is None


def a_round(seed: int = 1, number: int = 1) -> Any:
    traders = traders_of(compose(FleetSettings(meters=30, market=True)).connections)
    people = {one.participant: {"power_w": -4_000 if place % 2 else 3_000} for place, one in enumerate(traders)}
    return round_of(traders, people, start_ms=60_000, interval_ms=5_000, seed=seed, number=number)


def test_a_round_is_the_same_for_the_same_seed_and_another_for_another() -> None:
    assert a_round() == a_round()
    assert a_round() != a_round(seed=2) != a_round(seed=2, number=2)


def test_a_round_is_bounded_and_has_both_sides() -> None:
    quotes = a_round()
    sellers = [quote for quote in quotes if quote.is_sale]
    assert (len(sellers), len(quotes) - len(sellers)) == (SELLERS_MAX, BUYERS_MAX)


def test_whoever_has_a_part_of_their_own_does_not_quote() -> None:
    traders = traders_of(compose(FleetSettings(meters=12, market=True)).connections)
    assert {"villa", "workshop", "weir", "gas", "grid-operator"}.isdisjoint(one.participant for one in traders)
