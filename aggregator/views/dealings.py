"""What somebody did beside earning: what they traded, for which line's sake they were limited, what they exchanged.

Contracts are told as the state has them, so that those are missing that are forgotten: settled, and too long ago to be
restated. Limits and exchanges are read from the log.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aggregator.chains.contracts.rows import Contract
from aggregator.service.past import Past, Place
from aggregator.service.query import LedgerFile
from aggregator.views.spans import spelled
from aggregator.views.words import Heading, Told, at, percent, wrapped
from protocol.checkpoint import ChainName
from protocol.exchange import Exchange, ExchangeKind
from protocol.limits import Direction, Tier
from protocol.messages import MessageType
from protocol.money import said
from protocol.units import PPM, Interval

SHORT: Final = 12
"""Digits of a contract's number that people are shown."""
LINES_MAX: Final = 24
"""Of each kind, that the text tells; the JSON has all."""

SAID: Final = {
    ExchangeKind.BILL_CREDIT: "paid a bill with",
    ExchangeKind.FINE: "paid with money for",
    ExchangeKind.BUY: "bought",
    ExchangeKind.SELL: "sold",
}
"""What somebody did with tokens."""


@dataclass(frozen=True, slots=True)
class ContractLine:
    """A contract whose window lies at least partly in the time, and somebody's part in it."""

    contract: str
    """Its number, in hexadecimal digits."""
    sells: bool
    partner: str
    carrier: str
    quantity_wh: int
    price_per_mwh: int
    start_ms: int
    end_ms: int
    state: str
    why: str
    """Of a rejection: rule, line or participant, interval, and by how much."""
    delivered_wh: int
    missing_wh: int
    """That was due in intervals which are closed, and did not come."""
    gets_millionths: int
    """Of a minor money unit, that are in the books for it; below 0 is to be paid."""


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit that was set, lowered or raised for a line's sake."""

    start_ms: int
    """Of the interval whose closing did it."""
    branch: str
    direction: str
    """Whether it is for what they take, or for what they feed in."""
    change_w: int
    allowed_w: int | None
    """All devices together; None where there is no limit any more."""
    tier: str
    """In which they stood then: who owes tokens goes first, who holds a right last."""
    loading_ppm: int
    """Of the line, in the interval that it was decided by."""
    place: Place


@dataclass(frozen=True, slots=True)
class ExchangeLine:
    """Tokens for money, or money for tokens."""

    kind: str
    tokens: int
    fee: int
    gets_millionths: int
    """Of a minor money unit, that are owed for it; below 0 is to be paid."""
    place: Place


@dataclass(frozen=True, slots=True)
class Dealings:
    """All of it, in a time."""

    contracts: tuple[ContractLine, ...]
    limits: tuple[LimitLine, ...]
    exchanges: tuple[ExchangeLine, ...]
    owed_millionths: int
    """What the region owes them now, for whatever it is, in millionths of a minor money unit; below 0 they owe it."""


def dealings_of(ledger: LedgerFile, participant: str, span: Interval) -> Dealings:
    """What somebody did in a time, beside earning.

    Raises:
        NotInTheLogError: the log begins later.
    """
    past, five = Past(ledger.store), ledger.five
    contracts = [
        _contract(one, participant)
        for one in five.operation.contracts.book.in_order()
        if participant in (one.terms.seller, one.terms.buyer)
        and one.terms.start_ms < span.end_ms
        and one.terms.end_ms > span.start_ms
    ]
    return Dealings(
        contracts=tuple(contracts),
        limits=tuple(_limits(past, participant, span)),
        exchanges=tuple(_exchanges(past, participant, span)),
        owed_millionths=five.payment.money.owed_to(participant),
    )


def tell_dealings(dealings: Dealings) -> Iterator[Told]:
    """The same as text, in 80 columns; nothing where there is nothing."""
    if dealings.contracts:
        yield Heading("Contracts in this time")
        yield from _bounded([_said_of_contract(one) for one in dealings.contracts])
    if dealings.limits:
        yield Heading("Limited for a line's sake")
        yield from _bounded([_said_of_limit(one) for one in dealings.limits])
    if dealings.exchanges:
        yield Heading("Tokens and money")
        yield from _bounded([_said_of_exchange(one) for one in dealings.exchanges])
    if owed := dealings.owed_millionths:
        yield ""
        yield f"All in all, as of now: {'is owed' if owed > 0 else 'owes'} {said(abs(owed))} minor units of money"


def _contract(contract: Contract, participant: str) -> ContractLine:
    terms, amounts, reason = contract.terms, contract.amounts, contract.objection
    sells = terms.seller == participant
    return ContractLine(
        contract=contract.digest.hex(),
        sells=sells,
        partner=terms.buyer if sells else terms.seller,
        carrier=terms.carrier,
        quantity_wh=terms.quantity_wh,
        price_per_mwh=terms.price_per_mwh,
        start_ms=terms.start_ms,
        end_ms=contract.ended_ms,
        state=contract.state.name.lower(),
        why=f"{reason.rule.name}: {reason.said}" if reason else "",
        delivered_wh=amounts.delivered_wh,
        missing_wh=amounts.missing_wh,
        gets_millionths=contract.booked.seller if sells else contract.booked.buyer,
    )


def _limits(past: Past, participant: str, span: Interval) -> Iterator[LimitLine]:
    for place, (_, who, start_ms, branch, way, tier, loading_ppm, change_w, allowed_w) in past.said(
        ChainName.ANALYSIS, "limited", span.start_ms, span.end_ms
    ):
        if who == participant:
            direction, stood = Direction(way).name.lower(), Tier(tier).name.lower()
            yield LimitLine(start_ms, branch, direction, change_w, allowed_w, stood, loading_ppm, place)


def _exchanges(past: Past, participant: str, span: Interval) -> Iterator[ExchangeLine]:
    times = (span.start_ms, span.end_ms)
    money = {
        about: amount
        for _, (_, about, who, amount, _) in past.said(ChainName.PAYMENT, "money", *times)
        if who == participant
    }
    for place, envelope in past.records(ChainName.PAYMENT, MessageType.EXCHANGE, *times):
        order = Exchange.decode(envelope.payload)
        if order.participant == participant:
            kind = order.kind.name.lower()
            yield ExchangeLine(kind, order.tokens, order.fee, money.get(envelope.digest, 0), place)


def _said_of_contract(one: ContractLine) -> str:
    way, side = ("to", "sells") if one.sells else ("from", "buys")
    terms = f"{side} {one.quantity_wh:,} Wh of {one.carrier} {way} {one.partner} at {one.price_per_mwh:,} per MWh"
    words = [f"{spelled(one.start_ms)}  {terms}: {one.state}" + (f" ({one.why})" if one.why else "")]
    if one.delivered_wh or one.missing_wh:
        words.append(f"{one.delivered_wh:,} Wh delivered, {one.missing_wh:,} Wh missing")
    if one.gets_millionths:
        words.append(_gets(one.gets_millionths))
    return "; ".join([*words, f"contract {one.contract[:SHORT]}"])


def _said_of_limit(one: LimitLine) -> str:
    change = f"{-one.change_w:,} W less" if one.change_w < 0 else f"{one.change_w:,} W more"
    allowed = "no limit any more" if one.allowed_w is None else f"{one.allowed_w:,} W at most"
    why = f"loaded to {percent(one.loading_ppm, PPM)}, {one.tier}, for what they {one.direction.replace('_', ' ')}"
    return f"{spelled(one.start_ms)}  {one.branch}: {change}, {allowed} ({why}); {at(one.place)}"


def _said_of_exchange(one: ExchangeLine) -> str:
    fee = f", with a fee of {one.fee}" if one.fee else ""
    money = f": {_gets(one.gets_millionths)}" if one.gets_millionths else ""
    return f"{SAID[ExchangeKind[one.kind.upper()]]} {one.tokens:,} tokens{fee}{money}; {at(one.place)}"


def _gets(amount: int) -> str:
    return f"{'gets' if amount > 0 else 'pays'} {said(abs(amount))}"


def _bounded(lines: list[str]) -> Iterator[str]:
    for line in lines[:LINES_MAX]:
        yield from wrapped(line)
    if len(lines) > LINES_MAX:
        yield f"  and {len(lines) - LINES_MAX} more: see --json"
