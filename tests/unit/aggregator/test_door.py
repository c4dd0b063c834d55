"""What comes off the broker is let in, answered, or turned away; and anybody's rubbish makes one line in the log."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from aggregator.ledger.record import Record, Role
from aggregator.service.door import Door
from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Outgoing
from aggregator.service.repeats import SUM_UP_MS
from protocol.crypto import SoftwareKey
from protocol.envelope import Envelope, seal
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from protocol.topics import Kind, Topic


class Behind:
    """Whoever answers; `again` to those whose key counts no more."""

    def __init__(self, again: list[Outgoing] | None = None) -> None:
        self.again = again or []

    def refusal(self, gateway: str, digest: bytes, refused: Refused) -> Outgoing:
        return outgoing(gateway, refused.code.name.encode())

    def answer_again(self, data: bytes) -> list[Outgoing]:
        return self.again


def outgoing(gateway: str, payload: bytes) -> Outgoing:
    return Outgoing(Topic("village", gateway, Kind.REFUSAL), payload)


def refused(code: RefusalCode, gateway: str = "g1") -> tuple[Incoming, Refused]:
    return Incoming(gateway, b"bytes"), Refused(code, "a rule says no")


@pytest.fixture
def record() -> Record:
    data = seal(SoftwareKey.generate(), region="village", type_=MessageType.BATCH, payload=b"\x80")
    author: Any = SimpleNamespace(name="g1", role=Role.GATEWAY)
    return Record(Envelope.parse(data), MessageType.BATCH, author, Link("village", "g1", 1, NO_RECORD), None)


def test_what_opens_is_let_in_and_may_be_answered_at_once(record: Record) -> None:
    taken: list[Record] = []

    def let_in(one: Record) -> list[Outgoing]:
        taken.append(one)
        return [outgoing("g1", b"known already")]

    sorted_ = Door(Behind()).sort([(Incoming("g1", b""), record)], let_in)
    assert taken == [record]
    assert sorted_ == ([outgoing("g1", b"known already")], [])


def test_whoever_is_admitted_is_told_what_was_wrong() -> None:
    answers, turned_away = Door(Behind()).sort([refused(RefusalCode.PAYLOAD_MALFORMED)], lambda _: ())
    assert answers == [outgoing("g1", b"PAYLOAD_MALFORMED")]
    assert [kind.about for kind, _ in turned_away] == [{"code": "PAYLOAD_MALFORMED", "gateway": "g1"}]


def test_nobody_else_is_answered() -> None:
    answers, turned_away = Door(Behind()).sort([refused(RefusalCode.BAD_SIGNATURE)], lambda _: ())
    assert answers == []
    assert [(kind.about, why) for kind, why in turned_away] == [({"code": "BAD_SIGNATURE"}, "came on the topic of g1")]


def test_a_key_that_counts_no_more_gets_the_answer_of_before_and_no_line() -> None:
    receipt = outgoing("g1", b"receipt")
    assert Door(Behind([receipt])).sort([refused(RefusalCode.UNKNOWN_KEY)], lambda _: ()) == ([receipt], [])


def test_one_line_for_a_flood_and_one_that_sums_it_up() -> None:
    door = Door(Behind())
    with capture_logs() as lines:
        for number in range(500):
            door.tell(door.sort([refused(RefusalCode.MALFORMED, f"g{number}")], lambda _: ()).turned_away, 1000)
        assert [line["why"] for line in lines] == ["came on the topic of g0"]
        door.sum_up(1000 + SUM_UP_MS - 1)
        door.sum_up(1000 + SUM_UP_MS)
    assert [line.get("more") for line in lines] == [None, 499]


def test_at_the_end_nothing_stays_untold() -> None:
    door = Door(Behind())
    with capture_logs() as lines:
        for _ in range(2):
            door.tell(door.sort([refused(RefusalCode.PAYLOAD_SPELLING)], lambda _: ()).turned_away, 1000)
        door.shut(1001)
    assert [(line["event"], line.get("more")) for line in lines] == [("refused", None), ("refused", 1)]
