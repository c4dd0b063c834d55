"""One bus: who is asked, what is told, and what a failing neighbour does to the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from agent import log
from agent.bus.control import DevicePlan, Grant, device_plan_for
from agent.bus.isolation import PATIENCE_MIN_MS, REST_CYCLES_MAX, next_slot_ms
from agent.bus.metering import MeterPlan
from agent.bus.modbus_port import BusError
from agent.bus.planner import ReadRequest, serial_request
from agent.bus.polling import BusPoller
from agent.events import Confirmed, Event, Failing, Read, Recovered
from config.settings.bus import DeviceAddress
from protocol.errors import DeviceError
from protocol.units import Quantity
from tests.unit.agent.builders import FakeClocks, a_meter, a_profile, words_at

SILENT = DeviceError("no whole answer in time", retry=True)
NO_SUCH_ADDRESS = DeviceError("Modbus exception 2: it has no such address", retry=False)
HOUSE = {Quantity.ACTIVE_POWER_W: 3600, Quantity.IMPORTED_WH: 1000}


class FakeBus:
    """Meters and devices that answer in no time, unless a test breaks them."""

    def __init__(self, meters: Sequence[MeterPlan]) -> None:
        self.connections = 0
        self.meters = {meter.unit: meter for meter in meters}
        self.registers: dict[int, list[int]] = {}
        """What each device holds."""
        self.broken: dict[int, DeviceError] = {}
        """By unit, why it does not answer."""
        self.without_serial = False
        self.shown = HOUSE
        self.serial = [0, 4711]
        self.is_connected = False
        self.is_reachable = True
        self.asked: list[tuple[int, int]] = []
        """Unit and timeout of every request."""
        self.written: list[tuple[int, tuple[int, ...]]] = []
        self.obeys = True

    async def connect(self) -> None:
        if not self.is_reachable:
            self.is_connected = False
            raise BusError("no connection")
        if not self.is_connected:
            self.is_connected = True
            self.connections += 1

    async def read(self, unit: int, request: ReadRequest, timeout_ms: int) -> list[int]:
        await self.connect()
        self.asked.append((unit, timeout_ms))
        if unit in self.broken:
            raise self.broken[unit]
        if unit not in self.meters:
            return self.registers.setdefault(unit, [0xFFFF, 0xFFFF])
        meter = self.meters[unit]
        if request == serial_request(meter.profile):
            if self.without_serial:
                raise NO_SUCH_ADDRESS
            return self.serial
        return words_at(meter.profile, request, self.shown)

    async def write(self, unit: int, address: int, words: Sequence[int], timeout_ms: int) -> None:
        self.written.append((unit, tuple(words)))
        if self.obeys:
            self.registers[unit] = list(words)


class FakeDesk:
    """A clerk that only listens."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_paused = False
        self.granted_w: dict[str, int] = {}

    async def hand(self, event: Event) -> None:
        self.events.append(event)

    def granted(self, device: DevicePlan) -> Grant:
        return Grant(take_w=self.granted_w.get(device.device))

    def take(self) -> list[Event]:
        """What was handed in since the last time."""
        events, self.events = self.events, []
        return events


class World:
    """A bus with three meters and a heat pump."""

    def __init__(self, **meter_changes: Any) -> None:
        self.meters = [a_meter(id=f"m-{unit}", unit=unit, **meter_changes) for unit in (1, 2, 3)]
        self.bus = FakeBus(self.meters)
        self.desk = FakeDesk()
        self.clocks = FakeClocks()
        limiter = a_profile("este_power_limiter")
        address = DeviceAddress(id="heat-pump", unit=9, profile=limiter.id, power_min_w=500, power_max_w=9000)
        self.poller = BusPoller(
            bus="bus",
            port=self.bus,
            meters=self.meters,
            devices=[device_plan_for(address, {limiter.id: limiter})],
            desk=self.desk,
            clocks=self.clocks,
            every_ms=1000,
            timeout_ms=800,
        )

    async def cycle(self) -> list[Event]:
        """What one cycle hands to the clerk."""
        await self.poller.cycle(self.clocks.now_ms() + 1000)
        self.clocks.ms += 1000
        return self.desk.take()

    async def settled(self) -> World:
        """After a cycle in which everybody answered."""
        await self.cycle()
        self.bus.asked.clear()
        return self


def failing(meter: str, reason: str) -> Failing:
    return Failing(meter, (meter,), (), reason)


def meters_read(events: list[Event]) -> list[str]:
    return [event.reading.meter for event in events if isinstance(event, Read)]


class TestMeters:
    """Every meter, every cycle, unless it fails."""

    async def test_all_are_read(self) -> None:
        assert meters_read(await World().cycle()) == ["m-1", "m-2", "m-3"]

    async def test_one_that_renews_what_it_shows_every_five_seconds_is_not_asked_in_between(self) -> None:
        """pains.md, row 9: a value that stands still for a minute is not a fresh reading every second."""
        world = World(profile=a_profile().model_copy(update={"refresh_ms": 5_000}))
        read = [meters_read(await world.cycle()) for _ in range(11)]
        assert [len(cycle) for cycle in read] == [3, 0, 0, 0, 0, 3, 0, 0, 0, 0, 3]
        assert not any(isinstance(event, Failing) for event in world.desk.take())

    async def test_one_request_each_once_they_have_told_who_they_are(self) -> None:
        world = await World().settled()
        await world.cycle()
        assert [unit for unit, _ in world.bus.asked] == [1, 2, 3]

    async def test_the_serial_number_is_in_the_reading(self) -> None:
        (first, *_) = (event for event in await World().cycle() if isinstance(event, Read))
        assert first.reading.serial == "4711"

    async def test_a_meter_that_has_none_tells_none(self) -> None:
        world = World()
        world.bus.without_serial = True
        (first, *_) = (event for event in await world.cycle() if isinstance(event, Read))
        assert first.reading.serial == ""

    async def test_a_meter_with_another_serial_number_is_not_read(self) -> None:
        events = await World(serial="1234").cycle()
        assert events[1] == failing("m-1", "serial number 4711 where the settings name 1234")
        assert meters_read(events) == []

    async def test_a_meter_that_does_not_tell_the_number_that_it_must_is_not_read(self) -> None:
        world = World(serial="1234")
        world.bus.without_serial = True
        assert meters_read(await world.cycle()) == []

    async def test_a_meter_exchanged_while_it_was_silent_is_asked_again_who_it_is(self) -> None:
        world = await World().settled()
        world.bus.broken[2] = SILENT
        await world.cycle()
        del world.bus.broken[2]
        world.bus.serial = [0, 815]
        await world.cycle()
        serials = {e.reading.meter: e.reading.serial for e in await world.cycle() if isinstance(e, Read)}
        assert serials == {"m-1": "4711", "m-2": "815", "m-3": "4711"}

    async def test_a_meter_exchanged_between_two_cycles_is_asked_again_who_it_is(self) -> None:
        world = await World().settled()
        world.bus.serial = [0, 815]
        world.bus.shown = {Quantity.ACTIVE_POWER_W: 3600, Quantity.IMPORTED_WH: 3}
        await world.cycle()
        serials = {e.reading.meter: e.reading.serial for e in await world.cycle() if isinstance(e, Read)}
        assert set(serials.values()) == {"815"}

    async def test_a_step_and_an_exchange_are_logged_once_each(self, capfd: pytest.CaptureFixture[str]) -> None:
        log.configure()
        world = World()
        world.bus.shown = {Quantity.ACTIVE_POWER_W: 3600, Quantity.IMPORTED_WH: 4_000_000}
        await world.settled()
        world.bus.serial = [0, 815]
        world.bus.shown = {Quantity.ACTIVE_POWER_W: 3600, Quantity.IMPORTED_WH: 3}
        for _ in range(12):
            await world.cycle()
        told = [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines() if "meter=m-2" in line]
        assert told == [
            'level=warning event="a counter did what none may: flagged, and no energy"'
            " meter=m-2 imported_wh=3 exported_wh=0",
            'level=warning event="another meter answers" meter=m-2 serial=815 before=4711',
            'level=info event="its counters are believed again" meter=m-2',
        ]

    async def test_while_reading_pauses_no_meter_is_asked_but_devices_are(self) -> None:
        world = await World().settled()
        world.desk.is_paused = True
        world.desk.granted_w["heat-pump"] = 2000
        assert meters_read(await world.cycle()) == []
        assert world.bus.registers[9] == [0, 2000]


class TestIsolation:
    """A dead meter is marked, and rests."""

    async def test_it_is_told_once_per_reason(self) -> None:
        world = await World().settled()
        world.bus.broken[2] = SILENT
        told = [event for _ in range(20) for event in await world.cycle() if isinstance(event, Failing)]
        assert told == [failing("m-2", str(SILENT))]

    async def test_it_rests_longer_and_longer(self) -> None:
        world = await World().settled()
        world.bus.broken[2] = SILENT
        asked = []
        for cycle in range(100):
            world.bus.asked.clear()
            await world.cycle()
            if 2 in [unit for unit, _ in world.bus.asked]:
                asked.append(cycle)
        assert asked == [0, 2, 5, 10, 19, 36, 69]

    async def test_the_others_go_on(self) -> None:
        world = await World().settled()
        world.bus.broken[2] = SILENT
        for _ in range(10):
            assert [m for m in meters_read(await world.cycle()) if m != "m-2"] == ["m-1", "m-3"]

    async def test_it_is_asked_last_and_with_the_time_that_is_left(self) -> None:
        world = await World().settled()
        world.bus.broken[1] = SILENT
        await world.cycle()
        await world.cycle()
        world.bus.asked.clear()
        await world.poller.cycle(world.clocks.now_ms() + 300)
        assert world.bus.asked == [(2, PATIENCE_MIN_MS), (3, PATIENCE_MIN_MS), (1, 300)]

    async def test_when_many_are_dead_from_the_start_only_the_first_costs_a_whole_timeout(self) -> None:
        world = World()
        world.bus.broken = {1: SILENT, 2: SILENT, 3: SILENT}
        await world.cycle()
        assert [ask for ask in world.bus.asked if ask[0] != 9] == [(1, 800), (2, 200), (3, 200)]

    async def test_it_is_healthy_again_after_one_answer(self) -> None:
        world = await World().settled()
        world.bus.broken[2] = SILENT
        await world.cycle()
        del world.bus.broken[2]
        await world.cycle()
        assert Recovered("m-2", ("m-2",)) in await world.cycle()
        assert meters_read(await world.cycle()) == ["m-1", "m-2", "m-3"]

    async def test_a_bus_that_cannot_be_reached_is_told_once_and_rests_as_a_whole(self) -> None:
        world = await World().settled()
        world.bus.is_reachable = False
        told = [await world.cycle() for _ in range(2 * REST_CYCLES_MAX)]
        assert told[0] == [Failing("bus", ("m-1", "m-2", "m-3"), ("heat-pump",), "no connection")]
        assert not any(told[1:])

    async def test_and_is_there_again_when_it_is(self) -> None:
        world = await World().settled()
        world.bus.is_reachable = False
        await world.cycle()
        world.bus.is_reachable = True
        await world.cycle()
        events = await world.cycle()
        assert events[0] == Recovered("bus", ("heat-pump", "m-1", "m-2", "m-3"))
        assert meters_read(events) == ["m-1", "m-2", "m-3"]

    async def test_a_meter_that_was_dead_before_the_bus_was_is_told_of_again(self) -> None:
        world = await World().settled()
        world.bus.broken[2] = SILENT
        await world.cycle()
        world.bus.is_reachable = False
        await world.cycle()
        world.bus.is_reachable = True
        told = [event for _ in range(6) for event in await world.cycle()]
        assert failing("m-2", str(SILENT)) in told


class BusyBus(FakeBus):
    """A bus that takes time, on a clock that nobody has to wait for. A meter's voltage tells when it was read."""

    def __init__(self, meters: Sequence[MeterPlan], clocks: FakeClocks, answer_ms: int) -> None:
        super().__init__(meters)
        self.clocks = clocks
        self.answer_ms = dict.fromkeys(self.meters, answer_ms)

    async def read(self, unit: int, request: ReadRequest, timeout_ms: int) -> list[int]:
        words = None
        if self.answer_ms[unit] <= timeout_ms and unit not in self.broken:
            self.clocks.ms += self.answer_ms[unit] // 2
            words = await super().read(unit, request, timeout_ms)
            if request != serial_request(self.meters[unit].profile):
                words = words_at(self.meters[unit].profile, request, {Quantity.VOLTAGE_L1_MV: self.clocks.ms})
            self.clocks.ms += self.answer_ms[unit] - self.answer_ms[unit] // 2
            return words
        self.asked.append((unit, timeout_ms))
        self.clocks.ms += timeout_ms
        raise SILENT


class Street:
    """A bus with many meters, lived through on a hand-driven clock."""

    EVERY_MS = 1000

    def __init__(self, units: Iterable[int], *, answer_ms: int) -> None:
        self.clocks = FakeClocks()
        meters = [a_meter(id=f"m-{unit}", unit=unit) for unit in units]
        self.bus, self.desk = BusyBus(meters, self.clocks, answer_ms), FakeDesk()
        self.poller = BusPoller(
            bus="bus",
            port=self.bus,
            meters=meters,
            devices=[],
            desk=self.desk,
            clocks=self.clocks,
            every_ms=self.EVERY_MS,
            timeout_ms=800,
        )

    async def live(self, seconds: int) -> Counter[str]:
        """How often each meter was read."""
        self.desk.events.clear()
        self.bus.asked.clear()
        end_ms = self.clocks.ms + 1000 * seconds
        slot_ms = self.clocks.ms
        while self.clocks.ms < end_ms:
            await self.poller.cycle(slot_ms + self.EVERY_MS)
            slot_ms = next_slot_ms(slot_ms, self.clocks.ms, self.EVERY_MS)
            self.clocks.ms = max(self.clocks.ms, slot_ms)
        return Counter(meters_read(self.desk.events))


class TestNeighbours:
    """Pain 3: what one meter does costs the others a twentieth of their cycle at most."""

    @pytest.mark.parametrize("answer_ms", [10, 40, 60], ids=["idle", "nearly busy", "busy"])
    async def test_with_ten_dead_of_thirty_two_the_cycle_of_the_healthy_is_within_five_percent(
        self, answer_ms: int
    ) -> None:
        alone = await Street(range(1, 23), answer_ms=answer_ms).live(120)
        street = Street(range(1, 33), answer_ms=answer_ms)
        street.bus.broken = dict.fromkeys(range(23, 33), SILENT)
        await street.live(30)
        read = await street.live(120)
        assert set(read) == set(alone)
        assert all(read[meter] >= 0.95 * alone[meter] for meter in alone)

    async def test_every_dead_meter_is_probed_and_a_probe_is_one_request(self) -> None:
        street = Street(range(1, 33), answer_ms=60)
        street.bus.broken = dict.fromkeys(range(23, 33), SILENT)
        await street.live(600)
        probes = Counter(unit for unit, _ in street.bus.asked if unit > 22)
        assert min(probes[unit] for unit in range(23, 33)) >= 2
        assert sum(probes.values()) <= 600

    async def test_one_that_comes_back_is_read_again_within_minutes(self) -> None:
        street = Street(range(1, 33), answer_ms=60)
        street.bus.broken = dict.fromkeys(range(23, 33), SILENT)
        await street.live(120)
        street.bus.broken.clear()
        assert len(await street.live(300)) == 32

    @pytest.mark.parametrize("answer_ms", [28, 60], ids=["nearly busy", "busy"])
    async def test_a_slow_meter_backs_off_alone_and_is_still_read(self, answer_ms: int) -> None:
        alone = await Street(range(1, 32), answer_ms=answer_ms).live(120)
        street = Street(range(1, 33), answer_ms=answer_ms)
        street.bus.answer_ms[32] = 700
        read = await street.live(120)
        assert all(read[meter] >= 0.95 * alone[meter] for meter in alone)
        assert read["m-32"] >= 3

    async def test_one_that_becomes_quick_again_is_read_every_cycle(self) -> None:
        street = Street(range(1, 33), answer_ms=20)
        street.bus.answer_ms[32] = 700
        await street.live(100)
        street.bus.answer_ms[32] = 20
        await street.live(100)
        read = await street.live(50)
        assert read["m-32"] == read["m-1"]

    async def test_no_reading_is_stamped_later_than_it_was_read(self) -> None:
        street = Street(range(1, 33), answer_ms=30)
        street.bus.answer_ms |= {5: 700, 6: 790}
        street.bus.broken = {9: SILENT}
        await street.live(60)
        readings = [event.reading for event in street.desk.events if isinstance(event, Read)]
        assert len(readings) > 1000
        for reading in readings:
            read_ms = reading.values[Quantity.VOLTAGE_L1_MV]
            assert reading.start_ms <= read_ms <= reading.end_ms


class TestDevices:
    """A device is written when it must hold something else, and is read back."""

    async def test_one_that_is_free_and_shall_be_is_only_looked_at(self) -> None:
        world = World()
        assert (await world.cycle())[0] == Confirmed("heat-pump", None)
        assert world.bus.written == []

    async def test_a_limit_is_written_once_and_confirmed(self) -> None:
        world = await World().settled()
        world.desk.granted_w["heat-pump"] = 2000
        assert Confirmed("heat-pump", 2000) in await world.cycle()
        await world.cycle()
        assert world.bus.written == [(9, (0, 2000))]

    async def test_it_is_lifted_when_the_restriction_ends(self) -> None:
        world = await World().settled()
        world.desk.granted_w["heat-pump"] = 2000
        await world.cycle()
        world.desk.granted_w.clear()
        assert Confirmed("heat-pump", None) in await world.cycle()
        assert world.bus.registers[9] == [0xFFFF, 0xFFFF]

    async def test_after_a_new_connection_it_is_looked_at_again(self) -> None:
        world = await World().settled()
        world.desk.granted_w["heat-pump"] = 2000
        await world.cycle()
        world.bus.registers[9] = [0xFFFF, 0xFFFF]
        world.bus.is_connected = False
        assert Confirmed("heat-pump", 2000) in await world.cycle()
        assert world.bus.registers[9] == [0, 2000]

    async def test_one_that_does_not_take_what_is_written_fails(self) -> None:
        world = await World().settled()
        world.bus.obeys = False
        world.desk.granted_w["heat-pump"] = 2000
        reason = "told to hold [0, 2000], it holds [65535, 65535]"
        assert Failing("heat-pump", (), ("heat-pump",), reason) in await world.cycle()

    async def test_one_that_failed_is_confirmed_again_when_it_obeys(self) -> None:
        world = await World().settled()
        world.bus.obeys = False
        world.desk.granted_w["heat-pump"] = 2000
        await world.cycle()
        world.bus.obeys = True
        await world.cycle()
        assert Confirmed("heat-pump", 2000) in await world.cycle()
