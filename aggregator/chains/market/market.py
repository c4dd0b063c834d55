"""The market's part of the operation chain: quotes stand, meet, and become the terms of contracts.

In continuous trading a quote meets those that stand when its block takes effect, in the order of the block. In call
auctions quotes wait until the gate of their interval closes; then a compute node signs a clearing, which every node
verifies by duality (`aggregator.economy.market.clearing`). Each match leaves a leaf with the terms of its contract; the
signatures under the two quotes, which the leaf names, stand in for those under an offer and its agreement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from aggregator.chains.market.clearing import ClearingResult
from aggregator.chains.market.quoting import (
    is_gate_closed,
    judged,
    judged_again,
    market_of,
    open_quote,
    see_credit_beside,
    see_room_beside,
    terms_of,
)
from aggregator.chains.market.rows import (
    Deal,
    MarketTotals,
    Spent,
    Traded,
    read_quote,
    read_spent,
    read_taken,
    spell_quote,
    spell_spent,
    spell_taken,
)
from aggregator.chains.market.standing import Standing
from aggregator.chains.market.verdicts import Verdicts, matched
from aggregator.chains.region import Region
from aggregator.economy.market.book import Books
from aggregator.economy.market.clearing import Auction, Taken, verify
from aggregator.economy.market.pairing import pair
from aggregator.economy.market.quotes import MarketKey, Match, OpenQuote
from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Record
from aggregator.ledger.table import Journal, Table, WatchedTable, flat
from config.rules import MarketRule, Mechanism
from protocol.contract import Terms
from protocol.quote import Quote, QuoteCancel, Side, TimeInForce
from protocol.refusals import RefusalCode, Refused

QUOTES_TABLE: Final = 45
MARKET_TOTALS_TABLE: Final = 46
TRADED_TABLE: Final = 47
SPENT_TABLE: Final = 48
TAKEN_TABLE: Final = 49


class Market:
    """Quotes that stand, and what became of the others."""

    def __init__(self, journal: Journal, region: Callable[[], Region], verdicts: Verdicts) -> None:
        """Nobody has quoted."""
        self._region = region
        self._verdicts = verdicts
        self._books = Books()
        self._standing = Standing()
        self.quotes: WatchedTable[bytes, OpenQuote] = WatchedTable(
            QUOTES_TABLE, journal, spell=spell_quote, read=read_quote, watch=self._keep_in_books
        )
        """By digest."""
        spell, read = flat(MarketTotals)
        self._totals: Table[int, MarketTotals] = Table(MARKET_TOTALS_TABLE, journal, spell=spell, read=read)
        spell_traded, read_traded = flat(Traded)
        self.traded: Table[tuple[str, int], Traded] = Table(TRADED_TABLE, journal, spell=spell_traded, read=read_traded)
        self._spent: Table[str, Spent] = Table(SPENT_TABLE, journal, spell=spell_spent, read=read_spent)
        """By participant; forgotten with the interval."""
        self._taken: Table[int, tuple[Taken, ...]] = Table(TAKEN_TABLE, journal, spell=spell_taken, read=read_taken)
        """By interval of delivery: what contracts had of lines when the gate of its auction closed."""
        self.tables: Mapping[int, Table[Any, Any]] = {
            QUOTES_TABLE: self.quotes,
            MARKET_TOTALS_TABLE: self._totals,
            TRADED_TABLE: self.traded,
            SPENT_TABLE: self._spent,
            TAKEN_TABLE: self._taken,
        }

    @property
    def totals(self) -> MarketTotals:
        """Counts since genesis."""
        return self._totals.get(0) or MarketTotals()

    @property
    def books(self) -> Books:
        """What stands, by carrier and interval, the best first."""
        return self._books

    def begin_block(self, block: BlockTime) -> None:
        """Let quotes lapse whose time is over, or that were made for another mechanism, or a market that has ended."""
        if not self.quotes and not self._taken:
            return
        rule = self._region().rules.market
        if rule is None or rule.mechanism.value != self.totals.mechanism:
            self._drop([quote for _, quote in self.quotes.items()])
            self._forget_taken()
            return
        if rule.price_max < self.totals.price_max:
            self._drop([quote for _, quote in self.quotes.items() if quote.limit > rule.price_max])
            self._totals.put(0, replace(self.totals, price_max=rule.price_max))
        for carrier, start_ms in self._books.markets():
            ends_ms = start_ms if rule.mechanism is Mechanism.CALL else start_ms - rule.gate_ms
            if block.time_ms >= ends_ms:
                self._drop(self._quotes_in((carrier, start_ms)))
            elif is_gate_closed(start_ms, rule, block.time_ms):
                self._judge_again((carrier, start_ms))
                if start_ms not in self._taken:
                    self._taken.put(start_ms, self._verdicts.taken_w(self._region(), start_ms))
        self._forget_taken()

    def close_interval(self, end_ms: int) -> None:
        """Forget what was traded for intervals that analysis has closed."""
        for key in [key for key in self.traded if key[1] < end_ms]:
            self.traded.remove(key)
        for who, spent in list(self._spent.items()):
            left = tuple(row for row in spent if row[0] >= end_ms)
            if left != spent:
                self._spent.put_or_drop(who, left, is_kept=bool(left))

    def quote(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Let a quote trade what it can at once, and stand with the rest, if it is one that stands.

        Raises:
            Refused: see the codes 50, 51, 120 to 124, 127 to 129, 150 to 159, and 165.
        """
        asked: Quote = record.message
        region, rule = self._region(), market_of(self._region())
        quote = open_quote(asked, record.author.name, region, block.time_ms)
        quote = replace(quote, number=self.totals.quotes + 1, digest=record.envelope.digest)
        quote = judged(quote, region, self._standing, self._verdicts)
        self._see_share(quote.participant, region, rule)
        if rule.mechanism is Mechanism.CALL:
            if self._standing.is_opposite(quote):
                detail = f"{quote.participant} is on the other side of the auction for {quote.start_ms}"
                raise Refused(RefusalCode.CROSSES_ITSELF, detail)
            self._number(rule)
            self.quotes.put(quote.digest, quote)
            return ()
        matches, leaves = matched(
            self._books.of(quote.market), quote, asked.time_in_force, self._verdicts.trial(region)
        )
        self._number(rule)
        left_wh = quote.quantity_wh - sum(match.quantity_wh for match in matches)
        for match in matches:
            self._fill(match.buy if quote.side is Side.SELL else match.sell, match.quantity_wh)
        if matches:
            self._spend(quote)
        if left_wh and asked.time_in_force is TimeInForce.GOOD_TILL_CANCELLED:
            self.quotes.put(quote.digest, replace(quote, quantity_wh=left_wh))
        return [*leaves, *self._settle(matches, block)]

    def cancel(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Take back what is left of a quote.

        Raises:
            Refused: it does not stand, is another's, or waits for an auction whose gate has closed.
        """
        cancel: QuoteCancel = record.message
        rule, quote = market_of(self._region()), self.quotes.get(cancel.quote)
        if quote is None:
            raise Refused(RefusalCode.NO_SUCH_QUOTE, f"no quote {cancel.quote.hex()[:16]}… stands")
        if quote.gateway != record.author.name:
            raise Refused(RefusalCode.NOT_THEIR_QUOTE, f"quote {quote.number} is signed by {quote.gateway}")
        if is_gate_closed(quote.start_ms, rule, block.time_ms):
            raise Refused(RefusalCode.GATE_CLOSED, f"quote {quote.number} is in the auction that is cleared next")
        self.quotes.remove(cancel.quote)
        self._count(cancelled=1)
        return ()

    def due_clearing(self, time_ms: int) -> int | None:
        """Start of the interval whose auction is to be cleared next, if a gate has closed by then."""
        rule = self._region().rules.market if self.quotes else None
        if rule is None or rule.mechanism is not Mechanism.CALL:
            return None
        starts = [start_ms for _, start_ms in self._books.markets() if is_gate_closed(start_ms, rule, time_ms)]
        return min(starts, default=None)

    def next_gate_ms(self) -> int | None:
        """When the next gate closes behind quotes that wait, which a block has to see."""
        rule = self._region().rules.market if self.quotes else None
        starts = [start_ms for _, start_ms in self._books.markets()]
        return min(starts) - rule.gate_ms if rule is not None and starts else None

    def see_unquoted(self, terms: Terms) -> None:
        """See that an agreement promises nothing that its parties quote, nor what an auction is cleared of just now.

        Raises:
            Refused: it does (152, 167).
        """
        if any(terms.start_ms <= start_ms < terms.end_ms for start_ms in self._taken):
            raise Refused(RefusalCode.GATE_CLOSED, "an auction in this window is about to be cleared: agree again then")
        region = self._region()
        see_room_beside(terms, self._standing, partial(self._verdicts.free, region), region.rules.time.interval_ms)
        see_credit_beside(terms, self._standing, self._verdicts.credit_left(terms.buyer))

    def auction(self, start_ms: int) -> Auction:
        """All that stands for an interval, and the network that it has to pass through."""
        region = self._region()
        markets = [market for market in self._books.markets() if market[1] == start_ms]
        quotes = [quote for market in markets for quote in self._quotes_in(market)]
        ordered = tuple(sorted(quotes, key=lambda quote: quote.number))
        taken = self._taken.get(start_ms)
        if taken is None:
            taken = self._verdicts.taken_w(region, start_ms)
        return Auction(region.traded_network, region.rules.time.interval_ms, ordered, taken)

    def vet(self, result: ClearingResult, time_ms: int | None = None) -> Auction:
        """See that a clearing is the one that comes next, and right.

        Args:
            result: what a compute node has signed.
            time_ms: by which the auction's gate has to be closed; none where only the rest is asked.

        Raises:
            Refused: it is not.
        """
        market_of(self._region())
        due = self.due_clearing(result.start_ms if time_ms is None else time_ms)
        if due != result.start_ms:
            raise Refused(RefusalCode.OUT_OF_TURN, f"the auction due is {due}, not the one for {result.start_ms}")
        auction = self.auction(due)
        verify(auction, result.clearing)
        return auction

    def clear(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Let the quotes of an interval trade as a clearing says; what is left of them lapses.

        Raises:
            Refused: it is not due, or not right: see the codes 70 and 162 to 164.
        """
        result: ClearingResult = record.message
        auction = self.vet(result, block.time_ms)
        matches = list(pair(auction, result.clearing, market_of(self._region()).pricing))
        fills = zip(auction.quotes, result.clearing.fills_wh, strict=True)
        filled = 0
        for quote, fill_wh in fills:
            filled += fill_wh == quote.quantity_wh
            if fill_wh:
                self._spend(quote)
        for quote in auction.quotes:
            self.quotes.remove(quote.digest)
        self._taken.remove(result.start_ms)
        self._count(cleared=1, lapsed=len(auction.quotes) - filled)
        return self._settle(matches, block)

    def broken_invariants(self) -> Iterable[str]:
        """What stands is worth standing, and is in the books once."""
        for digest, quote in self.quotes.items():
            if quote.digest != digest or not 0 < quote.number <= self.totals.quotes or quote.quantity_wh <= 0:
                yield f"quote {quote.number} stands with {quote.quantity_wh} Wh"
        standing = sum(len(self._books.of(market)) for market in self._books.markets())
        if standing != len(self.quotes):
            yield f"{standing} quotes are in the books, {len(self.quotes)} stand"

    def _see_share(self, who: str, region: Region, rule: MarketRule) -> None:
        share, spent = max(1, rule.quotes_max // len(region.participants)), self._spent.get(who) or ()
        used = self._standing.number_of(who) + sum(count for _, count in spent)
        if used >= share:
            raise Refused(RefusalCode.BOOK_FULL, f"{used} quotes of {who} stand, or have traded lately: a full share")

    def _spend(self, quote: OpenQuote) -> None:
        """Count a quote that has traded against its participant's share until its interval is closed."""
        spent = dict(self._spent.get(quote.participant) or ())
        spent[quote.start_ms] = spent.get(quote.start_ms, 0) + 1
        self._spent.put(quote.participant, tuple(sorted(spent.items())))

    def _settle(self, matches: Iterable[Match], block: BlockTime) -> list[bytes]:
        leaves = list[bytes]()
        for match in matches:
            number = self.totals.matches + 1
            deal = Deal(number, match, terms_of(match, number, self._region()))
            self._count(matches=1, traded_wh=match.quantity_wh, rent=match.rent)
            self._note(match, block)
            leaves.append(deal.leaf)
            leaves += self._verdicts.agreed(deal, block)
        return leaves

    def _note(self, match: Match, block: BlockTime) -> None:
        key, price = match.sell.market, match.sell_price
        before = self.traded.get(key) or Traded(0, 0, price, price, price, 0)
        self.traded.put(key, before.after(match, block.height))

    def _fill(self, stood: OpenQuote, quantity_wh: int) -> None:
        left = replace(stood, quantity_wh=stood.quantity_wh - quantity_wh)
        self.quotes.put_or_drop(stood.digest, left, is_kept=left.quantity_wh > 0)
        if not left.quantity_wh:
            self._spend(stood)

    def _quotes_in(self, market: MarketKey) -> list[OpenQuote]:
        book = self._books.of(market)
        return [quote for side in Side for quote in book.side(side)]

    def _forget_taken(self) -> None:
        """Forget what contracts had of lines where no auction waits any more."""
        for start_ms in sorted(set(self._taken) - {start_ms for _, start_ms in self._books.markets()}):
            self._taken.remove(start_ms)

    def _judge_again(self, market: MarketKey) -> None:
        """Let those lapse that can be in their auction no more, the latest first."""
        region = self._region()
        for quote in sorted(self._quotes_in(market), key=lambda one: one.number, reverse=True):
            still = judged_again(quote, region, self._standing, self._verdicts)
            if still is None:
                self._drop([quote])
            elif still != quote:
                self.quotes.put(quote.digest, still)

    def _drop(self, gone: list[OpenQuote]) -> None:
        for quote in gone:
            self.quotes.remove(quote.digest)
        if gone:
            self._count(lapsed=len(gone))

    def _number(self, rule: MarketRule) -> None:
        """Count one quote more, which is to meet others by the mechanism of now."""
        quotes, price_max = self.totals.quotes + 1, rule.price_max
        self._totals.put(0, replace(self.totals, quotes=quotes, mechanism=rule.mechanism.value, price_max=price_max))

    def _count(self, **more: int) -> None:
        totals = self.totals
        self._totals.put(0, replace(totals, **{name: getattr(totals, name) + count for name, count in more.items()}))

    def _keep_in_books(self, _: bytes, before: OpenQuote | None, now: OpenQuote | None) -> None:
        """Follow what stands, also when a block is taken back."""
        for quote, sign in ((before, -1), (now, 1)):
            if quote is not None:
                self._standing.count(quote, sign)
        if before is not None and (now is None or now.is_clean is not before.is_clean):  # they queue elsewhere
            self._books.remove(before)
        if now is not None:
            self._books.put(now)
