"""A fleet on real TCP ports, read by the agent's profiles, by mbpoll, and through the commands."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from config.load import load_profiles
from config.meter_profile import MeterProfile, PowerLimit, Table
from config.settings.fleet import FleetSettings
from firmware_sim.device import FREE, Held
from firmware_sim.dump import dump, mbpoll_command
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import free_ports, is_free
from firmware_sim.meter import UJ_PER_WH, Shown
from firmware_sim.modbus_server import Buses
from firmware_sim.orders import Orders
from firmware_sim.scenario import Connection, compose
from protocol.errors import DeviceError, LinkError, OperatorError
from protocol.registers import RegisterCodec, WordType
from protocol.units import Quantity

HOST = "127.0.0.1"
COMMAND = str(Path(sys.executable).with_name("este-fleet"))
NO_LIMIT = 0xFFFF_FFFF

TRUTH: dict[Quantity, tuple[Shown, int]] = {
    Quantity.IMPORTED_WH: (Shown.IMPORTED_UJ, UJ_PER_WH),
    Quantity.EXPORTED_WH: (Shown.EXPORTED_UJ, UJ_PER_WH),
    Quantity.ACTIVE_POWER_W: (Shown.ACTIVE_POWER_MW, 1_000),
    Quantity.ACTIVE_POWER_L1_W: (Shown.ACTIVE_POWER_L1_MW, 1_000),
    Quantity.ACTIVE_POWER_L2_W: (Shown.ACTIVE_POWER_L2_MW, 1_000),
    Quantity.ACTIVE_POWER_L3_W: (Shown.ACTIVE_POWER_L3_MW, 1_000),
    Quantity.REACTIVE_POWER_VAR: (Shown.REACTIVE_POWER_MVAR, 1_000),
    Quantity.APPARENT_POWER_VA: (Shown.APPARENT_POWER_MVA, 1_000),
    Quantity.FREQUENCY_MHZ: (Shown.FREQUENCY_MHZ, 1),
    Quantity.VOLTAGE_L1_MV: (Shown.VOLTAGE_L1_MV, 1),
    Quantity.VOLTAGE_L2_MV: (Shown.VOLTAGE_L2_MV, 1),
    Quantity.VOLTAGE_L3_MV: (Shown.VOLTAGE_L3_MV, 1),
    Quantity.CURRENT_L1_MA: (Shown.CURRENT_L1_MA, 1),
    Quantity.CURRENT_L2_MA: (Shown.CURRENT_L2_MA, 1),
    Quantity.CURRENT_L3_MA: (Shown.CURRENT_L3_MA, 1),
}
"""Where the fleet's truth has each quantity, and how many of its units make one base unit."""


@dataclass
class Served:
    """A fleet that listens, and stands still unless a test moves it."""

    fleet: Fleet
    buses: Buses

    def at(self, meter: str) -> Connection:
        return next(c for c in self.fleet.scenario.connections if c.site.meter == meter)


@asynccontextmanager
async def serve(meters: int = 12) -> AsyncIterator[Served]:
    probe = compose(FleetSettings(meters=meters, first_port=20_000))
    ports = len({connection.place.port for connection in probe.connections})
    settings = FleetSettings(meters=meters, first_port=free_ports(ports))
    fleet = Fleet(compose(settings))
    fleet.step(1_000)
    buses = Buses(fleet, settings, Orders(fleet).faults)
    await buses.open()
    try:
        yield Served(fleet, buses)
    finally:
        await buses.close()


async def read(client: AsyncModbusTcpClient, table: Table, address: int, count: int, unit: int) -> list[int]:
    function = client.read_input_registers if table is Table.INPUT else client.read_holding_registers
    answer = await function(address, count=count, device_id=unit)
    assert not answer.isError(), f"unit {unit}, {count} words from {address:#06x}: {answer}"
    return list(answer.registers)


async def read_by_profile(client: AsyncModbusTcpClient, profile: MeterProfile, unit: int) -> dict[Quantity, int | None]:
    """Every quantity of a meter, as an agent reads it: the profile's blocks, decoded with the profile's codecs."""
    words: dict[int, int] = {}
    for block in profile.blocks:
        for first in range(block.first, block.last + 1, profile.words_max):
            count = min(profile.words_max, block.last + 1 - first)
            words.update(enumerate(await read(client, profile.table, first, count, unit), start=first))
    return {
        register.id: profile.codecs[register.id].decode(
            [words[register.address + i] for i in range(register.type.words)]
        )
        for register in profile.registers
    }


def tolerance(codec: RegisterCodec, truth: Fraction) -> Fraction:
    """One count of an integer register, or one step of a float; and the rounding to base units."""
    step = abs(truth) / 2**23 if codec.type is WordType.F32 else codec.scale
    return step + Fraction(1, 2)


async def test_every_quantity_of_every_meter_is_the_truth_by_the_agents_own_maps() -> None:
    profiles = load_profiles()
    async with serve() as served:
        truth = served.fleet.truth()
        for connection in served.fleet.scenario.connections:
            profile = profiles[connection.site.model]
            async with AsyncModbusTcpClient(HOST, port=connection.place.port) as client:
                found = await read_by_profile(client, profile, connection.place.unit)
            assert set(found) <= set(TRUTH)
            for quantity, value in found.items():
                shown, per_base_unit = TRUTH[quantity]
                true = Fraction(truth.meters[connection.site.meter][shown], per_base_unit)
                assert value is not None
                assert abs(value - true) <= tolerance(profile.codecs[quantity], true), (connection.site.meter, quantity)


async def test_every_serial_number_is_where_the_profile_says() -> None:
    profiles = load_profiles()
    async with serve() as served:
        for connection in served.fleet.scenario.connections:
            place = profiles[connection.site.model].serial_number
            if place is None:
                continue
            async with AsyncModbusTcpClient(HOST, port=connection.place.port) as client:
                high, low = await read(client, place.table, place.address, place.words, connection.place.unit)
            assert high << 16 | low == connection.serial


async def test_a_meter_shows_one_moment_until_the_fleet_steps() -> None:
    async with serve() as served:
        place = served.at("m-home-1").place
        async with AsyncModbusTcpClient(HOST, port=place.port) as client:
            first = await read(client, Table.INPUT, 0, 80, place.unit)
            assert await read(client, Table.INPUT, 0, 80, place.unit) == first
            served.fleet.step(250)
            assert await read(client, Table.INPUT, 0, 80, place.unit) != first


async def test_a_limit_written_as_the_profile_says_holds_the_engine_and_can_be_lifted() -> None:
    profile = load_profiles()["este_power_controller"]
    limit, set_point = profile.feed_in_limit, profile.set_point
    assert limit is not None and set_point is not None
    async with serve() as served:
        place = served.at("m-gas").place
        async with AsyncModbusTcpClient(HOST, port=place.port) as client:

            async def write(register: PowerLimit, raw: int) -> int:
                words = [raw >> 16 & 0xFFFF, raw & 0xFFFF]
                answer = await client.write_registers(register.address, words, device_id=place.limiter_unit)
                assert not answer.isError()
                served.fleet.step(250)
                return served.fleet.measured("m-gas")[Shown.ACTIVE_POWER_MW]

            free = [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0x7FFF, 0xFFFF]
            assert await read(client, Table.HOLDING, 2, 6, place.limiter_unit) == free
            assert await write(limit, 9_600) == -9_600_000
            assert await read(client, Table.HOLDING, limit.address, 2, place.limiter_unit) == [0, 9_600]
            assert await write(set_point, -5_000) == -5_000_000
            assert await write(set_point, -12_000) == -9_600_000, "a limit wins"
            assert await write(set_point, set_point.lifted) == -9_600_000
            assert await write(limit, limit.lifted) < -29_000_000
            assert served.fleet.held("l-gas") == FREE
            assert await read(client, Table.HOLDING, 2, 6, place.limiter_unit) == free


async def test_a_limiter_before_a_heat_pump_is_one_register_and_cannot_be_told_what_to_do() -> None:
    power_limit = load_profiles()["este_power_limiter"].power_limit
    assert power_limit is not None
    async with serve() as served:
        place = served.at("m-home-1").place
        async with AsyncModbusTcpClient(HOST, port=place.port) as client:
            answer = await client.write_registers(power_limit.address, [0, 700], device_id=place.limiter_unit)
            assert not answer.isError()
            assert served.fleet.held("l-home-1") == Held.both(700)
            assert await read(client, Table.HOLDING, 0, 2, place.limiter_unit) == [0, 700]


@pytest.mark.parametrize(
    ("unit", "function", "address", "count", "exception"),
    [
        (5, "read_coils", 0, 1, 1),
        (5, "read_input_registers", 300, 2, 2),
        (5, "read_input_registers", 107, 2, 2),
        (5, "read_holding_registers", 0, 2, 2),
        (5, "read_input_registers", 0, 81, 3),
        (105, "read_holding_registers", 2, 1, 2),
        (77, "read_input_registers", 0, 2, 11),
        (77, "read_holding_registers", 0xFC00, 2, 11),
    ],
)
async def test_what_cannot_be_read_is_refused_as_a_meter_does(
    unit: int, function: str, address: int, count: int, exception: int
) -> None:
    async with serve() as served, AsyncModbusTcpClient(HOST, port=served.at("m-home-1").place.port) as client:
        answer = await getattr(client, function)(address, count=count, device_id=unit)
        assert answer.isError()
        assert answer.exception_code == exception


@pytest.mark.parametrize(
    ("unit", "address", "words", "exception"),
    [
        (3, 0x5000, [0, 0], 1),
        (103, 2, [0], 3),
        (103, 3, [0], 3),
        (103, 3, [0, 0], 3),
        (103, 8, [0], 2),
    ],
    ids=["a meter's counter", "half a limit", "the other half", "two halves", "beyond the last one"],
)
async def test_what_cannot_be_written_is_refused_and_changes_nothing(
    unit: int, address: int, words: list[int], exception: int
) -> None:
    async with serve() as served, AsyncModbusTcpClient(HOST, port=served.at("m-gas").place.port) as client:
        before = served.fleet.truth()
        answer = await client.write_registers(address, words, device_id=unit)
        assert answer.isError()
        assert answer.exception_code == exception
        assert served.fleet.truth() == before
        assert served.fleet.held("l-gas") == FREE


async def test_a_limit_is_not_written_with_function_6() -> None:
    async with serve() as served, AsyncModbusTcpClient(HOST, port=served.at("m-gas").place.port) as client:
        answer = await client.write_register(2, 1, device_id=103)
        assert answer.isError()
        assert answer.exception_code == 1
        assert served.fleet.held("l-gas") == FREE


async def test_a_gap_inside_a_block_reads_as_zero() -> None:
    async with serve() as served:
        place = served.at("m-home-1").place
        async with AsyncModbusTcpClient(HOST, port=place.port) as client:
            assert await read(client, Table.INPUT, 0x0054, 2, place.unit) == [0, 0]


async def test_requests_are_counted_per_port_whatever_the_answer() -> None:
    async with serve() as served:
        port = served.at("m-home-1").place.port
        async with AsyncModbusTcpClient(HOST, port=port) as client:
            await client.read_input_registers(0, count=2, device_id=5)
            await client.read_input_registers(300, count=2, device_id=5)
            await client.read_input_registers(0, count=2, device_id=99)
        assert served.buses.requests == {port: 3}


async def test_a_taken_port_is_told_and_none_is_left_open() -> None:
    async with serve() as served:
        taken = served.at("m-grid").place.port
        settings = FleetSettings(first_port=taken - 1)
        fleet = Fleet(compose(settings))
        rival = Buses(fleet, settings, Orders(fleet).faults)
        with pytest.raises(OperatorError, match="address already in use"):
            await rival.open()
        assert is_free(taken - 1), "it had been opened before the taken one was met"


async def test_a_closed_fleet_ends_its_connections() -> None:
    async with serve() as served:
        client = AsyncModbusTcpClient(HOST, port=served.at("m-gas").place.port, retries=0, timeout=1)
        await client.connect()
    with pytest.raises(ModbusException):
        await client.read_holding_registers(0x5B00, count=2, device_id=3)
    client.close()


async def test_a_thousand_meters_in_one_process_are_all_readable() -> None:
    profiles = load_profiles()
    async with serve(1_000) as served:
        by_port: dict[int, list[Connection]] = {}
        for connection in served.fleet.scenario.connections:
            by_port.setdefault(connection.place.port, []).append(connection)

        async def read_bus(port: int) -> int:
            async with AsyncModbusTcpClient(HOST, port=port) as client:
                for connection in by_port[port]:
                    found = await read_by_profile(client, profiles[connection.site.model], connection.place.unit)
                    power_w = served.fleet.measured(connection.site.meter)[Shown.ACTIVE_POWER_MW] / 1_000
                    assert found[Quantity.ACTIVE_POWER_W] == pytest.approx(power_w, abs=1)
            return len(by_port[port])

        assert sum(await asyncio.gather(*map(read_bus, by_port))) == 1_000


# -- dump and mbpoll


async def test_dump_shows_registers_as_printed_and_as_on_the_wire() -> None:
    async with serve() as served:
        rows = await dump(served.at("m-home-3"), HOST)
    power = next(row for row in rows if row.shows == "active power")
    true_kw = served.fleet.measured("m-home-3")[Shown.ACTIVE_POWER_MW] / 1e6
    assert (power.printed, power.address, power.unit) == ("3060", "0x0bf3", "kW")
    assert float(power.value) == pytest.approx(true_kw, rel=1e-6)
    assert rows[-1].value == str(served.at("m-home-3").serial)


async def test_dump_notices_that_another_fleet_is_running() -> None:
    async with serve() as served:
        port = served.at("m-grid").place.port
        other = compose(FleetSettings(seed=2, first_port=port))
        with pytest.raises(DeviceError, match="another fleet is running there"):
            await dump(next(c for c in other.connections if c.site.meter == "m-home-1"), HOST)


async def test_dump_says_when_nobody_listens() -> None:
    connection = compose(FleetSettings(first_port=free_ports(2))).connections[0]
    with pytest.raises(LinkError, match="nobody listens"):
        await dump(connection, HOST)


@pytest.mark.mbpoll
@pytest.mark.parametrize(
    ("meter", "milliwatts_per_count"),
    [("m-home-1", 1_000), ("m-home-2", 1_000), ("m-home-3", 1_000_000), ("m-gas", 10), ("m-grid", 100)],
    ids=["sdm630: float", "sdm120: float", "iem3000: float in kW", "abb: high word first", "em24: low word first"],
)
async def test_mbpoll_reads_the_same_power(meter: str, milliwatts_per_count: int) -> None:
    async with serve() as served:
        command = shlex.split(mbpoll_command(served.at(meter), HOST))
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        printed, _ = await process.communicate()
        true_mw = served.fleet.measured(meter)[Shown.ACTIVE_POWER_MW]
    count = float(next(line for line in printed.decode().splitlines() if line.startswith("[")).split("\t")[1])
    assert count * milliwatts_per_count == pytest.approx(true_mw, rel=1e-5, abs=milliwatts_per_count)


# -- the command


@pytest.fixture
def running() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A fleet in a process of its own, and its first port."""
    first_port = free_ports(2)
    process = subprocess.Popen(
        [COMMAND, "run", "--first-port", str(first_port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert ready == f"12 meters on {HOST}:{first_port} to {first_port + 1}, seed 1, speed 1. Ctrl-C stops.\n"
    yield process, first_port
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_stops_cleanly(running: tuple[subprocess.Popen[str], int], number: signal.Signals) -> None:
    process, _ = running
    process.send_signal(number)
    printed, complained = process.communicate(timeout=20)
    assert process.returncode == 0
    assert printed == "Stopped after 0 requests.\n"
    assert complained == ""


def test_dump_reads_a_running_fleet(running: tuple[subprocess.Popen[str], int]) -> None:
    _, first_port = running
    command = [COMMAND, "dump", "--meter", "m-gas", "--first-port", str(first_port)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "0x5b14" in result.stdout
    assert f"mbpoll -m tcp -p {first_port} -a 3" in result.stdout


def test_energy_rises_while_a_fleet_runs(running: tuple[subprocess.Popen[str], int]) -> None:
    _, first_port = running
    gas = next(c for c in compose(FleetSettings(first_port=first_port)).connections if c.site.meter == "m-gas")

    def exported() -> str:
        return next(row.value for row in asyncio.run(dump(gas, HOST)) if row.shows == "exported")

    before = exported()
    for _ in range(300):
        time.sleep(0.1)
        if exported() != before:
            return
    pytest.fail("the engine's counter stood still")


def test_a_second_fleet_on_the_same_ports_is_refused_in_one_sentence(
    running: tuple[subprocess.Popen[str], int],
) -> None:
    _, first_port = running
    command = [COMMAND, "run", "--first-port", str(first_port)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith(f"este-fleet: {HOST}:{first_port}: expected a port that is free")
    assert len(result.stderr.splitlines()) == 1


def test_list_says_where_a_running_fleet_is(running: tuple[subprocess.Popen[str], int]) -> None:
    _, first_port = running
    command = [COMMAND, "list", "--json", "--first-port", str(first_port)]
    document = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {meter["port"] for meter in document["meters"]} == {first_port, first_port + 1}
