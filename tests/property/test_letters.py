"""What holds of every letter, and of every order in which answers may come."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.trade.offers import NEXT_STAGE, Stage, Step
from protocol.errors import MessageError
from protocol.sealed import BOX_BYTES, MESSAGE_BYTES_MAX, Sealed, SealingKey, seal_to
from tests.builders import REGION, a_key

KEY = SealingKey(a_key(50))
messages = st.binary(max_size=MESSAGE_BYTES_MAX)


def a_letter(message: bytes, expires_ms: int = 0) -> Sealed:
    return seal_to(KEY.public_key, message, region=REGION, sender="gw-1", receiver="gw-2", expires_ms=expires_ms)


@given(messages, st.integers(0, 2**63 - 1))
def test_whatever_is_sealed_is_what_its_receiver_reads(message: bytes, expires_ms: int) -> None:
    letter = Sealed.decode(a_letter(message, expires_ms).encode())
    assert KEY.open(letter) == message
    assert len(letter.box) == BOX_BYTES


@given(st.integers(0, BOX_BYTES * 8 - 1))
def test_a_letter_with_any_bit_changed_does_not_open(bit: int) -> None:
    letter = a_letter(b"an offer")
    box = bytearray(letter.box)
    box[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MessageError):
        KEY.open(replace(letter, box=bytes(box)))


@given(st.lists(st.sampled_from(Step)), st.sampled_from([Stage.WANTED, Stage.OPEN]))
def test_in_whatever_order_things_come_a_stated_contract_stays_one(steps: list[Step], begin: Stage) -> None:
    stage, was_recorded = begin, False
    for step in steps:
        stage = NEXT_STAGE.get((stage, step), stage)
        was_recorded |= stage is Stage.RECORDED
        assert not was_recorded or stage is Stage.RECORDED
