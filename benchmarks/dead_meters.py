"""Ten of 32 meters on one bus are dead: how much longer is the cycle of the others, beside a bus without the ten.

The agent's own poller against the simulator in a process of its own: behind a Modbus TCP gateway, and on a serial line
(a pseudo-terminal), once with time to spare and once with none. Beside it a plain pymodbus client, which asks one meter
after another, as most scripts do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from agent.bus.control import FREE, DevicePlan, Grant
from agent.bus.metering import MeterPlan, plan_for
from agent.bus.modbus_port import ModbusBus
from agent.bus.polling import BusPoller
from agent.clock_port import SystemClocks
from agent.events import Event, Read
from benchmarks import plain
from benchmarks.figure import Figure
from config.load import load_profiles
from config.settings.bus import Bus
from config.settings.fleet import FleetSettings, Transport
from config.tasks import end
from firmware_sim.control_port import order
from firmware_sim.demo.children import program, start
from firmware_sim.free_port import free_ports
from firmware_sim.scenario import compose
from protocol.units import Quantity

METERS: Final = 32
DEAD: Final = 10
TIMEOUT_MS: Final = 1000
WANTED: Final = (Quantity.ACTIVE_POWER_W, Quantity.REACTIVE_POWER_VAR, Quantity.VOLTAGE_L1_MV)
TURNAROUND_MS: Final = 20
"""What each meter takes on the bus that is busy; the gap that este keeps comes on top."""

WARM_UP_S: Final = 8
WATCHED_S: Final = 12
WATCHED_BUSY_S: Final = 30
"""Longer, so that the few probes which there is time for are seen."""

ROUNDS: Final = 2
"""Of both, in turn; the better of each counts, since other programs on the machine only ever add."""

RATIO_MAX: Final = 1.05

logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)  # it would tell every timeout in bytes


@dataclass
class Watcher:
    """A clerk that only notes when each meter was read."""

    read_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    is_paused: bool = False

    async def hand(self, event: Event) -> None:
        """Note a reading."""
        if isinstance(event, Read):
            self.read_s[event.reading.meter].append(time.monotonic())

    def granted(self, _: DevicePlan) -> Grant:
        """Nothing is held."""
        return FREE

    def cycle_s(self, meters: Sequence[MeterPlan], since_s: float) -> float:
        """Mean time from one reading of a meter to its next."""
        spans = []
        for meter in meters:
            times = [at for at in self.read_s[meter.meter] if at >= since_s]
            spans.append((times[-1] - times[0]) / (len(times) - 1))
        return mean(spans)


def measure() -> Iterator[Figure]:
    """Each bus with and without its dead."""
    for what, transport, busy in (
        ("Modbus TCP", Transport.TCP, False),
        ("serial, time to spare", Transport.SERIAL, False),
        ("serial, busy", Transport.SERIAL, True),
    ):
        alone_s, beside_dead_s, plain_s = asyncio.run(_compare(transport, busy))
        note = f"cycle {1000 * alone_s:.0f} ms, beside the dead {1000 * beside_dead_s:.0f} ms"
        if plain_s is not None:
            note += f"; plain pymodbus {1000 * plain_s[0]:.0f} ms and {1000 * plain_s[1]:.0f} ms"
        yield Figure(f"{DEAD} of {METERS} dead, {what}", beside_dead_s / alone_s, RATIO_MAX, "×", note=note)


async def _compare(transport: Transport, busy: bool) -> tuple[float, float, tuple[float, float] | None]:
    async with a_fleet(transport) as (settings, bus):
        profiles = load_profiles()
        meters = [plan_for(address, profiles, WANTED) for address in bus.meters]
        healthy, dead = meters[:-DEAD], meters[-DEAD:]
        alone_s, beside_dead_s = [], []
        for _ in range(ROUNDS):
            await tell(settings, dead, "none")
            await tell(settings, meters if busy else [], "slow", TURNAROUND_MS)
            alone_s.append(await _watch(bus, healthy, healthy, busy))
            await tell(settings, dead, "dead")
            beside_dead_s.append(await _watch(bus, meters, healthy, busy))
        if transport is not Transport.TCP:
            return min(alone_s), min(beside_dead_s), None
        plain = (await _plain_cycle_s(bus, healthy), await _plain_cycle_s(bus, meters))
        return min(alone_s), min(beside_dead_s), plain


async def tell(settings: FleetSettings, meters: Sequence[MeterPlan], fault: str, number: int | None = None) -> None:
    """Give some meters of a running fleet a fault, or lift it."""
    assert settings.run_folder is not None, "this fleet takes orders"
    for meter in meters:
        await order(settings.run_folder, {"meter": meter.meter, "fault": fault, "number": number})


@asynccontextmanager
async def a_fleet(transport: Transport) -> AsyncIterator[tuple[FleetSettings, Bus]]:
    """A fleet in a process of its own, and its one bus."""
    with tempfile.TemporaryDirectory() as folder:
        run_folder = Path(folder) / "run"
        settings = FleetSettings(meters=METERS, first_port=free_ports(), transport=transport, run_folder=run_folder)
        command = [program("este-fleet"), "run", f"--meters={METERS}", f"--first-port={settings.first_port}"]
        command += [f"--transport={transport}", f"--run-folder={run_folder}"]
        child = await start("fleet", command, Path(folder))
        try:
            await asyncio.sleep(2)
            scenario = compose(settings)
            yield settings, scenario.buses(scenario.gateways[0], settings)[0]
        finally:
            await child.stop(patience_s=10)


async def _watch(bus: Bus, meters: Sequence[MeterPlan], healthy: Sequence[MeterPlan], busy: bool) -> float:
    """Poll for a while; the mean cycle of the healthy, in seconds."""
    watcher, port = Watcher(), ModbusBus(bus.model_copy(update={"timeout_ms": TIMEOUT_MS}))
    poller = BusPoller(
        bus=bus.place,
        port=port,
        meters=meters,
        devices=[],
        desk=watcher,
        clocks=SystemClocks(),
        every_ms=100 if busy else 1000,
        timeout_ms=TIMEOUT_MS,
    )
    polling = asyncio.create_task(poller.run())
    try:
        await asyncio.sleep(WARM_UP_S)
        since_s = time.monotonic()
        await asyncio.sleep(WATCHED_BUSY_S if busy else WATCHED_S)
        return watcher.cycle_s(healthy, since_s)
    finally:
        await end(polling)
        port.close()


async def _plain_cycle_s(bus: Bus, meters: Sequence[MeterPlan]) -> float:
    """One round of a loop over all meters, with a pause to the next second, as scripts do it."""
    assert bus.host is not None, "only over TCP"
    begin_s = time.monotonic()
    async with AsyncModbusTcpClient(bus.host, port=bus.port, timeout=TIMEOUT_MS / 1000, retries=0) as client:
        for meter in meters:
            for request in meter.requests:
                with contextlib.suppress(ModbusException):
                    await plain.ask(client, meter, request)
    return max(1.0, time.monotonic() - begin_s)
