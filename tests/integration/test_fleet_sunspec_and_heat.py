"""SunSpec devices and heat meters of a fleet, over TCP and on lines, as the agent sees them; whole, and broken."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.bus.metering import Block, Reading, plan_for, reading_of, serial_of, watched
from agent.bus.modbus_port import ModbusBus
from agent.bus.planner import serial_request
from agent.library.checkup import examine
from agent.library.doctor import Verdict
from agent.library.look import meter_at
from agent.library.sunspec import survey, write_profiles
from config.load import load_profiles
from config.meter_profile import MeterProfile
from config.settings.bus import Bus, MeterAddress
from config.settings.fleet import FleetSettings, Transport
from firmware_sim.dump import dump
from firmware_sim.faults import SERIAL_STEP, Fault
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import free_ports
from firmware_sim.meter import UJ_PER_WH, Shown
from firmware_sim.modbus_server import Buses
from firmware_sim.orders import Orders
from firmware_sim.scenario import Connection, compose
from protocol.batch import Quality
from protocol.errors import DeviceError
from protocol.units import BootMs, Quantity
from tests.integration.agent_world import Aggregator, Home, a_broker, eventually

AGENT = str(Path(sys.executable).with_name("este-agent"))
TIMEOUT_MS = 2_000
SHORT_MS = 200

SUNSPEC = "m-sunspec-1"
FLOATING = "m-sunspec-2"
HEAT = "m-heat-1"

EACH = pytest.mark.parametrize("transport", list(Transport))


@dataclass
class Served:
    """A fleet that stands still unless a test moves it, and whoever reads it."""

    fleet: Fleet
    orders: Orders
    buses: Mapping[str, ModbusBus]
    settings: Mapping[str, Bus]
    profiles: Mapping[str, MeterProfile]
    folder: Path

    def at(self, meter: str) -> Connection:
        return next(c for c in self.fleet.scenario.connections if c.site.meter == meter)

    def break_(self, meter: str, fault: Fault | str, **what: Any) -> str:
        return self.orders.obey({"meter": meter, "fault": str(fault), **what})

    async def read(self, meter: str, *, timeout_ms: int = TIMEOUT_MS, profile: str | None = None) -> Reading:
        """As the agent reads it."""
        here = self.at(meter)
        address = MeterAddress(id=meter, unit=here.place.unit, profile=profile or here.profile)
        plan, bus = plan_for(address, self.profiles, list(Quantity)), self.buses[meter]
        answers = {request: await bus.read(plan.unit, request, timeout_ms) for request in plan.requests}
        asked = serial_request(plan.profile)
        serial = "" if asked is None else serial_of(plan.profile, await bus.read(plan.unit, asked, timeout_ms))
        now_ms = BootMs(self.fleet.elapsed_ms)
        return reading_of(plan, serial, {request: Block(words, now_ms, now_ms) for request, words in answers.items()})

    async def energy(self, meter: str) -> int:
        reading = await self.read(meter)
        return reading.values[Quantity.HEAT_WH if meter == HEAT else Quantity.IMPORTED_WH]


@asynccontextmanager
async def serve(transport: Transport, folder: Path, speed: int = 1) -> AsyncIterator[Served]:
    settings = FleetSettings(
        meters=4, sunspec=3, heat=5, transport=transport, run_folder=folder, first_port=free_ports(2)
    )
    fleet = Fleet(compose(settings), speed=speed)
    fleet.step(1_000)
    orders = Orders(fleet)
    buses = Buses(fleet, settings, orders.faults)
    await buses.open()
    found = [bus for gateway in fleet.scenario.gateways for bus in fleet.scenario.buses(gateway, settings)]
    settings_of = {meter.id: bus.model_copy(update={"timeout_ms": TIMEOUT_MS}) for bus in found for meter in bus.meters}
    ports = {bus.place: ModbusBus(bus.model_copy(update={"timeout_ms": SHORT_MS})) for bus in found}
    profiles = folder / "profiles"
    profiles.mkdir()
    try:
        for c in fleet.scenario.connections:
            if c.site.sunspec:
                list(write_profiles(await survey(settings_of[c.site.meter], c.place.unit), profiles))
        of_meters = {meter.id: ports[bus.place] for bus in found for meter in bus.meters}
        yield Served(fleet, orders, of_meters, settings_of, load_profiles((profiles,)), profiles)
    finally:
        for port in ports.values():
            port.close()
        await buses.close()


@EACH
async def test_every_one_of_them_is_read_by_a_profile_of_the_agents(transport: Transport, tmp_path: Path) -> None:
    async with serve(transport, tmp_path) as served:
        for c in served.fleet.scenario.connections[4:]:
            reading, truth = await served.read(c.site.meter), served.fleet.measured(c.site.meter)
            assert reading.quality is Quality.NONE, c.site.meter
            assert c.serial is None or reading.serial == str(c.serial)
            if c.site.sunspec:
                assert reading.values[Quantity.IMPORTED_WH] == pytest.approx(
                    truth[Shown.IMPORTED_UJ] / UJ_PER_WH, abs=1.5
                )
                assert reading.values[Quantity.ACTIVE_POWER_W] == pytest.approx(
                    truth[Shown.ACTIVE_POWER_MW] / 1_000, abs=1
                )
            else:
                assert reading.values[Quantity.HEAT_POWER_W] == pytest.approx(truth[Shown.HEAT_POWER_MW] / 1_000, abs=1)
                if c.site.model != "kamstrup_multical_403":
                    wh = truth[Shown.HEAT_UJ] / UJ_PER_WH
                    assert reading.values[Quantity.HEAT_WH] == pytest.approx(wh, abs=1.5)


@dataclass
class TenMinutesLater:
    """The clock of a fleet that lives for ten minutes between two looks."""

    fleet: Fleet

    def now_ms(self) -> BootMs:
        now_ms = self.fleet.elapsed_ms
        for _ in range(120):
            self.fleet.step(5_000)
        return BootMs(now_ms)


async def test_pains_row_6_the_doctor_finds_no_fault_with_any_of_them(tmp_path: Path) -> None:
    """The simulator's registers and models are written apart from the profiles; water's heat is another number here."""
    async with serve(Transport.TCP, tmp_path) as served:
        at_once = {name: p.model_copy(update={"refresh_ms": None}) for name, p in served.profiles.items()}
        held: set[str] = set()
        for c in served.fleet.scenario.connections[4:]:
            wired = meter_at(served.settings[c.site.meter], c.place.unit, c.profile)
            _, found = await examine(wired, at_once, wait_ms=0, clock=TenMinutesLater(served.fleet))
            assert not [f for f in found if f.verdict is Verdict.FAILS], (c.profile, found)
            held |= {f.check for f in found if f.verdict is Verdict.HOLDS}
        assert held >= {"heat", "slope", "phases", "apparent", "mains", "serial", "values"}


LINE_FAULTS: dict[Fault, str] = {
    Fault.DEAD: "no whole answer in time",
    Fault.SLOW: "no whole answer in time",
    Fault.BABBLE: "fits no answer to the question",
    Fault.WRONG_UNIT: "fits no answer to the question",
    Fault.HALF_ANSWER: "no whole answer in time",
    Fault.EXCEPTION: "Modbus exception 4: it failed",
    Fault.CRC: "fits no answer to the question",
}


@pytest.mark.parametrize("meter", [SUNSPEC, HEAT])
@pytest.mark.parametrize("fault", LINE_FAULTS)
async def test_a_fault_of_the_line_fails_one_of_them_and_no_other(tmp_path: Path, fault: Fault, meter: str) -> None:
    async with serve(Transport.SERIAL, tmp_path) as served:
        served.break_(meter, fault, number=100 if fault is Fault.BABBLE else None)
        with pytest.raises(DeviceError, match=LINE_FAULTS[fault]):
            await served.read(meter, timeout_ms=SHORT_MS)
        await served.read("m-sunspec-3" if meter == HEAT else FLOATING)
        served.break_(meter, "none")
        await asyncio.sleep(3 * SHORT_MS / 1000)
        assert (await served.read(meter)).values


@pytest.mark.parametrize("meter", [SUNSPEC, FLOATING, HEAT])
async def test_their_counters_glitch_and_come_back(tmp_path: Path, meter: str) -> None:
    async with serve(Transport.TCP, tmp_path) as served:
        before = await served.energy(meter)
        for fault, number, expected in (
            (Fault.ZERO, None, 0),
            (Fault.BACKWARDS, 3_000, before - 3_000),
            (Fault.JUMP, 25_567_000, before + 25_567_000),
        ):
            served.break_(meter, fault, number=number, for_ms=500)
            assert await served.energy(meter) == pytest.approx(expected, rel=1e-6, abs=1)
            served.fleet.step(500)
            assert await served.energy(meter) == pytest.approx(before, abs=20)


@pytest.mark.parametrize("meter", [SUNSPEC, FLOATING, HEAT])
@pytest.mark.parametrize("fault", [Fault.JUMP, Fault.BACKWARDS, Fault.ZERO])
async def test_what_no_counter_may_do_is_flagged(tmp_path: Path, meter: str, fault: Fault) -> None:
    async with serve(Transport.TCP, tmp_path) as served:
        profile = served.profiles[served.at(meter).profile]
        watch, before = watched({}, await served.read(meter), profile)
        served.fleet.step(2_000)
        watch, honest = watched(watch, await served.read(meter), profile)
        served.break_(meter, fault)
        _, reading = watched(watch, await served.read(meter), profile)
        assert before.quality is honest.quality is Quality.NONE
        assert reading.quality is Quality.UNEXPLAINED_STEP


async def test_a_heat_value_that_is_missing_is_no_fall_to_0(tmp_path: Path) -> None:
    async with serve(Transport.TCP, tmp_path) as served:
        profile = served.profiles[served.at(HEAT).profile]
        watch, _ = watched({}, await served.read(HEAT), profile)
        served.break_(HEAT, Fault.NAN)
        with pytest.raises(DeviceError, match="heat_wh has no value"):
            await served.read(HEAT)
        served.break_(HEAT, "none")
        _, after = watched(watch, await served.read(HEAT), profile)
        assert after.quality is Quality.NONE


async def test_without_numbers_nothing_is_taken_for_one(tmp_path: Path) -> None:
    """An accumulator of SunSpec's that is not there is 0: no energy, and the register's state machine sees a fall."""
    async with serve(Transport.TCP, tmp_path) as served:
        profile = served.profiles[served.at(SUNSPEC).profile]
        watch, _ = watched({}, await served.read(SUNSPEC), profile)
        for meter in (SUNSPEC, FLOATING, HEAT, "m-heat-2"):
            served.break_(meter, Fault.NAN)
        served.fleet.step(60_000)
        _, reading = watched(watch, await served.read(SUNSPEC), profile)
        assert reading.quality == Quality.VALUE_MISSING | Quality.UNEXPLAINED_STEP
        with pytest.raises(DeviceError, match="_wh has no value"):
            await served.read(FLOATING)
        for meter in (HEAT, "m-heat-2"):
            with pytest.raises(DeviceError, match="heat_wh has no value"):
                await served.read(meter)


@pytest.mark.parametrize("meter", [SUNSPEC, HEAT])
async def test_frozen_and_replaced_are_told_from_each_other(tmp_path: Path, meter: str) -> None:
    async with serve(Transport.TCP, tmp_path) as served:
        served.break_(meter, Fault.FREEZE)
        frozen = await served.read(meter)
        served.fleet.step(3_600_000)
        assert (await served.read(meter)).values == frozen.values
        served.break_(meter, "none")
        served.break_(meter, Fault.REPLACE)
        other = await served.read(meter)
        assert int(other.serial) == int(frozen.serial) + SERIAL_STEP
        assert await served.energy(meter) == 0


async def test_while_an_inverter_tells_other_powers_of_ten_it_is_not_read_and_loses_nothing(tmp_path: Path) -> None:
    """At night its power is told in hundredths of a watt; the meter behind it keeps to watts."""
    async with serve(Transport.TCP, tmp_path, speed=3_600) as served:
        inverter = served.at(SUNSPEC).profile.replace("_203", "_103")
        before = await served.read(SUNSPEC, profile=inverter)
        made_uj = served.fleet.measured(SUNSPEC)[Shown.MADE_UJ]
        served.fleet.step(9_000)  # nine hours later
        with pytest.raises(DeviceError, match=r"power of ten of .* write the profile anew"):
            await served.read(SUNSPEC, profile=inverter)
        assert (await served.read(SUNSPEC)).quality is Quality.NONE
        served.fleet.step(15_000)  # the same time of the next day
        after = await served.read(SUNSPEC, profile=inverter)
        made_wh = (served.fleet.measured(SUNSPEC)[Shown.MADE_UJ] - made_uj) / UJ_PER_WH
        read_wh = after.values[Quantity.EXPORTED_WH] - before.values[Quantity.EXPORTED_WH]
        assert read_wh == pytest.approx(made_wh, abs=1) and read_wh > 0


async def test_a_device_on_a_line_is_walked_and_read_through_the_commands(tmp_path: Path) -> None:
    async with serve(Transport.SERIAL, tmp_path) as served:
        here = served.at(SUNSPEC)
        line = [f"--device={tmp_path}/bus-{here.place.port}", "--line=19200-8N1", f"--unit={here.place.unit}"]
        walked = await este_agent("sunspec", *line, f"--folder={served.folder}")
        assert walked.returncode == 0, walked.stderr
        assert walked.stdout.startswith("models 1, 120, 103, 203\n") and "stands already" in walked.stdout
        read = await este_agent("read", *line, f"--profile={here.profile}", f"--profile-folder={served.folder}")
        assert read.stdout.startswith(f"este SimSun I, serial number {here.serial}, "), read.stderr


@pytest.mark.mosquitto
async def test_a_whole_agent_on_a_line_examines_them_reads_them_and_sends_what_they_tell(tmp_path: Path) -> None:
    async with serve(Transport.SERIAL, tmp_path) as served:
        bus = served.settings[HEAT]
        with a_broker(tmp_path) as broker:
            way = bus.model_dump(mode="json") | {"devices": []}
            home = Home.make(tmp_path, broker.port, 1, bus=way, profile_folders=[str(served.folder)])
            examined = await este_agent("doctor", f"--settings={home.settings}", f"--meter={HEAT}", "--wait-s=0")
            assert examined.returncode == 0, examined.stderr
            assert "\nholds  heat " in examined.stdout
            async with Aggregator(broker.port).listening() as aggregator:
                process = home.start()
                try:
                    await eventually(
                        lambda: (
                            {m.id for m in bus.meters}
                            == {b.meter for batch in aggregator.batches for b in batch.meters}
                        ),
                        f"readings of all of {[m.id for m in bus.meters]}",
                    )
                finally:
                    if process.poll() is None:
                        await home.end(signal.SIGKILL)
        blocks = {block.meter: block for batch in aggregator.batches for block in batch.meters}
        truth = served.fleet.truth().meters
    charge = blocks["m-sunspec-3"].column(Quantity.STATE_OF_CHARGE_PPM)
    assert charge is None, "not among the settings' quantities"
    assert set(blocks["m-sunspec-3"].words) == {Quantity.IMPORTED_WH, Quantity.EXPORTED_WH}
    codec = load_profiles()[served.at(HEAT).profile].codecs[Quantity.HEAT_WH]
    heat_wh = codec.decode_column(blocks[HEAT].words[Quantity.HEAT_WH])
    assert heat_wh[0] == pytest.approx(truth[HEAT][Shown.HEAT_UJ] / UJ_PER_WH, abs=1.5)


async def test_dump_shows_a_chain_point_by_point(tmp_path: Path) -> None:
    async with serve(Transport.TCP, tmp_path) as served:
        rows = {row.printed: row for row in await dump(served.at(SUNSPEC), "127.0.0.1")}
        truth = served.fleet.measured(SUNSPEC)
    assert int(rows["203.TotWhImp"].value) == truth[Shown.IMPORTED_UJ] // UJ_PER_WH
    assert rows["1.SN"].value == str(served.at(SUNSPEC).serial)
    assert rows["203.W"].address == "40168"
    assert "203.PPV" not in rows, "it has not implemented that"


async def este_agent(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [AGENT, *arguments]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
