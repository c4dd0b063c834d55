"""Continuous trading: the best price first, then the oldest; at the price of the quote that stood."""

from __future__ import annotations

import pytest

from aggregator.economy.market.book import MATCHES_MAX, PASSED_OVER_MAX, Book, Books, trade
from aggregator.economy.market.quotes import Match, OpenQuote
from protocol.quote import Side, TimeInForce
from protocol.refusals import RefusalCode, Refused
from tests.market import a_buy, a_sell, fill

GTC, IOC, FOK = TimeInForce


def a_book(*quotes: OpenQuote) -> Book:
    book = Book()
    for quote in quotes:
        book.put(quote)
    return book


def traded(book: Book, quote: OpenQuote, time_in_force: TimeInForce = GTC) -> list[tuple[int, int, int]]:
    """With whom, how much, and at which price."""
    matches = trade(book, quote, time_in_force)
    assert all(match.sell_price == match.buy_price for match in matches)
    sides = [match.sell if quote.side is Side.BUY else match.buy for match in matches]
    return [(other.number, match.quantity_wh, match.sell_price) for other, match in zip(sides, matches, strict=True)]


def test_the_cheapest_seller_goes_first_and_among_equals_the_oldest() -> None:
    book = a_book(a_sell(1, 500, 26_000), a_sell(2, 500, 24_000), a_sell(3, 500, 24_000))
    assert traded(book, a_buy(9, 1200, 26_000)) == [(2, 500, 24_000), (3, 500, 24_000), (1, 200, 26_000)]


def test_the_best_buyer_goes_first() -> None:
    book = a_book(a_buy(1, 500, 20_000), a_buy(2, 500, 24_000))
    assert traded(book, a_sell(9, 600, 20_000)) == [(2, 500, 24_000), (1, 100, 20_000)]


def test_whoever_stood_names_the_price() -> None:
    assert traded(a_book(a_sell(1, 1000, 20_000)), a_buy(2, 1000, 30_000)) == [(1, 1000, 20_000)]
    assert traded(a_book(a_buy(1, 1000, 30_000)), a_sell(2, 1000, 20_000)) == [(1, 1000, 30_000)]


def test_nobody_trades_beyond_their_limit() -> None:
    assert traded(a_book(a_sell(1, 1000, 20_001)), a_buy(2, 1000, 20_000)) == []


def test_what_is_left_of_a_quote_keeps_its_place() -> None:
    book = a_book(a_sell(1, 1000, 20_000), a_sell(2, 1000, 20_000))
    incoming = a_buy(3, 400, 20_000)
    (match,) = trade(book, incoming, GTC)
    fill(book, match, incoming)
    assert traded(book, a_buy(4, 700, 20_000)) == [(1, 600, 20_000), (2, 100, 20_000)]


def test_what_is_filled_stands_no_longer() -> None:
    book = a_book(a_sell(1, 1000, 20_000))
    incoming = a_buy(3, 1000, 20_000)
    (match,) = trade(book, incoming, GTC)
    fill(book, match, incoming)
    assert len(book) == 0


@pytest.mark.parametrize("time_in_force", [IOC, FOK])
def test_what_is_to_be_filled_at_once_is_refused_where_nobody_is_there(time_in_force: TimeInForce) -> None:
    with pytest.raises(Refused) as refused:
        trade(Book(), a_buy(2, 1000, 20_000), time_in_force)
    assert refused.value.code is RefusalCode.NOT_FILLED


def test_fill_or_kill_takes_all_or_nothing() -> None:
    book = a_book(a_sell(1, 999, 20_000))
    with pytest.raises(Refused) as refused:
        trade(book, a_buy(2, 1000, 20_000), FOK)
    assert refused.value.code is RefusalCode.NOT_FILLED
    assert traded(book, a_buy(2, 999, 20_000), FOK) == [(1, 999, 20_000)]
    assert traded(book, a_buy(2, 1000, 20_000), IOC) == [(1, 999, 20_000)]


def test_nobody_trades_with_themselves() -> None:
    book = a_book(a_sell(1, 1000, 20_000, participant="annia"))
    with pytest.raises(Refused) as refused:
        trade(book, a_buy(2, 1000, 20_000, participant="annia"), GTC)
    assert refused.value.code is RefusalCode.CROSSES_ITSELF


def test_whoever_wants_clean_energy_passes_over_the_rest() -> None:
    book = a_book(a_sell(1, 1000, 10_000), a_sell(2, 1000, 20_000, is_clean=True))
    assert traded(book, a_buy(3, 1000, 30_000, clean_only=True)) == [(2, 1000, 20_000)]
    assert traded(book, a_buy(3, 1000, 30_000)) == [(1, 1000, 10_000)]


@pytest.mark.parametrize("asks", ["seller", "buyer"])
def test_a_local_quote_does_not_trade_with_the_network_outside(asks: str) -> None:
    book = a_book(a_sell(1, 1000, 10_000, is_inside=asks == "seller", is_local=asks == "seller"))
    assert traded(book, a_buy(2, 1000, 30_000, is_inside=asks == "buyer", is_local=asks == "buyer")) == []
    assert traded(book, a_buy(2, 1000, 30_000, is_inside=asks == "seller")) == [(1, 1000, 10_000)]


def test_a_partner_is_waited_for_from_either_side() -> None:
    book = a_book(a_sell(1, 1000, 10_000, participant="annia", partner="bert"))
    assert traded(book, a_buy(2, 1000, 30_000, participant="cleo")) == []
    assert traded(book, a_buy(2, 1000, 30_000, participant="bert")) == [(1, 1000, 10_000)]
    assert traded(book, a_buy(2, 1000, 30_000, participant="bert", partner="cleo")) == []


def test_a_thousand_quotes_for_one_partner_hide_nobody_behind_them() -> None:
    book = a_book(*(a_sell(n, 1, 10_000, partner="nobody") for n in range(1, 1101)))
    book.put(a_sell(1101, 1, 10_001))
    assert traded(book, a_buy(1102, 1, 30_000)) == [(1101, 1, 10_001)]


@pytest.mark.parametrize(
    ("in_the_way", "wish"),
    [
        ({}, {"clean_only": True}),
        ({"is_inside": False}, {"is_local": True}),
        ({"is_local": True}, {"is_inside": False}),
    ],
    ids=["not clean", "outside", "local"],
)
def test_what_suits_nobody_like_the_new_one_is_not_in_its_way(
    in_the_way: dict[str, bool], wish: dict[str, bool]
) -> None:
    book = a_book(*(a_sell(n, 1, 10_000, **in_the_way) for n in range(1, 1101)))
    book.put(a_sell(1101, 1, 10_001, is_clean=True))
    assert traded(book, a_buy(1102, 1, 30_000, **wish)) == [(1101, 1, 10_001)]


def test_whoever_asks_for_one_partner_finds_them_behind_all_others() -> None:
    book = a_book(*(a_sell(n, 1, 10_000) for n in range(1, 1101)))
    book.put(a_sell(1101, 1, 10_001, participant="annia"))
    assert traded(book, a_buy(1102, 1, 30_000, partner="annia")) == [(1101, 1, 10_001)]


def test_nobody_trades_with_more_than_so_many_at_once() -> None:
    book = a_book(*(a_sell(n, 1, 10_000) for n in range(1, MATCHES_MAX + 2)))
    assert len(traded(book, a_buy(MATCHES_MAX + 2, 2 * MATCHES_MAX, 30_000))) == MATCHES_MAX


def test_what_the_judge_does_not_let_pass_is_passed_over_and_keeps_its_place() -> None:
    book = a_book(a_sell(1, 500, 10_000, participant="annia"), a_sell(2, 500, 10_000, participant="annia"))
    book.put(a_sell(3, 500, 20_000, participant="bert"))
    left = {"annia": 300, "bert": 10**6}

    def judge(match: Match) -> int:
        return min(match.quantity_wh, left[match.sell.participant])

    incoming = a_buy(4, 600, 30_000)
    matches = book.matches(incoming, judge)
    assert [(match.sell.number, match.quantity_wh) for match in matches] == [(1, 300), (3, 300)]
    assert [one.number for one in book.side(Side.SELL)] == [1, 2, 3]
    with pytest.raises(Refused) as refused:
        trade(book, a_buy(5, 1100, 30_000), FOK, judge)
    assert refused.value.code is RefusalCode.NOT_FILLED


def test_the_judge_is_not_asked_without_end() -> None:
    book = a_book(*(a_sell(n, 1, 10_000) for n in range(1, PASSED_OVER_MAX + 10)))
    asked = []

    def judge(match: Match) -> int:
        asked.append(match)
        return 0

    assert not book.matches(a_buy(10_000, 5, 30_000), judge)
    assert len(asked) == PASSED_OVER_MAX


def test_other_carriers_and_other_intervals_are_other_books() -> None:
    books = Books()
    heat = a_sell(1, 1000, 10_000, carrier="heat")
    books.put(heat)
    books.put(a_sell(2, 1000, 10_000))
    assert [quote.number for quote in books.of(heat.market).side(Side.SELL)] == [1]
    books.remove(heat)
    assert len(books.of(heat.market)) == 0
    assert books.markets() == [("electricity", heat.start_ms)]
