"""Founding and joining a region of several nodes: what cannot be is told in a sentence, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from aggregator import cli
from aggregator.cli import app
from aggregator.engine.cometbft.process_port import find_program
from aggregator.founding.joining import Joined, Place, invite, join, read_invitation
from aggregator.founding.network import found_network, names_of
from aggregator.founding.region import plan
from aggregator.service.sqlite_port import LOCK_NAME
from config import lock
from config.load import load
from config.settings.aggregator import AggregatorSettings
from firmware_sim.free_port import free_ports
from protocol.errors import OperatorError
from tests.village import START_MS, a_grid_document


def found_in(
    folder: Path,
    *,
    region: str = "village",
    nodes: int = 4,
    first_port: int | None = None,
    program: Path = Path("no program"),
) -> None:
    grid = folder / "grid.yaml"
    grid.write_text(yaml.safe_dump(a_grid_document(region=region)))
    names = names_of(nodes)
    wanted = plan(grid, names=names, gateways={}, profile_folders=(), broker=("127.0.0.1", 1883), time_ms=START_MS)
    first = free_ports(2 * nodes) if first_port is None else first_port
    found_network(folder / "region", wanted, names, program=program, first_port=first)


def test_a_name_that_is_too_long_for_consensus_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"region: expected a name of at most 50 characters .*, got 51"):
        found_in(tmp_path, region="v" * 51)
    assert not (tmp_path / "region").exists()


def test_more_nodes_than_one_page_of_validators_are_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="--validators: expected at most 100 nodes, got 101"):
        found_in(tmp_path, nodes=101)
    told = CliRunner().invoke(app, ["init", str(tmp_path / "x"), "--grid=grid.yaml", "--validators=101"])
    assert told.exit_code == 2


def test_a_port_that_somebody_has_is_told_before_anything_is_written(tmp_path: Path) -> None:
    first = free_ports(8)
    told = rf"127.0.0.1:{first + 5}: expected a port that is free .*--first-port"
    with socket.create_server(("127.0.0.1", first + 5)), pytest.raises(OperatorError, match=told):
        found_in(tmp_path, first_port=first)
    assert not (tmp_path / "region").exists()


def test_one_server_of_snapshots_is_not_enough(tmp_path: Path) -> None:
    region = tmp_path / "region.json"
    region.write_text("{}")
    command = ["join", str(tmp_path / "x"), f"--region={region}", "--name=node-5", "--snapshot-server=127.0.0.1:1"]
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 2
    assert "two nodes at least" in " ".join(told.output.replace("│", " ").split())


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region of two nodes, just founded."""
    folder = tmp_path_factory.mktemp("founded")
    found_in(folder, nodes=2, program=find_program())
    return folder / "region"


def test_the_broker_is_told_of_every_node(region: Path) -> None:
    granted = (region / "broker.acl").read_text()
    for name in names_of(2):
        _, _, of_node = granted.partition(f"user {name}\n")
        assert "topic write este/1/village/+/receipt" in of_node.partition("user ")[0]


def changed(region: Path, folder: Path, **changes: Any) -> Path:
    """The region's invitation with something else in it."""
    document = json.loads((region / "region.json").read_text())
    path = folder / "changed.json"
    path.write_text(json.dumps(document | changes))
    return path


def joined(invitation: Path, folder: Path, name: str = "west") -> Joined:
    place = Place(broker=("127.0.0.1", 1883), p2p_port=26656, rpc_port=26657, is_on_one_machine=True)
    return join(folder / "west", read_invitation(invitation), name, place, program=find_program())


@pytest.mark.parametrize("name", ["gw", "regulator", "aggregator", "a b"])
def test_nobody_joins_under_a_name_that_no_node_can_have(region: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(OperatorError, match=r"--name: expected a name of .* that is no gateway's or regulator's"):
        joined(region / "region.json", tmp_path, name)
    assert not (tmp_path / "west").exists()


def test_an_invitation_whose_parts_do_not_belong_together_is_told(region: Path, tmp_path: Path) -> None:
    network = json.loads((region / "region.json").read_text())["network"]
    other = network | {"app_state": {"genesis": "00" * 32}}
    for changes, told in (
        ({"network": other}, "network.app_state: expected the digest of the genesis beside it, got another"),
        ({"network": network | {"chain_id": "hill"}}, "network.chain_id: expected village, got another"),
        ({"peers": ["nobody"]}, "peers: expected nodes as ID@HOST:PORT, got 'nobody'"),
        ({"genesis": "00"}, "genesis: expected the first record of a region"),
    ):
        with pytest.raises(OperatorError, match=re.escape(told)):
            joined(changed(region, tmp_path, **changes), tmp_path)
    assert not (tmp_path / "west").exists()


def test_whoever_joins_is_told_commands_that_can_be_pasted(region: Path, tmp_path: Path) -> None:
    for name, replace in (("west", ""), ("node-1", " --replace")):
        command = ["join", str(tmp_path / name), f"--region={region / 'region.json'}", f"--name={name}"]
        said = " ".join(CliRunner().invoke(app, command).output.split())
        request = tmp_path / name / "node.request"
        assert f"regulator admit {request} --key regulator.key{replace} and gives it a vote" in said
        assert f"validator set {name} --power 10 --request {request} --key regulator.key Next:" in said


def test_a_folder_with_a_node_in_it_is_not_joined_again(region: Path, tmp_path: Path) -> None:
    joined(region / "region.json", tmp_path)
    with pytest.raises(OperatorError, match=r"nothing was founded yet: choose another one, got aggregator\.key"):
        joined(region / "region.json", tmp_path)


async def test_a_node_that_does_not_run_invites_nobody(region: Path) -> None:
    settings = settings_of(region)
    assert settings.cometbft is not None
    with pytest.raises(OperatorError, match="expected a node that runs: este-aggregator run"):
        await invite(settings, settings.cometbft, None)


async def test_nobody_is_invited_to_where_they_reach_nothing(region: Path) -> None:
    settings = settings_of(region)
    assert settings.cometbft is not None
    with pytest.raises(OperatorError, match=r"p2p_host: expected 0.0.0.0, .* others reach as north.example, got 127"):
        await invite(settings, settings.cometbft, "north.example")
    anywhere = settings.cometbft.model_copy(update={"p2p_host": "0.0.0.0"})
    with pytest.raises(
        OperatorError, match=r"external_address: expected the host .* or say it with --host, got nothing"
    ):
        await invite(settings, anywhere, None)


def settings_of(region: Path) -> AggregatorSettings:
    return load(region / "node-1" / "aggregator.yaml", AggregatorSettings)


def said_by(*command: object) -> str:
    done = CliRunner().invoke(app, list(map(str, command)))
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def test_status_says_whether_a_node_runs_and_whether_blocks_are_decided(
    region: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "time", SimpleNamespace(time=lambda: START_MS / 1000 + 60))
    data = region / "node-1" / "data"
    standstill = "No block is decided: that takes nodes with more than two thirds of the votes"
    told = said_by("status", f"--data={data}")
    assert "node does not run on this ledger" in told and standstill not in told
    assert "last block (UTC) 2026-09-21 14:13:20.000, 60 s ago" in told
    held = lock.hold(data / LOCK_NAME, what="a ledger", holder="a test")
    try:
        assert said_by("status", f"--data={data}").partition("node runs ")[2].startswith(standstill)
    finally:
        lock.release(held)


def test_the_access_list_that_is_printed_later_names_every_node_too(region: Path) -> None:
    data = region / "regulator-node" / "data"
    assert said_by("devices", f"--data={data}", "--acl").count("topic write este/1/village/+/receipt") == len(
        names_of(2)
    )
    named = said_by("devices", f"--data={data}", "--acl", "--aggregator-user=hub")
    assert "user hub topic read" in named and "user node-1" not in named


@pytest.mark.parametrize("key", ["priv_validator_key.json", "node_key.json"])
def test_a_node_whose_keys_were_left_behind_does_not_run_with_new_ones(region: Path, tmp_path: Path, key: str) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(region / "node-1", moved)
    (moved / "cometbft/config" / key).unlink()
    done = CliRunner().invoke(app, ["run", f"--settings={moved / 'aggregator.yaml'}"])
    assert isinstance(done.exception, OperatorError)
    assert re.search(rf"{key}: .*: expected a key file of CometBFT's, got No such file", str(done.exception))
    assert not (moved / "cometbft/config" / key).exists()
