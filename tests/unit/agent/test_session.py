"""What arrives, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.agreement import Agreement, enough
from agent.inbox import Inbox
from agent.outbox.queue import Entry, Forget, LinkUp, Outbox, Page, Paged, Publish, SetAside, Signed, Tick
from agent.session import Alarm, Arrived, Believe, Bought, Buy, Effect, Ignored, KeepPlaced, NotBought, Session, Trade
from agent.standing import Believed, Placed
from config.settings.agent import StandingOrder
from protocol import crypto
from protocol.envelope import Envelope
from protocol.messages import MessageType, Receipt, Received, Refusal, RightKind, Statement
from protocol.partners import Card, Delivery, Partner
from protocol.refusals import RefusalCode
from protocol.topics import Kind
from tests.builders import (
    GATEWAY,
    REGION,
    a_digest,
    a_key,
    a_receipt,
    a_refusal,
    a_sealed,
    a_standing,
    a_statement,
)

AGGREGATOR = 99

ORDER = StandingOrder(participant="annia", right="priority_purchase", price_max=50, balance_min=30)


def a_session(**changes: Any) -> Session:
    return Session(
        **{
            "inbox": Inbox((a_key(AGGREGATOR).public_key,), REGION, GATEWAY),
            "records": Outbox(in_flight_max=8, resend_after_ms=1000, last_signed=0),
            "orders": (ORDER,),
        }
        | changes
    )


def arrived(word: Receipt | Refusal | Statement, **changes: Any) -> Arrived:
    kind, type_ = {
        Receipt: (Kind.RECEIPT, MessageType.RECEIPT),
        Refusal: (Kind.REFUSAL, MessageType.REFUSAL),
        Statement: (Kind.STATEMENT, MessageType.STATEMENT),
    }[type(word)]
    return Arrived(kind, a_sealed(word.encode(), **{"key": AGGREGATOR, "type_": type_} | changes))


def rich(**changes: Any) -> Statement:
    """A statement after which the standing order can buy."""
    return a_statement(standings=(a_standing(rights=()),), **changes)


def poor(**changes: Any) -> Statement:
    """One after which it cannot."""
    return a_statement(standings=(a_standing(balance=0, rights=()),), **changes)


def of_kind(effects: list[Effect], *kinds: type) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kinds)]


def digest_of(event: Arrived) -> bytes:
    return crypto.digest_of(Envelope.parse(event.data).payload)


def test_what_is_not_the_aggregator_s_word_is_counted_and_ignored() -> None:
    session = a_session()
    effects = session.handle(arrived(rich(), key=1), 0)
    assert effects == [Ignored(Kind.STATEMENT, "signed by another key than the aggregator's")]
    assert session.ignored == 1
    assert session.believed is None


def test_a_receipt_reaches_the_outbox() -> None:
    session = a_session()
    entry = Entry(1, a_digest("record 1"))
    session.handle(Signed(entry), 0)
    session.handle(Paged([entry]), 0)
    assert session.handle(arrived(a_receipt()), 0) == [Forget((entry,), height=2)]


class TestStatements:
    """The newest statement is in force."""

    def test_a_newer_one_is_believed_and_kept_as_it_came(self) -> None:
        session = a_session(orders=())
        event = arrived(poor())
        assert session.handle(event, 0) == [Believe(Believed(poor(), digest_of(event)), event.data)]
        assert session.believed == Believed(poor(), digest_of(event))

    def test_the_same_again_does_nothing(self) -> None:
        session = a_session()
        session.handle(arrived(poor()), 0)
        assert session.handle(arrived(poor()), 0) == []

    def test_an_older_one_does_nothing(self) -> None:
        session = a_session()
        session.handle(arrived(poor(number=5, height=9)), 0)
        assert session.handle(arrived(poor(number=4, height=8)), 0) == []
        assert session.believed is not None
        assert session.believed.statement.number == 5

    def test_two_histories_raise_an_alarm_and_change_nothing(self) -> None:
        session = a_session()
        session.handle(arrived(poor(number=1)), 0)
        (alarm,) = session.handle(arrived(rich(number=2, previous=a_digest("another"))), 0)
        assert isinstance(alarm, Alarm)
        assert session.believed is not None
        assert session.believed.statement.number == 1

    def test_what_was_believed_before_a_restart_still_counts(self) -> None:
        session = a_session(believed=Believed(poor(number=5, height=9), a_digest("statement 5")))
        assert session.handle(arrived(poor(number=4, height=8)), 0) == []


class TestStandingOrders:
    """One purchase, until a statement knows what came of it."""

    def placed(self, session: Session, sequence: int = 1) -> Entry:
        """The purchase is signed, and in the outbox."""
        entry = Entry(sequence, a_digest(f"record {sequence}"))
        session.handle(Bought(Placed(participant="annia", right=RightKind.PRIORITY_PURCHASE, sequence=sequence)), 0)
        assert of_kind(session.handle(Signed(entry), 0), Page)
        session.handle(Paged([entry]), 0)
        return entry

    def test_a_newer_statement_that_allows_it_buys(self) -> None:
        assert Buy(ORDER) in a_session().handle(arrived(rich()), 0)

    def test_one_that_does_not_buys_nothing(self) -> None:
        assert of_kind(a_session().handle(arrived(poor()), 0), Buy) == []

    def test_a_statement_that_comes_before_the_purchase_is_signed_does_not_buy_again(self) -> None:
        session = a_session()
        first = arrived(rich())
        assert Buy(ORDER) in session.handle(first, 0)
        assert of_kind(session.handle(arrived(rich(number=2, previous=digest_of(first), height=3)), 0), Buy) == []

    def test_a_purchase_that_could_not_be_signed_is_asked_for_again(self) -> None:
        session = a_session()
        first = arrived(rich())
        session.handle(first, 0)
        session.handle(NotBought(ORDER), 0)
        second = arrived(rich(number=2, previous=digest_of(first), height=3))
        assert of_kind(session.handle(second, 0), Buy) == [Buy(ORDER)]

    def test_the_next_statement_does_not_buy_again(self) -> None:
        session = a_session()
        first = arrived(rich())
        session.handle(first, 0)
        self.placed(session)
        assert of_kind(session.handle(arrived(rich(number=2, previous=digest_of(first), height=3)), 0), Buy) == []

    def test_its_receipt_is_remembered_and_a_statement_after_it_buys_again(self) -> None:
        session = a_session()
        session.handle(arrived(rich()), 0)
        entry = self.placed(session)
        receipt = a_receipt(height=10, records=(Received(entry.sequence, entry.digest, 0),))
        (kept,) = of_kind(session.handle(arrived(receipt), 0), KeepPlaced)
        assert isinstance(kept, KeepPlaced)
        assert kept.placed.height == 10
        assert of_kind(session.handle(arrived(rich(number=5, height=10)), 0), Buy) == []
        assert of_kind(session.handle(arrived(rich(number=7, height=11)), 0), Buy) == [Buy(ORDER)]

    def test_its_refusal_is_remembered_too(self) -> None:
        session = a_session()
        session.handle(arrived(rich()), 0)
        entry = self.placed(session)
        refusal = a_refusal(digest=entry.digest, sequence=1, code=RefusalCode.PRICE_ABOVE_LIMIT)
        effects = session.handle(arrived(refusal), 0)
        assert of_kind(effects, SetAside)
        (kept,) = of_kind(effects, KeepPlaced)
        assert isinstance(kept, KeepPlaced)
        assert kept.placed.rest_until_ms is not None
        assert of_kind(session.handle(arrived(rich(number=5, height=10)), 0), Buy) == []

    def test_the_fate_of_other_records_is_none_of_its_business(self) -> None:
        session = a_session(placed=[Placed(participant="annia", right=RightKind.PRIORITY_PURCHASE, sequence=2)])
        entry = Entry(1, a_digest("record 1"))
        session.handle(Signed(entry), 0)
        session.handle(Paged([entry]), 0)
        assert of_kind(session.handle(arrived(a_receipt()), 0), KeepPlaced) == []

    def test_what_was_placed_before_a_restart_is_not_placed_again(self) -> None:
        session = a_session(placed=[Placed(participant="annia", right=RightKind.PRIORITY_PURCHASE, sequence=2)])
        assert of_kind(session.handle(arrived(rich()), 0), Buy) == []


def test_a_statement_ends_the_outbox_s_long_wait() -> None:
    entry = Entry(1, a_digest("record 1"))
    session = a_session(records=Outbox(in_flight_max=8, resend_after_ms=1000, last_signed=1))
    session.handle(LinkUp(), 0)
    session.handle(Paged([entry]), 0)
    assert session.handle(Tick(), 1000) == [Publish(1)]
    assert session.handle(Tick(), 2000) == []
    session.handle(arrived(poor()), 2000)
    assert session.handle(Tick(), 2000) == [Publish(1)]


def test_an_order_for_somebody_whom_the_statement_does_not_know_is_told_until_one_does() -> None:
    session = a_session()
    assert session.idle_orders is None, "nothing is known yet"
    session.handle(arrived(a_statement(standings=(a_standing(participant="borja"),))), 0)
    assert "annia" in (session.idle_orders or "")
    last = session.believed
    assert last is not None
    session.handle(arrived(rich(number=last.statement.number + 1, previous=last.digest)), 0)
    assert session.idle_orders is None


class TestLetters:
    """What the nodes say about letters is handed on, as they said it."""

    PARTNER = Partner("gw-2", a_key(2).public_key, a_key(52).public_key, ("carla",))
    LETTER = a_sealed(b"", type_="sealed")

    def test_a_card_and_a_letter_are_for_the_desk_of_trade(self) -> None:
        session = a_session()
        card = Card(REGION, GATEWAY, "carla", self.PARTNER)
        delivery = Delivery(REGION, GATEWAY, self.PARTNER, self.LETTER)
        for kind, word in ((Kind.CARD, card), (Kind.DELIVERY, delivery)):
            data = a_sealed(word.encode(), key=AGGREGATOR, type_=kind.value)
            assert session.handle(Arrived(kind, data), 0) == [Trade(word)]

    def test_what_another_than_a_node_delivers_is_ignored(self) -> None:
        delivery = Delivery(REGION, GATEWAY, self.PARTNER, self.LETTER)
        data = a_sealed(delivery.encode(), key=2, type_="delivery")
        (effect,) = a_session().handle(Arrived(Kind.DELIVERY, data), 0)
        assert isinstance(effect, Ignored)

    def test_a_letter_for_another_gateway_is_ignored(self) -> None:
        delivery = Delivery(REGION, "gw-2", self.PARTNER, self.LETTER)
        data = a_sealed(delivery.encode(), key=AGGREGATOR, type_="delivery")
        assert a_session().handle(Arrived(Kind.DELIVERY, data), 0) == [
            Ignored(Kind.DELIVERY, f"meant for gw-2 in {REGION}")
        ]

    def test_a_refusal_of_no_record_may_be_that_of_a_letter(self) -> None:
        refusal = a_refusal(sequence=0, code=RefusalCode.NO_LETTERBOX)
        assert a_session().handle(arrived(refusal), 0) == [Trade(refusal)]
        assert not of_kind(a_session().handle(arrived(a_refusal(sequence=5)), 0), Trade)

    def test_where_several_nodes_have_to_agree_one_lie_about_a_partner_is_not_heard(self) -> None:
        nodes = (a_key(AGGREGATOR), a_key(98), a_key(97), a_key(96))
        inbox = Inbox(tuple(key.public_key for key in nodes), REGION, GATEWAY)
        session = a_session(inbox=inbox, agreement=Agreement(enough(len(nodes))))
        false = Card(REGION, GATEWAY, "carla", replace(self.PARTNER, key=a_key(66).public_key))
        true = Card(REGION, GATEWAY, "carla", self.PARTNER)

        def told(card: Card, node: int) -> list[Effect]:
            return session.handle(Arrived(Kind.CARD, a_sealed(card.encode(), key=node, type_="card")), 0)

        assert told(false, AGGREGATOR) == []
        assert told(true, 98) == []
        assert told(false, AGGREGATOR) == []
        assert told(true, 97) == [Trade(true)]
