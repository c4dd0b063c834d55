"""What a profile does not call fast is read more rarely, delays nobody by more than itself, and travels safely."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from agent.bus.metering import MeterPlan, reading_of, slow_reading_of
from agent.bus.planner import ReadRequest, serial_request
from agent.bus.polling import BusPoller
from agent.bus.reading import Part, Reading
from agent.events import Event, Failing, Read, Recovered
from agent.outbox.batching import Due, Journaled, OpenBatch, lay_out
from config.settings.agent import Batching
from protocol.batch import BATCH_BYTES_MAX, Batch, MeterBlock, Quality
from protocol.errors import DeviceError
from protocol.units import ELECTRICITY_REGISTERS, ENERGY_REGISTERS, BootMs, Quantity
from tests.builders import a_batch, a_link
from tests.unit.agent.builders import (
    FakeClocks,
    a_boot,
    a_meter,
    a_profile,
    a_reading,
    a_reading_in_parts,
    a_slow_reading,
    answers,
    blocks,
    readings,
    words_at,
)
from tests.unit.agent.test_polling import NO_SUCH_ADDRESS, SILENT, FakeDesk

FREQUENCY = Quantity.FREQUENCY_MHZ
VOLTAGE = Quantity.VOLTAGE_L1_MV


def a_split_meter(**changes: Any) -> MeterPlan:
    """An SDM630 whose power and energy come in one request, and whose voltage in another, more rarely."""
    return a_meter(is_split=True, **changes)


class TestPlan:
    """What is fast and what is slow."""

    def test_the_plan_of_a_meter_tells_both_groups_apart(self) -> None:
        meter = a_split_meter()
        assert (meter.quantities, meter.slow_quantities) == (
            (Quantity.ACTIVE_POWER_W, Quantity.REACTIVE_POWER_VAR, *ELECTRICITY_REGISTERS),
            (VOLTAGE,),
        ), "reactive power lies between power and energy, and is read along"
        assert [len(meter.requests), len(meter.slow_requests)] == [1, 1]

    def test_unless_the_settings_say_so_everything_is_in_every_reading(self) -> None:
        meter = a_meter()
        assert VOLTAGE in meter.quantities
        assert (meter.slow_quantities, meter.slow_requests) == ((), ())

    def test_all_values_of_an_sdm630_still_come_in_3_requests_each_with_its_instants(self) -> None:
        meter = a_meter(a_profile("eastron_sdm630_full"), wanted=list(Quantity))
        reading = reading_of(meter, "", blocks(answers(meter, {}), 60_000, 60_300))
        assert len(meter.requests) == 3 and len(reading.values) >= 49
        assert [(part.start_ms, part.end_ms) for part in reading.parts] == [
            (60_000, 60_100),
            (60_100, 60_200),
            (60_200, 60_300),
        ]
        assert sorted(quantity for part in reading.parts for quantity in part.quantities) == list(reading.values)

    def test_what_came_in_one_request_has_no_parts(self) -> None:
        assert reading_of(a_meter(), "", blocks(answers(a_meter(), {}))).parts == ()

    def test_a_slow_value_that_is_missing_is_flagged_in_the_slow_reading_alone(self) -> None:
        meter = a_split_meter()
        (request,) = meter.slow_requests
        slow = slow_reading_of(meter, blocks({request: [0x7FC0, 0]}))
        assert (slow.quality, slow.values) == (Quality.VALUE_MISSING, {VOLTAGE: 0})


class LineBus:
    """A line on which every request takes its time, on a clock that nobody has to wait for."""

    def __init__(self, meters: Sequence[MeterPlan], clocks: FakeClocks, answer_ms: int) -> None:
        self.connections = 1
        self.meters = {meter.unit: meter for meter in meters}
        self.clocks = clocks
        self.answer_ms = answer_ms
        self.asked: list[tuple[int, str]] = []
        """Unit, and what for."""
        self.slow_error: DeviceError | None = None
        self.broken: set[int] = set()

    async def connect(self) -> None:
        pass

    async def read(self, unit: int, request: ReadRequest, timeout_ms: int) -> list[int]:
        meter = self.meters[unit]
        if request == serial_request(meter.profile):
            return [0, unit]
        group = "slow" if request in meter.slow_requests else "fast"
        self.asked.append((unit, group))
        if unit in self.broken or (group == "slow" and self.slow_error):
            self.clocks.ms += timeout_ms
            raise self.slow_error or SILENT
        self.clocks.ms += self.answer_ms
        return words_at(meter.profile, request, {VOLTAGE: 230_000, Quantity.IMPORTED_WH: 1000})

    async def write(self, unit: int, address: int, words: Sequence[int], timeout_ms: int) -> None:
        raise AssertionError("there are no devices")


class Line:
    """Meters on a line, lived through cycle by cycle."""

    def __init__(self, units: Iterable[int] = (1,), *, slow_every_ms: int = 5_000, answer_ms: int = 40) -> None:
        self.clocks, self.desk = FakeClocks(), FakeDesk()
        meters = [a_split_meter(id=f"m-{unit}", unit=unit) for unit in units]
        self.bus = LineBus(meters, self.clocks, answer_ms)
        self.slot_ms = int(self.clocks.ms)
        self.poller = BusPoller(
            bus="line",
            port=self.bus,
            meters=meters,
            devices=[],
            desk=self.desk,
            clocks=self.clocks,
            every_ms=1000,
            timeout_ms=800,
            slow_every_ms=slow_every_ms,
        )

    async def cycle(self) -> list[tuple[int, str]]:
        """What one cycle asks for."""
        self.bus.asked.clear()
        await self.poller.cycle(self.slot_ms + 1000)
        self.slot_ms += 1000
        self.clocks.ms = max(self.clocks.ms, self.slot_ms)
        return list(self.bus.asked)

    def readings(self) -> list[Reading]:
        return [event.reading for event in self.desk.events if isinstance(event, Read)]

    def take(self) -> list[Event]:
        return self.desk.take()


class TestPolling:
    """Fast in every cycle, slow in every n-th."""

    async def test_the_slow_group_is_asked_for_in_every_fifth_cycle(self) -> None:
        line = Line()
        asked = [[group for _, group in await line.cycle()] for _ in range(11)]
        both, fast = ["fast", "slow"], ["fast"]
        assert asked == [both, fast, fast, fast, fast, both, fast, fast, fast, fast, both]

    async def test_a_slow_reading_travels_with_the_next_reading_and_only_once(self) -> None:
        line = Line()
        for _ in range(7):
            await line.cycle()
        assert [reading.slow is not None for reading in line.readings()] == [False, True, *[False] * 4, True]
        before, with_slow, *_ = line.readings()
        assert with_slow.slow is not None and with_slow.slow.values == {VOLTAGE: 230_000}
        assert before.end_ms <= with_slow.slow.start_ms < with_slow.slow.end_ms <= with_slow.start_ms

    async def test_what_is_slow_comes_behind_all_that_is_fast(self) -> None:
        line = Line([1, 2, 3])
        groups = [group for _, group in await line.cycle()]
        assert groups == ["fast"] * 3 + ["slow"] * 3

    async def test_a_line_without_spare_time_is_delayed_by_one_slow_group_per_cycle_and_all_get_their_turn(
        self,
    ) -> None:
        line = Line(range(1, 11), answer_ms=100)
        asked = [[unit for unit, group in await line.cycle() if group == "slow"] for _ in range(10)]
        assert asked == [[unit] for unit in range(1, 11)]
        line.take()
        await line.cycle()
        assert len(line.readings()) == 10

    async def test_when_only_the_slow_group_fails_the_meter_is_read_on_and_it_is_told_once(self) -> None:
        line = Line()
        line.bus.slow_error = NO_SUCH_ADDRESS
        for _ in range(12):
            await line.cycle()
        assert len(line.readings()) == 12
        told = [event for event in line.take() if not isinstance(event, Read)]
        assert told == [Failing("m-1, what is not fast", (), (), str(NO_SUCH_ADDRESS))]
        line.bus.slow_error = None
        for _ in range(5):
            await line.cycle()
        assert Recovered("m-1, what is not fast", ()) in line.take()

    async def test_a_meter_that_does_not_answer_is_not_asked_for_more(self) -> None:
        line = Line()
        line.bus.broken = {1}
        assert await line.cycle() == [(1, "fast")]

    async def test_a_slow_reading_from_before_a_failure_is_forgotten(self) -> None:
        """It may be another meter that answers afterwards."""
        line = Line(slow_every_ms=60_000)
        await line.cycle()
        line.bus.broken = {1}
        await line.cycle()
        line.bus.broken = set()
        for _ in range(4):
            await line.cycle()
        assert len(line.readings()) > 1
        assert not any(reading.slow for reading in line.readings())

    async def test_while_reading_pauses_nothing_slow_is_asked_for(self) -> None:
        line = Line(slow_every_ms=1000)
        await line.cycle()
        line.desk.is_paused = True
        assert await line.cycle() == []


def batch_of(rows: Sequence[Reading]) -> tuple[list[int], MeterBlock]:
    """The rows that one batch takes, and the only meter's block as anybody reads it."""
    layout = lay_out((Journaled(number, reading) for number, reading in enumerate(rows)), 60)
    payload = layout.build(a_link(), a_boot()).encode()
    assert len(payload) <= BATCH_BYTES_MAX
    (block,) = Batch.decode(payload).meters
    return layout.rows, block


class TestBatches:
    """From the journal to the wire."""

    @pytest.mark.parametrize(
        "reading",
        [
            a_reading(),
            a_reading_in_parts(),
            a_reading(slow=a_slow_reading(59_000)),
            a_reading_in_parts(slow=a_slow_reading(1)),
        ],
        ids=["plain", "in parts", "with a slow one", "both"],
    )
    def test_a_reading_comes_back_from_the_journal_as_it_went_in(self, reading: Reading) -> None:
        assert Reading.decode(reading.encode()) == reading

    def test_instants_of_parts_stand_in_the_batch(self) -> None:
        rows, block = batch_of([a_reading_in_parts(60_000), a_reading_in_parts(61_000)])
        assert rows == [0, 1]
        assert block.spans_ms(1) == [(61_000, 61_015), (61_022, 61_040)]
        assert block.brought_by(1) == ELECTRICITY_REGISTERS

    def test_slow_readings_become_a_table_of_their_own(self) -> None:
        slow = [a_slow_reading(59_500), None, a_slow_reading(61_500)]
        rows, block = batch_of([a_reading_in_parts(60_000 + 1000 * n, slow=s) for n, s in enumerate(slow)])
        assert (rows, len(block)) == ([0, 1, 2], 3)
        assert block.slow is not None and len(block.slow) == 2
        assert block.slow.spans_ms(1) == [(61_500, 61_530), (61_535, 61_570)]
        assert block.slow.brought_by(0) == (Quantity.CURRENT_L1_MA,)

    @pytest.mark.parametrize(
        "changed",
        [
            a_reading_in_parts(62_000, slow=a_slow_reading(61_500, parts=())),
            a_reading_in_parts(62_000, slow=a_slow_reading(61_500, values={FREQUENCY: 1}, parts=())),
            a_reading_in_parts(62_000, parts=()),
        ],
        ids=["slow parts", "slow quantities", "parts"],
    )
    def test_another_shape_waits_for_the_next_batch(self, changed: Reading) -> None:
        first = a_reading_in_parts(60_000, slow=a_slow_reading(59_000))
        rows, _ = batch_of([first, a_reading_in_parts(61_000), changed, a_reading_in_parts(63_000)])
        assert rows == [0, 1]
        gathered = OpenBatch(Batching())
        for reading in (first, changed):
            gathered.add(reading)
        assert gathered.due(62_000) is Due.CHANGE

    def test_the_largest_readings_with_parts_and_slow_readings_fit(self) -> None:
        fast = [quantity for quantity in Quantity if quantity not in ENERGY_REGISTERS][:30]
        rest = [quantity for quantity in Quantity if quantity not in (*fast, *ENERGY_REGISTERS)]

        def parts(told: Sequence[Quantity], at_ms: int) -> tuple[Part, ...]:
            return tuple(Part(BootMs(at_ms + n), BootMs(at_ms + n), (quantity,)) for n, quantity in enumerate(told))

        told = sorted((*fast, *ENERGY_REGISTERS))
        rows = [
            Reading(
                meter=f"{meter:064}",
                profile=bytes(32),
                serial="9" * 32,
                start_ms=BootMs(at_ms),
                end_ms=BootMs(at_ms + 60),
                quality=Quality.VALUE_MISSING,
                values=dict.fromkeys(told, -(2**31)),
                words=dict.fromkeys(ENERGY_REGISTERS, bytes(8)),
                parts=parts(told, at_ms),
                slow=a_slow_reading(at_ms - 500, values=dict.fromkeys(rest, 2**31 - 1), parts=parts(rest, at_ms - 500)),
            )
            for meter in range(120)
            for at_ms in range(2**52, 2**52 + 3000, 1000)
        ]
        layout = lay_out((Journaled(number, reading) for number, reading in enumerate(rows)), 60)
        payload = layout.build(
            a_link(region="r" * 64, author="g" * 64, sequence=2**62), a_boot(epoch_ms=2**52)
        ).encode()
        assert layout.is_full and len(payload) <= BATCH_BYTES_MAX
        assert Batch.decode(payload).readings == len(layout.rows)
        assert all(Reading.decode(reading.encode()) == reading for reading in rows[:3])

    def test_a_meter_whose_reading_is_one_request_costs_what_it_did(self) -> None:
        """Three fixed columns, two quantities and two registers of 32 bits: 28 bytes a reading."""
        blocks = [batch_of(readings(count))[1] for count in (2, 3)]
        two, three = (len(a_batch(meters=(block,)).encode()) for block in blocks)
        assert three - two == 28
