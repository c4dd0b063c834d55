"""`este-agent scan`: what is on a bus and in a network, as settings to paste."""

from __future__ import annotations

import asyncio
import itertools
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from agent.scan import network_port
from agent.scan.network_port import AT_ONCE, hosts_of, open_hosts
from agent.scan.ways import serial_line, units_of
from config.load import check
from config.settings.agent import AgentSettings
from config.settings.fleet import FleetSettings, Transport
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import free_ports
from firmware_sim.modbus_server import Buses
from firmware_sim.orders import Orders
from firmware_sim.scenario import Scenario, compose
from protocol.errors import OperatorError
from tests.integration.agent_world import eventually
from tests.integration.test_agent_modbus import a_device, right
from tests.unit.agent.builders import settings_document

AGENT = str(Path(sys.executable).with_name("este-agent"))
HOST = "127.0.0.1"
PATIENT = "--timeout-ms=2000"
"""Where everybody who is asked is there."""


@asynccontextmanager
async def a_fleet(transport: Transport, folder: Path, **more: int) -> AsyncIterator[tuple[Scenario, FleetSettings]]:
    settings = FleetSettings(transport=transport, run_folder=folder, first_port=free_ports(3), **more)
    fleet = Fleet(compose(settings))
    buses = Buses(fleet, settings, Orders(fleet).faults)
    await buses.open()
    try:
        yield fleet.scenario, settings
    finally:
        await buses.close()


async def scan(*arguments: str) -> subprocess.CompletedProcess[str]:
    return await run_agent("scan", *arguments)


async def run_agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [AGENT, *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)


def way_to(settings: FleetSettings) -> list[str]:
    if settings.transport is Transport.SERIAL:
        return [f"--device={settings.run_folder}/bus-{settings.first_port}", "--line=19200-8N1"]
    framing = "rtu" if settings.transport is Transport.RTU else "tcp"
    return [f"--host={HOST}", f"--port={settings.first_port}", f"--framing={framing}"]


@pytest.mark.parametrize("transport", list(Transport))
async def test_every_meter_of_a_bus_is_found_with_its_serial_number(transport: Transport, tmp_path: Path) -> None:
    async with a_fleet(transport, tmp_path) as (scenario, settings):
        result = await scan(*way_to(settings), "--units", "1-8,103", "--timeout-ms", "500")
        expected = scenario.buses("gw-1", settings)[0]
    assert result.returncode == 0, result.stderr
    document = yaml.safe_load(result.stdout)
    (bus,) = check(settings_document(**document), AgentSettings, "agent.yaml").buses
    assert (bus.place, bus.framing) == (expected.place, expected.framing)
    assert [(meter.unit, meter.serial) for meter in bus.meters] == [(m.unit, m.serial) for m in expected.meters]
    for meter, real in zip(bus.meters, expected.meters, strict=True):
        assert real.profile in proposed(result.stdout, f"{bus.place}, unit {meter.unit}", meter.profile)
    assert "unit 103: answers, but as no profile says" in result.stdout


def proposed(printed: str, place: str, best: str) -> list[str]:
    """Every profile that is told for a unit, best first."""
    _, _, told = printed.partition(f"# {place}: ")
    others = itertools.takewhile(lambda line: line.startswith("#   or "), told.splitlines()[1:])
    return [best, *(name for line in others for name in line[len("#   or ") :].partition(":")[0].split(", "))]


async def test_all_profiles_that_fit_are_told_best_first_and_why_they_are_several(tmp_path: Path) -> None:
    async with a_fleet(Transport.TCP, tmp_path) as (_, settings):
        result = await scan(*way_to(settings), "--units", "2,5", PATIENT)
    told = result.stdout.splitlines()
    assert "ABB A43 212-100" in told[0] and told[0].endswith("keeps the laws mains, phases, apparent")
    assert told[1] == (
        "#   or abb_b23: the same registers, but for some that only one of them has: look at the meter's label"
    )
    assert "abb_b21" not in result.stdout, "current and voltage of one phase do not make up the power of three"
    assert told[2].startswith(f"# {HOST}:{settings.first_port}, unit 5: Eastron SDM630-Modbus V2")
    assert told[3].startswith("#   or eastron_sdm630_full, ")
    assert "eastron_sdm120" not in told[3]
    assert "      # or, in order of likelihood, profile: abb_b23" in told


async def test_a_meter_on_a_line_that_ignores_speed_is_listed_once_with_the_speeds(tmp_path: Path) -> None:
    async with a_fleet(Transport.SERIAL, tmp_path) as (_, settings):
        device = way_to(settings)[0]
        both = await scan(device, "--line=9600-8N1", "--line=19200-8N1", "--units=5-6", PATIENT)
        one = await scan(device, "--line=19200-8N1", "--units=5", PATIENT)
    document = yaml.safe_load(both.stdout)
    assert [meter["unit"] for bus in document["buses"] for meter in bus["meters"]] == [5, 6]
    assert document["buses"][0]["serial"]["baud"] == 9600, "the first at which it answered"
    assert both.stdout.count("answers at 9600-8N1, 19200-8N1: its line takes no notice of speed and parity") == 2
    assert "answers at" not in one.stdout


async def test_heat_meters_are_found_by_what_their_water_carries_and_sunspec_devices_by_their_mark(
    tmp_path: Path,
) -> None:
    async with a_fleet(Transport.TCP, tmp_path, meters=6, sunspec=1, heat=5) as (scenario, settings):
        result = await scan(f"--host={HOST}", f"--port={settings.first_port + 1}", "--units=1-7", PATIENT)
        expected = scenario.buses("gw-2", settings)[0].meters
    assert (
        "unit 1: a SunSpec device, whose chain begins at 40000: este-agent sunspec writes its profile" in result.stdout
    )
    (bus,) = yaml.safe_load(result.stdout)["buses"]
    found = [(meter["unit"], meter["profile"]) for meter in bus["meters"]]
    assert found == [(meter.unit, meter.profile) for meter in expected if meter.unit > 1]
    assert result.stdout.count("keeps the law heat") == 5


async def test_a_profile_that_was_written_for_a_device_is_the_likeliest(tmp_path: Path) -> None:
    async with a_fleet(Transport.TCP, tmp_path, meters=4, sunspec=1) as (scenario, settings):
        where = [f"--port={settings.first_port}", "--unit=5"]
        await run_agent("sunspec", HOST, *where, f"--folder={tmp_path}")
        result = await scan(*way_to(settings), "--units=5", PATIENT, f"--profile-folder={tmp_path}")
    (meter,) = yaml.safe_load(result.stdout)["buses"][0]["meters"]
    real = scenario.connections[4]
    assert (meter["profile"], meter["serial"]) == (real.profile, str(real.serial))
    assert "fixed words as they have to be" in result.stdout


async def test_a_meter_that_answers_to_every_unit_is_found_once() -> None:
    async with a_device(everybody) as port:
        result = await scan(f"--host={HOST}", f"--port={port}", "--units=1-247")
    assert result.returncode == 0, result.stderr
    (bus,) = yaml.safe_load(result.stdout)["buses"]
    assert [meter["unit"] for meter in bus["meters"]] == [1]
    assert "answers to every unit" in result.stdout


def everybody(request: bytes) -> bytes:
    """An SDM630 at 230 V and 50 Hz, whatever the unit."""
    address, count = int.from_bytes(request[8:10]), int.from_bytes(request[10:12])
    held = {0: 0x4366, 2: 0x4366, 4: 0x4366, 70: 0x4248} if request[7] == 4 else {0xFC00: 7, 0xFC01: 7}
    told = b"".join(held.get(address + n, 0).to_bytes(2) for n in range(count))
    return right(request)[:9] + told


async def test_hosts_of_a_network_are_found_and_asked() -> None:
    async with a_device(everybody) as port:
        result = await scan("--network=127.0.0.0/28", f"--port={port}", "--units=1")
    assert result.returncode == 0, result.stderr
    assert [bus["host"] for bus in yaml.safe_load(result.stdout)["buses"]] == [HOST]


async def test_few_connections_are_tried_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    here = most = 0

    async def visit(host: str, _: int) -> str | None:
        nonlocal here, most
        here += 1
        most = max(most, here)
        await asyncio.sleep(0.001)
        here -= 1
        return host if host.endswith(".7") else None

    monkeypatch.setattr(network_port, "_try", visit)
    hosts = hosts_of("10.0.0.0/22")
    told = [found async for found in open_hosts(hosts, 502)]
    assert [tried for tried, _ in told] == list(range(1, len(hosts) + 1))
    assert sorted(host for _, host in told if host) == [f"10.0.{n}.7" for n in range(4)]
    assert most == AT_ONCE


async def test_nobody_is_told_from_no_bus(tmp_path: Path) -> None:
    async with a_device(lambda request: b"") as port:
        result = await scan(f"--host={HOST}", f"--port={port}", "--units=1-2", "--timeout-ms=20")
    assert (result.returncode, result.stdout, result.stderr) == (1, "", "este-agent: nobody answers\n")
    result = await scan(f"--host={HOST}", f"--port={free_ports()}")
    assert "no connection to" in result.stderr
    result = await scan(f"--device={tmp_path}/ttyUSB9", "--line=9600-8N1")
    assert "there is no such device: is the adapter plugged in?" in result.stderr


async def test_an_interrupted_scan_prints_what_it_has_found() -> None:
    asked: set[int] = set()

    def slow_after_three(request: bytes) -> bytes:
        asked.add(request[6])
        return everybody(request) if request[6] in (2, 3) else b""

    async with a_device(slow_after_three) as port:
        process = await asyncio.create_subprocess_exec(
            *(AGENT, "scan", f"--host={HOST}", f"--port={port}", "--timeout-ms=500"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        await eventually(lambda: 4 in asked, "a question to the unit after them")
        process.send_signal(signal.SIGINT)
        printed, complained = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in complained
    assert [meter["unit"] for meter in yaml.safe_load(printed)["buses"][0]["meters"]] == [2, 3]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "expected one of --host, --device and --network, got none, or several"),
        (["--host=h", "--network=10.0.0.0/24"], "expected one of --host, --device and --network"),
        (["--network=10.0.0.0/8"], "--network: expected at most 1024 addresses at once, got 16777216 addresses"),
        (["--network=8.8.8.0/24"], "--network: expected a network of your own, with private addresses"),
        (["--network=house"], "--network: expected a network such as 192.168.1.0/24, got house"),
        (["--host=h", "--units=0-300"], "--units: expected units such as 1-16,100, got 0-300"),
        (["--host=h", "--framing=ascii"], "framing: expected 'tcp' or 'rtu', got 'ascii'"),
        (["--device=/dev/ttyUSB0", "--line=9600"], "--line: expected speed and format of a serial line"),
        (["--device=/dev/ttyUSB0", "--line=9601-8N1"], "serial.baud: expected 1200, 2400"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_mistake_is_told_in_one_sentence(arguments: list[str], sentence: str) -> None:
    result = await scan(*arguments)
    assert (result.returncode, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_lists_of_units_and_lines_are_read() -> None:
    assert units_of("1-3,100,2") == [1, 2, 3, 100]
    assert serial_line("19200-8e2") == {"baud": 19200, "parity": "even", "stop_bits": 2}
    for wrong in ("", "x", "3-1", "1-", "-1", "256"):
        with pytest.raises(OperatorError):
            units_of(wrong)


async def test_a_meter_on_a_serial_port_is_read_once(tmp_path: Path) -> None:
    async with a_fleet(Transport.SERIAL, tmp_path) as (_, settings):
        command = [AGENT, "read", "--profile=eastron_sdm630", "--unit=5", *way_to(settings)]
        result = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Eastron SDM630-Modbus V2, serial number ")


async def test_a_meter_on_a_serial_port_sees_the_doctor(tmp_path: Path) -> None:
    async with a_fleet(Transport.SERIAL, tmp_path) as (_, settings):
        command = [AGENT, "doctor", "--profile=eastron_sdm630", "--unit=5", "--wait-s=0", *way_to(settings)]
        result = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Eastron SDM630-Modbus V2, read twice, ")
    assert "holds  mains" in result.stdout
