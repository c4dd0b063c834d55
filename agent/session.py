"""One gateway's conversation with whoever keeps the chains: events in, effects out.

Opens what arrives, hands receipts and refusals to the outbox, weighs statements against the last one and places the
standing orders. Counts and ignores whatever the aggregator did not sign for this gateway. What it is told it has
already been given the time of; what it decides, somebody else does, in the order of the effects. Does no IO.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from agent.agreement import Agreement
from agent.inbox import Inbox
from agent.outbox import queue as outbox
from agent.outbox.queue import Alive, Forget, LinkDown, LinkUp, Outbox, Paged, SetAside, Signed, Tick
from agent.standing import Believed, OrderKey, Placed, Verdict, buyers_unknown_to, judge, key_of, orders_due
from config.settings.agent import StandingOrder
from protocol.errors import MessageError
from protocol.messages import Receipt, Refusal, Statement
from protocol.partners import Card, Delivery
from protocol.topics import Kind


@dataclass(frozen=True, slots=True)
class Arrived:
    """Bytes came on a topic of ours."""

    kind: Kind
    data: bytes


@dataclass(frozen=True, slots=True)
class Bought:
    """The purchase of a standing order was signed and is on disk."""

    placed: Placed


@dataclass(frozen=True, slots=True)
class NotBought:
    """The purchase of a standing order could not be signed: the next statement may ask for it again."""

    order: StandingOrder


Event = LinkUp | LinkDown | Tick | Signed | Paged | Arrived | Bought | NotBought


@dataclass(frozen=True, slots=True)
class Believe:
    """Keep this statement: it is the newest, and what it grants and limits is now in force."""

    believed: Believed
    data: bytes
    """Its envelope."""


@dataclass(frozen=True, slots=True)
class Buy:
    """Sign the purchase of this standing order, once."""

    order: StandingOrder


@dataclass(frozen=True, slots=True)
class Trade:
    """Weigh what the nodes say about letters: a partner's card, a letter, or the refusal of one."""

    word: Card | Delivery | Refusal


@dataclass(frozen=True, slots=True)
class KeepPlaced:
    """Remember what came of a purchase."""

    placed: Placed


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that must not happen: call a person."""

    text: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that is not the aggregator's word to us."""

    kind: Kind
    reason: str


Effect = outbox.Effect | Believe | Buy | Trade | KeepPlaced | Alarm | Ignored


class Session:
    """Everything between one gateway and its aggregator."""

    def __init__(
        self,
        *,
        inbox: Inbox,
        records: Outbox,
        orders: Sequence[StandingOrder] = (),
        believed: Believed | None = None,
        agreement: Agreement | None = None,
        placed: Iterable[Placed] = (),
    ) -> None:
        self.believed = believed
        self.ignored = 0
        """Messages that were not the aggregator's word to us."""
        self._inbox = inbox
        self._agreement = agreement or Agreement(needed=1)
        self._outbox = records
        self._orders = orders
        self._placed: dict[OrderKey, Placed] = {p.key: p for p in placed}
        self._buying: set[OrderKey] = set()
        """Asked to be bought and not signed yet: a statement that comes meanwhile does not ask again."""

    @property
    def is_halted(self) -> bool:
        """Whether somebody else has signed with our numbers."""
        return self._outbox.stage is outbox.Stage.HALTED

    @property
    def idle_orders(self) -> str | None:
        """Why a standing order can never buy, by the statement that is believed; None if each can."""
        unknown = buyers_unknown_to(self._orders, self.believed.statement) if self.believed else []
        if not unknown:
            return None
        names = " and ".join(unknown)
        return f"nobody by the name {names} is behind this gateway, so nothing is bought: see standing_orders"

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Take one event in; `now_ms` is on the boot's clock."""
        match event:
            case Arrived():
                return self._arrived(event, now_ms)
            case Bought(placed):
                self._placed[placed.key] = placed
                self._buying.discard(placed.key)
                return []
            case NotBought(order):
                self._buying.discard(key_of(order))
                return []
            case _:
                return [*self._outbox.handle(event, now_ms)]

    def _arrived(self, event: Arrived, now_ms: int) -> list[Effect]:
        try:
            heard = self._inbox.open(event.kind, event.data)
        except MessageError as error:
            self.ignored += 1
            return [Ignored(event.kind, str(error))]
        word = self._agreement.hear(heard)
        match word:
            case None:
                return []
            case Statement():
                return self._statement(Believed.of(heard.envelope, word), event.data, now_ms)
            case Receipt() | Refusal():
                effects = self._outbox.handle(word, now_ms)
                letters = [Trade(word)] if isinstance(word, Refusal) and not word.sequence else []
                return [*effects, *self._after_answers(effects), *letters]
            case Card() | Delivery():
                return [Trade(word)]
            case _:
                assert_never(word)

    def _statement(self, new: Believed, data: bytes, now_ms: int) -> list[Effect]:
        verdict = judge(self.believed, new.statement, new.digest)
        if verdict is Verdict.CONTRADICTS:
            number = new.statement.number
            return [Alarm(f"statement {number} contradicts what the aggregator signed before: two histories")]
        if verdict is not Verdict.NEWER:
            return []
        self.believed = new
        waiting = [order for order in self._orders if key_of(order) not in self._buying]
        due = orders_due(waiting, self._placed, new.statement)
        self._buying.update(map(key_of, due))
        return [*self._outbox.handle(Alive(), now_ms), Believe(new, data), *map(Buy, due)]

    def _after_answers(self, effects: Sequence[Effect]) -> list[Effect]:
        """What receipts and final refusals mean for the standing orders."""
        answered = []
        for effect in effects:
            match effect:
                case Forget(entries, height):
                    sequences = {entry.sequence for entry in entries}
                    answered += [p.received(height) for p in self._placed.values() if p.sequence in sequences]
                case SetAside(entry):
                    now_ms = self.believed.statement.time_ms if self.believed else 0
                    answered += [p.refused(now_ms) for p in self._placed.values() if p.sequence == entry.sequence]
                case _:
                    pass
        self._placed |= {placed.key: placed for placed in answered}
        return [*map(KeepPlaced, answered)]
