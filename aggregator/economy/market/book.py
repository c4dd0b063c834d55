"""Continuous double auction: quotes meet as they come, by price, then by time.

A new quote takes from those that stand on the other side, the best price first and among equals the oldest first, each
at the price of the one that stood. What does not suit it (`OpenQuote.agrees_with`) is passed over. So after every quote
no two that suit each other could still trade, as far as `LOOKED_AT_MAX` reaches.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import replace
from typing import Final

from aggregator.economy.market.quotes import MarketKey, Match, OpenQuote
from protocol.quote import Side, TimeInForce
from protocol.refusals import RefusalCode, Refused

LOOKED_AT_MAX: Final = 1000
"""How many standing quotes a new one is held against: some suit nobody, and might stand in everybody's way."""

_Place = tuple[int, int]
"""Limit, or the limit below 0 of a buyer, and number: the lowest goes first."""


class Book:
    """Open quotes of one carrier for one interval, the best of each side first."""

    def __init__(self) -> None:
        """Nobody has quoted."""
        self._places: dict[Side, list[_Place]] = {Side.SELL: [], Side.BUY: []}
        self._quotes: dict[int, OpenQuote] = {}

    def __len__(self) -> int:
        return len(self._quotes)

    def side(self, side: Side) -> list[OpenQuote]:
        """What stands on a side, the best first."""
        return [self._quotes[number] for _, number in self._places[side]]

    def put(self, quote: OpenQuote) -> None:
        """Let a quote stand, or change what is left of one."""
        if quote.number not in self._quotes:
            insort(self._places[quote.side], _place(quote))
        self._quotes[quote.number] = quote

    def remove(self, number: int) -> None:
        """Take out a quote that stands."""
        quote = self._quotes.pop(number)
        places = self._places[quote.side]
        del places[bisect_left(places, _place(quote))]

    def matches(self, quote: OpenQuote) -> list[Match]:
        """What a quote that comes now would trade, in order. Nothing is changed.

        Raises:
            Refused: it would trade with its own participant.
        """
        found, left = list[Match](), quote.quantity_wh
        is_sell = quote.side is Side.SELL
        best = -quote.limit if is_sell else quote.limit
        for looked_at, (rank, number) in enumerate(self._places[quote.side.other]):
            if rank > best or looked_at == LOOKED_AT_MAX:
                break
            other = self._quotes[number]
            if not other.agrees_with(quote):
                continue
            if other.participant == quote.participant:
                detail = f"{quote.participant} would trade with themselves, by quote {number}: cancel it first"
                raise Refused(RefusalCode.CROSSES_ITSELF, detail)
            traded = min(left, other.quantity_wh)
            sell, buy = (quote, other) if is_sell else (other, quote)
            found.append(Match(sell, buy, traded, other.limit, other.limit))
            left -= traded
            if not left:
                break
        return found

    def take(self, match: Match, incoming: OpenQuote) -> None:
        """Let a match take from the quote that stood."""
        stood = match.buy if incoming.number == match.sell.number else match.sell
        left = stood.quantity_wh - match.quantity_wh
        if left:
            self._quotes[stood.number] = replace(stood, quantity_wh=left)
        else:
            self.remove(stood.number)


class Books:
    """All open quotes of a region."""

    def __init__(self) -> None:
        """Nobody has quoted."""
        self._books: dict[MarketKey, Book] = {}

    def put(self, quote: OpenQuote) -> None:
        """Let a quote stand, or change what is left of one."""
        self._books.setdefault(quote.market, Book()).put(quote)

    def remove(self, quote: OpenQuote) -> None:
        """Take out a quote that stands."""
        book = self._books[quote.market]
        book.remove(quote.number)
        if not book:
            del self._books[quote.market]

    def of(self, market: MarketKey) -> Book:
        """What stands in one market."""
        return self._books.get(market) or Book()

    def markets(self) -> list[MarketKey]:
        """Where quotes stand, by carrier and interval."""
        return sorted(self._books)


def trade(book: Book, quote: OpenQuote, time_in_force: TimeInForce) -> list[Match]:
    """What a quote trades at once, by its time in force. Nothing is changed.

    Raises:
        Refused: it would trade with its own participant, or is to be filled at once and cannot.
    """
    matches = book.matches(quote)
    traded = sum(match.quantity_wh for match in matches)
    needed = {TimeInForce.FILL_OR_KILL: quote.quantity_wh, TimeInForce.IMMEDIATE_OR_CANCEL: 1}.get(time_in_force, 0)
    if traded < needed:
        raise Refused(RefusalCode.NOT_FILLED, f"{traded} Wh of {quote.quantity_wh} Wh could be had at once")
    return matches


def _place(quote: OpenQuote) -> _Place:
    return (quote.limit if quote.side is Side.SELL else -quote.limit), quote.number
