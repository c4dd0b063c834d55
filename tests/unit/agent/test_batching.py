"""What goes into a batch, what stays for the next, and when it is closed."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import pytest

from agent.bus.reading import Reading
from agent.outbox.batching import (
    BLOCK_BYTES_MAX,
    Due,
    Journaled,
    Layout,
    OpenBatch,
    lay_out,
)
from agent.timekeeping import clock_of_the_past, is_other_clock
from config.settings.agent import Batching
from protocol.batch import BATCH_BYTES_MAX, METERS_MAX, Batch, Clock, ClockState
from protocol.readings import VALUE_MIN
from protocol.units import ENERGY_REGISTERS, BootMs, Quantity
from tests.builders import EPOCH_MS, a_clock, a_digest, a_link
from tests.unit.agent.builders import a_boot, a_reading, readings


def laid_out(rows: Iterable[Reading], readings_max: int = 60) -> Layout:
    return lay_out((Journaled(number, reading) for number, reading in enumerate(rows)), readings_max)


def batch_of(rows: Iterable[Reading], readings_max: int = 60) -> Batch:
    return laid_out(rows, readings_max).build(a_link(), a_boot())


class TestLayout:
    """Readings become columns."""

    def test_the_batch_is_one_that_every_decoder_accepts(self) -> None:
        batch = batch_of([*readings(3, meter="roof"), *readings(2, meter="house")])
        assert Batch.decode(batch.encode()) == batch

    def test_meters_stand_in_rising_order_of_name(self) -> None:
        batch = batch_of([*readings(1, meter="roof"), *readings(1, meter="house")])
        assert [block.meter for block in batch.meters] == ["house", "roof"]

    def test_instants_are_counted_from_the_first_read(self) -> None:
        (block,) = batch_of(readings(3, first_ms=70_500)).meters
        assert (block.first_ms, list(block.starts_ms), list(block.durations_ms)) == (70_500, [0, 1000, 2000], [40] * 3)

    def test_columns_and_words_keep_their_order(self) -> None:
        rows = [
            a_reading(
                start_ms=BootMs(60_000 + n),
                values={Quantity.ACTIVE_POWER_W: n, Quantity.IMPORTED_WH: 10 * n},
                words={Quantity.IMPORTED_WH: b"%04d" % n},
            )
            for n in range(3)
        ]
        (block,) = batch_of(rows).meters
        assert block.columns == {Quantity.ACTIVE_POWER_W: array("i", [0, 1, 2])}  # energy travels as its words alone
        assert block.words[Quantity.IMPORTED_WH] == b"000000010002"

    @pytest.mark.parametrize(
        "changes",
        [
            {"serial": "another"},
            {"profile": a_digest("another")},
            {"values": {Quantity.IMPORTED_WH: 1}, "words": {Quantity.IMPORTED_WH: b"...."}},
        ],
        ids=["serial number", "profile", "columns"],
    )
    def test_a_meter_that_changed_waits_for_the_next_batch_with_all_that_follows(self, changes: object) -> None:
        before, changed, after = readings(3)
        changed = a_reading(start_ms=changed.start_ms, **changes)  # type: ignore[arg-type]
        assert laid_out([before, changed, after]).rows == [0]

    def test_other_meters_do_not_wait_for_it(self) -> None:
        house = [readings(1)[0], a_reading(start_ms=BootMs(61_000), serial="another")]
        assert laid_out([*house, *readings(2, meter="roof")]).rows == [0, 2, 3]

    def test_no_meter_has_more_readings_than_the_settings_allow(self) -> None:
        assert laid_out(readings(5), readings_max=3).rows == [0, 1, 2]

    def test_a_reading_that_does_not_rise_in_time_is_left_to_the_aggregator_s_judgement(self) -> None:
        first, second = readings(2)
        assert laid_out([second, first]).rows == [0]

    def test_a_batch_never_grows_over_its_limit(self) -> None:
        rows = [reading for meter in range(1000) for reading in readings(10, meter=f"m-{meter}")]
        layout = laid_out(rows)
        assert layout.is_full
        assert len(layout.build(a_link(), a_boot()).encode()) <= BATCH_BYTES_MAX

    def test_a_batch_is_full_before_it_holds_more_meters_than_its_format(self) -> None:
        assert BATCH_BYTES_MAX // BLOCK_BYTES_MAX < METERS_MAX

    def test_the_largest_readings_fit_too(self) -> None:
        values = dict.fromkeys(Quantity, VALUE_MIN)
        words = dict.fromkeys(ENERGY_REGISTERS, bytes(8))
        rows = [
            a_reading(
                meter=f"{meter:064}",
                serial="9" * 32,
                start_ms=BootMs(2**52 + n),
                end_ms=BootMs(2**52 + 2**30),
                values=values,
                words=words,
            )
            for meter in range(400)
            for n in range(4)
        ]
        layout = laid_out(rows)
        boot = a_boot(source="x" * 32, epoch_ms=2**52)
        payload = layout.build(a_link(region="r" * 64, author="g" * 64, sequence=2**62), boot).encode()
        assert len(payload) <= BATCH_BYTES_MAX
        assert Batch.decode(payload).readings == len(layout.rows) > 0


class TestDue:
    """A batch is closed when it is full, old, or must not go on."""

    def open(self, rows: Iterable[Reading], **limits: int) -> OpenBatch:
        batch = OpenBatch(Batching(**limits))
        for reading in rows:
            batch.add(reading)
        return batch

    def test_nothing_is_due_where_nothing_was_read(self) -> None:
        assert self.open([]).due(10**9) is None

    def test_a_meter_with_its_readings_is(self) -> None:
        assert self.open(readings(4), readings_max=5).due(60_000) is None
        assert self.open(readings(5), readings_max=5).due(60_000) is Due.READINGS

    def test_an_old_reading_is(self) -> None:
        batch = self.open(readings(1), age_max_ms=1000)
        assert batch.due(60_999) is None
        assert batch.due(61_000) is Due.AGE

    def test_a_meter_that_changed_is(self) -> None:
        assert self.open([*readings(1), a_reading(serial="another")]).due(60_000) is Due.CHANGE

    def test_what_might_not_fit_any_more_is(self) -> None:
        rows = [reading for meter in range(1000) for reading in readings(4, meter=f"m-{meter}")]
        assert self.open(rows).due(60_000) is Due.SIZE

    def test_what_is_due_by_size_fits(self) -> None:
        batch = OpenBatch(Batching())
        rows = []
        while batch.due(60_000) is None:
            rows.append(a_reading(meter=f"m-{len(rows) % 500}", start_ms=BootMs(60_000 + len(rows))))
            batch.add(rows[-1])
        assert len(laid_out(rows).rows) == len(rows)


UNSYNCHRONIZED = a_clock(state=ClockState.UNSYNCHRONIZED, epoch_ms=0)


class TestClock:
    """A clock that changes closes a batch, and cannot bend the past."""

    @pytest.mark.parametrize(
        ("now", "is_other"),
        [
            (a_clock(), False),
            (a_clock(error_ms=900), False),
            (a_clock(epoch_ms=EPOCH_MS + 1000), False),
            (a_clock(epoch_ms=EPOCH_MS + 1001), True),
            (a_clock(epoch_ms=EPOCH_MS - 1001), True),
            (UNSYNCHRONIZED, True),
        ],
    )
    def test_a_clock_is_another_when_its_state_changes_or_it_was_set(self, now: Clock, is_other: bool) -> None:
        assert is_other_clock(a_clock(), now) is is_other

    def test_a_clock_that_is_at_last_synchronized_tells_the_time_of_what_came_before(self) -> None:
        assert clock_of_the_past(UNSYNCHRONIZED, a_clock()) == a_clock()

    def test_a_clock_that_is_lost_or_jumps_leaves_the_past_alone(self) -> None:
        assert clock_of_the_past(a_clock(), UNSYNCHRONIZED) == a_clock()
        assert clock_of_the_past(a_clock(), a_clock(epoch_ms=EPOCH_MS + 86_400_000)) == a_clock()
