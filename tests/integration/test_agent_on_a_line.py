"""A whole agent on a serial line with meters of three makers: read, broken at run time, and never booked wrong."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.settings.fleet import FleetSettings, Transport
from config.tasks import end
from firmware_sim.faults import Fault
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import free_ports
from firmware_sim.modbus_server import Buses
from firmware_sim.orders import Orders
from firmware_sim.scenario import compose
from protocol.batch import MeterBlock, Quality
from tests.integration.agent_world import Aggregator, Home, a_broker, eventually

pytestmark = pytest.mark.mosquitto

METERS = ("m-grid", "m-wind", "m-gas", "m-pv-1", "m-home-1", "m-home-2")


@dataclass
class Line:
    """A serial line with a gateway's meters, the gateway, and whoever it sends to."""

    fleet: Fleet
    orders: Orders
    aggregator: Aggregator
    home: Home

    def break_(self, meter: str, fault: Fault | str, **what: Any) -> None:
        self.orders.obey({"meter": meter, "fault": str(fault), **what})

    def blocks(self, meter: str) -> list[MeterBlock]:
        return [block for batch in self.aggregator.batches for block in batch.meters if block.meter == meter]

    def readings(self, meter: str) -> int:
        return sum(len(block.starts_ms) for block in self.blocks(meter))

    async def more_of(self, *meters: str) -> None:
        before = {meter: self.readings(meter) for meter in meters}
        await eventually(lambda: all(self.readings(m) >= before[m] + 10 for m in meters), f"more of {meters}")


@asynccontextmanager
async def a_line(folder: Path) -> AsyncIterator[Line]:
    settings = FleetSettings(transport=Transport.SERIAL, run_folder=folder, first_port=free_ports(2))
    fleet = Fleet(compose(settings))
    orders = Orders(fleet)
    buses = Buses(fleet, settings, orders.faults)
    await buses.open()
    bus = fleet.scenario.buses("gw-1", settings)[0].model_dump(mode="json")
    living = asyncio.create_task(_live(fleet))
    try:
        with a_broker(folder) as broker:
            home = Home.make(folder, broker.port, 1, bus=bus | {"timeout_ms": 200, "devices": []})
            async with Aggregator(broker.port).listening() as aggregator:
                process = home.start()
                try:
                    yield Line(fleet, orders, aggregator, home)
                finally:
                    if process.poll() is None:
                        await home.end(signal.SIGKILL)
    finally:
        await end(living)
        await buses.close()


async def _live(fleet: Fleet) -> None:
    while True:
        await asyncio.sleep(0.1)
        fleet.step(100)


async def test_meters_of_three_makers_on_one_line_are_read_and_sent(tmp_path: Path) -> None:
    async with a_line(tmp_path) as line:
        await line.more_of(*METERS)
        assert await line.home.end(signal.SIGTERM) == 0
        for connection in line.fleet.scenario.connections[: len(METERS)]:
            serials = {block.serial for block in line.blocks(connection.site.meter)}
            assert serials == {"" if connection.serial is None else str(connection.serial)}


@pytest.mark.parametrize("fault", [Fault.DEAD, Fault.SLOW, Fault.BABBLE, Fault.CRC])
async def test_a_meter_that_fails_on_the_line_fails_alone_and_comes_back(tmp_path: Path, fault: Fault) -> None:
    async with a_line(tmp_path) as line:
        await line.more_of(*METERS)
        line.break_("m-gas", fault, number=300 if fault in (Fault.SLOW, Fault.BABBLE) else None)
        others = tuple(meter for meter in METERS if meter != "m-gas")
        await line.more_of(*others)
        at_last = line.readings("m-gas")
        await line.more_of(*others)
        assert line.readings("m-gas") <= at_last + 10
        line.break_("m-gas", "none")
        await line.more_of("m-gas")


@pytest.mark.parametrize("fault", [Fault.ZERO, Fault.JUMP, Fault.BACKWARDS])
async def test_a_counter_that_does_what_none_can_is_flagged(tmp_path: Path, fault: Fault) -> None:
    async with a_line(tmp_path) as line:
        await line.more_of("m-home-1")
        line.break_("m-home-1", fault)
        await line.more_of("m-home-1")
        flags = [flag for block in line.blocks("m-home-1") for flag in block.quality]
        assert not flags[0]
        assert any(flag & Quality.UNEXPLAINED_STEP for flag in flags)


async def test_a_meter_without_numbers_is_a_failed_read_and_never_a_zero(tmp_path: Path) -> None:
    async with a_line(tmp_path) as line:
        await line.more_of("m-home-1")
        line.break_("m-home-1", Fault.NAN)
        await line.more_of("m-home-2")
        stopped = line.readings("m-home-1")
        await line.more_of("m-home-2")
        assert line.readings("m-home-1") <= stopped + 5
        line.break_("m-home-1", "none")
        await line.more_of("m-home-1")
        flags = [flag for block in line.blocks("m-home-1") for flag in block.quality]
        assert not any(flag & Quality.UNEXPLAINED_STEP for flag in flags)


async def test_an_exchanged_meter_is_told_by_its_number_where_the_settings_name_one(tmp_path: Path) -> None:
    async with a_line(tmp_path) as line:
        await line.more_of("m-home-1")
        numbers = {block.serial for block in line.blocks("m-home-1")}
        line.break_("m-home-1", Fault.REPLACE)
        await line.more_of("m-home-2")
        await line.more_of("m-home-2")
        assert {block.serial for block in line.blocks("m-home-1")} == numbers
