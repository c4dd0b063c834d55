"""Pains row 9, a wrong clock on a Pi: what a batch says of its time, on a machine whose clocks a test moves by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.timekeeping import ERROR_MAX_MS
from protocol.batch import Batch, Clock, ClockState
from tests.builders import EPOCH_MS, a_clock
from tests.unit.agent.builders import FakeClocks
from tests.unit.agent.test_journal import World

HOUR_MS = 3_600_000
YEARS_MS = 56 * 365 * 24 * HOUR_MS
WAIT_MAX_MS = 7_200_000
OF_1970 = a_clock(state=ClockState.UNSYNCHRONIZED, epoch_ms=0, error_ms=ERROR_MAX_MS, source="timesyncd")
SAVED = a_clock(state=ClockState.UNSYNCHRONIZED, epoch_ms=EPOCH_MS - HOUR_MS, error_ms=ERROR_MAX_MS, source="timesyncd")
"""The time of the last shutdown, which timesyncd keeps for machines without a battery."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    world.disk.close()
    world.books.file.close()


async def booted(world: World, clock: Clock, *, boot: str = "boot", now_ms: int = 5_000) -> World:
    """The machine has just started, and its agent with it."""
    world.clocks = FakeClocks(now_ms=now_ms, boot=boot)
    world.clocks.utc = clock
    world.journal = world.begin()
    await world.journal.start()
    return world


def stamps_ms(batch: Batch) -> list[int]:
    return [batch.clock.epoch_ms + block.first_ms + start for block in batch.meters for start in block.starts_ms]


async def test_row_9_a_jump_forward_stamps_nothing_later_than_it_was_read(world: World) -> None:
    await booted(world, a_clock())
    await world.read(2, first_ms=10_000)
    world.clocks.utc = a_clock(epoch_ms=EPOCH_MS + HOUR_MS)
    await world.read(1, first_ms=12_000)
    await world.journal.close_all()
    assert [stamps_ms(batch) for batch in world.batches] == [
        [EPOCH_MS + 10_000, EPOCH_MS + 11_000],
        [EPOCH_MS + HOUR_MS + 12_000],
    ]


async def test_row_9_a_jump_between_reading_and_keeping_counts_from_the_reading_on(world: World) -> None:
    await booted(world, a_clock())
    await world.take(1, first_ms=10_000)
    world.clocks.utc = a_clock(epoch_ms=EPOCH_MS + HOUR_MS)
    await world.take(1, first_ms=11_000)
    await world.journal.keep()
    await world.journal.close_all()
    assert [stamps_ms(batch) for batch in world.batches] == [[EPOCH_MS + 10_000], [EPOCH_MS + HOUR_MS + 11_000]]


async def test_row_9_a_jump_back_turns_no_instant_of_a_batch_around(world: World) -> None:
    await booted(world, a_clock())
    await world.read(2, first_ms=10_000)
    world.clocks.utc = a_clock(epoch_ms=EPOCH_MS - HOUR_MS)
    await world.read(1, first_ms=12_000)
    await world.journal.close_all()
    assert [batch.clock.epoch_ms for batch in world.batches] == [EPOCH_MS, EPOCH_MS - HOUR_MS]
    assert all(stamps_ms(batch) == sorted(stamps_ms(batch)) for batch in world.batches)


async def test_row_9_a_leap_second_s_step_is_within_the_error(world: World) -> None:
    await booted(world, a_clock())
    await world.read(1, first_ms=10_000)
    world.clocks.utc = a_clock(epoch_ms=EPOCH_MS - 1000)
    await world.read(1, first_ms=11_000)
    await world.journal.close_all()
    assert [(batch.clock.epoch_ms, batch.clock.error_ms) for batch in world.batches] == [(EPOCH_MS - 1000, 1004)]


async def test_row_9_a_slow_drift_is_told_as_error_and_never_stamps_late(world: World) -> None:
    await booted(world, a_clock())
    for second in range(6):
        world.clocks.utc = a_clock(epoch_ms=EPOCH_MS + 40 * second)
        await world.read(1, first_ms=10_000 + 1000 * second)
    await world.journal.close_all()
    batches = world.batches
    assert sum(batch.readings for batch in batches) == 6
    truth = {10_000 + 1000 * second: EPOCH_MS + 40 * second + 10_000 + 1000 * second for second in range(6)}
    for batch in batches:
        for start_ms, stamp_ms in zip(
            [s - batch.clock.epoch_ms for s in stamps_ms(batch)], stamps_ms(batch), strict=True
        ):
            assert stamp_ms <= truth[start_ms] <= stamp_ms + batch.clock.error_ms


async def test_row_9_a_drift_that_adds_up_to_a_step_closes_the_batch(world: World) -> None:
    await booted(world, a_clock())
    world.limits = {"readings_max": 100, "age_max_ms": HOUR_MS}
    await booted(world, a_clock())
    for minute in range(5):
        world.clocks.utc = a_clock(epoch_ms=EPOCH_MS + 400 * minute)
        await world.read(1, first_ms=10_000 + 60_000 * minute)
    assert [batch.readings for batch in world.batches] == [3]


async def test_row_9_a_pi_that_boots_in_1970_buffers_and_stamps_when_the_time_is_known(world: World) -> None:
    await booted(world, OF_1970)
    for minute in range(60):
        await world.read(1, first_ms=10_000 + 60_000 * minute)
    assert world.batches == []
    assert world.journal.waits_for_time
    world.clocks.utc = a_clock()
    world.clocks.ms = HOUR_MS + 10_000
    await world.journal.keep()
    assert not world.journal.waits_for_time
    stamped = [stamp for batch in world.batches for stamp in stamps_ms(batch)]
    assert stamped == [EPOCH_MS + 10_000 + 60_000 * minute for minute in range(60)]
    assert all(batch.clock == a_clock() for batch in world.batches)


async def test_row_9_a_clock_that_is_set_before_it_is_called_synchronized_sends_nothing_from_1970(world: World) -> None:
    await booted(world, OF_1970)
    await world.read(2, first_ms=10_000)
    world.clocks.utc = SAVED
    await world.read(2, first_ms=12_000)
    assert world.batches == []
    world.clocks.utc = a_clock()
    await world.read(1, first_ms=14_000)
    await world.journal.close_all()
    stamped = [stamp for batch in world.batches for stamp in stamps_ms(batch)]
    assert stamped == [EPOCH_MS + ms for ms in range(10_000, 15_000, 1000)]


async def test_row_9_a_leap_of_years_moves_nothing_that_was_stamped(world: World) -> None:
    await booted(world, a_clock())
    await world.read(3, first_ms=10_000)
    world.clocks.utc = a_clock(epoch_ms=EPOCH_MS + YEARS_MS)
    await world.read(3, first_ms=13_000)
    assert [batch.clock.epoch_ms for batch in world.batches] == [EPOCH_MS, EPOCH_MS + YEARS_MS]


async def test_row_9_a_time_that_never_becomes_known_is_waited_for_only_so_long(world: World) -> None:
    await booted(world, SAVED)
    await world.read(2, first_ms=10_000)
    world.clocks.ms = 10_000 + WAIT_MAX_MS - 1
    await world.journal.keep()
    assert world.batches == []
    world.clocks.ms += 1
    await world.journal.keep()
    (batch,) = world.batches
    assert (batch.clock.state, batch.clock.error_ms) == (ClockState.UNSYNCHRONIZED, ERROR_MAX_MS)
    await world.read(3, first_ms=WAIT_MAX_MS + 60_000)
    assert [batch.readings for batch in world.batches] == [2, 3], "whoever has given up does not wait again"


async def test_row_9_where_nobody_looks_for_the_time_nothing_waits_for_it(world: World) -> None:
    await booted(world, a_clock(state=ClockState.UNSYNCHRONIZED, error_ms=ERROR_MAX_MS))
    await world.read(3, first_ms=10_000)
    assert [batch.readings for batch in world.batches] == [3]


async def test_row_9_a_clock_that_lost_its_source_is_not_waited_for(world: World) -> None:
    await booted(world, a_clock())
    await world.read(1, first_ms=10_000)
    world.clocks.utc = a_clock(state=ClockState.UNSYNCHRONIZED, source="chrony", error_ms=500)
    await world.read(3, first_ms=11_000)
    assert [batch.readings for batch in world.batches] == [1, 3]


async def test_row_9_a_stop_before_the_time_is_known_leaves_the_readings_on_disk_for_the_next_start(
    world: World,
) -> None:
    await booted(world, OF_1970)
    await world.read(2, first_ms=10_000)
    await world.journal.close_all()
    assert world.batches == []
    await booted(world, OF_1970, now_ms=20_000)
    world.clocks.utc = a_clock()
    await world.read(1, first_ms=21_000)
    await world.journal.close_all()
    stamped = [stamp for batch in world.batches for stamp in stamps_ms(batch)]
    assert stamped == [EPOCH_MS + 10_000, EPOCH_MS + 11_000, EPOCH_MS + 21_000]


async def test_row_9_a_reboot_before_the_time_was_known_loses_nothing_and_guesses_nothing(world: World) -> None:
    await booted(world, OF_1970)
    await world.read(2, first_ms=10_000)
    first_boot = world.clocks.boot_id
    await booted(world, a_clock(), boot="next")
    (batch,) = world.batches
    assert (batch.boot_id, batch.readings) == (first_boot, 2)
    assert (batch.clock.state, batch.clock.error_ms) == (ClockState.UNSYNCHRONIZED, ERROR_MAX_MS)


async def test_row_9_and_14_a_long_wait_costs_no_memory_and_is_drained_in_bounded_steps(world: World) -> None:
    await booted(world, OF_1970)
    await world.read(200, first_ms=10_000)
    await booted(world, OF_1970, now_ms=300_000)
    assert len(world.journal._open) <= 3 + 1, "no more is looked at than makes a batch"
    world.clocks.utc = a_clock()
    await world.journal.keep()
    assert sum(batch.readings for batch in world.batches) == 200
