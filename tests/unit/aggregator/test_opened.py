"""What is opened is verified once, and a node remembers no more of it than it has room for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from aggregator.engine.cometbft.opened import Opened
from protocol.refusals import RefusalCode, Refused


class Door:
    """Opens anything but rubbish, and notes what it had to open."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def check(self, data: bytes) -> Any:
        self.asked.append(data)
        if data == b"rubbish":
            raise Refused(RefusalCode.MALFORMED, "rubbish")
        return SimpleNamespace(envelope=SimpleNamespace(data=data))


@pytest.fixture
def door() -> Door:
    return Door()


def test_the_same_bytes_are_opened_once(door: Door) -> None:
    opened = Opened(door.check, 10, 1000)
    assert opened.open(b"one") is opened.open(b"one")
    assert door.asked == [b"one"]


def test_what_is_refused_is_not_remembered(door: Door) -> None:
    opened = Opened(door.check, 10, 1000)
    for _ in range(2):
        with pytest.raises(Refused):
            opened.open(b"rubbish")
    assert door.asked == [b"rubbish"] * 2


def test_the_oldest_go_where_there_are_too_many(door: Door) -> None:
    opened = Opened(door.check, 2, 1000)
    for data in (b"1", b"2", b"3", b"3", b"2", b"1"):
        opened.open(data)
    assert door.asked == [b"1", b"2", b"3", b"1"]


def test_the_oldest_go_where_they_are_too_large(door: Door) -> None:
    opened = Opened(door.check, 10, 10)
    for data in (b"four", b"five5", b"six", b"five5", b"four", b"six"):
        opened.open(data)
    assert door.asked == [b"four", b"five5", b"six", b"four"]


def test_one_that_is_too_large_by_itself_is_opened_each_time(door: Door) -> None:
    opened = Opened(door.check, 10, 10)
    for _ in range(2):
        assert opened.open(b"x" * 11).envelope.data == b"x" * 11
    assert len(door.asked) == 2
