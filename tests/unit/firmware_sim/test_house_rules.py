"""What the simulator must never do, kept by a machine."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import firmware_sim

MODULES = sorted(Path(firmware_sim.__file__).parent.glob("*.py"))

AGENTS_MAPS = {
    *("protocol.registers", "config.meter_profile", "config.sunspec_map", "config.load.load_profiles"),
    "config.load.METERS_FOLDER",
}
CLOCKS = {"time", "datetime"}
DICE = {"random", "secrets"}


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_agents_register_maps_are_not_used_to_serve_registers(module: Path) -> None:
    assert not AGENTS_MAPS & set(imported(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_only_the_server_imports_pymodbus(module: Path) -> None:
    roots = {name.split(".")[0] for name in imported(module)}
    assert "pymodbus" not in roots or module.stem == "modbus_server"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_only_the_runner_has_a_clock_and_nobody_has_dice(module: Path) -> None:
    roots = {name.split(".")[0] for name in imported(module)}
    assert not roots & DICE
    assert not roots & CLOCKS or module.stem == "runner"
