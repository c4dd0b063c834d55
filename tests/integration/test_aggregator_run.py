"""The node as an operator meets it: how it ends, what it logs, and what it says when something is wrong."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiomqtt
import pytest
import yaml

from aggregator.founding.region import found
from config import key_files
from firmware_sim.free_port import free_ports
from tests.integration.agent_world import BOUND_S, a_broker
from tests.village import a_grid_document, some_keys

COMMAND = str(Path(sys.executable).with_name("este-aggregator"))
LINE = re.compile(r'timestamp=\S+ level=(debug|info|warning|error) event=("[^"]*"|\S+)( \w+=("([^"\\]|\\.)*"|\S*))*')
PASSWORD = "correct-horse-battery"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A region that has been founded just now; its broker is nowhere yet."""
    return a_home(tmp_path, time.time_ns() // 1_000_000)


def a_home(tmp_path: Path, founded_ms: int) -> Path:
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(a_grid_document()))
    found(
        tmp_path / "region",
        tmp_path / "grid.yaml",
        name="node",
        gateways={"gw": some_keys("gw")["gw"].public_key},
        profile_folders=(),
        broker=("127.0.0.1", free_ports()),
        time_ms=founded_ms,
    )
    return tmp_path / "region"


def change(home: Path, **changes: object) -> None:
    settings = yaml.safe_load((home / "aggregator.yaml").read_text())
    for key, value in changes.items():
        settings[key] = settings[key] | value if isinstance(value, dict) else value
    (home / "aggregator.yaml").write_text(yaml.safe_dump(settings))


@contextmanager
def a_node(home: Path) -> Iterator[subprocess.Popen[str]]:
    with (home / "log").open("w") as log:
        process = subprocess.Popen([COMMAND, "run", f"--settings={home / 'aggregator.yaml'}"], stderr=log, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log_of(home: Path) -> list[str]:
    return (home / "log").read_text().splitlines()


def wait_for(what: str, is_true: Callable[[], bool]) -> None:
    end = time.monotonic() + BOUND_S
    while not is_true():
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.05)


def refused(home: Path) -> str:
    """What a node that cannot start says, in one line."""
    command = [COMMAND, "run", f"--settings={home / 'aggregator.yaml'}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=BOUND_S)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.mosquitto
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_ends_in_order_and_logs_lines_that_a_machine_can_read(
    home: Path, tmp_path: Path, number: signal.Signals
) -> None:
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "node", PASSWORD], check=True, capture_output=True)
    (home / "broker.password").write_text(f"{PASSWORD}\n")
    with a_broker(tmp_path, f"password_file {passwords}") as broker:
        change(home, broker={"port": broker.port, "username": "node", "password_file": "broker.password"})
        with a_node(home) as node:
            wait_for("the node is connected", lambda: any("event=connected" in line for line in log_of(home)))
            node.send_signal(number)
            assert node.wait(BOUND_S) == 0
    lines = log_of(home)
    assert [line for line in lines if not LINE.fullmatch(line)] == []
    assert "event=stopped" in lines[-1]
    assert not any(PASSWORD in line for line in lines)


@pytest.mark.mosquitto
def test_rubbish_gets_one_line_and_is_counted(home: Path, tmp_path: Path) -> None:
    async def flood(port: int) -> None:
        async with aiomqtt.Client("127.0.0.1", port) as client:
            for number in range(300):
                await client.publish("este/1/village/anybody/record", b"rubbish %d" % number, qos=1)

    with a_broker(tmp_path) as broker:
        change(home, broker={"port": broker.port})
        with a_node(home) as node:
            wait_for("the node is connected", lambda: any("event=connected" in line for line in log_of(home)))
            asyncio.run(flood(broker.port))
            wait_for("it says so", lambda: any("event=ignored" in line for line in log_of(home)))
            node.send_signal(signal.SIGTERM)
            assert node.wait(BOUND_S) == 0
    first, *others = [line for line in log_of(home) if "event=ignored" in line]
    assert 'why="came on the topic of anybody"' in first
    assert len(others) <= 1 + BOUND_S // 10
    assert all(re.search(r" more=[1-9]", line) for line in others)
    assert [line for line in log_of(home) if not LINE.fullmatch(line)] == []


def test_a_broker_that_refuses_is_waited_for(home: Path) -> None:
    with a_node(home) as node:
        wait_for("it tries again", lambda: sum("broker away" in line for line in log_of(home)) > 1)
        node.send_signal(signal.SIGTERM)
        assert node.wait(BOUND_S) == 0
    assert not any("Traceback" in line for line in log_of(home))


def test_a_node_that_has_months_to_catch_up_with_can_be_ended_all_the_same(tmp_path: Path) -> None:
    home = a_home(tmp_path, time.time_ns() // 1_000_000 - 60 * 86_400_000)
    with a_node(home) as node:
        wait_for("the node runs", lambda: any("event=running" in line for line in log_of(home)))
        time.sleep(1.0)
        node.send_signal(signal.SIGTERM)
        assert node.wait(BOUND_S) == 0


def test_the_level_decides_what_is_logged(home: Path) -> None:
    change(home, log_level="warning")
    with a_node(home):
        wait_for("it says that the broker is away", lambda: any("broker away" in line for line in log_of(home)))
    assert not any("level=info" in line for line in log_of(home))


def test_a_second_node_on_the_same_ledger_is_refused_and_the_first_goes_on(home: Path) -> None:
    with a_node(home) as node:
        wait_for("the first one runs", lambda: any("event=running" in line for line in log_of(home)))
        assert "a ledger that no other program holds: stop the other one first" in refused(home)
        assert node.poll() is None
        node.send_signal(signal.SIGTERM)
        assert node.wait(BOUND_S) == 0


def test_a_ledger_of_another_region_is_not_kept_on(home: Path) -> None:
    change(home, region="elsewhere")
    assert "region: expected the ledger of elsewhere, got the one of village" in refused(home)


def test_a_key_that_others_can_read_is_not_used(home: Path) -> None:
    (home / "aggregator.key").chmod(0o644)
    assert f"run `chmod 600 {home / 'aggregator.key'}`" in refused(home)


def test_somebody_else_s_key_is_not_used(home: Path) -> None:
    (home / "aggregator.key").unlink()
    key_files.create(home / "aggregator.key")
    assert "expected an aggregator of the region with this key" in refused(home)


def test_a_ca_that_is_missing_is_told(home: Path) -> None:
    change(home, broker={"tls": {"ca_file": "ca.pem"}})
    assert f"{home / 'ca.pem'}: expected certificates in PEM" in refused(home)


def test_a_file_that_is_no_ledger_is_told(home: Path) -> None:
    (home / "data" / "ledger.sqlite").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    assert "expected a ledger that can be opened, got file is not a database" in refused(home)
