"""What `este-aggregator grid check` says, and what comes out of other programs' files and goes into them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from power_grid_model import PowerGridModel
from power_grid_model.utils import json_deserialize
from power_grid_model.validation import validate_input_data
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.grid.check import check_grid
from aggregator.grid.exchange.grid_document import draft, plain_of
from aggregator.grid.exchange.pandapower_file import from_pandapower, to_pandapower
from aggregator.grid.exchange.pgm_file import from_pgm, to_pgm
from aggregator.grid.exchange.plain import NotThatFormat, Plain
from config.grid_model import Grid
from config.load import GRIDS_FOLDER, SettingsError, check, load, load_profiles
from tests.feeders import a_feeder_document
from tests.village import A_LIMITER, PROFILE, a_grid, a_grid_document

HEAT_METER = "onicon_system10"
BY = {"region": "village", "gateway": "gw", "profile": PROFILE.id}
FORMATS = {"power-grid-model": (from_pgm, to_pgm), "pandapower": (from_pandapower, to_pandapower)}
each_format = pytest.mark.parametrize("format_", FORMATS)


def a_good_grid(**changes: Any) -> Grid:
    """Feeders whose meters can measure what their connections carry."""
    document = a_feeder_document(feeders=1, homes=2)
    document["meters"] = [meter | {"power_max_w": min(50_000, meter["power_max_w"])} for meter in document["meters"]]
    document["generators"] = [document["generators"][0] | {"rated_w": 50_000}]
    return a_grid(**document | changes)


def faults(grid: Grid) -> list[str]:
    return [str(remark) for remark in check_grid(grid, load_profiles()) if remark.is_fault]


def notes(grid: Grid) -> list[str]:
    return [str(remark) for remark in check_grid(grid, load_profiles()) if not remark.is_fault]


def with_heat(**changes: Any) -> Grid:
    """A heat pump at the end of the feeder, and a home that takes its heat."""
    document = a_feeder_document(feeders=1, homes=2)
    meter = {"gateway": "gw", "profile": PROFILE.id, "power_max_w": 10_000, "participant": "home"}
    changes = {
        "nodes": [*document["nodes"], {"id": "h1", "carrier": "heat"}, {"id": "h2", "carrier": "heat"}],
        "pipes": [{"id": "p1", "from_node": "h1", "to_node": "h2", "rating_w": 10_000}],
        "meters": [
            *(meter | {"id": "m0", "node": "n0"} for _ in range(1)),
            meter | {"id": "pump-in", "node": "n1-2"},
            meter | {"id": "pump-out", "node": "h1", "profile": HEAT_METER, "feeds_in": True},
            meter | {"id": "warm", "node": "h2", "profile": HEAT_METER},
        ],
        "generators": [{"id": "g", "meter": "m0", "source": "grid", "rated_w": 10_000, "emission_g_per_kwh": 400}],
        "converters": [
            {
                "id": "pump",
                "kind": "heat_pump",
                "inputs": ["pump-in"],
                "outputs": [{"meter": "pump-out", "efficiency_ppm": 3_500_000}],
            }
        ],
    } | changes
    return a_grid(**document | changes)


# -- Faults


def test_a_good_grid_has_no_faults() -> None:
    assert faults(a_good_grid()) == []
    assert faults(with_heat()) == []


@pytest.mark.parametrize("path", sorted(GRIDS_FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_example_regions_have_no_faults(path: Path) -> None:
    assert faults(load(path, Grid)) == []


def test_a_node_that_no_branch_leads_to_is_a_fault() -> None:
    branches = a_feeder_document(feeders=1, homes=2)["branches"][:1]
    assert faults(a_good_grid(branches=branches)) == [
        "node n1-2: meters there, but no path of branches from the reference node n0"
    ]


def test_many_nodes_without_a_path_are_told_together() -> None:
    grid = load(GRIDS_FOLDER / "low-voltage-feeder.yaml", Grid).model_dump(mode="json")
    grid["branches"] = [one for one in grid["branches"] if one["id"] != "b-5"]
    found = [one for one in faults(check(grid, Grid, "grid.yaml")) if "no path" in one]
    assert found == [
        "nodes n-5, n-6, n-7, n-8, n-9, n-10, n-11, n-12 and 2 more: meters there, but no path of branches from the "
        "reference node n-0"
    ]


def test_a_line_between_two_rated_voltages_is_a_fault() -> None:
    nodes = a_feeder_document(feeders=1, homes=2)["nodes"]
    nodes[2] = nodes[2] | {"voltage_mv": 20_000_000}
    first, second = faults(a_good_grid(nodes=nodes))
    assert first.startswith("node n1-2: ")
    assert second.startswith("branch b1-2: joins 400 V and 20000 V, as only a transformer can")


def test_a_rating_that_no_voltage_survives_is_a_fault() -> None:
    branches = a_feeder_document(feeders=1, homes=2)["branches"]
    branches[1] = branches[1] | {"rating_ma": 5_000_000}
    (fault,) = faults(a_good_grid(branches=branches))
    assert fault.startswith("branch b1-2: loses 37% of the voltage at its rating of 5000 A")


def test_a_generator_above_its_connection_is_a_fault() -> None:
    generators = [
        {"id": "roof", "meter": "m1-1", "source": "pv", "rated_w": 30_000, "emission_g_per_kwh": 0},
    ]
    assert faults(a_good_grid(generators=generators)) == [
        "generator roof: is rated 30000 W, but its meter's connection carries 17000 W: more is no energy"
    ]


def test_a_connection_above_what_its_meter_measures_is_a_fault() -> None:
    (fault,) = faults(a_grid(**a_feeder_document(feeders=1, homes=1) | {"generators": []}))[:1]
    assert fault == "meter m0: its connection carries 250000 W, and its profile schneider_iem3000 measures 50000 W"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kind": "boiler"}, "makes energy from nothing: it may give 3.5 of what it takes, and a boiler at most 1.08"),
        ({"kind": "chp"}, "a chp that takes electricity, at meter pump-in"),
        ({"kind": "power_plant"}, "a power_plant that gives heat, at meter pump-out"),
    ],
)
def test_a_converter_that_cannot_be_is_a_fault(change: dict[str, Any], says: str) -> None:
    converter = with_heat().converters[0].model_dump(mode="json") | change
    assert f"converter pump: {says}" in faults(with_heat(converters=[converter]))


def test_a_heat_meter_that_does_not_say_which_way_it_counts_is_a_fault() -> None:
    meters = [meter.model_dump(mode="json") | {"feeds_in": False} for meter in with_heat().meters]
    found = faults(with_heat(meters=meters))
    assert "converter pump: gives through meter pump-out, which does not say feeds_in" in found
    assert "heat network of h1, h2: energy is taken from it, and no meter feeds in" in found


@pytest.mark.parametrize(
    ("meter", "change", "says"),
    [
        ("warm", {"profile": PROFILE.id}, "an electricity meter at h2, a node of heat"),
        ("warm", {"profile": "kamstrup_multical_403"}, "its profile kamstrup_multical_403 has no counter of energy"),
        ("pump-in", {"profile": HEAT_METER}, "a heat meter at n1-2, a node of electricity: it is read"),
        ("pump-out", {"profile": PROFILE.id}, "an electricity meter at h1, a node of heat"),
    ],
)
def test_a_meter_that_cannot_count_what_flows_at_its_node_is_a_fault(
    meter: str, change: dict[str, Any], says: str
) -> None:
    meters = [one.model_dump(mode="json") for one in with_heat().meters]
    meters = [one | change if one["id"] == meter else one for one in meters]
    (found,) = faults(with_heat(meters=meters))
    assert found.startswith(f"meter {meter}: {says}")


# -- Notes


def test_a_heat_meter_that_is_only_read_is_noted() -> None:
    heat = {"id": "warm", "participant": "home", "node": "n1-1", "gateway": "gw", "power_max_w": 10_000}
    for profile, says in ((HEAT_METER, "a heat meter at n1-1"), ("kamstrup_multical_403", "its profile")):
        meters = [*(one.model_dump(mode="json") for one in a_good_grid().meters), heat | {"profile": profile}]
        grid = a_good_grid(meters=meters)
        assert faults(grid) == []
        assert any(one.startswith(f"meter warm: {says}") for one in notes(grid))


def test_a_device_that_no_limit_would_ever_reach_is_noted() -> None:
    """Takes is what a device does unless the file says otherwise: before an engine, that is forgotten easily."""
    grid = a_grid(devices=[A_LIMITER | {"id": "engine", "participant": "gas", "direction": "takes"}])
    assert "device engine: takes, and no meter of gas counts that: did you mean direction feeds_in?" in notes(grid)
    assert not any("device" in said for said in notes(a_grid()))
    grid = a_grid(devices=[A_LIMITER | {"id": "pump", "participant": "home", "direction": "feeds_in"}])
    assert "device pump: feeds in, and no meter of home counts that: did you mean direction takes?" in notes(grid)


def test_somebody_without_a_meter_is_noted() -> None:
    grid = a_good_grid(participants=[*a_feeder_document(feeders=1, homes=2)["participants"], {"id": "forgotten"}])
    assert any(one.startswith("participant forgotten: has no meter") for one in notes(grid))


def test_a_check_meter_that_measures_less_than_its_line_carries_is_noted() -> None:
    grid = load(GRIDS_FOLDER / "low-voltage-feeder.yaml", Grid)
    assert not any(one.startswith("check meter") for one in notes(grid))
    document = grid.model_dump(mode="json")
    document["meters"] = [m | ({"power_max_w": 9_000} if m["id"] == "m-middle" else {}) for m in document["meters"]]
    found = [one for one in notes(check(document, Grid, "grid.yaml")) if one.startswith("check meter")]
    assert found == [
        "check meter m-middle: measures 9000 W, and b-7 is rated 98380 W: what overloads the line is not seen"
    ]


def test_a_connection_to_the_outside_away_from_the_reference_node_is_noted() -> None:
    meters = [one.model_dump(mode="json") for one in a_good_grid().meters]
    meters = [one | ({"node": "n1-2"} if one["id"] == "m0" else {}) for one in meters]
    assert any("is of source grid and feeds in at n1-2" in one for one in notes(a_good_grid(meters=meters)))


def test_meters_that_share_one_balance_are_noted() -> None:
    assert any(note.startswith("meters m1-1, m1-2: share one balance") for note in notes(a_good_grid()))


def test_a_region_whose_connection_is_not_metered_is_noted() -> None:
    meters = [meter for meter in a_feeder_document(feeders=1, homes=2)["meters"] if meter["id"] != "m0"]
    assert any(
        "no meter with a generator of source grid" in note for note in notes(a_good_grid(meters=meters, generators=[]))
    )


# -- Files of other programs


def the_lines(grid: Grid) -> Any:
    return grid.nodes, grid.branches, grid.reference_node


@each_format
def test_what_is_exported_and_imported_again_is_the_same_network(format_: str) -> None:
    read, write = FORMATS[format_]
    grid = a_good_grid()
    document = json.loads(json.dumps(write(plain_of(grid))))
    again = check(draft(read(document), **BY), Grid, "draft")
    assert the_lines(again) == the_lines(grid)
    assert {meter.id: meter.node for meter in again.meters if meter.id != "outside"} == {
        meter.id: meter.node for meter in grid.meters if not meter.branch and meter.id != "m0"
    }


def test_power_grid_models_own_reader_takes_what_is_written_for_it() -> None:
    data = json_deserialize(json.dumps(to_pgm(plain_of(a_good_grid()))))
    assert validate_input_data(data) is None
    assert PowerGridModel(data).calculate_power_flow()["line"]["p_from"][0] > 34_000


def test_power_grid_models_own_numbers_become_names() -> None:
    document = to_pgm(plain_of(a_good_grid()))
    for rows in document["data"].values():
        for row in rows:
            del row["name"]
    read = from_pgm(document)
    assert [point.name for point in read.points] == ["node-0", "node-1", "node-2"]
    assert read.lines[0].one == "node-0"


def test_attributes_may_be_listed_once_for_all_objects() -> None:
    document = to_pgm(plain_of(a_good_grid()))
    document["attributes"] = {"node": ["id", "u_rated"]}
    document["data"]["node"] = [[row["id"], row["u_rated"]] for row in document["data"]["node"]]
    assert [point.rated_v for point in from_pgm(document).points] == [400.0] * 3


def test_what_este_does_not_know_is_told_and_left_out() -> None:
    document = to_pgm(plain_of(a_good_grid()))
    document["data"]["transformer"] = [{"id": 99}, {"id": 100}]
    document["data"]["line"][1]["to_status"] = 0
    read = from_pgm(document)
    assert read.remarks == ["line b1-2: open, and left out", "2 × transformer: este does not know it; left out"]
    assert [line.name for line in read.lines] == ["b1-1"]


def test_a_line_without_resistance_or_rating_is_told() -> None:
    document = to_pgm(plain_of(a_good_grid()))
    del document["data"]["line"][0]["i_n"]
    document["data"]["line"][0]["r1"] = 0.0
    read = from_pgm(document)
    drafted = check(draft(read, **BY), Grid, "draft")
    assert drafted.branches[0].resistance_uohm == 1
    assert len(read.remarks) == 2


@each_format
@pytest.mark.parametrize("document", [None, [], {}, {"data": []}, {"_class": "pandapowerNet"}, {"type": "input"}])
def test_what_is_no_such_file_is_told(format_: str, document: Any) -> None:
    with pytest.raises(NotThatFormat):
        FORMATS[format_][0](document)


def test_a_network_that_meets_nothing_cannot_be_drafted() -> None:
    with pytest.raises(NotThatFormat, match="meets the one outside"):
        draft(Plain(), **BY)


def test_names_of_other_programs_become_names_of_a_grid_file() -> None:
    document = to_pgm(plain_of(a_good_grid()))
    for row, name in zip(document["data"]["node"], ["Haus 1 / Süd", "Haus 1 ! Süd", "-"], strict=True):
        row["name"] = name
    drafted = check(draft(from_pgm(document), **BY), Grid, "draft")
    assert [node.id for node in drafted.nodes] == ["Haus-1-S-d", "Haus-1-S-d-2", "unnamed"]


def test_what_many_objects_share_is_told_once() -> None:
    document = to_pgm(plain_of(a_good_grid()))
    document["data"]["line"] = [row | {"c1": 1e-9} for row in document["data"]["line"]]
    document["data"]["sym_load"][0]["p_specified"] = -3_000.0
    assert from_pgm(document).remarks == [
        "2 × line: a capacitance, which este does not reckon with (b1-1, b1-2)",
        f"sym_load {document['data']['sym_load'][0]['name']}: power below 0: does it flow the other way?",
    ]


@each_format
@pytest.mark.parametrize("spoilt", [float("nan"), float("inf"), {"id": 1}, [1], "x", True, None])
def test_a_file_that_is_spoilt_somewhere_is_told_and_never_a_traceback(format_: str, spoilt: Any) -> None:
    """Every value of the file in turn; what has a meaning nevertheless is drafted."""
    read, write = FORMATS[format_]
    document = write(plain_of(a_good_grid()))
    if format_ == "pandapower":
        for table in document["_object"].values():
            if isinstance(table, dict):
                table["_object"] = json.loads(table["_object"])
    for way in ways_into(document):
        broken = copy.deepcopy(document)
        *first, last = way
        held: Any = broken
        for step in first:
            held = held[step]
        held[last] = spoilt
        with suppress(NotThatFormat, SettingsError):
            check(draft(read(broken), **BY), Grid, "draft")


def ways_into(held: Any) -> Iterator[tuple[Any, ...]]:
    """To every value of a document; of objects that are alike, to those of the first."""
    if isinstance(held, list) and held and isinstance(held[0], (dict, list)):
        held = held[:1]
    steps: Any = held.items() if isinstance(held, dict) else enumerate(held) if isinstance(held, list) else ()
    for step, inner in steps:
        yield (step,)
        yield from ((step, *further) for further in ways_into(inner))


# -- The commands


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def grid_file(tmp_path: Path) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(a_grid_document(**a_feeder_document(feeders=1, homes=2)), sort_keys=False))
    return path


def test_check_says_everything_and_ends_with_1_if_there_is_a_fault(grid_file: Path) -> None:
    result = run("grid", "check", grid_file)
    assert result.exit_code == 1
    assert "meter m0: its connection carries 250000 W" in result.output
    assert "Faults: 2; notes: 3" in result.output


def test_an_example_region_is_checked_and_exported_by_its_name() -> None:
    result = run("grid", "check", "low-voltage-feeder")
    assert (result.exit_code, "15 nodes" in result.output) == (0, True)
    assert run("grid", "export", "low-voltage-feeder", "--format", "power-grid-model").exit_code == 0
    assert "command line: FILE: expected a grid file, or an example region" in str(run("grid", "check", "x").exception)


@each_format
def test_export_and_import_are_files(grid_file: Path, tmp_path: Path, format_: str) -> None:
    written, again = tmp_path / "network.json", tmp_path / "again.yaml"
    assert run("grid", "export", grid_file, "--format", format_, "-o", written).exit_code == 0
    options = ["--format", format_, "--region", "r", "--gateway", "gw", "--profile", PROFILE.id]
    assert run("grid", "import", written, *options, "-o", again).exit_code == 0
    assert [branch["id"] for branch in yaml.safe_load(again.read_text())["branches"]] == ["b1-1", "b1-2"]
    assert run("grid", "import", written, *options).output.startswith("region: r\n")
