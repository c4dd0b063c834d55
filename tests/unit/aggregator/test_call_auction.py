"""Call auctions without a network: where supply meets demand, at one price."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from aggregator.economy.market.call import cross
from aggregator.economy.market.quotes import OpenQuote
from protocol.quote import Side
from tests.market import a_buy, a_sell
from tests.vector_files import read_vectors

BOOK = read_vectors("market/call_auction.yaml")


def the_book_of_the_textbook() -> list[OpenQuote]:
    """Megawatts over an hour as watt-hours; dollars as minor units of cents."""
    rows: list[Any] = [(Side.SELL, row) for row in BOOK["offers"]] + [(Side.BUY, row) for row in BOOK["bids"]]
    made = {Side.SELL: a_sell, Side.BUY: a_buy}
    return [
        made[side](number, megawatts * 10**6, price * 100, participant=who)
        for number, (side, (who, megawatts, price)) in enumerate(rows, start=1)
    ]


def test_the_textbook_s_exchange_clears_at_the_textbook_s_price_and_quantity() -> None:
    quotes = the_book_of_the_textbook()
    crossing = cross(quotes)
    assert crossing.price == BOOK["price"] * 100
    volumes: dict[Side, Counter[str]] = {Side.SELL: Counter(), Side.BUY: Counter()}
    for quote in quotes:
        volumes[quote.side][quote.participant] += crossing.fills_wh.get(quote.number, 0) // 10**6
    assert +volumes[Side.SELL] == BOOK["sold"]
    assert +volumes[Side.BUY] == BOOK["bought"]
    assert sum(volumes[Side.SELL].values()) == BOOK["quantity"]


@pytest.mark.parametrize(
    ("quotes", "low", "high", "price"),
    [
        ([a_sell(1, 10, 100), a_buy(2, 10, 200)], 100, 200, 150),
        ([a_sell(1, 20, 100), a_buy(2, 10, 200)], 100, 100, 100),
        ([a_sell(1, 10, 100), a_buy(2, 20, 200)], 200, 200, 200),
        ([a_sell(1, 10, 100), a_buy(2, 10, 201)], 100, 201, 150),
        ([a_sell(1, 10, 100), a_sell(3, 10, 120), a_buy(2, 10, 200)], 100, 120, 110),
        ([a_sell(1, 10, 100), a_buy(2, 10, 200), a_buy(3, 10, 180)], 180, 200, 190),
        ([a_sell(1, 10, 200), a_buy(2, 10, 100)], 100, 200, 150),
    ],
    ids=["both", "seller", "buyer", "half to even", "next seller", "next buyer", "nothing crosses"],
)
def test_the_price_is_in_the_middle_of_those_at_which_everybody_trades_as_they_like(
    quotes: list[OpenQuote], low: int, high: int, price: int
) -> None:
    crossing = cross(quotes)
    assert (crossing.low, crossing.high, crossing.price) == (low, high, price)


def test_of_equals_the_older_is_filled() -> None:
    assert cross([a_sell(2, 10, 100), a_sell(1, 10, 100), a_buy(3, 10, 100)]).fills_wh == {1: 10, 3: 10}


def test_without_quotes_nothing_is_traded() -> None:
    assert cross([]).fills_wh == {}
    assert cross([a_sell(1, 10, 100)]).price == 100
