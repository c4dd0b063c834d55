"""The CometBFT program as a child: which one is taken, how it lives and dies, and what it reads."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aggregator.engine.cometbft import leash, process_port, program_log
from aggregator.engine.cometbft.home import (
    GenesisValidator,
    NetworkGenesis,
    NodeConfig,
    Peer,
    StateSync,
    config_document,
    read_identity,
    write_config,
    write_genesis,
)
from aggregator.engine.cometbft.process_port import Patience, Supervisor, check_version, find_program, make_keys
from config.tasks import end
from protocol.errors import OperatorError
from tests.integration.cometbft_world import eventually

CONFIG = NodeConfig(
    name="n0",
    app_socket=Path("/run/este/app.sock"),
    rpc_port=26657,
    p2p_host="0.0.0.0",
    p2p_port=26656,
    peers=(Peer("ab" * 20, "n1.example", 26656), Peer("cd" * 20, "n2.example", 26656)),
    sync=StateSync(rpc_servers=("a:1", "b:2"), trust_height=7, trust_hash="AB" * 32),
)


def a_program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncIterator[None]:
    task = asyncio.create_task(supervisor.run())
    try:
        yield
    finally:
        await end(task)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_peer_is_read_as_it_is_written() -> None:
    for peer in (*CONFIG.peers, Peer("ef" * 20, "10.0.0.7", 1)):
        assert Peer.parse(str(peer)) == peer


@pytest.mark.parametrize("version", ["0.38.21", "0.38.25", "v0.38.99", "0.38.25-3-gbaaa61e"])
def test_a_safe_version_of_our_line_is_taken(version: str) -> None:
    check_version(Path("cometbft"), version)


@pytest.mark.parametrize(
    "version", ["0.38.20", "0.38.2", "0.37.18", "0.39.4", "1.0.1", "10.38.25", "", "0.38", "0.381.25"]
)
def test_any_other_version_is_refused_and_the_right_one_named(version: str) -> None:
    with pytest.raises(OperatorError, match=r"expected 0\.38\.21 or a later 0\.38"):
        check_version(Path("cometbft"), version)


def test_the_program_that_the_settings_name_is_asked_for_its_version(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"got 1\.0\.1"):
        find_program(a_program(tmp_path / "cometbft", "echo 1.0.1"))
    with pytest.raises(OperatorError, match="can be run"):
        find_program(tmp_path / "none")


def test_without_a_program_we_say_what_brings_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(process_port.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(OperatorError, match="make cometbft"):
        find_program()


async def test_a_program_that_ends_is_started_again_and_its_last_words_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = a_program(tmp_path / "cometbft", "echo the app hash is wrong; exit 3")
    patience = Patience(restart_min_s=0.01, restart_max_s=0.02)
    supervisor = Supervisor(program, tmp_path, log_file=tmp_path / "log", patience=patience)
    async with supervised(supervisor):
        await eventually(lambda: supervisor.starts >= 3, "a third start")
    assert "the app hash is wrong" in capsys.readouterr().out
    assert supervisor.pid is None


async def test_a_program_that_does_not_stop_when_asked_is_killed(tmp_path: Path) -> None:
    program = a_program(tmp_path / "cometbft", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    log_file = tmp_path / "log"
    supervisor = Supervisor(program, tmp_path, log_file=log_file, patience=Patience(stop_s=0.1))
    async with supervised(supervisor):
        await eventually(lambda: log_file.exists() and "ready" in log_file.read_text(), "the program runs")
        pid = supervisor.pid
        assert pid is not None
    assert not is_alive(pid)


async def test_a_program_whose_consensus_has_failed_inside_is_started_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CometBFT goes on running then, and never votes again."""
    program = a_program(tmp_path / "cometbft", "echo 'E CONSENSUS FAILURE!!! err=no space left'; exec sleep 1000")
    patience = Patience(restart_min_s=0.01, restart_max_s=0.02)
    supervisor = Supervisor(program, tmp_path, log_file=tmp_path / "no folder" / "log", patience=patience)
    async with supervised(supervisor):
        await eventually(lambda: supervisor.starts >= 2, "a second start")
    assert "no space left" in capsys.readouterr().out


async def test_settings_in_the_environment_never_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMT_P2P_LADDR", "tcp://0.0.0.0:1")
    monkeypatch.setenv("CMTHOME", "/elsewhere")
    log_file = tmp_path / "log"
    program = a_program(tmp_path / "cometbft", "env; echo end; exec sleep 1000")
    async with supervised(Supervisor(program, tmp_path, log_file=log_file)):
        await eventually(lambda: log_file.exists() and "\nend" in log_file.read_text(), "the program runs")
    assert "CMT" not in log_file.read_text()
    assert "PATH=" in log_file.read_text()


async def test_a_log_that_grows_long_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_log, "LOG_BYTES_MAX", 100)
    program = a_program(tmp_path / "cometbft", "while :; do echo a line of twenty bytes; sleep 0.01; done")
    async with supervised(Supervisor(program, tmp_path, log_file=tmp_path / "cometbft.log")):
        await eventually((tmp_path / "cometbft.old").exists, "a log set aside")


def test_it_dies_with_a_parent_that_is_killed() -> None:
    script = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-I", "-S", {leash.__file__!r}, str(os.getpid()), "/bin/sleep", "1000"])
print(child.pid, flush=True)
child.wait()
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent, parent.stdout:
        child = int(parent.stdout.readline())
        asyncio.run(eventually(lambda: runs(child, "sleep"), "the program runs"))
        parent.kill()
        parent.wait()
    asyncio.run(eventually(lambda: not is_alive(child), "the child is gone"))


def runs(pid: int, name: str) -> bool:
    return Path(f"/proc/{pid}/comm").read_text().strip() == name


def test_a_parent_that_is_gone_already_is_not_outlived() -> None:
    command = [sys.executable, "-I", "-S", leash.__file__, "1", "/bin/sleep", "1000"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert b"gone already" in done.stderr


# -- Its folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home") / "node"
    make_keys(find_program(), folder)
    return folder


@pytest.mark.cometbft
def test_every_setting_that_we_write_is_one_that_cometbft_has(made: Path, tmp_path: Path) -> None:
    find = find_program()
    make_keys(find, tmp_path / "fresh")
    defaults = tomllib.loads((tmp_path / "fresh/config/config.toml").read_text())
    for table, values in config_document(CONFIG).items():
        known = defaults[table] if table else defaults
        for name, value in values.items():
            assert type(known[name]) is type(value), f"{table}.{name}"


@pytest.mark.cometbft
def test_keys_are_made_once_and_are_readable_by_their_owner_alone(made: Path) -> None:
    again = make_keys(find_program(), made)
    assert again == read_identity(made)
    assert (len(again.node_id), len(again.validator_key), len(again.address)) == (40, 32, 20)
    for name in ("node_key.json", "priv_validator_key.json"):
        assert (made / "config" / name).stat().st_mode & 0o077 == 0
    assert made.stat().st_mode & 0o077 == 0


@pytest.mark.cometbft
def test_we_name_a_node_as_it_names_itself(made: Path) -> None:
    told = [
        subprocess.run([find_program(), command, "--home", made], capture_output=True, text=True, check=True).stdout
        for command in ("show-node-id", "show-validator")
    ]
    identity = read_identity(made)
    assert told[0].strip() == identity.node_id
    assert base64.b64decode(json.loads(told[1])["value"]) == identity.validator_key


def test_the_settings_say_what_they_were_given(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    write_config(tmp_path, CONFIG)
    read = tomllib.loads((tmp_path / "config/config.toml").read_text())
    assert read["proxy_app"] == "unix:///run/este/app.sock"
    assert read["rpc"]["laddr"] == "tcp://127.0.0.1:26657"
    assert read["p2p"]["persistent_peers"] == f"{'ab' * 20}@n1.example:26656,{'cd' * 20}@n2.example:26656"
    assert read["consensus"]["create_empty_blocks"] is False
    assert read["statesync"]["rpc_servers"] == "a:1,b:2"
    flat = {name: value for table, values in config_document(CONFIG).items() for name, value in values.items() if table}
    assert flat.items() <= {n: v for t in read.values() if isinstance(t, dict) for n, v in t.items()}.items()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"config\.toml"):
        write_config(tmp_path, CONFIG)


VALIDATOR = GenesisValidator("n0", bytes(32), 10)
POWERLESS = GenesisValidator("n0", bytes(32), 0)


@pytest.mark.parametrize(
    "broken",
    [
        {"chain_id": ""},
        {"chain_id": "x" * 51},
        {"validators": ()},
        {"validators": (GenesisValidator("n", bytes(32), 0),)},
    ],
    ids=str,
)
def test_a_genesis_that_cometbft_would_not_take_is_never_written(tmp_path: Path, broken: dict[str, object]) -> None:
    good: dict[str, object] = {"chain_id": "dorf", "time_ms": 0, "validators": (VALIDATOR,)}
    with pytest.raises(OperatorError):
        write_genesis(tmp_path, NetworkGenesis(**(good | broken)))  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [None, "{}", "[]", '{"priv_key": {"value": "!"}}', "rubbish"])
def test_a_key_file_that_is_not_cometbfts_is_named(tmp_path: Path, content: str | None) -> None:
    (tmp_path / "config").mkdir()
    if content is not None:
        (tmp_path / "config/node_key.json").write_text(content)
    with pytest.raises(OperatorError, match=r"node_key\.json"):
        read_identity(tmp_path)
