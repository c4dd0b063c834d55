"""What a ledger says of its market. Reads; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from aggregator.chains.market.clearing import ClearingResult
from aggregator.chains.market.quoting import is_gate_closed
from aggregator.economy.market.clearing import PRICE_SCALE
from aggregator.ledger.record import RECORD_BYTES_MAX
from aggregator.service.query import LedgerFile
from aggregator.service.stored import StoredLeaf
from protocol.canonical import decode
from protocol.checkpoint import ChainName
from protocol.contract import Terms, rounded
from protocol.envelope import Envelope
from protocol.errors import EncodingError, EsteError
from protocol.messages import MessageType
from protocol.quote import Quote, QuoteCancel, Side
from protocol.refusals import RefusalCode

_MATCH_HEAD: Final = b"\x65match"
"""The word that a match's leaf begins with, behind the head of its array."""


class NoSuchQuoteError(EsteError):
    """The ledger has no such quote, or does not reach back so far."""


@dataclass(frozen=True, slots=True)
class StandingView:
    """A quote that stands."""

    quote: int
    participant: str
    carrier: str
    node: str
    start_ms: int
    side: str
    quantity_wh: int
    """That is left."""
    price_per_mwh: int
    """The limit."""
    wants: str
    """Clean, local, or a partner."""
    is_gate_closed: bool


@dataclass(frozen=True, slots=True)
class TradedView:
    """What was traded of one carrier for one interval."""

    carrier: str
    start_ms: int
    matches: int
    quantity_wh: int
    low: int
    high: int
    last: int
    nodes: dict[str, int]
    """After a call auction: the price at each node of the carrier, in minor units per MWh; else nothing."""
    full: tuple[str, ...]
    """After a call auction: lines that carry all that they may, to 3 Wh."""


@dataclass(frozen=True, slots=True)
class MatchView:
    """What a quote has traded."""

    match: int
    partner: str
    quantity_wh: int
    price_per_mwh: int
    """That this side pays, or is paid."""
    contract: str
    """Digest of the terms."""


@dataclass(frozen=True, slots=True)
class QuoteView:
    """One quote, and what became of it."""

    quote: int | None
    """Its number; none if it was refused."""
    participant: str
    meter: str
    side: str
    start_ms: int
    quantity_wh: int
    price_per_mwh: int
    time_in_force: str
    refusal: str
    left_wh: int
    """That stands."""
    became: str
    """`stands`, `filled`, `cancelled`, `lapsed`, `void` or `refused`: of what is not traded."""
    matches: tuple[MatchView, ...]


def standing(ledger: LedgerFile) -> list[StandingView]:
    """Every quote that stands: by carrier and interval, sellers first, the best of each side first."""
    books, head, region = ledger.five.operation.market.books, ledger.five.ledger.head, ledger.five.asset.region
    rule, now_ms = region.rules.market, head.time_ms if head else 0
    return [
        StandingView(
            quote=quote.number,
            participant=quote.participant,
            carrier=quote.carrier,
            node=quote.node,
            start_ms=quote.start_ms,
            side=quote.side.name.lower(),
            quantity_wh=quote.quantity_wh,
            price_per_mwh=quote.limit,
            wants=" ".join(
                word
                for word, is_wanted in (("clean", quote.clean_only), ("local", quote.is_local), (quote.partner, True))
                if word and is_wanted
            ),
            is_gate_closed=rule is not None and is_gate_closed(quote.start_ms, rule, now_ms),
        )
        for market in books.markets()
        for side in Side
        for quote in books.of(market).side(side)
    ]


def traded(ledger: LedgerFile) -> list[TradedView]:
    """What was traded for intervals that are not closed yet, and at which prices."""
    views = []
    for (carrier, start_ms), row in ledger.five.operation.market.traded.items():
        nodes, full = _dispatch(ledger, carrier, start_ms, row.height)
        views.append(
            TradedView(carrier, start_ms, row.matches, row.quantity_wh, row.low, row.high, row.last, nodes, full)
        )
    return views


def fate(ledger: LedgerFile, asked: str) -> QuoteView:
    """What became of a quote.

    Args:
        ledger: its history has to reach back to the genesis.
        asked: the quote's number, or the gateway that signed it and its sequence, as ``gateway/12``.

    Raises:
        NoSuchQuoteError: there is no such quote.
    """
    gateway, _, sequence = asked.rpartition("/")
    if not sequence.isdigit() or len(sequence) > 18:
        raise NoSuchQuoteError(f"expected a quote's number, or gateway/sequence, got {asked!r}")
    if ledger.store.begins_at() > 1:
        raise NoSuchQuoteError("this ledger was begun from a snapshot: ask a node that has the whole history")
    if gateway:
        entry = ledger.store.entry_of(gateway, int(sequence))
        envelope = None if entry is None else Envelope.parse(entry.envelope)
        if entry is None or envelope is None or envelope.type != MessageType.QUOTE:
            raise NoSuchQuoteError(f"record {sequence} of {gateway} is no quote on the chain")
        if entry.code:
            return _view(Quote.decode(envelope.payload), None, refusal=RefusalCode(entry.code).name.lower())
        return _followed(ledger, digest=envelope.digest)
    return _followed(ledger, number=int(sequence))


def _followed(ledger: LedgerFile, *, number: int | None = None, digest: bytes = b"") -> QuoteView:
    """Read the operation chain from its beginning: the quote, then all that names it."""
    quote: Quote | None = None
    count, matches, is_cancelled = 0, list[MatchView](), False
    for leaf in ledger.store.leaves(ChainName.OPERATION):
        if leaf.body[1:7] == _MATCH_HEAD:
            matches += _matches(leaf, digest)
        elif (envelope := _envelope(leaf)) is not None and envelope.type == MessageType.QUOTE:
            count += 1
            if quote is None and digest in (b"", envelope.digest) and number in (None, count):
                quote, number, digest = Quote.decode(envelope.payload), count, envelope.digest
        elif envelope is not None and envelope.type == MessageType.QUOTE_CANCEL:
            is_cancelled = is_cancelled or QuoteCancel.decode(envelope.payload).quote == digest
    if quote is None:
        raise NoSuchQuoteError(f"there is no quote {number}: {count} have been taken")
    stands = ledger.five.operation.market.quotes.get(digest)
    left_wh = stands.quantity_wh if stands is not None else 0
    rest_wh = quote.quantity_wh - left_wh - sum(match.quantity_wh for match in matches)
    is_standing_kind = quote.time_in_force.name == "GOOD_TILL_CANCELLED"
    became = "cancelled" if is_cancelled else "lapsed" if is_standing_kind else "void"
    became = "stands" if left_wh else became if rest_wh else "filled"
    return _view(quote, number, left_wh=left_wh, became=became, matches=tuple(matches))


def _view(quote: Quote, number: int | None, refusal: str = "", **found: Any) -> QuoteView:
    fields: dict[str, Any] = {"left_wh": 0, "became": "refused", "matches": ()}
    return QuoteView(
        quote=number,
        participant=quote.participant,
        meter=quote.meter,
        side=quote.side.name.lower(),
        start_ms=quote.start_ms,
        quantity_wh=quote.quantity_wh,
        price_per_mwh=quote.price_per_mwh,
        time_in_force=quote.time_in_force.name.lower(),
        refusal=refusal,
        **fields | found,
    )


def _matches(leaf: StoredLeaf, digest: bytes) -> Iterator[MatchView]:
    """What a match's leaf says to whoever sent the quote; nothing to others."""
    _, number, sell, buy, buy_price, _, spelled = decode(leaf.body, size_max=RECORD_BYTES_MAX)
    if digest and digest in (sell, buy):
        terms = Terms.decode(spelled)
        is_sell = digest == sell
        partner, price = (terms.buyer, terms.price_per_mwh) if is_sell else (terms.seller, buy_price)
        yield MatchView(number, partner, terms.quantity_wh, price, terms.digest.hex())


def _dispatch(ledger: LedgerFile, carrier: str, start_ms: int, height: int) -> tuple[dict[str, int], tuple[str, ...]]:
    """Prices by node, and full lines, by the clearing in a block; nothing where there is none."""
    region = ledger.five.asset.region
    for entry in ledger.store.entries(height):
        envelope = Envelope.parse(entry.envelope, size_max=RECORD_BYTES_MAX)
        if entry.code or envelope.type != MessageType.CLEARING:
            continue
        result = ClearingResult.decode(envelope.payload)
        if result.start_ms != start_ms:
            continue
        network, interval_ms = region.traded_network, region.rules.time.interval_ms
        prices = zip(network.nodes, result.clearing.prices, strict=True)
        nodes = {node: rounded(price, PRICE_SCALE) for node, price in prices if region.carriers[node].value == carrier}
        full = tuple(
            line.name
            for line, flow in zip(network.lines, result.clearing.flows_mwh, strict=True)
            if abs(flow) >= line.room_mwh(interval_ms) - 3000 and network.nodes[line.from_node] in nodes
        )
        return nodes, full
    return {}, ()


def _envelope(leaf: StoredLeaf) -> Envelope | None:
    try:
        return Envelope.parse(leaf.body, size_max=RECORD_BYTES_MAX)
    except EncodingError:
        return None
