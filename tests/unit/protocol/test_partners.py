"""Asks, cards, deliveries and answers have one spelling each, and nothing else is read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocol.answer import REASON_MAX, Answer, Reply
from protocol.errors import EncodingError
from protocol.partners import Ask, Card, Delivery, Partner, SealingKeyRecord
from protocol.sealed import MESSAGE_BYTES_MAX, seal_to
from tests.builders import GATEWAY, REGION, a_digest, a_key, a_link, a_sealed
from tests.unit.protocol.mutation import paths_in, with_field

PARTNER = Partner("gw-2", a_key(2).public_key, a_key(52).public_key, ("annia", "bert"))
LETTER = a_sealed(
    seal_to(
        a_key(51).public_key, b"", region=REGION, sender="gw-2", receiver=GATEWAY, expires_ms=1_750_000_000_000
    ).encode(),
    type_="sealed",
)
MESSAGES: list[Any] = [
    SealingKeyRecord(a_link(), a_key(51).public_key),
    Ask(REGION, GATEWAY, "annia"),
    Card(REGION, GATEWAY, "annia", PARTNER),
    Delivery(REGION, GATEWAY, PARTNER, LETTER),
    Delivery(REGION, GATEWAY, replace(PARTNER, sealing_key=None, participants=()), LETTER),
    Answer(REGION, GATEWAY, a_digest(), Reply.REFUSED, 144, "not ours"),
    PARTNER,
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_survives_being_written_and_read(message: Any) -> None:
    assert type(message).decode(message.encode()) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_field_is_checked(message: Any) -> None:
    data = message.encode()
    for path in paths_in(data):
        with pytest.raises(EncodingError):
            type(message).decode(with_field(data, path, -1))
        with pytest.raises(EncodingError):
            type(message).decode(with_field(data, path, {}))


def test_a_card_is_of_somebody_who_takes_letters_for_whom_was_asked_for() -> None:
    card = Card(REGION, GATEWAY, "annia", PARTNER)
    for broken in (replace(card, participant="carla"), replace(card, partner=replace(PARTNER, sealing_key=None))):
        with pytest.raises(EncodingError, match="takes no letters"):
            Card.decode(broken.encode())


@pytest.mark.parametrize("names", [("bert", "annia"), ("annia", "annia")])
def test_participants_stand_in_one_order_each_once(names: tuple[str, ...]) -> None:
    with pytest.raises(EncodingError, match="rise by name"):
        Partner.decode(replace(PARTNER, participants=names).encode())


def test_what_is_no_reply_is_none() -> None:
    data = Answer(REGION, GATEWAY, a_digest(), Reply.RECEIVED).encode()
    with pytest.raises(EncodingError, match="no reply has the number 7"):
        Answer.decode(with_field(data, (4,), 7))


def test_the_longest_reason_fits_into_a_letter_in_every_language() -> None:
    answer = Answer(REGION, GATEWAY, a_digest(), Reply.DECLINED, 0, "𝄞" * (REASON_MAX + 10))
    envelope = a_sealed(answer.encode(), type_="answer")
    assert len(envelope) <= MESSAGE_BYTES_MAX
    assert Answer.decode(answer.encode()).reason == "𝄞" * REASON_MAX
