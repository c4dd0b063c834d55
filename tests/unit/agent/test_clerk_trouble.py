"""Trouble that does not stop the reading: a key that cannot sign (pains row 11), no clock (9), little room (14)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.clerk import Clerk
from agent.events import Read
from agent.outbox import capacity as room_module
from agent.outbox.capacity import THIN_MS, room_for
from agent.outbox.queue import LinkUp
from config.settings.agent import AtBound
from protocol.batch import Batch, ClockState
from protocol.crypto import PublicKey
from protocol.envelope import Envelope
from protocol.errors import KeyUnavailable
from tests.builders import a_clock, a_key, a_statement
from tests.unit.agent.builders import readings
from tests.unit.agent.test_clerk import World, arrived


class FlakyKey:
    """A chip that signs only when a test wants it to."""

    def __init__(self) -> None:
        self.failing: str | None = "I2C timeout"
        self.asked = 0

    @property
    def public_key(self) -> PublicKey:
        return a_key().public_key

    def sign(self, message: bytes) -> bytes:
        self.asked += 1
        if self.failing:
            raise KeyUnavailable(self.failing)
        return a_key().sign(message)


class FlakyWorld(World):
    """A clerk whose key is in such a chip."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.key = FlakyKey()
        super().__init__(folder, **settings)

    def hire(self) -> Clerk:
        clerk = super().hire()
        clerk._key = self.key
        return clerk


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[FlakyWorld]:
    world = FlakyWorld(tmp_path)
    await world.clerk.start()
    yield world
    world.clerk.close()
    world.books.file.close()


def read(count: int, first_ms: int = 60_000) -> list[Read]:
    return [Read(reading) for reading in readings(count, first_ms=first_ms)]


async def test_row_11_a_key_that_cannot_sign_is_reported_and_reading_goes_on(world: FlakyWorld) -> None:
    await world.deal(LinkUp(), *read(3))
    assert world.clerk.state.key == "I2C timeout"
    assert not world.clerk.is_paused
    assert world.sender.status[-1]["key"] == "I2C timeout"
    assert (world.books.totals().readings_read, world.books.totals().records_signed) == (3, 0)


async def test_row_11_when_the_chip_signs_again_nothing_is_missing_and_nothing_is_signed_twice(
    world: FlakyWorld,
) -> None:
    await world.deal(LinkUp(), *read(3))
    world.key.failing = None
    await world.deal(*read(2, first_ms=90_000))
    assert world.clerk.state.key is None
    envelopes = [world.books.envelope(sequence) for sequence in range(1, world.books.last_signed() + 1)]
    batches = [Batch.decode(Envelope.parse(data).payload) for data in envelopes if data]
    assert sum(batch.readings for batch in batches) == world.books.totals().readings_read == 5


async def test_row_11_a_failing_chip_is_asked_once_a_tick_and_no_other_key_instead(world: FlakyWorld) -> None:
    await world.deal(*read(1))
    asked = world.key.asked
    await world.deal()
    assert world.key.asked == asked + 1
    assert world.books.last_signed() == 0


async def test_row_11_readings_that_cannot_even_be_kept_pause_the_reading(
    world: FlakyWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.outbox.journal.OVERLADEN", 4)
    await world.deal(*read(1))
    world.clocks.utc = a_clock(epoch_ms=0)  # what was read before has to be signed first, with its own clock
    await world.deal(*read(4, first_ms=90_000))
    assert world.clerk.state.paused == "I2C timeout"
    world.key.failing = None
    await world.deal()
    assert not world.clerk.is_paused
    assert world.books.totals().readings_read == 5


async def test_row_9_a_clock_that_is_not_known_is_told(world: FlakyWorld) -> None:
    world.key.failing = None
    world.clocks.utc = a_clock(state=ClockState.UNSYNCHRONIZED, source="timesyncd", epoch_ms=0)
    world.clerk = world.hire()
    await world.clerk.start()
    await world.deal(*read(2))
    assert world.sender.status[-1]["clock"] == (
        "the time is not known yet (timesyncd): readings wait for it, at most 120 min"
    )
    assert world.books.last_signed() == 0
    world.clocks.utc = a_clock()
    await world.deal()
    assert world.sender.status[-1]["clock"] is None
    assert world.books.last_signed() > 0


async def test_a_standing_order_for_nobody_is_told_also_after_a_restart(tmp_path: Path) -> None:
    order = {"participant": "nobody", "right": "priority_purchase", "price_max": 5, "balance_min": 0}
    world = World(tmp_path, standing_orders=[order])
    await world.clerk.start()
    await world.deal(LinkUp())
    assert world.sender.status[-1]["orders"] is None, "no statement has been heard"
    await world.deal(arrived(a_statement()))
    assert "nobody by the name nobody" in world.sender.status[-1]["orders"]
    world.clerk.close()
    world.clerk = world.hire()
    await world.deal()
    assert "nobody by the name nobody" in world.sender.status[-1]["orders"]
    world.clerk.close()
    world.books.file.close()


class TestRoom:
    """What happens as the outbox fills is configured, and told; pains row 14."""

    @pytest.mark.parametrize(
        ("percent", "at_bound", "is_paused", "thin_ms"),
        [
            (74, AtBound.PAUSE, False, 0),
            (99, AtBound.PAUSE, False, 0),
            (100, AtBound.PAUSE, True, 0),
            (74, AtBound.THIN, False, 0),
            (75, AtBound.THIN, False, THIN_MS),
            (100, AtBound.THIN, True, 0),
        ],
    )
    def test_row_14_what_the_room_allows(self, percent: int, at_bound: AtBound, is_paused: bool, thin_ms: int) -> None:
        room = room_for(percent * 10_000, 1_000_000, at_bound)
        assert (room.paused is not None, room.thin_ms) == (is_paused, thin_ms)
        assert (room.thinned is not None) == bool(thin_ms)

    async def test_row_14_thinned_readings_are_a_quarter_of_an_hour_apart_and_it_is_told(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(room_module, "THIN_FROM_PERCENT", 0)
        world = FlakyWorld(tmp_path, at_bound="thin")
        world.key.failing = None
        await world.clerk.start()
        await world.deal(*read(1))
        before = world.books.totals().readings_read
        await world.deal(*read(1000, first_ms=100_000))
        assert world.sender.status[-1]["thinned"]
        assert world.books.totals().readings_read == before + 1
        world.clerk.close()
        world.books.file.close()
