"""Profiles on live devices: the doctor on a simulated fleet, and a SunSpec device on a server of pymodbus."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from agent.bus.metering import plan_for, reading_of
from agent.bus.modbus_port import ModbusBus
from agent.library.checkup import examine
from agent.library.doctor import Verdict
from agent.library.look import meter_at, meter_of
from agent.library.sunspec import survey, write_profiles
from config.load import METERS_FOLDER, load_profiles
from config.settings.bus import Bus, MeterAddress
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import free_ports
from protocol.errors import DeviceError, OperatorError
from protocol.units import BootMs, Quantity
from tests.integration.agent_world import COMMAND
from tests.integration.test_fleet import serve
from tests.unit.agent.builders import a_settings, blocks
from tests.unit.agent.sunspec_devices import Device, a_meter, i16
from tests.unit.config.documents import a_profile_document

HOST = "127.0.0.1"
TIMEOUT_MS = 2000


def este_agent(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)


@dataclass
class TenMinutesLater:
    """The clock of a fleet that lives for ten minutes between two looks."""

    fleet: Fleet

    def now_ms(self) -> BootMs:
        now_ms = self.fleet.elapsed_ms
        for _ in range(120):
            self.fleet.step(5_000)
        return BootMs(now_ms)


# -- The doctor


async def test_pains_row_6_the_doctor_finds_no_fault_with_any_meter_of_the_fleet() -> None:
    """The fleet's register maps are written apart from the profiles, as its makers number them."""
    async with serve() as served:
        models = set()
        for connection in served.fleet.scenario.connections:
            profile = connection.site.model
            wired = meter_at(Bus(host=HOST, port=connection.place.port), connection.place.unit, profile)
            _, found = await examine(wired, load_profiles(), wait_ms=0, clock=TenMinutesLater(served.fleet))
            assert not [f for f in found if f.verdict is Verdict.FAILS], (profile, found)
            models.add(profile)
        assert len(models) >= 4


async def test_pains_row_6_the_doctor_finds_a_profile_that_is_not_the_meters(tmp_path: Path) -> None:
    """An SDM630 read by its own map with import and export exchanged, and with the words in the other order."""
    right = (METERS_FOLDER / "eastron_sdm630.yaml").read_text().replace("id: eastron_sdm630", "id: wrong")
    exchanged = right.replace("imported_wh", "x").replace("exported_wh", "imported_wh").replace("x,", "exported_wh,")
    async with serve() as served:
        place = next(c.place for c in served.fleet.scenario.connections if c.site.model == "eastron_sdm630")
        swapped = right.replace("high_first", "low_first")
        for text, fails in ((exchanged, {"slope"}), (swapped, {"mains", "values"})):
            (tmp_path / "wrong.yaml").write_text(text)
            wired = meter_at(Bus(host=HOST, port=place.port), place.unit, "wrong")
            clock = TenMinutesLater(served.fleet)
            _, found = await examine(wired, load_profiles((tmp_path,)), wait_ms=0, clock=clock)
            assert fails & {f.check for f in found if f.verdict is Verdict.FAILS}, found


async def test_the_doctor_as_a_command_says_who_it_saw_and_fails_where_a_law_does(tmp_path: Path) -> None:
    wrong = (METERS_FOLDER / "eastron_sdm630.yaml").read_text().replace("id: eastron_sdm630", "id: wrong")
    (tmp_path / "wrong.yaml").write_text(wrong.replace("high_first", "low_first"))
    async with serve() as served:
        place = next(c.place for c in served.fleet.scenario.connections if c.site.model == "eastron_sdm630")
        where = ("--host", HOST, "--port", place.port, "--unit", place.unit, "--wait-s", 0)
        good = await asyncio.to_thread(este_agent, "doctor", "--profile", "eastron_sdm630", *where)
        bad = await asyncio.to_thread(este_agent, "doctor", "--profile", "wrong", "--profile-folder", tmp_path, *where)
    assert good.returncode == 0, good.stderr
    assert good.stdout.startswith("Eastron SDM630-Modbus V2, read twice, ")
    assert "\nholds  mains " in good.stdout
    assert bad.returncode == 1
    assert "\nfails  " in bad.stdout


def test_the_doctor_needs_to_know_which_meter() -> None:
    for arguments in ((), ("--host", HOST), ("--settings", "a.yaml"), ("--host", HOST, "--settings", "a.yaml")):
        done = este_agent("doctor", *arguments)
        assert done.returncode == 1
        assert "expected --host or --device with --profile, or --settings with --meter" in done.stderr


def test_a_meter_that_the_settings_do_not_name_is_told() -> None:
    bus = {"host": HOST, "meters": [{"id": "m-1", "unit": 7, "profile": "abb_b23", "serial": "5"}]}
    settings = a_settings(buses=[bus])
    assert meter_of(settings, "m-1").address.unit == 7
    with pytest.raises(OperatorError, match="expected a meter out of m-1, got 'm-2'"):
        meter_of(settings, "m-2")


# -- SunSpec


@asynccontextmanager
async def served(device: Device) -> AsyncIterator[int]:
    """A device on a server of pymodbus, which knows nothing of SunSpec."""
    port = free_ports()
    words = [*device.words(device.base, 1 << 16)]
    data = SimData(device.base, values=words, datatype=DataType.REGISTERS)
    server = ModbusTcpServer(SimDevice(1, simdata=[data]), address=(HOST, port))
    await server.serve_forever(background=True)
    try:
        yield port
    finally:
        await server.shutdown()


async def test_a_sunspec_meter_is_walked_written_admitted_and_read(tmp_path: Path) -> None:
    async with served(a_meter()) as port:
        done = await asyncio.to_thread(este_agent, "sunspec", HOST, "--port", port, "--folder", tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("models 1, 203\n")
        (name,) = load_profiles((tmp_path,)).keys() - load_profiles().keys()
        checked = await asyncio.to_thread(este_agent, "profiles", "check", tmp_path / f"{name}.yaml")
        assert checked.returncode == 0, checked.stderr
        profiles = load_profiles((tmp_path,))
        meter = plan_for(MeterAddress(id="m", unit=1, profile=name), profiles, list(Quantity))
        bus = ModbusBus(Bus(host=HOST, port=port))
        answers = {request: await bus.read(1, request, TIMEOUT_MS) for request in meter.requests}
        bus.close()
        assert len(meter.requests) == 1, "the fixed words cost no request of their own"
        reading = reading_of(meter, "", blocks(answers))
        assert reading.values[Quantity.IMPORTED_WH] == 12_345_670
        assert reading.values[Quantity.ACTIVE_POWER_W] == -1_250


async def test_a_scale_factor_that_changes_is_caught_by_the_doctor(tmp_path: Path) -> None:
    device = a_meter()
    async with served(device) as port:
        chain = await survey(Bus(host=HOST, port=port, timeout_ms=TIMEOUT_MS), 1)
        list(write_profiles(chain, tmp_path))
    place = chain[1].address + 22
    device.set(place, i16(0))
    async with served(device) as port:
        wired = meter_at(Bus(host=HOST, port=port), 1, "sunspec_em_24_sn_0815_203")
        with pytest.raises(DeviceError, match=r"power of ten of active_power_w .* write the profile anew"):
            await examine(wired, load_profiles((tmp_path,)), wait_ms=0, clock=StandingClock())


class StandingClock:
    """Time does not matter."""

    def now_ms(self) -> BootMs:
        return BootMs(0)


def test_a_folder_that_cannot_be_is_told_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(OperatorError, match="expected a folder to write to"):
        list(write_profiles((), tmp_path / "taken"))


def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="does not begin with model 1"):
        list(write_profiles((), tmp_path / "my" / "profiles"))
    assert (tmp_path / "my" / "profiles").is_dir()


# -- Profiles of one's own


def test_a_file_dropped_into_a_folder_is_a_profile_at_once(tmp_path: Path) -> None:
    assert "acme_one" not in este_agent("profiles", "list", "--profile-folder", tmp_path).stdout
    (tmp_path / "acme_one.yaml").write_text(yaml.safe_dump(a_profile_document()))
    told = este_agent("profiles", "list", "--profile-folder", tmp_path)
    assert "acme_one               one_source     Acme One\n" in told.stdout


def test_every_mistake_of_a_file_is_explained_with_a_remedy(tmp_path: Path) -> None:
    document = a_profile_document(word_order="middle_first", words_max=500)
    document["registers"][0]["unit"] = "hp"
    document["registers"][1]["adress"] = 5
    (tmp_path / "acme_one.yaml").write_text(yaml.safe_dump(document))
    done = este_agent("profiles", "check", tmp_path / "acme_one.yaml")
    assert done.returncode == 1
    assert not done.stdout
    for place in ("word_order", "words_max", "registers.0", "registers.1.adress"):
        assert re.search(rf"acme_one\.yaml, line \d+, column \d+: {re.escape(place)}$", done.stderr, re.M), done.stderr
    assert done.stderr.count("  expected: ") == done.stderr.count("  got:      ") == done.stderr.count("  remedy:   ")
    assert done.stderr.count("  remedy:   ") == 4
    assert "read a voltage: 230 V as a float is 4366 0000" in done.stderr
    assert done.stderr.endswith("4 mistakes\n")


def test_a_good_file_gets_its_digest_and_advice(tmp_path: Path) -> None:
    (tmp_path / "acme_one.yaml").write_text(yaml.safe_dump(a_profile_document()))
    done = este_agent("profiles", "check", tmp_path / "acme_one.yaml")
    assert done.returncode == 0
    assert load_profiles((tmp_path,))["acme_one"].digest.hex() in done.stdout
    assert "advice: no serial_number" in done.stdout
    assert "advice: no self_checks" in done.stdout


def test_a_file_that_is_not_there_is_one_mistake(tmp_path: Path) -> None:
    done = este_agent("profiles", "check", tmp_path / "nowhere.yaml")
    assert done.returncode == 1
    assert "got:      no such file" in done.stderr
    assert "Traceback" not in done.stderr
