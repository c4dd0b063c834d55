"""A fleet on serial lines and behind serial servers, and meters that are broken at run time."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.bus.metering import plan_for, serial_of, value_of, words_of
from agent.bus.modbus_port import ModbusBus
from agent.bus.planner import serial_request
from config.load import load_profiles
from config.settings.bus import Bus
from config.settings.fleet import FleetSettings, Transport
from firmware_sim.control_port import LINE_MAX, SOCKET_NAME, listening, order
from firmware_sim.faults import KINDS, SERIAL_STEP, Fault
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import free_ports
from firmware_sim.meter import Shown
from firmware_sim.modbus_server import Buses
from firmware_sim.orders import Orders
from firmware_sim.scenario import compose
from protocol.errors import DeviceError, OperatorError
from protocol.units import Quantity

COMMAND = str(Path(sys.executable).with_name("este-fleet"))
METER = "m-home-1"
SHORT_MS = 200
PROFILES = load_profiles()

EACH = pytest.mark.parametrize("transport", list(Transport))
ANY = pytest.mark.parametrize("transport", [Transport.TCP])


@dataclass
class Served:
    """A fleet that stands still unless a test moves it, as its agent sees it."""

    fleet: Fleet
    orders: Orders
    bus: ModbusBus
    settings: Bus

    def break_(self, fault: Fault | str, **what: Any) -> str:
        return self.orders.obey({"meter": METER, "fault": str(fault), **what})

    async def read(self, meter: str = METER, timeout_ms: int = 5_000) -> dict[Quantity, int | None]:
        """All that a meter tells, by the agent's own maps."""
        address = next(address for address in self.settings.meters if address.id == meter)
        plan = plan_for(address, PROFILES, list(Quantity))
        answers = {request: await self.bus.read(plan.unit, request, timeout_ms) for request in plan.requests}
        return {q: value_of(plan.profile, q, words_of(plan.profile, q, answers)) for q in plan.quantities}

    async def energy(self) -> int | None:
        return (await self.read())[Quantity.IMPORTED_WH]

    async def serial(self) -> int:
        address = next(address for address in self.settings.meters if address.id == METER)
        profile = PROFILES[address.profile]
        request = serial_request(profile)
        assert request is not None
        return int(serial_of(profile, await self.bus.read(address.unit, request, 5_000)))


@asynccontextmanager
async def serve(transport: Transport, folder: Path) -> AsyncIterator[Served]:
    settings = FleetSettings(transport=transport, run_folder=folder, first_port=free_ports(2))
    fleet = Fleet(compose(settings))
    fleet.step(1_000)
    orders = Orders(fleet)
    buses = Buses(fleet, settings, orders.faults)
    await buses.open()
    found = next(bus for bus in fleet.scenario.buses("gw-1", settings) if METER in {m.id for m in bus.meters})
    bus = ModbusBus(found.model_copy(update={"timeout_ms": SHORT_MS}))
    try:
        yield Served(fleet, orders, bus, found)
    finally:
        bus.close()
        await buses.close()


@EACH
async def test_all_meters_of_a_bus_are_read_by_the_agents_own_maps(transport: Transport, tmp_path: Path) -> None:
    async with serve(transport, tmp_path) as served:
        truth = served.fleet.truth()
        for meter in served.settings.meters:
            read = await served.read(meter.id)
            assert read[Quantity.VOLTAGE_L1_MV] == pytest.approx(truth.meters[meter.id]["voltage_l1_mv"], abs=100)
        with pytest.raises(
            DeviceError, match="Modbus exception 11" if transport is Transport.TCP else "no whole answer"
        ):
            await served.bus.read(99, plan_for(served.settings.meters[0], PROFILES, []).requests[0], SHORT_MS)


@pytest.mark.mbpoll
async def test_mbpoll_reads_the_same_power_from_a_serial_line(tmp_path: Path) -> None:
    async with serve(Transport.SERIAL, tmp_path) as served:
        unit = next(address.unit for address in served.settings.meters if address.id == METER)
        options = ["-m", "rtu", "-b", "19200", "-P", "none", "-a", str(unit), "-t", "3:float", "-0", "-r", "52"]
        command = ["mbpoll", *options, "-1", "-B", served.settings.place]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        printed, _ = await process.communicate()
        true_mw = served.fleet.measured(METER)[Shown.ACTIVE_POWER_MW]
    watts = float(next(line for line in printed.decode().splitlines() if line.startswith("[")).split("\t")[1])
    assert watts == pytest.approx(true_mw / 1000, rel=1e-5)


LINE_FAULTS: dict[Fault, str] = {
    Fault.DEAD: "no whole answer in time",
    Fault.SLOW: "no whole answer in time",
    Fault.BABBLE: "fits no answer to the question",
    Fault.WRONG_UNIT: "fits no answer to the question",
    Fault.HALF_ANSWER: "no whole answer in time",
    Fault.EXCEPTION: "Modbus exception 4: it failed",
    Fault.CRC: "fits no answer to the question",
}


@EACH
@pytest.mark.parametrize("fault", LINE_FAULTS)
async def test_a_fault_of_the_line_fails_one_meter_and_no_other(
    transport: Transport, tmp_path: Path, fault: Fault
) -> None:
    expected = LINE_FAULTS[fault]
    if fault is Fault.CRC and transport is Transport.TCP:
        expected = "no whole answer in time"
    async with serve(transport, tmp_path) as served:
        served.break_(fault, number=100 if fault is Fault.BABBLE else None)
        with pytest.raises(DeviceError, match=expected):
            await served.read(timeout_ms=SHORT_MS)
        await served.read("m-gas")
        served.break_("none")
        await asyncio.sleep(3 * SHORT_MS / 1000)
        assert (await served.read())[Quantity.VOLTAGE_L1_MV] is not None


@EACH
async def test_a_slow_meter_is_late_by_so_much(transport: Transport, tmp_path: Path) -> None:
    async with serve(transport, tmp_path) as served:
        loop = asyncio.get_running_loop()
        served.break_(Fault.SLOW, number=80)
        begun_s = loop.time()
        await served.read()
        assert loop.time() - begun_s >= 0.08


async def test_people_save_when_they_are_told_to(tmp_path: Path) -> None:
    async with serve(Transport.TCP, tmp_path) as served:
        before = served.fleet.measured(METER)[Shown.ACTIVE_POWER_MW]
        said = served.orders.obey({"meter": METER, "fault": "save", "for_ms": 60_000})
        assert said == f"{METER}: whatever can be is switched off behind it, for 60 s"
        served.fleet.step(1)
        saved = (await served.read())[Quantity.ACTIVE_POWER_W]
        assert saved is not None and saved < before / 1000 - 500
        for order in ({"meter": "m-grid", "for_ms": 1}, {"meter": METER}, {"meter": METER, "for_ms": 0}):
            with pytest.raises(OperatorError):
                served.orders.obey({**order, "fault": "save"})


@EACH
async def test_a_wire_past_a_meter_is_seen_in_its_power_and_not_in_its_voltage(
    transport: Transport, tmp_path: Path
) -> None:
    async with serve(transport, tmp_path) as served:
        true = served.fleet.measured(METER)
        served.break_(Fault.BYPASS, number=25)
        read = await served.read()
        assert read[Quantity.ACTIVE_POWER_W] == pytest.approx(true[Shown.ACTIVE_POWER_MW] / 4000, abs=1)
        assert read[Quantity.VOLTAGE_L1_MV] == pytest.approx(true[Shown.VOLTAGE_L1_MV], abs=100)


@EACH
async def test_counters_glitch_and_come_back(transport: Transport, tmp_path: Path) -> None:
    async with serve(transport, tmp_path) as served:
        before = await served.energy()
        assert before is not None
        for fault, number, expected in (
            (Fault.ZERO, None, 0),
            (Fault.BACKWARDS, 3_000, before - 3_000),
            (Fault.JUMP, 25_567_000, before + 25_567_000),
            (Fault.NAN, None, None),
        ):
            served.break_(fault, number=number, for_ms=500)
            shown = await served.energy()
            assert shown == expected if expected is None else shown == pytest.approx(expected, rel=1e-7, abs=1)
            served.fleet.step(500)
            assert await served.energy() == pytest.approx(before, abs=10)


@EACH
async def test_a_frozen_meter_shows_one_moment_for_ever(transport: Transport, tmp_path: Path) -> None:
    async with serve(transport, tmp_path) as served:
        before = await served.read()
        served.break_(Fault.FREEZE)
        served.fleet.step(3_600_000)
        assert await served.read() == before
        served.break_("none")
        assert await served.read() != before


@EACH
async def test_a_replaced_meter_has_another_number_and_begins_at_0(transport: Transport, tmp_path: Path) -> None:
    async with serve(transport, tmp_path) as served:
        number = await served.serial()
        served.break_(Fault.REPLACE)
        assert await served.serial() == number + SERIAL_STEP
        assert await served.energy() == 0
        served.fleet.step(3_600_000)
        energy = await served.energy()
        assert energy is not None
        assert 0 < energy < 50_000


@EACH
async def test_a_fault_of_a_fleet_is_the_same_in_every_run(transport: Transport, tmp_path: Path) -> None:
    told = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with serve(transport, folder) as served:
            served.break_(Fault.BABBLE, number=0)
            with pytest.raises(DeviceError, match="question: ") as caught:
                await served.read(timeout_ms=SHORT_MS)
            told.append(str(caught.value))
    assert told[0] == told[1]


# -- the commands


@pytest.fixture
def running(transport: Transport, tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A fleet in a process of its own: its run folder, and its first port."""
    first_port = free_ports(2)
    options = [f"--transport={transport}", f"--run-folder={tmp_path}", f"--first-port={first_port}"]
    process = subprocess.Popen([COMMAND, "run", *options], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready = process.stdout.readline()
    assert ready.startswith("12 meters on ")
    if transport is Transport.SERIAL:
        assert re.search(rf"{tmp_path}/bus-{first_port} \(/dev/pts/\d+\), ", ready)
    yield tmp_path, first_port
    process.terminate()
    process.communicate()
    assert process.returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == [], "nothing is left behind"


def inject(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "inject", *arguments, f"--run-folder={folder}"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@EACH
def test_a_meter_is_broken_and_mended_from_the_command_line(transport: Transport, running: tuple[Path, int]) -> None:
    folder, first_port = running
    assert stat.S_IMODE((folder / SOCKET_NAME).stat().st_mode) == 0o600
    done = inject(folder, METER, "jump", "--number", "5000", "--for", "60")
    assert done.stdout == f"{METER} {KINDS[Fault.JUMP].does} (5000 Wh), for 60 s\n"
    assert inject(folder, METER, "freeze").stdout.endswith("for ever, until it is lifted\n")
    assert inject(folder, METER, "none").stdout == f"{METER}: 2 faults lifted\n"
    listed = subprocess.run(
        [COMMAND, "list", "--json", f"--transport={transport}", f"--run-folder={folder}", f"--first-port={first_port}"],
        capture_output=True,
        text=True,
        check=True,
    )
    buses = [Bus.model_validate(bus) for bus in json.loads(listed.stdout)["gateways"][0]["buses"]]
    assert len(buses) == 1
    assert asyncio.run(first_voltage(buses[0])) == pytest.approx(230_000, rel=0.1)


async def first_voltage(settings: Bus) -> int:
    bus = ModbusBus(settings)
    plan = plan_for(settings.meters[0], PROFILES, [Quantity.VOLTAGE_L1_MV])
    try:
        answers = {request: await bus.read(plan.unit, request, 1000) for request in plan.requests}
    finally:
        bus.close()
    value = value_of(plan.profile, Quantity.VOLTAGE_L1_MV, words_of(plan.profile, Quantity.VOLTAGE_L1_MV, answers))
    assert value is not None
    return value


@ANY
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["m-nobody", "dead"], "METER: expected a meter of the running fleet, got m-nobody"),
        ([METER, "tired"], "FAULT: expected one of dead, slow, babble"),
        ([METER, "dead", "--number", "5"], "--number: expected none: dead takes no number, got 5"),
        ([METER, "exception", "--number", "12"], "--number: expected one of (1, 2, 3, 4, 5, 6, 7, 8, 10, 11), got 12"),
        ([METER, "dead", "--for", "0"], "--for: expected more than nothing and at most a week, got 0 ms"),
    ],
)
def test_an_order_that_cannot_be_is_one_sentence(
    running: tuple[Path, int], arguments: list[str], sentence: str
) -> None:
    result = inject(running[0], *arguments)
    assert result.returncode == 1
    assert sentence in result.stderr
    assert len(result.stderr.splitlines()) == 1


@ANY
async def test_who_talks_nonsense_on_the_socket_is_told_so(running: tuple[Path, int]) -> None:
    folder, _ = running
    for line in (b"hello\n", b"[1, 2]\n", b"x" * 10_000 + b"\n", b"\xff\n", b""):
        reader, writer = await asyncio.open_unix_connection(str(folder / SOCKET_NAME))
        writer.write(line)
        writer.write_eof()
        answer = await reader.read()
        assert answer == b"" or b"expected" in answer
        writer.close()
    assert await order(folder, {"meter": METER, "fault": "none"}) == f"{METER}: 0 faults lifted"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"meter": "m", "padding": "' + b"x" * 60_000 + b'"}\n', f"at most {LINE_MAX} bytes"),
        (b"x" * 60_000, f"at most {LINE_MAX} bytes"),
        (b"[" * 4000 + b"\n", "one order as a JSON object"),
        (b'{"a":' * 800 + b"\n", "one order as a JSON object"),
    ],
    ids=["a long order", "no end", "brackets", "braces"],
)
async def test_an_order_beyond_measure_is_answered_and_not_obeyed(tmp_path: Path, line: bytes, told: str) -> None:
    obeyed: list[object] = []

    def obey(what: object) -> str:
        obeyed.append(what)
        return "done"

    async with listening(tmp_path, obey):
        for order_, expected in ((line, told), (b'{"meter": "m"}\n', "done")):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / SOCKET_NAME))
            writer.write(order_)
            assert expected in (await reader.readline()).decode()
            writer.close()
    assert obeyed == [{"meter": "m"}]


def test_without_a_fleet_there_is_nobody_to_tell(tmp_path: Path) -> None:
    result = inject(tmp_path / "nobody", METER, "dead")
    assert result.returncode == 1
    assert "expected the run folder of a running fleet" in result.stderr


@ANY
async def test_two_fleets_do_not_share_a_run_folder(transport: Transport, running: tuple[Path, int]) -> None:
    command = [COMMAND, "run", f"--run-folder={running[0]}", f"--transport={transport}"]
    result = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "expected a folder for each fleet, got one in which another fleet listens" in result.stderr


def test_every_fault_is_in_the_help() -> None:
    told = subprocess.run([COMMAND, "inject", "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"{fault}: " in told for fault in Fault)


def test_a_serial_fleet_needs_its_folder() -> None:
    result = subprocess.run([COMMAND, "run", "--serial"], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "expected a run_folder, in which serial buses are linked" in result.stderr
