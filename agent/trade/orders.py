"""What may be ordered of the desk: seen to before anything is left for it, so that a slip is told at once.

Is given the time, and what the outbox file says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from agent.slips import PLACE, see_window, utc
from agent.trade.offers import Offer, Stage, other_side
from protocol.contract import NONCE_BYTES, Terms
from protocol.errors import OperatorError
from protocol.messages import Statement


def terms_of(region: str, values: Mapping[str, Any], answers: bytes, valid_s: int, now_ms: int) -> Terms:
    """Terms that are good for `valid_s` seconds, but never once their window has begun, as the wire takes them.

    A counter-offer's values bring the nonce of what it answers: one negotiation comes to one contract.

    Raises:
        OperatorError: the window has begun, or ends no later than it begins.
        EncodingError: what was said is no contract.
    """
    see_window(values["start_ms"], values["end_ms"], now_ms)
    expires_ms = min(now_ms + valid_s * 1000, values["start_ms"])
    own = {"region": region, "answers": answers, "expires_ms": expires_ms}
    return Terms.decode(Terms(**{"nonce": os.urandom(NONCE_BYTES), **values, **own}).encode())


def partner_of(terms: Terms, statement: Statement | None) -> str:
    """To whom an offer goes: the party that is not behind this gateway.

    Raises:
        OperatorError: it is not between one of ours and somebody else.
    """
    ours = [one.participant for one in statement.standings] if statement else []
    sides = other_side(terms, ours)
    if sides is None:
        behind = ", ".join(ours) or "nobody: no statement has come yet"
        expected = f"one of ours and one of another gateway (behind this one: {behind})"
        raise OperatorError(PLACE, "--seller, --buyer", expected, f"{terms.seller} and {terms.buyer}")
    return sides[1]


def waiting_one(offers: Sequence[Offer], prefix: str, now_ms: int) -> Offer:
    """The one offer that waits for our decision and whose number begins so.

    Raises:
        OperatorError: there is none, or more than one.
    """
    offer = _one(offers, prefix)
    if offer.stage is not Stage.OPEN or offer.terms.expires_ms <= now_ms:
        got = "one that has expired" if offer.stage is Stage.OPEN else f"one that is {offer.stage.name.lower()}"
        raise OperatorError(PLACE, "NUMBER", "an offer that waits for our decision", got)
    return offer


def in_time(offer: Offer, now_ms: int) -> Offer:
    """The offer, if its window is still to begin.

    Raises:
        OperatorError: it has begun.
    """
    if offer.is_too_late(now_ms):
        got = f"one whose window began at {utc(offer.terms.start_ms)}"
        raise OperatorError(PLACE, "NUMBER", "an offer that can still be kept", got)
    return offer


def contract(offers: Sequence[Offer], prefix: str) -> Offer:
    """The one agreement whose number begins so.

    Raises:
        OperatorError: there is none, or more than one.
    """
    offer = _one(offers, prefix)
    if offer.stage not in (Stage.AGREED, Stage.RECORDED):
        raise OperatorError(PLACE, "NUMBER", "a contract of ours", f"an offer that is {offer.stage.name.lower()}")
    return offer


def _one(offers: Sequence[Offer], prefix: str) -> Offer:
    found = [one for one in offers if one.number.hex().startswith(prefix.lower())]
    if len(found) != 1 or not prefix:
        got = f"{len(found)} whose number begins with {prefix!r:.70}"
        raise OperatorError(PLACE, "NUMBER", "one offer of este-agent trade list", got)
    return found[0]
