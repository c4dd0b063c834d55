"""Letters pass a node unread, bounded, and only between those whom the asset chain knows."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.admission.membership import Revocation
from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Outgoing
from aggregator.service.post_room import AT_ONCE_MAX, ONE_EVERY_MS, PostRoom
from protocol.crypto import SoftwareKey
from protocol.envelope import Envelope, seal
from protocol.messages import MessageType, Refusal
from protocol.partners import Ask, Card, Delivery, SealingKeyRecord
from protocol.refusals import RefusalCode
from protocol.sealed import Sealed, SealingKey, seal_to
from protocol.topics import Kind
from tests.village import REGION, START_MS, Village, a_grid, a_grid_document, some_keys

BOXES = {"gw": SealingKey(SoftwareKey.from_secret(700)), "gw-wind": SealingKey(SoftwareKey.from_secret(701))}


@pytest.fixture
def village() -> Village:
    """The wind turbine hangs on a gateway of its own, and both gateways take letters."""
    meters = a_grid_document()["meters"]
    for meter in meters:
        meter["gateway"] = "gw-wind" if meter["id"] == "m-wind" else "gw"
    village = Village(grid=a_grid(meters=meters), keys=some_keys("gw", "gw-wind"))
    for gateway, box in BOXES.items():
        record = SealingKeyRecord(village.link(gateway), box.public_key)
        village.close([village.record(village.sign(record, MessageType.SEALING_KEY, gateway))])
    return village


@pytest.fixture
def room(village: Village) -> PostRoom:
    return PostRoom(REGION, village.keys["node"])


def a_letter(**changes: Any) -> Sealed:
    arguments = {"region": REGION, "sender": "gw-wind", "receiver": "gw", "expires_ms": START_MS + 60_000} | changes
    return seal_to(arguments.pop("key", BOXES["gw"].public_key), b"an offer", **arguments)


def sent(village: Village, message: Any, *, author: str = "gw-wind", **changes: Any) -> Incoming:
    """A message as it comes off the broker, on the topic where it belongs."""
    type_ = MessageType.ASK if isinstance(message, Ask) else MessageType.SEALED
    data = village.sign(message, changes.pop("type_", type_), author)
    return Incoming(changes.pop("topic", author), data, Kind(type_))


def passed_on(room: PostRoom, village: Village, incoming: Incoming, now_ms: int = START_MS) -> list[Outgoing]:
    told = room.take(incoming, village.five.asset, now_ms)
    for one in told:
        Envelope.parse(one.payload).verify(village.keys["node"].public_key, REGION)
    return told


def refusal(room: PostRoom, village: Village, incoming: Incoming, now_ms: int = START_MS) -> RefusalCode:
    (told,) = passed_on(room, village, incoming, now_ms)
    assert (told.topic.name, told.topic.kind) == (incoming.gateway, Kind.REFUSAL)
    refused = Refusal.decode(Envelope.parse(told.payload).payload)
    assert refused.digest == Envelope.parse(incoming.payload).digest
    return refused.code


def test_a_letter_reaches_its_receiver_as_it_came_with_its_senders_keys(room: PostRoom, village: Village) -> None:
    incoming = sent(village, a_letter())
    (told,) = passed_on(room, village, incoming)
    assert (told.topic.name, told.topic.kind, told.retain) == ("gw", Kind.DELIVERY, False)
    delivery = Delivery.decode(Envelope.parse(told.payload).payload)
    assert delivery.letter == incoming.payload
    assert delivery.sender == village.five.asset.partner("gw-wind")
    assert BOXES["gw"].open(Sealed.decode(Envelope.parse(delivery.letter).payload)) == b"an offer"


def test_nodes_that_are_asked_say_the_same_bytes(room: PostRoom, village: Village) -> None:
    other = PostRoom(REGION, SoftwareKey.from_secret(900))
    for message in (a_letter(), Ask(REGION, "gw-wind", "home")):
        incoming = sent(village, message)
        told = [one.take(incoming, village.five.asset, START_MS)[0].payload for one in (room, other)]
        assert len({Envelope.parse(data).payload for data in told}) == 1


def test_whoever_asks_is_told_through_whom_a_participant_is_reached(room: PostRoom, village: Village) -> None:
    (told,) = passed_on(room, village, sent(village, Ask(REGION, "gw-wind", "home")))
    assert (told.topic.name, told.topic.kind) == ("gw-wind", Kind.CARD)
    card = Card.decode(Envelope.parse(told.payload).payload)
    assert (card.participant, card.partner) == ("home", village.five.asset.partner("gw"))


def test_nobody_is_reached_whose_gateway_has_published_no_sealing_key(village: Village) -> None:
    bare = Village(grid=village.grid, keys=village.keys)
    room = PostRoom(REGION, bare.keys["node"])
    for message in (Ask(REGION, "gw-wind", "home"), Ask(REGION, "gw-wind", "stranger"), a_letter()):
        assert refusal(room, bare, sent(bare, message)) is RefusalCode.NO_LETTERBOX


def test_a_letter_to_a_gateway_that_is_none_any_more_is_refused(room: PostRoom, village: Village) -> None:
    revocation = Revocation(village.link("regulator"), village.keys["gw"].public_key.thumbprint, "sold")
    village.close([village.record(village.sign(revocation, MessageType.REVOCATION, "regulator"))])
    assert refusal(room, village, sent(village, a_letter())) is RefusalCode.NO_LETTERBOX


def test_a_letter_that_is_sealed_to_another_key_is_refused(room: PostRoom, village: Village) -> None:
    letter = a_letter(key=BOXES["gw-wind"].public_key)
    assert refusal(room, village, sent(village, letter)) is RefusalCode.SEALED_TO_OTHER_KEY


def test_a_letter_that_has_expired_is_refused(room: PostRoom, village: Village) -> None:
    incoming = sent(village, a_letter())
    assert refusal(room, village, incoming, START_MS + 60_000) is RefusalCode.LETTER_EXPIRED
    assert passed_on(room, village, incoming, START_MS + 59_999)[0].topic.kind is Kind.DELIVERY


def test_one_gateway_sends_no_more_than_its_allowance_and_others_are_not_held_up(
    room: PostRoom, village: Village
) -> None:
    incoming = sent(village, a_letter())
    for _ in range(AT_ONCE_MAX):
        assert passed_on(room, village, incoming)[0].topic.kind is Kind.DELIVERY
    assert refusal(room, village, incoming) is RefusalCode.TOO_MANY_LETTERS
    assert refusal(room, village, incoming, START_MS - 5000) is RefusalCode.TOO_MANY_LETTERS
    other = sent(village, Ask(REGION, "gw", "wind"), author="gw")
    assert passed_on(room, village, other)[0].topic.kind is Kind.CARD
    assert passed_on(room, village, incoming, START_MS + ONE_EVERY_MS)[0].topic.kind is Kind.DELIVERY
    assert refusal(room, village, incoming, START_MS + ONE_EVERY_MS) is RefusalCode.TOO_MANY_LETTERS


def test_what_is_no_letter_of_a_gateway_is_counted_and_nobody_is_told(room: PostRoom, village: Village) -> None:
    letter = a_letter()
    stranger = seal(SoftwareKey.from_secret(999), region=REGION, type_="sealed", payload=letter.encode())
    elsewhere = seal(village.keys["gw-wind"], region="elsewhere", type_="sealed", payload=letter.encode())
    rubbish = [
        Incoming("gw-wind", b"rubbish", Kind.SEALED),
        Incoming("gw-wind", bytes(10_000), Kind.SEALED),
        Incoming("gw-wind", stranger, Kind.SEALED),
        Incoming("gw-wind", elsewhere, Kind.SEALED),
        sent(village, letter, topic="gw"),
        sent(village, letter, author="gw"),
        sent(village, letter, author="node"),
        sent(village, letter, type_=MessageType.TRANSFER),
        sent(village, a_letter(region="elsewhere")),
        sent(village, Ask(REGION, "gw", "home")),
        Incoming("gw-wind", village.sign(letter, MessageType.SEALED, "gw-wind"), Kind.ASK),
    ]
    assert [passed_on(room, village, incoming) for incoming in rubbish] == [[]] * len(rubbish)
    assert room.dropped.total() == len(rubbish)
