"""Founding and joining a region of several nodes: what cannot be is told in a sentence, and leaves nothing behind."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.founding.network import found_network, names_of
from aggregator.founding.region import plan
from firmware_sim.free_port import free_ports
from protocol.errors import OperatorError
from tests.village import START_MS, a_grid_document


def found_in(folder: Path, *, region: str = "village", nodes: int = 4, first_port: int | None = None) -> None:
    grid = folder / "grid.yaml"
    grid.write_text(yaml.safe_dump(a_grid_document(region=region)))
    names = names_of(nodes)
    wanted = plan(grid, names=names, gateways={}, profile_folders=(), broker=("127.0.0.1", 1883), time_ms=START_MS)
    first = free_ports(2 * nodes) if first_port is None else first_port
    found_network(folder / "region", wanted, names, program=folder / "no program", first_port=first)


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
