"""An offer, as one of the two gateways knows it: its stages in one table, and what makes it one that may be taken.

Each gateway keeps its own view, which binds nobody. What binds are two signatures: the proposer's under the offer,
until it expires, and the acceptor's under the agreement. So whatever an answer says, the chain has the last word. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum, auto
from typing import Final

from protocol.answer import Reply
from protocol.contract import ANSWERS_NOTHING, Terms
from protocol.partners import Partner
from protocol.refusals import RefusalCode, Refused

OPEN_MAX: Final = 100
"""Offers of others that may wait for somebody's decision."""

OPEN_FROM_ONE_MAX: Final = 20
"""Of those, from one gateway: so that none can shut out the others."""

SEND_AGAIN_MS: Final = 30_000
"""A letter that nobody has answered goes out again after so long, then after twice as long, and so on."""

DOUBLINGS_MAX: Final = 6


class Stage(IntEnum):
    """Where an offer stands. The numbers are those in the outbox file."""

    WANTED = 1
    """Ours: signed; the partner's keys are asked for."""
    SENT = 2
    """Ours: on its way."""
    DELIVERED = 3
    """Ours: it waits for the other party."""
    OPEN = 4
    """Theirs: it waits for us."""
    AGREED = 5
    """The other signature is there, and on its way to the chain."""
    RECORDED = 6
    """The agreement is on the chain. What becomes of the contract, the chain says."""
    REJECTED = 7
    """The chain has refused the agreement."""
    DECLINED = 8
    COUNTERED = 9
    """Another offer answers it."""
    REFUSED = 10
    """It was never one that could be accepted, or did not arrive."""
    EXPIRED = 11


class Step(Enum):
    """What moves an offer on."""

    SEND = auto()
    ASK_AGAIN = auto()
    RECEIVE = auto()
    ACCEPT = auto()
    DECLINE = auto()
    COUNTER = auto()
    REFUSE = auto()
    EXPIRE = auto()
    RECORD = auto()
    REJECT = auto()
    STATE = auto()
    """A statement tells of the contract."""


NEXT_STAGE: Final[Mapping[tuple[Stage, Step], Stage]] = {
    (Stage.WANTED, Step.SEND): Stage.SENT,
    (Stage.WANTED, Step.REFUSE): Stage.REFUSED,
    (Stage.WANTED, Step.EXPIRE): Stage.EXPIRED,
    (Stage.SENT, Step.ASK_AGAIN): Stage.WANTED,
    (Stage.SENT, Step.RECEIVE): Stage.DELIVERED,
    (Stage.SENT, Step.ACCEPT): Stage.AGREED,
    (Stage.SENT, Step.DECLINE): Stage.DECLINED,
    (Stage.SENT, Step.COUNTER): Stage.COUNTERED,
    (Stage.SENT, Step.REFUSE): Stage.REFUSED,
    (Stage.SENT, Step.EXPIRE): Stage.EXPIRED,
    (Stage.SENT, Step.RECORD): Stage.RECORDED,
    (Stage.SENT, Step.REJECT): Stage.REJECTED,
    (Stage.DELIVERED, Step.ACCEPT): Stage.AGREED,
    (Stage.DELIVERED, Step.DECLINE): Stage.DECLINED,
    (Stage.DELIVERED, Step.COUNTER): Stage.COUNTERED,
    (Stage.DELIVERED, Step.EXPIRE): Stage.EXPIRED,
    (Stage.DELIVERED, Step.RECORD): Stage.RECORDED,
    (Stage.DELIVERED, Step.REJECT): Stage.REJECTED,
    (Stage.OPEN, Step.ACCEPT): Stage.AGREED,
    (Stage.OPEN, Step.DECLINE): Stage.DECLINED,
    (Stage.OPEN, Step.COUNTER): Stage.COUNTERED,
    (Stage.OPEN, Step.EXPIRE): Stage.EXPIRED,
    (Stage.AGREED, Step.RECORD): Stage.RECORDED,
    (Stage.AGREED, Step.REJECT): Stage.REJECTED,
    (Stage.EXPIRED, Step.ACCEPT): Stage.AGREED,
    (Stage.EXPIRED, Step.RECORD): Stage.RECORDED,
    (Stage.EXPIRED, Step.REJECT): Stage.REJECTED,
    **{(stage, Step.STATE): Stage.RECORDED for stage in Stage if stage is not Stage.RECORDED},
}
"""The whole law. An answer may come late or overtake another, so an offer of ours that has expired here may still turn
out to have been accepted in time; and a statement says what is, whatever was answered. What is not here changes
nothing."""

LIVE: Final = frozenset((Stage.WANTED, Stage.SENT, Stage.DELIVERED, Stage.OPEN))
"""Stages that end with the offer's expiry."""

STEP_OF: Final[Mapping[Reply, Step]] = {
    Reply.RECEIVED: Step.RECEIVE,
    Reply.DECLINED: Step.DECLINE,
    Reply.ACCEPTED: Step.ACCEPT,
    Reply.REFUSED: Step.REFUSE,
    Reply.RECORDED: Step.RECORD,
    Reply.REJECTED: Step.REJECT,
}
"""What the other party's answer does to an offer of ours."""

REPLY_OF: Final[Mapping[Stage, Reply]] = {
    Stage.OPEN: Reply.RECEIVED,
    Stage.DECLINED: Reply.DECLINED,
    Stage.AGREED: Reply.ACCEPTED,
    Stage.RECORDED: Reply.RECORDED,
    Stage.REJECTED: Reply.REJECTED,
}
"""What whoever made an offer is told, whenever it comes again. A counter-offer is its own answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One offer."""

    terms: Terms
    envelope: bytes
    """The terms as the proposer's gateway signed them."""
    is_ours: bool
    stage: Stage
    partner: str
    """The participant on the other side."""
    gateway: str
    """Theirs; empty while it is asked for."""
    sequence: int | None = None
    """Of our record that agrees to it."""
    detail: int = 0
    """A refusal's code, or the height of a block."""
    reason: str = ""
    """For people."""
    sent_ms: int = 0
    """When we last sent something for it, UTC."""
    times: int = 0
    """How often."""

    @property
    def number(self) -> bytes:
        """The digest of its terms."""
        return self.terms.digest

    @property
    def participant(self) -> str:
        """The participant on our side."""
        return self.terms.seller if self.partner == self.terms.buyer else self.terms.buyer

    def is_too_late(self, unix_ms: int) -> bool:
        """Whether it waits for us, and its window has begun: then nobody can keep all of it."""
        return self.stage is Stage.OPEN and self.terms.start_ms <= unix_ms

    def is_due(self, unix_ms: int) -> bool:
        """Whether it is time to send it, or to ask for its partner's keys, once more."""
        waits = self.stage in (Stage.WANTED, Stage.SENT, Stage.DELIVERED)
        wait_ms = SEND_AGAIN_MS << min(self.times - 1, DOUBLINGS_MAX) if self.times else 0
        return waits and self.is_ours and unix_ms - self.sent_ms >= wait_ms


def other_side(terms: Terms, ours: Collection[str]) -> tuple[str, str] | None:
    """Our participant and the other party; None where it is not one of each."""
    match terms.seller in ours, terms.buyer in ours:
        case True, False:
            return terms.seller, terms.buyer
        case False, True:
            return terms.buyer, terms.seller
    return None


def judge(
    terms: Terms,
    sender: Partner,
    *,
    ours: Collection[str],
    answered: Offer | None,
    waiting: Sequence[str],
    unix_ms: int,
) -> None:
    """See that an offer from `sender` is one that our participants may accept.

    Args:
        terms: what is offered.
        sender: whose signature is under it.
        ours: participants behind this gateway.
        answered: the offer that it names as the one that it counters, if we know it.
        waiting: the gateways whose offers wait for a decision already, each as often as it has some.
        unix_ms: now, UTC.

    Raises:
        Refused: with the first rule that it breaks.
    """
    sides = other_side(terms, ours)
    if sides is None or sides[1] not in sender.participants:
        detail = f"{terms.seller} to {terms.buyer}: not between one of theirs and one of ours"
        raise Refused(RefusalCode.NOT_THEIR_OFFER, detail)
    if min(terms.expires_ms, terms.end_ms) <= unix_ms:
        raise Refused(RefusalCode.OFFER_EXPIRED, f"good until {terms.expires_ms}, for energy until {terms.end_ms}")
    if terms.answers != ANSWERS_NOTHING:
        if answered is None or not answered.is_ours or answered.gateway != sender.gateway:
            raise Refused(RefusalCode.COUNTERS_NOTHING, "they were not offered what it answers")
        if answered.stage not in (Stage.SENT, Stage.DELIVERED):
            raise Refused(RefusalCode.COUNTERS_NOTHING, f"what it answers is {answered.stage.name.lower()}")
        if _subject(terms) != _subject(answered.terms):
            detail = "another seller, buyer, carrier or nonce than what it answers"
            raise Refused(RefusalCode.COUNTER_CHANGED, detail)
    theirs = waiting.count(sender.gateway)
    if len(waiting) >= OPEN_MAX or theirs >= OPEN_FROM_ONE_MAX:
        raise Refused(RefusalCode.TOO_MANY_OFFERS, f"{len(waiting)} offers wait already, {theirs} of them theirs")


def _subject(terms: Terms) -> tuple[str, str, str, str, bytes]:
    return terms.region, terms.seller, terms.buyer, terms.carrier, terms.nonce
