"""What people and programs are told about offers. Touches no disk and reads no clock."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from agent.trade.offers import LIVE, Offer, Stage
from protocol.contract import Terms
from protocol.refusals import RefusalCode

NUMBER_DIGITS: Final = 12
"""Of an offer's number, as it is shown."""


def line_of(offer: Offer) -> str:
    """An offer and how it stands, for people."""
    end = f"; good until {_utc(offer.terms.expires_ms)}" if offer.stage in LIVE else ""
    why = f" ({_why(offer)})" if _why(offer) else ""
    return f"{sentence(offer)}: {offer.stage.name.lower()}{why}{end}"


def document_of(offer: Offer) -> dict[str, Any]:
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
        "price": offer.terms.price,
        "terms": terms,
    }


def sentence(offer: Offer) -> str:
    """An offer in words."""
    way = "to" if offer.is_ours else "from"
    return f"offer {short(offer.number)} {way} {offer.partner}: {said(offer.terms)}"


def said(terms: Terms) -> str:
    """What terms say, in words."""
    clean = ", clean only" if terms.clean_only else ""
    return (
        f"{terms.seller} delivers {terms.quantity_wh} Wh of {terms.carrier} to {terms.buyer} from"
        f" {_utc(terms.start_ms)} until {_utc(terms.end_ms)} for {terms.price} ({terms.price_per_mwh} per MWh){clean}"
    )


def _why(offer: Offer) -> str:
    """What there is to say beside the stage: a refusal's name, a block, a reason."""
    if offer.stage in (Stage.REFUSED, Stage.REJECTED):
        known = offer.detail in set(RefusalCode)
        code = RefusalCode(offer.detail).name if known else str(offer.detail)
        return f"{code}: {offer.reason}"
    return f"block {offer.detail}" if offer.stage is Stage.RECORDED else offer.reason


def short(number: bytes) -> str:
    """How an offer's number begins: enough to name it."""
    return number.hex()[:NUMBER_DIGITS]


def _utc(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
