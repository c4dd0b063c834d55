"""Whatever comes over a line, in whatever pieces: only the answer to the question comes through."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU

from agent.bus.frames import (
    READ_HOLDING,
    READ_INPUT,
    WRITE,
    Answer,
    Heard,
    No,
    Question,
    RtuExchange,
    Rubbish,
    TcpExchange,
    crc,
    with_crc,
)

units = st.integers(1, 247)
addresses = st.integers(0, 0xFFFF)
words = st.integers(0, 0xFFFF)


@st.composite
def reads(draw: st.DrawFn) -> Question:
    return Question(draw(units), draw(st.sampled_from((READ_HOLDING, READ_INPUT))), draw(addresses), draw(counts))


@st.composite
def writes(draw: st.DrawFn) -> Question:
    written = tuple(draw(st.lists(words, min_size=1, max_size=123)))
    return Question(draw(units), WRITE, draw(addresses), len(written), written)


counts = st.integers(1, 125)
questions = reads() | writes()


def pdu_of(question: Question, told: list[int]) -> bytes:
    """The right answer, as the specification spells it."""
    if question.function == WRITE:
        return struct.pack(">BHH", WRITE, question.address, question.words)
    return struct.pack(f">BB{len(told)}H", question.function, 2 * len(told), *told)


def rtu(question: Question, told: list[int]) -> bytes:
    return with_crc(bytes((question.unit,)) + pdu_of(question, told))


def tcp(question: Question, transaction: int, told: list[int]) -> bytes:
    pdu = pdu_of(question, told)
    return struct.pack(">HHHB", transaction, 0, 1 + len(pdu), question.unit) + pdu


def told_for(question: Question, seed: int) -> list[int]:
    return [(seed + n) & 0xFFFF for n in range(question.words if question.function != WRITE else 0)]


def hear(exchange: RtuExchange | TcpExchange, data: bytes, cuts: list[int]) -> Heard:
    """Hand over `data` in pieces, until something is decided."""
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    heard: Heard = None
    for start, end in pairwise(edges):
        heard = exchange.hear(data[start:end])
        if heard is not None:
            return heard
    return heard


pieces = st.lists(st.integers(0, 300), max_size=6)


@given(questions, words, pieces)
def test_the_right_answer_comes_through_in_any_pieces(question: Question, seed: int, cuts: list[int]) -> None:
    told = told_for(question, seed)
    assert hear(RtuExchange(question), rtu(question, told), cuts) == Answer(tuple(told))
    assert hear(TcpExchange(question, 7), tcp(question, 7, told), cuts) == Answer(tuple(told))


@given(questions, st.integers(1, 255), pieces)
def test_a_no_comes_through_with_its_code(question: Question, code: int, cuts: list[int]) -> None:
    pdu = bytes((question.function | 0x80, code))
    unit = bytes((question.unit,))
    assert hear(RtuExchange(question), with_crc(unit + pdu), cuts) == No(code)
    assert hear(TcpExchange(question, 7), struct.pack(">HHH", 7, 0, 3) + unit + pdu, cuts) == No(code)


@given(questions, words, st.integers(0, 10_000), st.integers(1, 255), pieces)
def test_one_wrong_byte_is_never_an_answer(
    question: Question, seed: int, place: int, flip: int, cuts: list[int]
) -> None:
    frame = bytearray(rtu(question, told_for(question, seed)))
    frame[place % len(frame)] ^= flip
    assert not isinstance(hear(RtuExchange(question), bytes(frame), cuts), Answer | No)


@given(reads(), words, st.integers(0, 8), st.integers(1, 255), pieces)
def test_one_wrong_byte_in_a_header_is_never_an_answer(
    question: Question, seed: int, place: int, flip: int, cuts: list[int]
) -> None:
    frame = bytearray(tcp(question, 7, told_for(question, seed)))
    frame[place] ^= flip
    assert not isinstance(hear(TcpExchange(question, 7), bytes(frame), cuts), Answer | No)


@given(questions, st.binary(min_size=1, max_size=600), pieces)
def test_noise_is_rubbish_or_not_yet_anything_but_never_an_answer(
    question: Question, noise: bytes, cuts: list[int]
) -> None:
    for exchange in (RtuExchange(question), TcpExchange(question, 7)):
        assert not isinstance(hear(exchange, noise, cuts), Answer)


@given(questions, st.binary(min_size=260, max_size=600))
def test_more_than_a_frame_of_noise_is_always_decided(question: Question, noise: bytes) -> None:
    assert isinstance(RtuExchange(question).hear(noise), Rubbish)
    assert isinstance(TcpExchange(question, 7).hear(noise), Rubbish)


@given(st.lists(questions, min_size=1, max_size=6, unique_by=lambda question: question.looks), words, pieces)
def test_late_answers_before_the_right_one_are_dropped_and_named(
    asked: list[Question], seed: int, cuts: list[int]
) -> None:
    *earlier, question = asked
    late = b"".join(rtu(other, told_for(other, seed + 1)) for other in earlier)
    exchange = RtuExchange(question, earlier)
    told = told_for(question, seed)
    assert hear(exchange, late + rtu(question, told), cuts) == Answer(tuple(told))
    assert exchange.late == earlier
    numbered = TcpExchange(question, 100, range(1, 7))
    late = b"".join(tcp(other, number, told_for(other, seed + 1)) for number, other in enumerate(earlier, 1))
    assert hear(numbered, late + tcp(question, 100, told), cuts) == Answer(tuple(told))
    assert numbered.late == list(range(1, len(earlier) + 1))


@given(st.lists(reads(), min_size=2, max_size=6, unique_by=lambda question: question.looks), words, st.data())
def test_a_late_answer_never_passes_for_another_meters(asked: list[Question], seed: int, data: st.DataObject) -> None:
    *earlier, question = asked
    other = data.draw(st.sampled_from(earlier))
    owed = data.draw(st.sampled_from((earlier, [])))
    heard = RtuExchange(question, owed).hear(rtu(other, told_for(other, seed)))
    assert heard is None or isinstance(heard, Rubbish)


def test_what_looks_like_a_late_answer_may_not_even_be_asked() -> None:
    with pytest.raises(AssertionError):
        RtuExchange(Question(1, READ_INPUT, 40, 4), [Question(1, READ_INPUT, 0, 4)])


@given(st.binary(max_size=256))
def test_the_checksum_is_pymodbus_own(data: bytes) -> None:
    assert crc(data) == FramerRTU.compute_CRC(data).to_bytes(2, "big")


@given(questions)
def test_pymodbus_reads_the_requests_as_they_are_meant(question: Question) -> None:
    decoder = DecodePDU(True)
    for framer, exchange in ((FramerRTU, RtuExchange(question)), (FramerSocket, TcpExchange(question, 9))):
        _, pdu = framer(decoder).handleFrame(exchange.request, 0, 0)
        assert pdu is not None
        assert (pdu.dev_id, pdu.function_code, pdu.address) == (question.unit, question.function, question.address)
        assert tuple(pdu.registers) == question.written
        assert pdu.count == question.words


@pytest.mark.parametrize(
    ("frame", "source"),
    [
        ("01 04 02 ff ff b8 80", "Wikipedia's and most meters' manuals' example of CRC-16: 01 04 02 ff ff gives b8 80"),
        ("02 07 41 12", "Modbus over Serial Line 1.02, appendix B: the frame 02 07 has the CRC 1241, low byte first"),
    ],
    ids=["an answer", "the specification"],
)
def test_the_checksum_is_the_published_one(frame: str, source: str) -> None:
    data = bytes.fromhex(frame)
    assert with_crc(data[:-2]) == data, source
