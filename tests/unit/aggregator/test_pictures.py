"""Pictures say what the ledger says, in colours that are told apart, and are the same bytes every time."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from aggregator.chains.intervals.flows import Balance, BranchFlow, Flows, Parcel, ParticipantFlow, StorageContent
from aggregator.chains.intervals.known import Known
from aggregator.chains.region import Region
from aggregator.service.past import Place, StatedInterval
from aggregator.views.pictures.branch import draw_branch
from aggregator.views.pictures.layout import places_of
from aggregator.views.pictures.network import draw_network
from aggregator.views.pictures.origin import draw_origin
from aggregator.views.pictures.sankey import draw_sankey, flows_of
from aggregator.views.pictures.style import SOURCE_COLOURS, save, see_that_drawable, use_look
from aggregator.views.ways import lines_of, way_to
from config.carriers import Carrier
from config.grid_model import Source
from protocol.errors import OperatorError
from tests.example_days import DAY_START_MS, INTERVAL_MS, INTERVALS, example_region, feeder_day, system_day

WIND, GAS, OTHER = Source.WIND, Source.GAS, Source.OTHER


@pytest.fixture(scope="module", autouse=True)
def look() -> None:
    use_look()


@pytest.fixture(scope="module")
def feeder() -> Region:
    return example_region("low-voltage-feeder")


@pytest.fixture(scope="module")
def system() -> Region:
    return example_region("regional-energy-system")


def an_interval(region: Region, number: int = 0, **changes: object) -> StatedInterval:
    """An interval of an example region: its meters' energy, half wind and half gas for everybody, a line congested."""
    days = feeder_day if region.grid.region == "low-voltage-feeder" else system_day
    energies = days(region)[number]
    used: dict[tuple[str, Carrier], int] = {}
    for meter, row in energies.items():
        if meter not in region.meters_apart and row.imported_wh:
            asset = region.meters[meter].meter
            key = (asset.participant, region.carriers[asset.node])
            used[key] = used.get(key, 0) + row.imported_wh
    participants = tuple(
        ParticipantFlow(who, carrier, wh, 0, 0, tuple(p for p in ((WIND, wh // 2), (GAS, wh - wh // 2)) if p[1]))
        for (who, carrier), wh in used.items()
    )
    branches = tuple(
        BranchFlow(line.id, 1000 * place, 150_000 * place) for place, line in enumerate(lines_of(region.grid))
    )
    storages = tuple(StorageContent(s.id, 0, 0, Parcel(((WIND, s.capacity_wh // 2),))) for s in region.grid.storages)
    flows = replace(Flows(participants, branches, storages=storages), **changes)  # type: ignore[arg-type]
    start_ms = DAY_START_MS + number * INTERVAL_MS
    return StatedInterval(start_ms, start_ms + INTERVAL_MS, flows, Place("analysis", 1, 1), 0, Known(energies))


def text_of(figure: Figure, folder: Path) -> str:
    """What a picture says, as its file has it."""
    path = folder / "picture.svg"
    save(figure, path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_picture_is_the_same_bytes_every_time(feeder: Region, tmp_path: Path, suffix: str) -> None:
    drawn = []
    for name in ("one", "two"):
        path = tmp_path / (name + suffix)
        save(draw_network(feeder, an_interval(feeder, 76)), path)
        drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1]
    assert not re.search(rb"20\d\d-\d\d-\d\dT", drawn[0]), "a file that tells when it was made differs each time"


def test_the_network_names_every_line_with_its_loading_and_what_stands_out(feeder: Region, tmp_path: Path) -> None:
    drawn = text_of(draw_network(feeder, an_interval(feeder, 76)), tmp_path)
    for line in lines_of(feeder.grid):
        assert line.id in drawn
    assert "above its rating" in drawn
    assert "loading of a line, % of its rating" in drawn
    calm = replace(an_interval(feeder), flows=replace(an_interval(feeder).flows, branches=()))
    assert "above its rating" not in text_of(draw_network(feeder, calm), tmp_path)


def test_the_network_of_several_carriers_shows_converters_and_what_is_in_store(system: Region, tmp_path: Path) -> None:
    drawn = text_of(draw_network(system, an_interval(system)), tmp_path)
    for name in ("heat-pump", "electrolyser", "fuel-cell", "heat-tank", "hydrogen-vessel", "node of hydrogen"):
        assert name in drawn


@pytest.mark.parametrize("name", ["low-voltage-feeder", "regional-energy-system"])
def test_no_two_nodes_stand_in_one_place(name: str) -> None:
    places = places_of(example_region(name).grid)
    assert places == places_of(example_region(name).grid)
    for one, other in combinations(places.values(), 2):
        assert abs(one[0] - other[0]) + abs(one[1] - other[1]) > 0.5


def test_networks_of_several_carriers_stand_below_each_other(system: Region) -> None:
    places = places_of(system.grid)
    lowest = min(places[node.id][1] for node in system.grid.nodes if node.carrier is Carrier.ELECTRICITY)
    assert all(places[n.id][1] < lowest for n in system.grid.nodes if n.carrier is not Carrier.ELECTRICITY)


def test_an_origin_has_a_panel_for_each_network_and_what_it_has_in_store(system: Region, tmp_path: Path) -> None:
    figure = draw_origin(system, "hospital", [an_interval(system, n) for n in range(40, 48)])
    assert len(figure.axes) == 4
    drawn = text_of(figure, tmp_path)
    for words in ("50 % clean", "in store meanwhile: heat-tank (heat)", "mean power, kW", "Europe/Berlin"):
        assert words in drawn


def test_who_did_nothing_is_told_so(system: Region, tmp_path: Path) -> None:
    assert "nothing was used or fed in" in text_of(draw_origin(system, "wind-farm", [an_interval(system)]), tmp_path)


def test_a_duration_curve_tells_how_long_a_branch_was_above_its_rating(feeder: Region, tmp_path: Path) -> None:
    loadings = [400_000, 1_200_000, 900_000, 1_010_000]
    intervals = [an_interval(feeder, n, branches=(BranchFlow("b-7", 80_000, ppm),)) for n, ppm in enumerate(loadings)]
    drawn = text_of(draw_branch("b-7", intervals), tmp_path)
    assert "b-7: above its rating for 30 min of 1 h" in drawn
    assert "congested" in drawn
    calm = draw_branch("b-7", intervals[:1])
    assert "never above its rating" in text_of(calm, tmp_path)
    (line, *_) = calm.axes[0].lines
    assert list(line.get_ydata()) == [40.0, 40.0]


def test_a_branch_without_flows_is_drawn_empty(feeder: Region, tmp_path: Path) -> None:
    assert "b-7: no flow is known" in text_of(draw_branch("b-7", [an_interval(feeder, branches=())]), tmp_path)


@pytest.mark.parametrize(
    ("count", "said", "axis"),
    [(1, "in 5 s", "seconds"), (18, "in 1.5 min", "minutes"), (1_440, "in 2 h", "hours")],
)
def test_a_short_span_is_told_in_short_units(feeder: Region, tmp_path: Path, count: int, said: str, axis: str) -> None:
    short = an_interval(feeder, branches=(BranchFlow("b-7", 80_000, 400_000),))
    intervals = [replace(short, end_ms=short.start_ms + 5_000)] * count
    drawn = text_of(draw_branch("b-7", intervals), tmp_path)
    assert f"never above its rating {said}" in drawn
    assert f"{axis} in which it was loaded at least so much" in drawn


def test_what_enters_a_converter_leaves_it_or_is_lost(system: Region) -> None:
    sankey = flows_of(system, [an_interval(system, n) for n in range(INTERVALS)])
    for converter in system.grid.converters:
        into = sum(r.energy_wh for r in sankey.ribbons if r.to_block == converter.id)
        out = sum(r.energy_wh for r in sankey.ribbons if r.from_block == converter.id)
        assert into == out > 0, converter.id


def test_a_sankey_tells_every_source_every_use_and_what_no_meter_saw(system: Region, tmp_path: Path) -> None:
    balance = Balance(Carrier.ELECTRICITY, 9_000_000, 8_000_000, 600_000, 400_000)
    interval = an_interval(system, 50, balances=(balance,))
    drawn = text_of(draw_sankey(system, [interval]), tmp_path)
    for words in ("wind", "sun", "surroundings", "heat used", "electricity used", "losses", "seen by no meter"):
        assert words in drawn
    found = {(r.from_block, r.to_block): r.energy_wh for r in flows_of(system, [interval]).ribbons}
    assert found["electricity", "seen by no meter"] == 400_000
    more_taken = replace(balance, rest_wh=-70)
    found = {
        (r.from_block, r.to_block): r.energy_wh
        for r in flows_of(system, [an_interval(system, 50, balances=(more_taken,))]).ribbons
    }
    assert found["seen by no meter ", "electricity"] == 70


def test_a_region_in_which_nothing_flowed_is_drawn_all_the_same(system: Region, tmp_path: Path) -> None:
    nothing = replace(an_interval(system), flows=Flows((), ()), known=Known({}))
    assert "nothing flowed" in text_of(draw_sankey(system, [nothing]), tmp_path)
    assert "e-centre" in text_of(draw_network(system, nothing), tmp_path)


def test_every_source_has_a_colour_that_is_told_apart_without_red_and_green() -> None:
    """By brightness, or by how yellow or blue they are: what is left without red and green."""
    assert set(SOURCE_COLOURS) == set(Source)
    seen = {source: to_rgb(colour) for source, colour in SOURCE_COLOURS.items()}
    for (one, (r1, g1, b1)), (other, (r2, g2, b2)) in combinations(seen.items(), 2):
        brightness = abs((0.3 * r1 + 0.6 * g1 + 0.1 * b1) - (0.3 * r2 + 0.6 * g2 + 0.1 * b2))
        blueness = abs((b1 - (r1 + g1) / 2) - (b2 - (r2 + g2) / 2))
        assert brightness + blueness > 0.12, (one, other)


def test_a_file_of_another_kind_or_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"expected a file that ends in \.svg or \.png, got \.jpg"):
        see_that_drawable(tmp_path / "picture.jpg")
    with pytest.raises(OperatorError, match="expected a folder that is there"):
        see_that_drawable(tmp_path / "nowhere" / "picture.svg")


def test_the_way_to_a_node_begins_where_its_network_is_fed(feeder: Region, system: Region) -> None:
    assert way_to(feeder.grid, ["n-3"]) == ("b-1", "b-2", "b-3")
    assert way_to(feeder.grid, ["n-0"]) == ()
    assert way_to(system.grid, ["e-town", "h-town"]) == ("b-town", "p-town")
    assert way_to(system.grid, ["h-centre"]) == ()
