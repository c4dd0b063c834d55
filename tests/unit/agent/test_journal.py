"""Readings become batches in time, and a clock that changes cannot bend the past."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.outbox.books import Books
from agent.outbox.file import OutboxFile, StorageError
from agent.outbox.journal import Disk, Journal
from agent.outbox.queue import Entry
from config.settings.agent import Batching
from protocol.batch import Batch, ClockState
from protocol.envelope import Envelope, seal
from protocol.messages import MessageType
from tests.builders import EPOCH_MS, GATEWAY, REGION, a_clock, a_key
from tests.unit.agent.builders import FakeClocks, a_boot, readings

UNSYNCHRONIZED = a_clock(state=ClockState.UNSYNCHRONIZED, epoch_ms=0)


class World:
    """A journal on a file, on a machine whose clocks a test moves."""

    def __init__(self, folder: Path) -> None:
        self.books = Books(OutboxFile.open(folder, region=REGION, gateway=GATEWAY))
        self.clocks = FakeClocks()
        self.disk = Disk()
        self.signed: list[Entry] = []
        self.seal_breaks: Exception | None = None
        self.limits: dict[str, int] = {"readings_max": 3, "age_max_ms": 10_000}
        self.journal = self.begin()

    def begin(self) -> Journal:
        """As after a start of the program."""
        return Journal(
            books=self.books,
            disk=self.disk,
            limits=Batching(**self.limits),
            clocks=self.clocks,
            seal=self.seal,
            signed=self.signed.append,
        )

    def seal(self, payload: bytes) -> bytes:
        if self.seal_breaks is not None:
            raise self.seal_breaks
        return seal(a_key(), region=REGION, type_=MessageType.BATCH, payload=payload)

    async def take(self, count: int, first_ms: int) -> None:
        """Read, before anybody keeps it."""
        for reading in readings(count, first_ms=first_ms):
            self.clocks.ms = reading.end_ms
            self.journal.take(reading)

    async def read(self, count: int, first_ms: int = 60_000) -> None:
        for reading in readings(count, first_ms=first_ms):
            self.clocks.ms = reading.end_ms
            self.journal.take(reading)
            await self.journal.keep()

    @property
    def batches(self) -> list[Batch]:
        envelopes = [self.books.envelope(entry.sequence) for entry in self.signed]
        return [Batch.decode(Envelope.parse(envelope).payload) for envelope in envelopes if envelope]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.journal.start()
    yield world
    world.disk.close()
    world.books.file.close()


async def test_a_batch_is_closed_when_it_is_full(world: World) -> None:
    await world.read(2)
    assert world.signed == []
    await world.read(1, first_ms=70_000)
    assert [batch.readings for batch in world.batches] == [3]


async def test_a_batch_is_closed_when_it_is_old(world: World) -> None:
    await world.read(1)
    world.clocks.ms = 70_000
    await world.journal.keep()
    assert [batch.readings for batch in world.batches] == [1]


async def test_a_batch_is_closed_when_nothing_more_will_come(world: World) -> None:
    await world.read(1)
    await world.journal.close_all()
    assert [batch.readings for batch in world.batches] == [1]


async def test_a_clock_that_is_found_at_last_tells_the_time_of_what_came_before(world: World) -> None:
    world.clocks.utc = UNSYNCHRONIZED
    await world.read(1)
    world.clocks.utc = a_clock()
    await world.read(1, first_ms=61_000)
    await world.journal.close_all()
    assert [(batch.readings, batch.clock) for batch in world.batches] == [(1, a_clock()), (1, a_clock())]


async def test_one_that_is_lost_does_not_spoil_what_came_before(world: World) -> None:
    await world.read(1)
    world.clocks.utc = UNSYNCHRONIZED
    await world.read(1, first_ms=61_000)
    await world.journal.close_all()
    assert [(batch.readings, batch.clock) for batch in world.batches] == [(1, a_clock()), (1, UNSYNCHRONIZED)]


async def test_one_that_is_set_forward_does_not_move_the_past(world: World) -> None:
    await world.read(1)
    world.clocks.utc = a_clock(epoch_ms=EPOCH_MS + 3_600_000)
    await world.read(1, first_ms=61_000)
    await world.journal.close_all()
    assert [batch.clock.epoch_ms for batch in world.batches] == [EPOCH_MS, EPOCH_MS + 3_600_000]


async def test_a_start_goes_on_with_what_was_read_in_this_boot(world: World) -> None:
    await world.read(2)
    world.journal = world.begin()
    await world.journal.start()
    await world.read(1, first_ms=62_000)
    assert [batch.readings for batch in world.batches] == [3]


async def test_after_a_reboot_what_was_read_before_is_signed_at_once_with_its_own_boot_and_clock(world: World) -> None:
    await world.read(2)
    before = world.clocks.boot_id
    world.clocks = FakeClocks(now_ms=5_000, boot="next")
    world.clocks.utc = UNSYNCHRONIZED
    world.journal = world.begin()
    await world.journal.start()
    assert [(batch.boot_id, batch.clock, batch.readings) for batch in world.batches] == [(before, a_clock(), 2)]


async def test_a_clock_that_changed_while_the_program_was_down_is_noticed_at_its_start(world: World) -> None:
    await world.read(2)
    world.clocks.utc = UNSYNCHRONIZED
    world.journal = world.begin()
    await world.journal.start()
    await world.journal.keep()
    assert [(batch.clock, batch.readings) for batch in world.batches] == [(a_clock(), 2)]


async def test_what_the_disk_does_not_take_is_held_and_kept_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageError("full")

    with monkeypatch.context() as patch:
        patch.setattr(world.books, "journal", full)
        for _ in range(2):
            with pytest.raises(StorageError):
                await world.read(1)
    await world.journal.keep()
    assert world.books.totals().readings_read == 2


async def test_a_batch_that_cannot_be_signed_now_is_signed_later(world: World) -> None:
    world.seal_breaks = StorageError("full")
    with pytest.raises(StorageError):
        await world.read(3)
    world.seal_breaks = None
    await world.journal.keep()
    assert [batch.readings for batch in world.batches] == [3]
    assert world.books.journaled() is None


async def test_the_clock_of_the_boot_is_kept_with_every_reading(world: World) -> None:
    await world.read(1)
    journaled = world.books.journaled()
    assert journaled is not None
    assert journaled[0] == a_boot()
