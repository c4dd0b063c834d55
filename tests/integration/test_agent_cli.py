"""The commands as a new user meets them: one sentence and an exit code for whatever goes wrong."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agent.outbox.file import OutboxFile
from config import key_files
from firmware_sim.free_port import free_ports
from protocol.crypto import fingerprint
from tests.builders import GATEWAY, REGION
from tests.integration.agent_world import COMMAND, PROFILE, Home, Meters, eventually


def este_agent(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)


def is_one_sentence(done: subprocess.CompletedProcess[str]) -> bool:
    """An expected error: exit code 1, nothing on standard output, one line on standard error."""
    return done.returncode == 1 and not done.stdout and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A gateway whose broker and meters are nowhere to be found."""
    return Home.make(tmp_path, free_ports(), free_ports())


class TestInit:
    """A new gateway."""

    def test_it_says_what_to_do_next(self, tmp_path: Path) -> None:
        done = este_agent("init", tmp_path / "gw", "--region", REGION, "--gateway", GATEWAY)
        assert done.returncode == 0, done.stderr
        key = key_files.load_public(tmp_path / "gw" / "gateway.pub.pem")
        assert done.stdout.startswith(
            f"gateway {GATEWAY} in region {REGION}: key {fingerprint(key.thumbprint)}\n1. Ask to be admitted: "
        )
        assert f": {COMMAND} run --settings {tmp_path / 'gw' / 'agent.yaml'}" in done.stdout, "as it was called"

    def test_it_never_prints_the_private_key(self, tmp_path: Path) -> None:
        done = este_agent("init", tmp_path / "gw", "--region", REGION, "--gateway", GATEWAY)
        assert "PRIVATE" not in done.stdout + done.stderr

    def test_it_never_overwrites(self, tmp_path: Path) -> None:
        first = este_agent("init", tmp_path, "--region", REGION, "--gateway", GATEWAY)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        second = este_agent("init", tmp_path, "--region", REGION, "--gateway", "gw-2")
        assert first.returncode == 0
        assert is_one_sentence(second)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_a_name_that_is_none_is_told(self, tmp_path: Path) -> None:
        done = este_agent("init", tmp_path / "gw", "--region", "sun vale", "--gateway", GATEWAY)
        assert is_one_sentence(done)
        assert "region: expected a name" in done.stderr


class TestEnrol:
    """Asking to be admitted, where no broker is to be found."""

    def test_it_shows_whose_key_it_is_and_how_to_carry_the_request(self, home: Home) -> None:
        done = este_agent("enrol", "--settings", home.settings)
        assert done.returncode == 0, done.stderr
        key = key_files.load(home.settings.parent / "gateway.key.pem").public_key
        assert f"gateway {GATEWAY} in region {REGION}: key {fingerprint(key.thumbprint)}" in done.stdout
        assert "The request is not at the broker: the broker cannot be reached" in done.stdout
        assert f"Carry {home.settings.parent / 'request.csr'} to the regulator" in done.stdout
        assert "█" in done.stdout, "a code to photograph"
        assert "PRIVATE" not in done.stdout + done.stderr

    def test_what_is_no_slip_is_told(self, home: Home) -> None:
        done = este_agent("enrol", "--settings", home.settings, "--admission", home.settings)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr

    def test_asking_and_answering_are_two_things(self, home: Home) -> None:
        done = este_agent("enrol", "--settings", home.settings, "--admission", home.settings, "--new-key")
        assert done.returncode == 2

    def test_a_key_that_nobody_knows_is_not_rotated(self, home: Home) -> None:
        assert is_one_sentence(este_agent("rotate", "--settings", home.settings))


class TestRun:
    """What keeps an agent from starting is told before it reads anything."""

    def test_settings_that_are_missing(self, tmp_path: Path) -> None:
        done = este_agent("run", "--settings", tmp_path / "agent.yaml")
        assert is_one_sentence(done)
        assert "expected a settings file, got no such file" in done.stderr

    def test_every_mistake_in_the_settings_in_a_line_of_its_own(self, home: Home) -> None:
        text = home.settings.read_text()
        home.settings.write_text(text.replace("poll_every_ms: 100", "poll_every_ms: 1\npol_every: 2"))
        done = este_agent("run", "--settings", home.settings)
        assert done.returncode == 1
        assert "poll_every_ms: expected greater than or equal to 100, got 1" in done.stderr
        assert "pol_every: expected a known key (did you mean 'poll_every_ms'?)" in done.stderr

    def test_a_key_that_is_missing(self, home: Home) -> None:
        (home.folder / "gateway.key.pem").unlink()
        done = este_agent("run", "--settings", home.settings)
        assert is_one_sentence(done)
        assert "gateway.key.pem" in done.stderr

    def test_a_key_that_others_can_read(self, home: Home) -> None:
        key = home.folder / "gateway.key.pem"
        key.chmod(0o644)
        done = este_agent("run", "--settings", home.settings)
        assert is_one_sentence(done)
        assert f"run `chmod 600 {key}`" in done.stderr

    def test_an_aggregator_s_key_that_is_none(self, home: Home) -> None:
        (home.folder / "aggregator.pub.pem").write_text("rubbish")
        done = este_agent("run", "--settings", home.settings)
        assert is_one_sentence(done)
        assert "expected P-256 public keys in PEM" in done.stderr

    def test_a_profile_that_nobody_knows(self, home: Home) -> None:
        home.settings.write_text(home.settings.read_text().replace(PROFILE, "eastron_sdm63"))
        done = este_agent("run", "--settings", home.settings)
        assert is_one_sentence(done)
        assert "meter m-1: profile: expected the profile of a meter" in done.stderr

    def test_one_counter_under_two_names(self, home: Home) -> None:
        settings = yaml.safe_load(home.settings.read_text())
        meters = settings["buses"][0]["meters"]
        meters.append(meters[0] | {"id": "m-2"})
        home.settings.write_text(yaml.safe_dump(settings))
        done = este_agent("run", "--settings", home.settings)
        assert is_one_sentence(done)
        assert "meter m-2: unit: expected another unit than that of m-1" in done.stderr

    def test_an_outbox_that_another_agent_holds(self, home: Home) -> None:
        file = OutboxFile.open(home.folder / "data", region=REGION, gateway=GATEWAY)
        done = este_agent("run", "--settings", home.settings)
        file.close()
        assert is_one_sentence(done)
        assert "expected an outbox that no other program holds" in done.stderr

    async def test_a_broker_and_a_meter_that_are_absent_are_told_once_and_waited_for(self, home: Home) -> None:
        process = home.start("--drain-s", "0")
        await eventually(lambda: "no link to the broker" in home.log and "event=failing" in home.log)
        await asyncio.sleep(2)
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait) == 0
        assert home.log.count("no link to the broker") == 1
        assert home.log.count("event=failing") == 1
        assert "Traceback" not in home.log


class TestStatus:
    """What there is to see, of a running agent or a stopped one."""

    def test_before_the_first_run_there_is_nothing(self, home: Home) -> None:
        done = este_agent("status", "--settings", home.settings)
        assert is_one_sentence(done)
        assert "expected the outbox of an agent that has run" in done.stderr

    def test_for_people_and_for_programs(self, home: Home) -> None:
        OutboxFile.open(home.folder / "data", region=REGION, gateway=GATEWAY).close()
        people = este_agent("status", "--settings", home.settings)
        programs = este_agent("status", "--settings", home.settings, "--json")
        assert people.stdout.startswith(f"gateway {GATEWAY} in {REGION}: not running")
        assert json.loads(programs.stdout)["readings_read"] == 0


class TestRead:
    """One look at one meter."""

    async def test_a_meter_is_shown_with_its_words(self) -> None:
        async with Meters().served() as meters:
            options = ["--profile", PROFILE, "--host", "127.0.0.1", "--port", str(meters.port), "--unit", "1"]
            done = await asyncio.to_thread(este_agent, "read", *options)
        assert done.returncode == 0, done.stderr
        assert re.search(r"^active_power_w +3600 W +0x0034: 4561 0000$", done.stdout, re.MULTILINE)

    def test_a_meter_that_is_not_there(self) -> None:
        done = este_agent("read", "--profile", PROFILE, "--host", "127.0.0.1", "--port", str(free_ports()))
        assert is_one_sentence(done)
        assert "no connection to 127.0.0.1" in done.stderr

    def test_a_profile_that_nobody_knows(self) -> None:
        done = este_agent("read", "--profile", "nothing", "--host", "127.0.0.1")
        assert is_one_sentence(done)

    async def test_ctrl_c_is_quiet(self) -> None:
        async with Meters().served() as meters:
            meters.silent.add(1)
            place = ["--host", "127.0.0.1", "--port", str(meters.port), "--timeout-ms", "60000"]
            process = await asyncio.create_subprocess_exec(
                COMMAND, "read", "--profile", PROFILE, *place, stderr=asyncio.subprocess.PIPE
            )
            await eventually(lambda: meters.asked)
            process.send_signal(signal.SIGINT)
            _, told = await process.communicate()
        assert (process.returncode, told) == (130, b"")


def test_a_status_does_not_load_a_modbus_stack(home: Home) -> None:
    OutboxFile.open(home.folder / "data", region=REGION, gateway=GATEWAY).close()
    program = (
        "import sys; from agent.commands.cli import app; "
        f"app(['status', '--settings', {str(home.settings)!r}], standalone_mode=False); "
        "print(sorted({'pymodbus', 'aiomqtt', 'paho', 'numpy', 'rich', 'structlog'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_agent_loads_neither_numpy_nor_rich() -> None:
    program = (
        "import sys; import agent.runner; print(sorted({'numpy', 'scipy', 'rich', 'structlog'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
