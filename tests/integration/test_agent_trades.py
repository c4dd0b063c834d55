"""Two gateways negotiate: the ways it may go, and what a hostile broker, node or partner cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.keys.succession import take_up
from agent.outbox.file import OutboxFile
from agent.outbox.queue import Entry
from agent.trade import book
from agent.trade.book import OFFERS_KEPT_MAX, TradeBook, Verb, Wish
from agent.trade.desk import TradeDesk
from agent.trade.letters import Pen
from agent.trade.offers import SEND_AGAIN_MS, Stage
from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Outgoing
from protocol.agreement import Agreement, Dispute, Termination, seal_offer
from protocol.answer import Answer, Reply
from protocol.contract import Terms
from protocol.crypto import SoftwareKey
from protocol.envelope import Envelope, seal
from protocol.errors import KeyUnavailable, MessageError, OperatorError, SignatureError, UnreadableError
from protocol.messages import MessageType
from protocol.partners import Delivery, Partner
from protocol.refusals import RefusalCode
from protocol.rotation import rotate
from protocol.sealed import Sealed, SealingKey
from protocol.topics import Kind
from tests.builders import a_statement
from tests.contract_village import IMBALANCE
from tests.integration.trade_world import HOUR_MS, World, a_trade_world, payload_of
from tests.village import REGION

assert IMBALANCE, "contracts are made in this village"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with a_trade_world(tmp_path) as world:
        yield world


def stages(world: World, number: bytes) -> tuple[str, str]:
    """How an offer stands with the turbine and with the home."""
    return world.wind.stage(number), world.home.stage(number)


def a_delivery(world: World, message: bytes, **changes: Any) -> Delivery:
    """A letter from the turbine to the home, with whatever in it, as nodes would hand it over."""
    sender = world.market.five.asset.partner("gw-wind")
    receiver = world.market.five.asset.partner("gw-home")
    assert sender is not None and receiver is not None
    pen = changes.pop("pen", Pen(REGION, "gw-wind", world.wind.key))
    to: Partner = changes.pop("to", receiver)
    letter = pen.write(to, message, world.now_ms + HOUR_MS)
    return Delivery(**{"region": REGION, "gateway": "gw-home", "sender": sender, "letter": letter} | changes)


def heard(world: World, delivery: Delivery) -> None:
    world.deal(world.home, world.home.desk.hear(delivery, world.home.ours, world.now_ms))


def answer_of(world: World, letter: Incoming, to: SealingKey) -> Answer:
    """What an answer says, with the key of whoever got it."""
    sealed = Sealed.decode(payload_of(letter))
    return Answer.decode(Envelope.parse(to.open(sealed)).payload)


class TestTheWays:
    """Offer, accept, decline, counter: whichever side begins."""

    def test_an_offer_reaches_the_other_side_and_waits_for_a_decision(self, world: World) -> None:
        number = world.offered()
        assert stages(world, number) == ("delivered", "open")
        offer = world.home.offer(number)
        assert (offer.partner, offer.gateway, offer.terms.quantity_wh) == ("wind", "gw-wind", 50)

    def test_acceptance_makes_the_agreement_with_both_signatures(self, world: World) -> None:
        number = world.offered()
        world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        assert stages(world, number) == ("recorded", "recorded")
        (record,) = world.records(MessageType.AGREEMENT)
        agreement: Agreement = record.message
        assert (record.author.name, agreement.terms.digest) == ("gw-home", number)
        agreement.offer.verify(world.wind.key.public_key, REGION)
        heights = {house.offer(number).detail for house in (world.wind, world.home)}
        assert heights == {world.market.five.ledger.height}

    def test_whoever_is_declined_is_told_why(self, world: World) -> None:
        number = world.offered()
        world.home.order(Verb.DECLINE, number=number, reason="too dear")
        world.tick()
        assert stages(world, number) == ("declined", "declined")
        assert world.wind.offer(number).reason == "too dear"
        assert not world.records(MessageType.AGREEMENT)

    def test_several_rounds_end_in_one_agreement(self, world: World) -> None:
        first = world.offered()
        cheaper = world.terms(price_per_mwh=100_000, answers=first)
        world.home.order(Verb.COUNTER, number=first, terms=cheaper, partner="wind")
        world.tick()
        assert stages(world, first) == ("countered", "countered")
        assert stages(world, cheaper.digest) == ("open", "delivered")
        between = world.terms(price_per_mwh=200_000, answers=cheaper.digest)
        world.wind.order(Verb.COUNTER, number=cheaper.digest, terms=between, partner="home")
        world.tick()
        world.home.order(Verb.ACCEPT, number=between.digest)
        world.tick()
        assert stages(world, between.digest) == ("recorded", "recorded")
        assert stages(world, cheaper.digest) == ("countered", "countered")
        (record,) = world.records(MessageType.AGREEMENT)
        assert record.message.terms == between

    def test_a_verdict_of_the_chain_reaches_both_sides(self, world: World) -> None:
        number = world.offered(end_ms=world.terms().end_ms + 1)
        world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        assert stages(world, number) == ("rejected", "rejected")
        codes = {house.offer(number).detail for house in (world.wind, world.home)}
        assert codes == {RefusalCode.WINDOW_NOT_WHOLE}

    def test_an_offer_expires_on_both_sides_and_cannot_be_accepted_then(self, world: World) -> None:
        number = world.offered()
        world.tick(HOUR_MS - 1)
        assert stages(world, number) == ("delivered", "open")
        world.home.order(Verb.ACCEPT, number=number)
        world.now_ms += 1
        world.tick()
        assert stages(world, number) == ("expired", "expired")
        assert not world.records(MessageType.AGREEMENT)

    def test_an_offer_that_is_accepted_is_not_accepted_again(self, world: World) -> None:
        number = world.offered()
        for _ in range(2):
            world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        world.home.order(Verb.DECLINE, number=number)
        world.tick()
        assert len(world.records(MessageType.AGREEMENT)) == 1
        assert stages(world, number) == ("recorded", "recorded")

    def test_nobody_accepts_an_offer_of_their_own(self, world: World) -> None:
        number = world.offered()
        world.wind.order(Verb.ACCEPT, number=number)
        world.tick()
        assert stages(world, number) == ("delivered", "open")
        assert not world.records(MessageType.AGREEMENT)

    def test_whoever_takes_no_letters_cannot_be_written_to(self, world: World) -> None:
        terms = world.terms(buyer="grid")
        world.wind.order(Verb.OFFER, terms=terms, partner="grid")
        world.tick()
        offer = world.wind.offer(terms.digest)
        assert (offer.stage, offer.detail) == (Stage.REFUSED, RefusalCode.NO_LETTERBOX)

    def test_a_statement_tells_whoever_was_told_nothing_or_something_else(self, world: World) -> None:
        number = world.offered()
        world.tampered = lambda outgoing: None
        world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        assert world.wind.stage(number) == "delivered"
        standings = world.market.five.standings().behind("gw-wind")
        assert [news.contract for standing in standings for news in standing.contracts] == [number]
        world.wind.desk.stated(a_statement(standings=standings, height=17))
        offer = world.wind.offer(number)
        assert (offer.stage, offer.detail) == (Stage.RECORDED, 17)

    @pytest.mark.parametrize("verb", [Verb.END, Verb.DISPUTE])
    def test_a_party_signs_what_it_wants_of_its_contract(self, world: World, verb: Verb) -> None:
        number = world.offered()
        world.wind.order(verb, number=number)
        world.tick()
        assert not world.wind.books.page(1, 10)  # nothing was signed about what is no contract yet
        world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        world.wind.order(verb, number=number, reason="no wind")
        world.tick()
        (entry,) = world.wind.books.page(1, 10)
        envelope = Envelope.parse(world.wind.books.envelope(entry.sequence) or b"")
        type_, kind = {
            Verb.END: (MessageType.TERMINATION, Termination),
            Verb.DISPUTE: (MessageType.DISPUTE, Dispute),
        }[verb]
        said = kind.decode(envelope.payload)
        assert (envelope.type, said.contract, said.participant, said.reason) == (type_, number, "wind", "no wind")


class TestALossyWay:
    """Letters may be lost, come twice, and come late."""

    def test_a_letter_that_was_lost_is_sent_again(self, world: World) -> None:
        world.tampered = lambda outgoing: None if outgoing.topic.kind is Kind.DELIVERY else outgoing
        number = world.offered()
        assert stages(world, number) == ("sent", "none")
        world.tampered = lambda outgoing: outgoing
        world.tick(SEND_AGAIN_MS - 1)
        assert stages(world, number) == ("sent", "none")
        world.tick(SEND_AGAIN_MS)
        assert stages(world, number) == ("delivered", "open")

    def test_a_question_that_was_lost_is_asked_again(self, world: World) -> None:
        world.tampered = lambda outgoing: None
        number = world.offered()
        assert stages(world, number) == ("wanted", "none")
        world.tampered = lambda outgoing: outgoing
        world.tick(SEND_AGAIN_MS)
        assert stages(world, number) == ("delivered", "open")

    def test_an_answer_that_was_lost_is_given_again(self, world: World) -> None:
        number = world.offered()
        world.tampered = lambda outgoing: None
        world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        assert stages(world, number) == ("delivered", "recorded")
        world.tampered = lambda outgoing: outgoing
        world.tick(2 * SEND_AGAIN_MS)
        assert stages(world, number) == ("recorded", "recorded")

    def test_an_answer_that_comes_after_expiry_still_counts(self, world: World) -> None:
        number = world.offered()
        world.tampered = lambda outgoing: None
        world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        late = world.letters[-1]
        world.tampered = lambda outgoing: outgoing
        world.now_ms += HOUR_MS - 1
        world.deal(world.wind, world.wind.desk.tick(world.now_ms + 1))
        assert world.wind.stage(number) == "expired"
        world.pass_on(late)
        assert world.wind.stage(number) == "recorded"

    def test_a_restart_loses_nothing(self, world: World) -> None:
        number = world.offered()
        for house in (world.wind, world.home):
            house.start()
        world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        assert stages(world, number) == ("recorded", "recorded")

    def test_a_letter_to_an_older_key_is_sealed_again_to_the_new_one(self, world: World) -> None:
        world.offered()
        world.home.box = SealingKey(SoftwareKey.from_secret(790))
        world.home.order(Verb.OPEN)
        world.tick()
        number = world.offered(nonce=bytes(16))
        assert stages(world, number) == ("delivered", "open")
        cheaper = world.terms(price_per_mwh=1, answers=number, nonce=bytes(16))
        world.wind.box = SealingKey(SoftwareKey.from_secret(791))
        world.home.order(Verb.COUNTER, number=number, terms=cheaper, partner="wind")
        world.deal(world.home, world.home.desk.tick(world.now_ms))  # the turbine's new key is not published yet
        assert world.wind.ignored == ["sealed to another key than this gateway's"]
        world.wind.order(Verb.OPEN)
        world.tick()
        world.tick(SEND_AGAIN_MS)
        assert stages(world, cheaper.digest) == ("open", "delivered")

    def test_an_offer_is_signed_again_with_another_key_of_ours(self, world: World) -> None:
        """Its number stays: that is the digest of what it says, and not of who says it."""
        world.tampered = lambda outgoing: None
        number = world.offered()
        new = SoftwareKey.from_secret(600)
        step = rotate(world.market.link("gw-wind"), world.wind.key.public_key.thumbprint, new)
        assert world.market.put(step, MessageType.ROTATION, "gw-wind").refusal is None
        world.wind.key = new
        world.wind.start()
        world.tampered = lambda outgoing: outgoing
        world.tick(SEND_AGAIN_MS)
        assert stages(world, number) == ("delivered", "open")
        Envelope.parse(world.home.offer(number).envelope).verify(new.public_key, REGION)

    def test_an_agreement_that_gets_another_number_is_still_that_of_its_offer(self, world: World) -> None:
        number = world.offered()
        world.home.order(Verb.ACCEPT, number=number)
        (entry,) = world.home.desk.tick(world.now_ms).entries
        take_up(world.home.books, Entry(7, bytes(31) + b"\1"), SoftwareKey.from_secret(600))
        moved = world.home.offer(number).sequence
        assert moved == entry.sequence + 7
        envelope = Envelope.parse(world.home.books.envelope(moved) or b"")
        assert Agreement.decode(envelope.payload).terms.digest == number

    def test_too_many_letters_are_only_late(self, world: World) -> None:
        number = world.offered()
        world.room._allowances["gw-wind"].left = 0
        world.tick(2 * SEND_AGAIN_MS)
        assert stages(world, number) == ("delivered", "open")


class TestAHostileWay:
    """A broker or a node that replays, forges and redirects."""

    def test_an_offer_that_comes_again_changes_nothing_and_is_answered_again(self, world: World) -> None:
        number = world.offered()
        (offered,) = [letter for letter in world.deliveries() if letter.gateway == "gw-wind"]
        world.pass_on(offered)
        assert stages(world, number) == ("delivered", "open")
        world.home.order(Verb.DECLINE, number=number)
        world.tick()
        count = len(world.letters)
        world.pass_on(offered)
        assert answer_of(world, world.letters[-1], world.wind.box).reply is Reply.DECLINED
        assert len(world.letters) == count + 1
        assert stages(world, number) == ("declined", "declined")
        assert len(book.look(world.home.folder)) == 1

    def test_an_answer_that_comes_again_takes_nothing_back(self, world: World) -> None:
        number = world.offered()
        received = world.letters[-1]
        world.home.order(Verb.ACCEPT, number=number)
        world.tick()
        world.pass_on(received)
        assert stages(world, number) == ("recorded", "recorded")

    def test_a_letter_for_somebody_else_does_not_open(self, world: World) -> None:
        other = world.market.five.asset.partner("gw-wind")
        assert other is not None
        offer = seal_offer(world.terms(), world.wind.key)
        with pytest.raises(MessageError, match="to gw-wind"):
            heard(world, a_delivery(world, offer, to=other))
        with pytest.raises(UnreadableError, match="another key"):
            heard(world, a_delivery(world, offer, to=replace(other, gateway="gw-home")))
        assert not book.look(world.home.folder)

    def test_an_offer_that_its_receiver_seals_to_a_third_party_is_none_of_theirs(self, world: World) -> None:
        """The home hands on what the turbine offered it; and the turbine gets an offer of its own back."""
        number = world.offered()
        offer = world.home.offer(number).envelope
        theirs, ours = (world.market.five.asset.partner(name) for name in ("gw-wind", "gw-home"))
        assert theirs is not None and ours is not None
        letter = Pen(REGION, "gw-home", world.home.key).write(theirs, offer, world.now_ms + HOUR_MS)
        with pytest.raises(SignatureError, match="another key than that of gw-home"):
            world.wind.desk.hear(Delivery(REGION, "gw-wind", ours, letter), world.wind.ours, world.now_ms)

    @pytest.mark.parametrize("forged", ["letter", "content"])
    def test_what_the_sender_did_not_sign_is_believed_by_nobody(self, world: World, forged: str) -> None:
        thief = SoftwareKey.from_secret(999)
        pen = Pen(REGION, "gw-wind", thief if forged == "letter" else world.wind.key)
        offer = seal_offer(world.terms(), world.wind.key if forged == "letter" else thief)
        with pytest.raises(SignatureError):
            heard(world, a_delivery(world, offer, pen=pen))

    @pytest.mark.parametrize(
        "message",
        [
            b"rubbish",
            seal_offer(
                Terms(
                    region="elsewhere",
                    seller="wind",
                    buyer="home",
                    carrier="heat",
                    quantity_wh=1,
                    price_per_mwh=1,
                    start_ms=0,
                    end_ms=1,
                    expires_ms=0,
                    nonce=bytes(16),
                ),
                SoftwareKey.from_secret(4),
            ),
        ],
        ids=["rubbish", "another region"],
    )
    def test_what_is_no_offer_of_this_region_is_no_offer(self, world: World, message: bytes) -> None:
        with pytest.raises(MessageError):
            heard(world, a_delivery(world, message))

    def test_an_answer_of_somebody_else_moves_nothing(self, world: World) -> None:
        number = world.offered()
        answer = Answer(REGION, "gw-home", number, Reply.DECLINED)
        data = seal(world.wind.key, region=REGION, type_=MessageType.ANSWER, payload=answer.encode())
        with pytest.raises(MessageError, match="an answer of gw-home"):
            heard(world, a_delivery(world, data))
        own = replace(answer, gateway="gw-wind")
        data = seal(world.wind.key, region=REGION, type_=MessageType.ANSWER, payload=own.encode())
        with pytest.raises(MessageError, match="nothing that was offered to them"):
            heard(world, a_delivery(world, data))
        assert stages(world, number) == ("delivered", "open")

    def test_a_letter_of_another_type_inside_is_none(self, world: World) -> None:
        data = seal(world.wind.key, region=REGION, type_=MessageType.BATCH, payload=b"")
        with pytest.raises(MessageError, match="a batch where a answer is expected"):
            heard(world, a_delivery(world, data))

    def test_nodes_cannot_make_a_gateway_write_to_itself(self, world: World) -> None:
        def own_card(outgoing: Outgoing) -> Outgoing | None:
            from protocol.partners import Card

            if outgoing.topic.kind is not Kind.CARD:
                return outgoing
            partner = world.market.five.asset.partner("gw-wind")
            assert partner is not None
            card = Card(REGION, "gw-wind", "wind", partner)
            node = world.market.keys["node"]
            data = seal(node, region=REGION, type_=MessageType.CARD, payload=card.encode())
            return replace(outgoing, payload=data)

        world.tampered = own_card
        number = world.offered()
        assert world.wind.ignored == ["wind is behind this gateway: nothing is sent to oneself"]
        assert stages(world, number) == ("wanted", "none")


class TestBadOffers:
    """Each is refused by its number, and whoever made it is told."""

    def refused(self, world: World, terms: Terms) -> RefusalCode:
        """What the turbine is told about an offer that its own gateway would not have made."""
        heard(world, a_delivery(world, seal_offer(terms, world.wind.key)))
        answer = answer_of(world, world.letters[-1], world.wind.box)
        assert (answer.offer, answer.reply) == (terms.digest, Reply.REFUSED)
        assert world.home.stage(terms.digest) == "none"
        return RefusalCode(answer.number)

    def test_an_offer_for_others(self, world: World) -> None:
        assert self.refused(world, world.terms(buyer="gas")) is RefusalCode.NOT_THEIR_OFFER
        assert self.refused(world, world.terms(seller="gas")) is RefusalCode.NOT_THEIR_OFFER

    def test_an_offer_to_oneself(self, world: World) -> None:
        assert self.refused(world, world.terms(seller="home")) is RefusalCode.NOT_THEIR_OFFER

    def test_an_offer_that_has_expired(self, world: World) -> None:
        assert self.refused(world, world.terms(expires_ms=world.now_ms)) is RefusalCode.OFFER_EXPIRED

    def test_a_counter_offer_to_nothing(self, world: World) -> None:
        assert self.refused(world, world.terms(answers=bytes(31) + b"\1")) is RefusalCode.COUNTERS_NOTHING

    def test_a_counter_offer_to_what_one_has_made_oneself(self, world: World) -> None:
        number = world.offered()
        assert self.refused(world, world.terms(answers=number)) is RefusalCode.COUNTERS_NOTHING

    def test_a_counter_offer_of_something_else(self, world: World) -> None:
        terms = world.terms(nonce=bytes(16))
        world.home.order(Verb.OFFER, terms=terms, partner="wind")
        world.tick()
        changed = world.terms(carrier="heat", answers=terms.digest)
        assert self.refused(world, changed) is RefusalCode.COUNTER_CHANGED
        assert stages(world, terms.digest) == ("open", "delivered")

    def test_a_counter_offer_that_would_be_a_second_contract_beside_the_first(self, world: World) -> None:
        terms = world.terms(nonce=bytes(16))
        world.home.order(Verb.OFFER, terms=terms, partner="wind")
        world.tick()
        changed = world.terms(nonce=bytes([1] * 16), answers=terms.digest)
        assert self.refused(world, changed) is RefusalCode.COUNTER_CHANGED

    def test_a_gateway_that_is_refused_knows_it(self, world: World) -> None:
        number = world.offered(end_ms=world.now_ms, start_ms=world.now_ms - 5000)
        offer = world.wind.offer(number)
        assert (offer.stage, offer.detail) == (Stage.REFUSED, RefusalCode.OFFER_EXPIRED)
        assert world.home.stage(number) == "none"


class TestTheFile:
    """What a command leaves, and what is kept."""

    def test_no_more_orders_wait_than_their_bound(self, world: World) -> None:
        for _ in range(book.WISHES_MAX):
            world.home.order(Verb.DECLINE, number=bytes(32))
        with pytest.raises(OperatorError, match="start the agent"):
            world.home.order(Verb.DECLINE, number=bytes(32))
        world.tick()
        world.home.order(Verb.DECLINE, number=bytes(32))

    def test_an_order_waits_while_the_key_does_not_sign(self, world: World) -> None:
        class Broken:
            public_key = world.wind.key.public_key

            def sign(self, message: bytes) -> bytes:
                raise KeyUnavailable("the chip does not answer")

        desk = TradeDesk(world.wind.books, Pen(REGION, "gw-wind", Broken()), lambda: world.wind.box)
        world.wind.order(Verb.OFFER, terms=world.terms(), partner="home")
        with pytest.raises(KeyUnavailable):
            desk.tick(world.now_ms)
        world.tick()
        assert stages(world, world.terms().digest) == ("delivered", "open")

    def test_without_a_key_that_opens_letters_none_is_read_and_none_is_published(self, world: World) -> None:
        world.home.has_box = False
        world.offered()
        assert world.home.ignored == ["nothing can be read before there is a sealing key and a statement"]
        world.home.order(Verb.OPEN)
        world.deal(world.home, world.home.desk.tick(world.now_ms))
        assert len(world.records(MessageType.SEALING_KEY)) == 2
        with pytest.raises(MessageError, match="a statement"):
            world.wind.desk.hear(a_delivery(world, b""), None, world.now_ms)

    def test_the_oldest_of_what_is_over_is_forgotten(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("agent.trade.desk.OFFERS_KEPT_MAX", 3)
        assert OFFERS_KEPT_MAX > 3
        numbers = [world.offered(nonce=bytes(15) + bytes((n,))) for n in range(3)]
        for number in numbers[1:]:
            world.home.order(Verb.DECLINE, number=number)
        world.tick()
        more = [world.offered(nonce=bytes(14) + bytes((1, n))) for n in range(2)]
        assert [world.home.stage(number) for number in (*numbers, *more)] == ["open", "none", "none", "open", "open"]
        world.home.start()
        world.home.order(Verb.ACCEPT, number=numbers[0])
        world.tick()
        assert world.home.stage(numbers[0]) == "recorded"

    def test_an_offer_is_the_same_after_it_was_kept(self, world: World) -> None:
        number = world.offered()
        offer = replace(world.home.offer(number), sequence=7, detail=9, reason="because", sent_ms=5, times=3)
        keeper = TradeBook(world.home.books.file)
        with world.home.books.file.transaction():
            keeper.keep(offer)
        assert keeper.offers() == [offer]
        assert keeper.partner("gw-wind") == world.market.five.asset.partner("gw-wind")
        assert keeper.partner("nobody") is None

    def test_where_no_agent_has_run_nothing_can_be_left_or_seen(self, tmp_path: Path) -> None:
        with pytest.raises(OperatorError, match="este-agent run"):
            book.leave(tmp_path, Wish(Verb.OPEN))
        with pytest.raises(OperatorError, match="este-agent run"):
            book.look(tmp_path)
        assert not (tmp_path / "outbox.sqlite").exists()


def test_an_outbox_from_before_offers_is_brought_up_to_date(tmp_path: Path) -> None:
    OutboxFile.open(tmp_path, region=REGION, gateway="gw").close()
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(tmp_path / "outbox.sqlite")) as db:
        for table in ("offer", "partner", "trade_wish", "ordered", "quote"):
            db.execute(f"DROP TABLE {table}")
        db.execute("ALTER TABLE device DROP COLUMN set_w")
        db.execute("PRAGMA user_version = 3")
    OutboxFile.open(tmp_path, region=REGION, gateway="gw").close()
    assert book.look(tmp_path) == []
