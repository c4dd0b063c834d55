"""Continuous double auction: quotes meet as they come, by price, then by time.

A new quote takes from those that stand on the other side, the best price first and among equals the oldest first, each
at the price of the one that stood. Quotes that suit the same others (`OpenQuote.agrees_with`) queue together, so what a
new one does not suit is never in its way. Whoever judges matches may leave less of one, or nothing: then the one that
stood keeps its place and its quantity, and is passed over.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from heapq import merge
from typing import Final

from aggregator.economy.market.quotes import MarketKey, Match, OpenQuote
from protocol.quote import Side, TimeInForce
from protocol.refusals import RefusalCode, Refused

MATCHES_MAX: Final = 1000
"""With how many standing quotes a new one may trade at once; what is left of it then stands."""
PASSED_OVER_MAX: Final = 100
"""How many participants a new quote may pass over because the judge leaves less of a match with them."""

_Place = tuple[int, int]
"""Limit, or the limit below 0 of a buyer, and number: the lowest goes first."""
_Kind = tuple[bool, bool, bool]
"""Whether it is clean, or has to be; whether it is only local; whether it is from inside."""
_Row = tuple[Side, str, str]
"""On which side, only for which partner, and of which participant, or of anybody."""

ANYBODY: Final = ""

Judge = Callable[[Match], int]
"""How much of a match may be, in watt-hours; it counts on what it has let pass."""


def _all_of_it(match: Match) -> int:
    return match.quantity_wh


class Book:
    """Open quotes of one carrier for one interval, the best of each side first."""

    def __init__(self) -> None:
        """Nobody has quoted."""
        self._rows: dict[_Row, dict[_Kind, list[_Place]]] = {}
        self._quotes: dict[int, OpenQuote] = {}

    def __len__(self) -> int:
        return len(self._quotes)

    def side(self, side: Side) -> list[OpenQuote]:
        """What stands on a side, the best first."""
        return sorted((one for one in self._quotes.values() if one.side is side), key=_place)

    def put(self, quote: OpenQuote) -> None:
        """Let a quote stand, or change what is left of one."""
        if quote.number not in self._quotes:
            kind, place = _kind(quote), _place(quote)
            for row in _rows(quote):
                insort(self._rows.setdefault(row, {}).setdefault(kind, []), place)
        self._quotes[quote.number] = quote

    def remove(self, number: int) -> None:
        """Take out a quote that stands."""
        quote = self._quotes.pop(number)
        kind, place = _kind(quote), _place(quote)
        for row in _rows(quote):
            queues = self._rows[row]
            del queues[kind][bisect_left(queues[kind], place)]
            if not queues[kind]:
                del queues[kind]
            if not queues:
                del self._rows[row]

    def matches(self, quote: OpenQuote, judge: Judge = _all_of_it) -> list[Match]:
        """What a quote that comes now would trade, in order. Nothing is changed.

        Raises:
            Refused: it would trade with its own participant.
        """
        found, left = list[Match](), quote.quantity_wh
        is_sell = quote.side is Side.SELL
        best = -quote.limit if is_sell else quote.limit
        passed_over = set[str]()
        queues = [queue for queue in self._suiting(quote) if queue[0][0] <= best]
        for rank, number in queues[0] if len(queues) == 1 else merge(*queues):
            if rank > best or len(found) == MATCHES_MAX or len(passed_over) == PASSED_OVER_MAX:
                break
            other = self._quotes[number]
            if other.participant in passed_over:
                continue
            if other.participant == quote.participant:
                detail = f"{quote.participant} would trade with themselves, by quote {number}: cancel it first"
                raise Refused(RefusalCode.CROSSES_ITSELF, detail)
            sell, buy = (quote, other) if is_sell else (other, quote)
            wanted = min(left, other.quantity_wh)
            match = Match(sell, buy, wanted, other.limit, other.limit)
            allowed = judge(match)
            if allowed < wanted:
                passed_over.add(other.participant)
                if not allowed:
                    continue
                match = Match(sell, buy, allowed, other.limit, other.limit)
            found.append(match)
            left -= allowed
            if not left:
                break
        return found

    def _suiting(self, quote: OpenQuote) -> Iterator[list[_Place]]:
        """The queues of those that suit a quote, prices aside."""
        is_buy, other, wish = quote.side is Side.BUY, quote.side.other, _kind(quote)
        for partner in (ANYBODY, quote.participant):
            if queues := self._rows.get((other, partner, quote.partner)):
                for kind, places in queues.items():
                    if _suit(kind, wish) if is_buy else _suit(wish, kind):
                        yield places


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


def trade(book: Book, quote: OpenQuote, time_in_force: TimeInForce, judge: Judge = _all_of_it) -> list[Match]:
    """What a quote trades at once, by its time in force. Nothing is changed.

    Raises:
        Refused: it would trade with its own participant, or is to be filled at once and cannot.
    """
    matches = book.matches(quote, judge)
    if time_in_force is TimeInForce.GOOD_TILL_CANCELLED:
        return matches
    traded = sum(match.quantity_wh for match in matches)
    if traded < (quote.quantity_wh if time_in_force is TimeInForce.FILL_OR_KILL else 1):
        raise Refused(RefusalCode.NOT_FILLED, f"{traded} Wh of {quote.quantity_wh} Wh could be had at once")
    return matches


def _place(quote: OpenQuote) -> _Place:
    return (quote.limit if quote.side is Side.SELL else -quote.limit), quote.number


def _kind(quote: OpenQuote) -> _Kind:
    return quote.is_clean or quote.clean_only, quote.is_local, quote.is_inside


def _rows(quote: OpenQuote) -> tuple[_Row, _Row]:
    """Where a quote queues: beside those of anybody, and beside those of its own participant."""
    return (quote.side, quote.partner, ANYBODY), (quote.side, quote.partner, quote.participant)


def _suit(sell: _Kind, buy: _Kind) -> bool:
    """Whether quotes of two kinds suit each other, prices and partners aside: see `OpenQuote.agrees_with`."""
    is_clean, is_sell_local, is_seller_inside = sell
    clean_only, is_buy_local, is_buyer_inside = buy
    return (
        (is_clean or not clean_only)
        and (is_seller_inside or not is_buy_local)
        and (is_buyer_inside or not is_sell_local)
    )
