"""The example regions load, hang together, and hold what their pages say."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.carriers import Carrier, ConverterKind
from config.grid_model import Grid
from config.load import GRIDS_FOLDER, grid_file, load, load_profiles
from config.rules import Mechanism
from protocol.errors import OperatorError

REGIONS = sorted(GRIDS_FOLDER.glob("*.yaml"))


def region(name: str) -> Grid:
    return load(GRIDS_FOLDER / f"{name}.yaml", Grid)


@pytest.mark.parametrize("path", REGIONS, ids=lambda path: path.stem)
def test_an_example_region_loads_and_is_named_after_its_file(path: Path) -> None:
    grid = load(path, Grid)
    assert grid.region == path.stem
    assert {meter.profile for meter in grid.meters} <= set(load_profiles())


@pytest.mark.parametrize("path", REGIONS, ids=lambda path: path.stem)
def test_an_example_region_trades_by_rules_of_its_own(path: Path) -> None:
    rules = load(path, Grid).rules
    assert rules.contracts and rules.market and rules.curtailment and rules.exchange
    assert "channel_use" in {price.right for price in rules.rights}


def test_the_example_regions_show_both_ways_to_trade() -> None:
    markets = [load(path, Grid).rules.market for path in REGIONS]
    assert {market.mechanism for market in markets if market} == set(Mechanism)


def test_an_example_region_is_found_by_its_name_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert grid_file(Path("low-voltage-feeder")) == GRIDS_FOLDER / "low-voltage-feeder.yaml"
    assert grid_file(Path("no-such-file.yaml")) == Path("no-such-file.yaml")
    with pytest.raises(
        OperatorError, match="an example region: low-voltage-feeder, regional-energy-system, got feeder"
    ):
        grid_file(Path("feeder"))
    assert grid_file(Path("sub/low-voltage-feeder")) == Path("sub/low-voltage-feeder")
    Path("low-voltage-feeder").mkdir()
    assert grid_file(Path("low-voltage-feeder")) == GRIDS_FOLDER / "low-voltage-feeder.yaml", "a folder is no file"
    Path("low-voltage-feeder").rmdir()
    Path("low-voltage-feeder").write_text("", encoding="utf-8")
    assert grid_file(Path("low-voltage-feeder")) == Path("low-voltage-feeder")


def test_the_feeder_can_be_congested_and_relieved() -> None:
    feeder = region("low-voltage-feeder")
    narrow = next(branch for branch in feeder.branches if branch.id == "b-7")
    rated_w = narrow.rating_ma * 400 * 1732 // 1_000_000
    behind = {f"n-{place}" for place in range(7, 15)}
    gateways = {meter.gateway for meter in feeder.meters if meter.node in behind}
    cars_w = sum(device.rated_w for device in feeder.devices if device.gateway in gateways)
    owners = {meter.participant for meter in feeder.meters if meter.node in behind}
    responding = {participant.id for participant in feeder.participants if participant.responds}
    assert cars_w + 2_000 * 7 > rated_w > 2_000 * 8
    assert len(owners & responding) >= 4
    assert [meter.id for meter in feeder.meters if meter.branch] == ["m-head", "m-middle"]
    assert 10 <= len([participant for participant in feeder.participants if participant.id.startswith("house")]) <= 15


def test_the_regional_system_turns_every_carrier_into_another_and_keeps_each() -> None:
    system = region("regional-energy-system")
    assert {node.carrier for node in system.nodes} == set(Carrier)
    kinds = {converter.kind for converter in system.converters}
    assert kinds >= set(ConverterKind) - {ConverterKind.POWER_PLANT}
    carriers, nodes = {node.id: node.carrier for node in system.nodes}, {m.id: m.node for m in system.meters}
    kept = {carriers[nodes[storage.charge_meter]] for storage in system.storages}
    assert kept == {Carrier.ELECTRICITY, Carrier.HEAT, Carrier.HYDROGEN}
    assert any(pipe.content_wh for pipe in system.pipes)
    assert any(pipe.delay_ms for pipe in system.pipes)


def test_what_converts_counts_one_way_where_its_network_does() -> None:
    """A meter of heat, gas or hydrogen that feeds in says so, and no other does."""
    system = region("regional-energy-system")
    carriers = {node.id: node.carrier for node in system.nodes}
    outputs = {output.meter for converter in system.converters for output in converter.outputs}
    outputs |= {storage.discharge_meter for storage in system.storages}
    outputs |= {generator.meter for generator in system.generators}
    for meter in system.meters:
        is_one_way = carriers[meter.node] is not Carrier.ELECTRICITY
        assert meter.feeds_in is (is_one_way and meter.id in outputs), meter.id
