"""What the market keeps in the state, and says in leaves: counts, prices, matches, and quotes that stand."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from aggregator.economy.contracts.feasibility import Objection
from aggregator.economy.market.clearing import Taken
from aggregator.economy.market.quotes import Match, OpenQuote
from protocol.canonical import Value, encode
from protocol.contract import CARRIERS, Terms
from protocol.quote import Side


@dataclass(frozen=True, slots=True)
class MarketTotals:
    """Counts since genesis."""

    quotes: int = 0
    """A quote's number is the count with it."""
    matches: int = 0
    cancelled: int = 0
    lapsed: int = 0
    """Quotes whose time was over before they were filled."""
    cleared: int = 0
    """Call auctions."""
    traded_wh: int = 0
    rent: int = 0
    """What buyers pay beyond what sellers are paid, if all is delivered; in millionths of a minor unit."""
    mechanism: str = ""
    """By which the quotes that stand are to meet."""
    price_max: int = 0
    """Above which no limit of theirs is."""


@dataclass(frozen=True, slots=True)
class Traded:
    """What was traded of one carrier for one interval; kept until analysis has closed it."""

    matches: int
    quantity_wh: int
    low: int
    """Lowest price that a seller was paid, in minor money units per MWh."""
    high: int
    last: int
    height: int
    """Of the block in which something was traded last."""

    def after(self, match: Match, height: int) -> Traded:
        """The same with one match more."""
        count, quantity_wh, price = self.matches + 1, self.quantity_wh + match.quantity_wh, match.sell_price
        return Traded(count, quantity_wh, min(self.low, price), max(self.high, price), price, height)


Spent = tuple[tuple[int, int], ...]
"""By interval of delivery, in order: how many quotes of a participant have traded and are gone."""


@dataclass(frozen=True, slots=True)
class Deal:
    """A match with its place in the order of all matches, and the terms of the contract that it is."""

    number: int
    match: Match
    terms: Terms

    @property
    def leaf(self) -> bytes:
        """What the chain says of it."""
        match = self.match
        row = ["match", self.number, match.sell.digest, match.buy.digest, match.buy_price, match.rent]
        return encode([*row, self.terms.encode()])


def passed_over_leaf(quote: bytes, reason: Objection) -> bytes:
    """What the chain says where a quote could have traded more, but for the verdict on a contract with somebody."""
    return encode(["passed-over", quote, reason.rule.value, reason.subject, reason.start_ms, reason.excess_w])


_COLUMNS: Final = tuple(column.name for column in fields(OpenQuote))


def spell_quote(quote: OpenQuote) -> Value:
    """A quote as the state keeps it."""
    row = [getattr(quote, column) for column in _COLUMNS]
    row[_COLUMNS.index("side")] = quote.side.value
    row[_COLUMNS.index("carrier")] = CARRIERS.index(quote.carrier)
    return row


def read_quote(value: Value) -> OpenQuote:
    """Read what `spell_quote` spells."""
    columns = dict(zip(_COLUMNS, value, strict=True))
    return OpenQuote(**columns | {"side": Side(columns["side"]), "carrier": CARRIERS[columns["carrier"]]})


def spell_taken(taken: tuple[Taken, ...]) -> Value:
    """What contracts have of lines, as the state keeps it."""
    return [list(row) for row in taken]


def read_taken(value: Value) -> tuple[Taken, ...]:
    """Read what `spell_taken` spells."""
    return tuple((line, forward_w, backward_w) for line, forward_w, backward_w in value)


def spell_spent(spent: Spent) -> Value:
    """What is spent of a share, as the state keeps it."""
    return [list(row) for row in spent]


def read_spent(value: Value) -> Spent:
    """Read what `spell_spent` spells."""
    return tuple((start_ms, count) for start_ms, count in value)
