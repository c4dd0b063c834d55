"""What people and programs are told about offers. Touches no disk and reads no clock."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from agent.slips import utc
from agent.trade.offers import LIVE, Offer, Stage
from protocol.contract import Terms
from protocol.contract_news import ContractNews, ContractState
from protocol.messages import Statement
from protocol.money import said as money
from protocol.refusals import RefusalCode

NUMBER_DIGITS: Final = 12
"""Of an offer's number, as it is shown."""


def news_of(statement: Statement | None) -> dict[bytes, ContractNews]:
    """What a statement tells of contracts, by their numbers; of one that is told twice, our seller's part."""
    standings = statement.standings if statement else ()
    told = [news for standing in standings for news in standing.contracts]
    return {news.contract: news for news in sorted(told, key=lambda news: news.power_w)}


def line_of(offer: Offer, news: ContractNews | None = None, *, now_ms: int = 0) -> str:
    """An offer, how it stands at an instant, and what has become of the contract, for people."""
    end = f"; good until {utc(offer.terms.expires_ms)}" if offer.stage in LIVE else ""
    end = "; too late, its window has begun" if offer.is_too_late(now_ms) else end
    why = f" ({_why(offer)})" if _why(offer) else ""
    contract = f"; {contract_of(news)}" if news else ""
    return f"{sentence(offer)}: {offer.stage.name.lower()}{why}{end}{contract}"


def contract_of(news: ContractNews) -> str:
    """Where a contract stands, by the statement that is believed."""
    rule = f" by {news.rule.name}" if news.rule is not None else ""
    why = f": {news.why}" if news.why else ""
    is_ahead = news.state in (ContractState.CONFIRMED, ContractState.DELIVERING)
    power = f", {abs(news.power_w)} W to {'feed in' if news.power_w > 0 else 'take'}" if is_ahead else ""
    return f"contract {news.state.name.lower()} since {utc(news.since_ms)}{rule}{why}{power}"


def document_of(offer: Offer, news: ContractNews | None = None) -> dict[str, Any]:
    """An offer, for programs: a stable set of keys."""
    terms = asdict(offer.terms) | {"nonce": offer.terms.nonce.hex(), "answers": offer.terms.answers.hex()}
    return {
        "number": offer.number.hex(),
        "stage": offer.stage.name.lower(),
        "ours": offer.is_ours,
        "partner": offer.partner,
        "gateway": offer.gateway,
        "sequence": offer.sequence,
        "detail": offer.detail,
        "reason": offer.reason,
        "price_millionths": offer.terms.price,
        "terms": terms,
        "contract": None if news is None else _news_document(news),
    }


def _news_document(news: ContractNews) -> dict[str, Any]:
    return {
        "state": news.state.name.lower(),
        "since_ms": news.since_ms,
        "power_w": news.power_w,
        "start_ms": news.start_ms,
        "end_ms": news.end_ms,
        "rule": None if news.rule is None else news.rule.name,
        "why": news.why,
    }


def sentence(offer: Offer) -> str:
    """An offer in words."""
    way = "to" if offer.is_ours else "from"
    return f"offer {short(offer.number)} {way} {offer.partner}: {said(offer.terms)}"


def said(terms: Terms) -> str:
    """What terms say, in words."""
    clean = ", clean only" if terms.clean_only else ""
    price = f"{money(terms.price)} ({terms.price_per_mwh} per MWh)"
    return (
        f"{terms.seller} delivers {terms.quantity_wh} Wh of {terms.carrier} to {terms.buyer} from"
        f" {utc(terms.start_ms)} until {utc(terms.end_ms)} for {price}{clean}"
    )


def _why(offer: Offer) -> str:
    """What there is to say beside the stage: a refusal's name, a block, a reason."""
    if offer.stage in (Stage.REFUSED, Stage.REJECTED):
        known = offer.detail in set(RefusalCode)
        code = RefusalCode(offer.detail).name if known else str(offer.detail)
        return f"{code}: {_plain(offer.reason)}"
    return f"block {offer.detail}" if offer.stage is Stage.RECORDED else _plain(offer.reason)


def _plain(text: str) -> str:
    """What somebody else wrote, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def short(number: bytes) -> str:
    """How an offer's number begins: enough to name it."""
    return number.hex()[:NUMBER_DIGITS]
