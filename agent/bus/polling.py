"""One bus, cycle after cycle: its devices are told what they are held to, its meters are read.

Runs the plan of `isolation` with the port, on a fixed cadence that neither drifts nor piles up, and hands what comes of
it to the clerk. A meter that fails is told of and rests; a bus that cannot be reached rests as a whole. A device is
written only when it must hold something else than it last confirmed, or when the connection is new, and is read back
every time. What a meter's profile does not call fast may be asked for more rarely: behind all that is fast, and of one
meter per cycle if there is no time left. Waits for the bus and the clock; decides nothing about either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Protocol

from agent.bus.control import Command, DevicePlan, Grant, command_for
from agent.bus.isolation import Health, Patience, ProbeCredit, impatient_ms, next_slot_ms, slow_turn, turn
from agent.bus.metering import Block, Blocks, MeterPlan, Watch, reading_of, serial_of, slow_reading_of, watched
from agent.bus.modbus_port import BusError
from agent.bus.planner import ReadRequest, serial_request
from agent.bus.reading import Reading, SlowReading
from agent.clock_port import Clocks
from agent.events import Confirmed, Event, Failing, Read, Recovered
from agent.log import Log
from protocol.batch import Quality
from protocol.errors import DeviceError

log = Log("bus")


class Port(Protocol):
    """What polling asks of a bus."""

    @property
    def connections(self) -> int:
        """How often a connection was made."""

    async def connect(self) -> None:
        """Have a connection."""

    async def read(self, unit: int, request: ReadRequest, timeout_ms: int) -> list[int]:
        """Ask for words."""

    async def write(self, unit: int, address: int, words: Sequence[int], timeout_ms: int) -> None:
        """Write words."""


class Desk(Protocol):
    """What polling asks of the clerk."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be read."""

    async def hand(self, event: Event) -> None:
        """Give the clerk something to deal with."""

    def granted(self, device: DevicePlan) -> Grant:
        """What a device may do and is to do now."""


class BusPoller:
    """Everything that is done on one bus."""

    def __init__(
        self,
        *,
        bus: str,
        port: Port,
        meters: Sequence[MeterPlan],
        devices: Sequence[DevicePlan],
        desk: Desk,
        clocks: Clocks,
        every_ms: int,
        timeout_ms: int,
        slow_every_ms: int = 0,
    ) -> None:
        self._name = bus
        self._port = port
        self._meters = {meter.meter: meter for meter in meters}
        self._devices = {device.device: device for device in devices}
        self._desk = desk
        self._clocks = clocks
        self._every_ms = every_ms
        self._timeout_ms = timeout_ms
        self._slow_every_ms = slow_every_ms
        self._bus = Health()
        self._health = {name: Health() for name in (*self._devices, *self._meters)}
        self._patience = {name: Patience() for name in self._health}
        self._credit = ProbeCredit(timeout_ms, timeout_ms)
        self._told: dict[str, str] = {}
        """What the clerk knows to fail, and why: meters and devices by name, or the bus alone."""
        self._serials: dict[str, str] = {}
        """Serial numbers as told since the meter last failed or did what no counter may: it may be another by now."""
        self._identity: dict[str, str] = {}
        """Serial numbers as told last."""
        self._watch: dict[str, Watch] = {}
        self._stepping: set[str] = set()
        """Meters of which a counter does what no counter may."""
        self._renewed_ms: dict[str, int] = {}
        """When a meter that renews its registers seldom will have done so, to the nearest cycle."""
        self._slow_due_ms = {meter.meter: 0 for meter in meters if meter.slow_requests}
        """From when on each meter's slow quantities are due, to the nearest cycle."""
        self._slow_took_ms: dict[str, int] = {}
        self._slow: dict[str, SlowReading] = {}
        """Slow readings that wait for the reading that they travel with."""
        self._held: dict[str, Command] = {}
        """What each device confirmed on this connection."""
        self._connection = 0

    async def run(self) -> None:
        """Go on until cancelled."""
        slot_ms = int(self._clocks.now_ms())
        while True:
            await self.cycle(slot_ms + self._every_ms)
            now_ms = self._clocks.now_ms()
            slot_ms = next_slot_ms(slot_ms, now_ms, self._every_ms)
            await asyncio.sleep(max(0, slot_ms - now_ms) / 1000)

    async def cycle(self, end_ms: int) -> None:
        """One cycle, which should be over at `end_ms` on the boot's clock."""
        if self._bus.rest_cycles:
            self._bus = self._bus.after_cycle_off()
            return
        try:
            await self._port.connect()
            await self._tell_recovered(self._name, tuple(self._health))
            if self._port.connections != self._connection:
                self._connection = self._port.connections
                self._held.clear()
            await self._share_out(end_ms)
            self._bus = self._bus.after_success()
        except BusError as error:
            self._bus = self._bus.after_failure()
            self._serials.clear()
            self._slow.clear()
            self._told = {what: why for what, why in self._told.items() if what == self._name}
            await self._tell_failing(self._name, tuple(self._health), str(error))

    async def _share_out(self, end_ms: int) -> None:
        health = {name: health for name, health in self._health.items() if self._has_news(name)}
        order = turn(health, self._every_ms)
        bound_ms = self._timeout_ms
        start_ms = self._clocks.now_ms()
        for name in order.healthy:
            if not await self._attend(name, self._patience[name].timeout_ms(bound_ms)):
                bound_ms = impatient_ms(self._timeout_ms)
        await self._read_slow_of(health, bound_ms, end_ms)
        for name in (*order.slow, *order.probed):
            await self._attend_if_affordable(name, end_ms)
        for name in order.resting:
            self._health[name] = self._health[name].after_cycle_off()
        self._credit = self._credit.after_cycle(max(self._every_ms, self._clocks.now_ms() - start_ms))

    def _has_news(self, name: str) -> bool:
        """Whether there is anything to ask: nothing while reading is paused, or before a meter renews what it shows."""
        if name in self._devices:
            return True
        return not self._desk.is_paused and self._clocks.now_ms() >= self._renewed_ms.get(name, 0)

    async def _attend_if_affordable(self, name: str, end_ms: int) -> None:
        """Ask somebody slow, or who failed, if there is time: what the healthy left, and what was saved up."""
        health, start_ms = self._health[name], self._clocks.now_ms()
        left_ms = end_ms - start_ms
        if health.is_failing:
            is_patient = health.failures % 2 == 0
            timeout_ms = self._credit.timeout_ms(self._timeout_ms, left_ms, is_patient=is_patient)
        else:
            timeout_ms = self._timeout_ms if self._credit.affords(health.took_ms, left_ms) else 0
        if not timeout_ms:
            self._health[name] = health.after_cycle_off()
            return
        await self._attend(name, timeout_ms)
        self._credit = self._credit.after_use(self._clocks.now_ms() - start_ms, left_ms)

    async def _attend(self, name: str, timeout_ms: int) -> bool:
        """Do what there is to do with one meter or device; say whether it went well."""
        start_ms = self._clocks.now_ms()
        try:
            await self._errand(name)(timeout_ms)
        except BusError:
            raise
        except DeviceError as error:
            self._health[name] = self._health[name].after_failure()
            self._patience[name] = Patience()
            self._serials.pop(name, None)
            self._slow.pop(name, None)
            self._held.pop(name, None)
            await self._tell_failing(name, (name,), str(error))
            return False
        self._health[name] = self._health[name].after_success(self._clocks.now_ms() - start_ms)
        await self._tell_recovered(name, (name,))
        return True

    def _errand(self, name: str) -> Callable[[int], Awaitable[None]]:
        if name in self._devices:
            return partial(self._hold, self._devices[name])
        return partial(self._read, self._meters[name])

    async def _read(self, meter: MeterPlan, timeout_ms: int) -> None:
        if meter.meter not in self._serials:
            self._serials[meter.meter] = await self._ask_serial(meter, timeout_ms)
        blocks = await self._ask_all(meter, meter.requests, timeout_ms)
        reading = reading_of(meter, self._serials[meter.meter], blocks, self._slow.pop(meter.meter, None))
        watch, reading = watched(self._watch.get(meter.meter, {}), reading, meter.profile)
        self._watch[meter.meter] = watch
        if reading.quality & Quality.UNEXPLAINED_STEP:
            self._serials.pop(meter.meter)  # it may be another meter, which came without missing a cycle
        self._log_step(reading)
        if meter.profile.refresh_ms is not None:
            self._renewed_ms[meter.meter] = reading.start_ms + meter.profile.refresh_ms - self._every_ms // 2
        await self._desk.hand(Read(reading))

    async def _read_slow_of(self, names: Collection[str], timeout_ms: int, end_ms: int) -> None:
        """Ask for slow quantities that are due: of one meter for certain, of others while there is time.

        Only of meters that answered when they were last asked: who they are is known, and their next reading will
        bring along what they show now.
        """
        due_ms = {name: at_ms for name, at_ms in self._slow_due_ms.items() if name in names and name in self._serials}
        for place, name in enumerate(slow_turn(due_ms, self._clocks.now_ms())):
            has_time = self._clocks.now_ms() + self._slow_took_ms.get(name, 0) <= end_ms
            if place == 0 or has_time:
                await self._read_slow(self._meters[name], self._patience[name].timeout_ms(timeout_ms))

    async def _read_slow(self, meter: MeterPlan, timeout_ms: int) -> None:
        name, start_ms = meter.meter, self._clocks.now_ms()
        what = f"{name}, what is not fast"
        try:
            self._slow[name] = slow_reading_of(meter, await self._ask_all(meter, meter.slow_requests, timeout_ms))
        except BusError:
            raise
        except DeviceError as error:
            await self._tell_failing(what, (), str(error))
        else:
            await self._tell_recovered(what, ())
        self._slow_took_ms[name] = self._clocks.now_ms() - start_ms
        self._slow_due_ms[name] = start_ms + self._slow_every_ms - self._every_ms // 2

    async def _ask_all(self, meter: MeterPlan, requests: Sequence[ReadRequest], timeout_ms: int) -> Blocks:
        return {request: await self._ask(meter.meter, meter.unit, request, timeout_ms) for request in requests}

    async def _ask(self, name: str, unit: int, request: ReadRequest, timeout_ms: int) -> Block:
        """Ask for one block, and note when: what it tells was so at some instant in between."""
        start_ms = self._clocks.now_ms()
        words = await self._port.read(unit, request, timeout_ms)
        end_ms = self._clocks.now_ms()
        self._patience[name] = self._patience[name].after_answer(end_ms - start_ms)
        return Block(words, start_ms, end_ms)

    async def _ask_serial(self, meter: MeterPlan, timeout_ms: int) -> str:
        """The serial number that the meter tells; empty where it has none to tell."""
        request = serial_request(meter.profile)
        told = ""
        if request is not None:
            try:
                told = serial_of(meter.profile, (await self._ask(meter.meter, meter.unit, request, timeout_ms)).words)
            except DeviceError as error:
                if error.retry:
                    raise
        if meter.serial is not None and told != meter.serial:
            raise DeviceError(f"serial number {told or 'untold'} where the settings name {meter.serial}", retry=True)
        before = self._identity.setdefault(meter.meter, told)
        if told != before:
            log.warning("another meter answers", meter=meter.meter, serial=told or "none", before=before or "none")
            self._identity[meter.meter] = told
        return told

    def _log_step(self, reading: Reading) -> None:
        """Log when counters of a meter begin to do what none may, and when they go on as they should."""
        name, is_stepping = reading.meter, bool(reading.quality & Quality.UNEXPLAINED_STEP)
        if is_stepping and name not in self._stepping:
            self._stepping.add(name)
            shown = {quantity.name.lower(): reading.values[quantity] for quantity in reading.words}
            log.warning("a counter did what none may: flagged, and no energy", meter=name, **shown)
        elif not is_stepping and name in self._stepping:
            self._stepping.remove(name)
            log.info("its counters are believed again", meter=name)

    async def _hold(self, device: DevicePlan, timeout_ms: int) -> None:
        command = command_for(device, self._desk.granted(device))
        name = device.device
        if self._held.get(name) == command:
            return
        for order in command.orders:
            if not order.is_obeyed(await self._port.read(device.unit, order.request, timeout_ms)):
                await self._port.write(device.unit, order.register.address, order.words, timeout_ms)
                holds = await self._port.read(device.unit, order.request, timeout_ms)
                if not order.is_obeyed(holds):
                    raise DeviceError(f"told to hold {list(order.words)}, it holds {holds}", retry=True)
        self._held[name] = command
        await self._desk.hand(Confirmed(name, command.power_w, command.set_w))

    async def _tell_failing(self, what: str, names: tuple[str, ...], reason: str) -> None:
        """Tell of what fails, once per reason."""
        if self._told.get(what) == reason:
            return
        self._told[what] = reason
        meters = tuple(name for name in names if name in self._meters)
        devices = tuple(name for name in names if name in self._devices)
        await self._desk.hand(Failing(what, meters, devices, reason))

    async def _tell_recovered(self, what: str, names: tuple[str, ...]) -> None:
        """Tell of what was told to fail and does no more."""
        if self._told.pop(what, None) is not None:
            await self._desk.hand(Recovered(what, names))
