"""Whatever the link, the aggregator and the power supply do: no record is lost, doubled, or sent out of its turn.

A gateway with its disk talks over a link that loses, repeats and delays to an aggregator that keeps the rules of the
data chain. The gateway may stop between any two effects and start again from its disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent.inbox import Inbox
from agent.outbox.queue import (
    Entry,
    Forget,
    Halt,
    LinkDown,
    LinkUp,
    Outbox,
    Page,
    Paged,
    Publish,
    SetAside,
    Signed,
    Tell,
    Tick,
)
from agent.session import Alarm, Arrived, Believe, Bought, Buy, Effect, Event, Ignored, KeepPlaced, Session
from agent.standing import Believed, OrderKey, Placed
from config.settings.agent import StandingOrder
from protocol.crypto import digest_of
from protocol.envelope import Envelope
from protocol.messages import MessageType, Receipt, Received, Refusal, Statement
from protocol.refusals import RefusalCode
from protocol.topics import Kind
from tests.builders import GATEWAY, REGION, a_digest, a_key, a_receipt, a_refusal, a_sealed, a_standing, a_statement

AGGREGATOR = 99
IN_FLIGHT_MAX = 4
RESEND_MS = 1000
ORDER = StandingOrder(participant="annia", right="priority_purchase", price_max=5, balance_min=0)

KINDS = {
    Receipt: (Kind.RECEIPT, MessageType.RECEIPT),
    Refusal: (Kind.REFUSAL, MessageType.REFUSAL),
    Statement: (Kind.STATEMENT, MessageType.STATEMENT),
}


def sealed(word: Receipt | Refusal | Statement, key: int = AGGREGATOR) -> Arrived:
    kind, type_ = KINDS[type(word)]
    return Arrived(kind, a_sealed(word.encode(), key=key, type_=type_))


def an_entry(sequence: int) -> Entry:
    return Entry(sequence, a_digest(f"record {sequence}"))


@dataclass
class Disk:
    """What survives when the gateway stops."""

    last_signed: int = 0
    records: dict[int, Entry] = field(default_factory=dict)
    aside: dict[int, Entry] = field(default_factory=dict)
    forgotten: list[int] = field(default_factory=list)
    believed: Believed | None = None
    placed: dict[OrderKey, Placed] = field(default_factory=dict)
    purchases: list[int] = field(default_factory=list)

    def sign(self) -> Entry:
        self.last_signed += 1
        self.records[self.last_signed] = an_entry(self.last_signed)
        return self.records[self.last_signed]


@dataclass
class Aggregator:
    """Takes records in order, refuses some for good, and answers everything."""

    refuses: frozenset[int]
    chain: list[int] = field(default_factory=list)
    statements: list[Arrived] = field(default_factory=list)

    def take(self, sequence: int) -> Receipt | Refusal:
        entry = an_entry(sequence)
        expected = len(self.chain) + 1
        if sequence > expected:
            code = RefusalCode.SEQUENCE_SKIPPED
            return a_refusal(digest=entry.digest, sequence=sequence, code=code, expected_sequence=expected)
        if sequence == expected:
            self.chain.append(sequence)
        if sequence in self.refuses:
            code = RefusalCode.UNKNOWN_METER
            return a_refusal(digest=entry.digest, sequence=sequence, code=code, expected_sequence=expected)
        return a_receipt(height=sequence + 1, records=(Received(sequence, entry.digest, sequence),))

    def state(self, balance: int) -> Arrived:
        """The next statement."""
        previous = digest_of(Envelope.parse(self.statements[-1].data).payload) if self.statements else bytes(32)
        statement = a_statement(
            number=len(self.statements) + 1,
            previous=previous,
            height=len(self.chain) + 2,
            standings=(a_standing(balance=balance, rights=()),),
        )
        self.statements.append(sealed(statement))
        return self.statements[-1]


class Conversation(RuleBasedStateMachine):
    """Everything that can happen between a gateway and its aggregator."""

    @initialize(refuses=st.frozensets(st.integers(1, 30), max_size=6))
    def begin(self, refuses: frozenset[int]) -> None:
        self.disk = Disk()
        self.aggregator = Aggregator(refuses)
        self.now_ms = 0
        self.is_up = False
        self.up: list[int] = []
        """Records on their way to the aggregator."""
        self.down: list[Arrived] = []
        """Answers on their way to the gateway."""
        self.first_sent: list[int] = []
        """Records in the order in which this link saw them first."""
        self.start()

    def start(self) -> None:
        """The gateway takes up what its disk holds."""
        self.is_up = False
        self.session = Session(
            inbox=Inbox(a_key(AGGREGATOR).public_key, REGION, GATEWAY),
            records=Outbox(in_flight_max=IN_FLIGHT_MAX, resend_after_ms=RESEND_MS, last_signed=self.disk.last_signed),
            orders=(ORDER,),
            believed=self.disk.believed,
            placed=self.disk.placed.values(),
        )

    def on(self, event: Event, effects_max: int | None = None) -> None:
        """Have the gateway deal with an event; it stops after `effects_max` effects, and starts again."""
        todo = self.session.handle(event, self.now_ms)
        done = 0
        while todo:
            if done == effects_max:
                self.start()
                return
            todo += self.carry_out(todo.pop(0))
            done += 1

    def carry_out(self, effect: Effect) -> Sequence[Effect]:
        match effect:
            case Publish(sequence):
                assert self.is_up, "nothing is published without a link"
                if sequence not in self.first_sent:
                    self.first_sent.append(sequence)
                self.up.append(sequence)
            case Page(after, count):
                entries = [self.disk.records[n] for n in sorted(self.disk.records) if n > after][:count]
                return self.session.handle(Paged(entries), self.now_ms)
            case Forget(entries):
                for entry in entries:
                    assert self.disk.records.pop(entry.sequence) == entry
                    self.disk.forgotten.append(entry.sequence)
            case SetAside(entry):
                self.disk.aside[entry.sequence] = self.disk.records.pop(entry.sequence)
            case Believe(believed):
                self.disk.believed = believed
            case Buy(order):
                return self.buy(order)
            case KeepPlaced(placed):
                self.disk.placed[placed.key] = placed
            case Ignored() | Tell():
                pass
            case Halt() | Alarm():
                raise AssertionError(f"nobody did anything wrong, but: {effect}")
        return []

    def buy(self, order: StandingOrder) -> list[Effect]:
        """Signing and remembering is one transaction."""
        entry = self.disk.sign()
        placed = Placed(participant=order.participant, right=order.kind, sequence=entry.sequence)
        self.disk.placed[placed.key] = placed
        self.disk.purchases.append(entry.sequence)
        return [*self.session.handle(Bought(placed), self.now_ms), *self.session.handle(Signed(entry), self.now_ms)]

    # -- The gateway's own life.

    @rule(effects_max=st.none() | st.integers(0, 3))
    def sign(self, effects_max: int | None) -> None:
        self.on(Signed(self.disk.sign()), effects_max)

    @rule()
    def stop_and_start(self) -> None:
        self.start()

    @rule(span_ms=st.integers(0, 3 * RESEND_MS), effects_max=st.none() | st.integers(0, 3))
    def tick(self, span_ms: int, effects_max: int | None) -> None:
        self.now_ms += span_ms
        self.on(Tick(), effects_max)

    # -- The link.

    @precondition(lambda self: not self.is_up)
    @rule(effects_max=st.none() | st.integers(0, 6))
    def link_comes(self, effects_max: int | None) -> None:
        self.is_up = True
        self.first_sent = []
        self.on(LinkUp(), effects_max)

    @precondition(lambda self: self.is_up)
    @rule(loses_what_was_sent=st.booleans())
    def link_falls(self, loses_what_was_sent: bool) -> None:
        self.is_up = False
        if loses_what_was_sent:
            self.up.clear()
        self.on(LinkDown("gone"))

    @precondition(lambda self: self.up)
    @rule(data=st.data(), repeats=st.booleans())
    def record_arrives(self, data: st.DataObject, repeats: bool) -> None:
        at = data.draw(st.integers(0, min(2, len(self.up) - 1)))
        sequence = self.up[at] if repeats else self.up.pop(at)
        self.down.append(sealed(self.aggregator.take(sequence)))

    @precondition(lambda self: self.up)
    @rule(data=st.data())
    def record_is_lost(self, data: st.DataObject) -> None:
        self.up.pop(data.draw(st.integers(0, len(self.up) - 1)))

    @precondition(lambda self: self.is_up and self.down)
    @rule(data=st.data(), repeats=st.booleans(), effects_max=st.none() | st.integers(0, 4))
    def answer_arrives(self, data: st.DataObject, repeats: bool, effects_max: int | None) -> None:
        at = data.draw(st.integers(0, len(self.down) - 1))
        self.on(self.down[at] if repeats else self.down.pop(at), effects_max)

    @precondition(lambda self: self.down)
    @rule(data=st.data())
    def answer_is_lost(self, data: st.DataObject) -> None:
        self.down.pop(data.draw(st.integers(0, len(self.down) - 1)))

    @rule(sequence=st.integers(1, 30), is_final=st.booleans())
    def forged_answer_arrives(self, sequence: int, is_final: bool) -> None:
        entry = an_entry(sequence)
        code = RefusalCode.UNKNOWN_METER if is_final else RefusalCode.SEQUENCE_REPLAYED
        refusal = a_refusal(digest=entry.digest, sequence=sequence, code=code)
        self.on(sealed(refusal, key=1))
        self.on(sealed(a_receipt(records=(Received(sequence, entry.digest, 0),)), key=1))

    @precondition(lambda self: self.is_up)
    @rule(balance=st.sampled_from([0, 100]), effects_max=st.none() | st.integers(0, 3))
    def statement_arrives(self, balance: int, effects_max: int | None) -> None:
        self.on(self.aggregator.state(balance), effects_max)

    @precondition(lambda self: self.is_up and self.aggregator.statements)
    @rule(data=st.data())
    def old_statement_arrives(self, data: st.DataObject) -> None:
        self.on(data.draw(st.sampled_from(self.aggregator.statements)))

    # -- What must always hold.

    @invariant()
    def every_record_is_waiting_or_answered(self) -> None:
        signed = list(range(1, self.disk.last_signed + 1))
        assert sorted([*self.disk.records, *self.disk.aside, *self.disk.forgotten]) == signed

    @invariant()
    def only_what_is_on_the_chain_is_forgotten(self) -> None:
        assert set(self.disk.forgotten) <= set(self.aggregator.chain) - self.aggregator.refuses
        assert set(self.disk.aside) <= set(self.aggregator.chain) & self.aggregator.refuses

    @invariant()
    def no_more_than_the_bound_are_in_flight(self) -> None:
        waiting = [sequence for sequence in self.first_sent if sequence in self.disk.records]
        assert len(waiting) <= IN_FLIGHT_MAX

    @invariant()
    def records_go_out_in_their_order(self) -> None:
        assert self.first_sent == sorted(self.first_sent)

    @invariant()
    def at_most_one_purchase_is_unanswered(self) -> None:
        assert len([sequence for sequence in self.disk.purchases if sequence in self.disk.records]) <= 1

    def teardown(self) -> None:
        """On a link that loses nothing, all is answered in the end."""
        if not hasattr(self, "disk"):
            return
        self.link_falls(loses_what_was_sent=True) if self.is_up else None
        self.down.clear()
        self.is_up, self.first_sent = True, []
        self.on(LinkUp())
        rounds = 0
        while self.disk.records:
            rounds += 1
            assert rounds < 1000, "the conversation gets nowhere"
            while self.up:
                self.on(sealed(self.aggregator.take(self.up.pop(0))))
            self.now_ms += RESEND_MS
            self.on(Tick())


Conversation.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestConversation = Conversation.TestCase
