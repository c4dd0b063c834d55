"""What `este-fleet` prints, and how it says no. Nothing here opens a socket."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner, Result

from config.grid_model import Grid
from config.load import load
from config.settings.bus import Bus
from config.settings.fleet import FleetSettings
from firmware_sim.cli import app
from firmware_sim.dump import mbpoll_command
from firmware_sim.scenario import compose


def fleet(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_list_names_every_meter_and_where_it_is() -> None:
    lines = fleet("list").stdout.splitlines()
    assert len(lines) == 13
    assert lines[3].split() == ["m-gas", "gas", "gw-1", "abb_b23", "127.0.0.1:15020", "3", "l-gas", "103"]


@pytest.mark.parametrize("transport", ["tcp", "serial"])
def test_on_a_narrow_terminal_list_cuts_no_address(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("list", "--meters", "40", "--transport", transport, "--run-folder", "/run/este")
    whole = [line.split() for line in fleet(*arguments).stdout.splitlines()[1:]]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    lines = [Text.from_ansi(line).plain for line in fleet(*arguments).stdout.splitlines()]
    assert len(lines) == 42 and lines[-1].startswith("(no room for: participant, gateway")
    for row, line in zip(whole, lines[1:], strict=False):
        assert {row[0], row[4], row[5]} <= set(line.split())


def test_sunspec_devices_and_heat_meters_are_listed_behind_the_others() -> None:
    document = json.loads(fleet("list", "--json", "--meters", "4,sunspec=1,heat=1").stdout)
    assert [meter["id"] for meter in document["meters"]][3:] == ["m-home-1", "m-sunspec-1", "m-heat-1"]
    assert [meter["kind"] for meter in document["meters"]][4:] == ["prosumer", "heat"]
    assert document["meters"][4]["profile"] == f"sunspec_simsun_i_{document['meters'][4]['serial']}_203"


def test_list_for_machines_has_meters_and_the_buses_of_every_gateway() -> None:
    document = json.loads(fleet("list", "--json", "--meters", "30", "--host", "10.0.0.5").stdout)
    assert document["region"] == "valley"
    assert len(document["meters"]) == 30
    gas = next(meter for meter in document["meters"] if meter["id"] == "m-gas")
    assert gas["limiter"] == {"id": "l-gas", "profile": "este_power_controller", "unit": 103, "rated_w": 32_000}
    assert document["meters"][0]["limiter"] is None
    buses = [Bus.model_validate(bus) for gateway in document["gateways"] for bus in gateway["buses"]]
    assert sum(len(bus.meters) for bus in buses) == 30
    assert {bus.host for bus in buses} == {"10.0.0.5"}
    assert sum(len(gateway["participants"]) for gateway in document["gateways"]) == 30


def test_grid_prints_a_file_that_loads(tmp_path: Path) -> None:
    printed = fleet("grid", "--meters", "20", "--interval-ms", "5000", "--grace-ms", "2000", "--period-ms", "30000")
    path = tmp_path / "grid.yaml"
    path.write_text(printed.stdout)
    grid = load(path, Grid)
    assert len(grid.meters) == 20
    assert (grid.rules.time.interval_ms, grid.rules.time.grace_ms, grid.rules.time.period_ms) == (5_000, 2_000, 30_000)


def test_options_go_before_the_settings_file(tmp_path: Path) -> None:
    path = tmp_path / "fleet.yaml"
    path.write_text("meters: 8\nfirst_port: 16000\nseed: 5\n")
    document = json.loads(fleet("list", "--json", "--settings", str(path), "--meters", "6").stdout)
    assert len(document["meters"]) == 6
    assert document["seed"] == 5
    assert document["meters"][0]["port"] == 16_000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["list", "--meters", "3"], "command line: meters: expected greater than or equal to 4, got 3"),
        (
            ["list", "--meters", "4,heat"],
            "--meters: expected a number of meters, and after commas any of sunspec=N, heat=N",
        ),
        (["list", "--meters", "4,gas=1"], "--meters: expected a number of meters, and after commas any of"),
        (["list", "--meters", "4,heat=1,heat=2"], "--meters: expected a number of meters, and after commas any of"),
        (["list", "--meters", "4,heat=1001"], "command line: heat: expected less than or equal to 1000, got 1001"),
        (["run", "--speed", "0"], "command line: speed: expected greater than or equal to 1, got 0"),
        (["grid", "--settings", "none.yaml"], "none.yaml: expected a settings file, got no such file"),
        (["grid", "--interval-ms", "7000"], "expected an interval that divides the day"),
        (["grid", "--period-ms", "1000"], "expected a settlement period of whole intervals"),
        (["dump", "--meter", "home-2"], "--meter: expected a meter of the region, such as m-home-2, got home-2"),
        (["run", "--first-port", "65535"], "first_port: expected 65534 or less, for 12 meters, got 65535"),
    ],
)
def test_a_mistake_is_told_in_one_sentence(arguments: list[str], sentence: str) -> None:
    result = fleet(*arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert result.stderr.startswith("este-fleet: ")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""


def test_every_verb_has_a_help_text() -> None:
    overview = fleet("--help").stdout
    for verb in ("run", "list", "grid", "dump"):
        assert verb in overview
        assert fleet(verb, "--help").exit_code == 0


def test_the_mbpoll_command_knows_table_word_order_and_unit() -> None:
    commands = {c.site.meter: mbpoll_command(c, "127.0.0.1") for c in compose(FleetSettings()).connections}
    more = compose(FleetSettings(meters=4, sunspec=2, heat=1)).connections[-3:]
    assert [mbpoll_command(c, "h").partition(" -t ")[2] for c in more] == [
        "4 -0 -r 40168 -1 -B h",
        "4:float -0 -r 40160 -1 -B h",
        "4:float -0 -r 28 -1 -B h",
    ]
    assert commands["m-grid"] == "mbpoll -m tcp -p 15020 -a 1 -t 3:int -0 -r 40 -1 127.0.0.1"
    assert commands["m-home-1"] == "mbpoll -m tcp -p 15020 -a 5 -t 3:float -0 -r 52 -1 -B 127.0.0.1"
    assert commands["m-home-3"] == "mbpoll -m tcp -p 15021 -a 1 -t 4:float -0 -r 3059 -1 -B 127.0.0.1"
