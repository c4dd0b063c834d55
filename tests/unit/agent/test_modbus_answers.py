"""The only bytes that may reach a reading: the right answer to the right question, or an exception."""

from __future__ import annotations

import pytest

from agent.bus.frames import WRITE as WRITE_FUNCTION
from agent.bus.frames import Answer, No, Question, Rubbish, TcpExchange

READ = bytes.fromhex("0007 0000 0006 09 04 0034 0002")
"""Transaction 7: unit 9, function 4, two words from 0x34."""

ANSWER = bytes.fromhex("0007 0000 0007 09 04 04 45dd0b37")
EXCEPTION = bytes.fromhex("0007 0000 0003 09 84 02")

WRITE = bytes.fromhex("0008 0000 000b 09 10 0000 0002 04 000007d0")
"""Transaction 8: unit 9, function 16, two words to 0."""

WRITTEN = bytes.fromhex("0008 0000 0006 09 10 0000 0002")


def an_exchange(request: bytes) -> TcpExchange:
    """The exchange that begins with `request`."""
    if request == READ:
        return TcpExchange(Question(9, 4, 0x34, 2), 7)
    return TcpExchange(Question(9, WRITE_FUNCTION, 0, 2, (0, 2000)), 8)


@pytest.mark.parametrize("request_", [READ, WRITE], ids=["to read", "to write"])
def test_a_request_is_spelled_as_the_specification_says(request_: bytes) -> None:
    assert an_exchange(request_).request == request_


@pytest.mark.parametrize(
    ("request_", "answer"),
    [(READ, ANSWER), (READ, EXCEPTION), (WRITE, WRITTEN), (WRITE, bytes.fromhex("0008 0000 0003 09 90 03"))],
    ids=["words", "an exception", "an echo of what was written", "an exception to writing"],
)
def test_an_answer_passes_byte_by_byte(request_: bytes, answer: bytes) -> None:
    exchange = an_exchange(request_)
    *more, last = (exchange.hear(answer[at : at + 1]) for at in range(len(answer)))
    assert not any(more)
    assert isinstance(last, Answer | No)


@pytest.mark.parametrize(
    ("request_", "data"),
    [
        (READ, "0006 0000 0007 09 04 04 45dd0b37"),
        (READ, "0000 0000 0007 09 04 04 45dd0b37"),
        (READ, "0007 0001 0007 09 04 04 45dd0b37"),
        (READ, "0007 0000 0007 0a 04 04 45dd0b37"),
        (READ, "0007 0000 0007 09 03 04 45dd0b37"),
        (READ, "0007 0000 0005 09 04 02 45dd"),
        (READ, "0007 0000 0009 09 04 06 45dd0b370000"),
        (READ, "0007 0000 0007 09 04 02 45dd0b37"),
        (READ, "0007 0000 0007 09 04 04 45dd0b37 00"),
        (READ, "0007 0000 0003 09 83 02"),
        (READ, "ff"),
        (WRITE, "0008 0000 0006 09 10 0000 0001"),
        (WRITE, "0008 0000 0006 09 10 0001 0002"),
        (WRITE, "0008 0000 0006 09 06 0000 0002"),
    ],
    ids=[
        "an older transaction",
        "no transaction",
        "another protocol",
        "another unit",
        "another function",
        "too few words",
        "too many words",
        "a byte count that does not fit",
        "a byte too many",
        "an exception to another function",
        "noise",
        "fewer words written",
        "words written elsewhere",
        "another way of writing",
    ],
)
def test_anything_else_does_not(request_: bytes, data: str) -> None:
    assert isinstance(an_exchange(request_).hear(bytes.fromhex(data)), Rubbish)
