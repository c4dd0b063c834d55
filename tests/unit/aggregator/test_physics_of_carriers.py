"""Converters, storage, delay and balance between carriers: cases worked by hand, and what cannot be true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import CalledEvent, Carried, Flows
from aggregator.chains.intervals.known import Known
from aggregator.chains.intervals.origin import participant_energy
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.region import Region
from aggregator.grid.believing import AsMetered, Believe, as_metered
from aggregator.grid.interval import IntervalPhysics
from aggregator.grid.metering import Metered, MeterPlan
from aggregator.grid.network import Networks
from config.carriers import Carrier
from config.grid_model import Source
from protocol.units import Interval
from tests.energy_village import (
    HOUR_MS,
    Days,
    a_branch,
    a_generator,
    a_meter,
    a_node,
    a_pipe,
    a_plant_and_a_heat_pump,
    a_region,
    carbon_mg,
    kinds,
    origin,
    three_generators,
)
from tests.vector_files import read_vectors

ELECTRICITY, HEAT, GAS = Carrier.ELECTRICITY, Carrier.HEAT, Carrier.GAS


def cases(name: str) -> Any:
    return pytest.mark.parametrize("case", read_vectors(f"tracing/{name}.yaml")["cases"], ids=lambda case: case["name"])


def found(flows: Flows) -> list[list[Any]]:
    """What was found, but for silence: a case names the meters that it is about."""
    told = [finding for finding in flows.findings if finding.kind is not FindingKind.UNMETERED]
    return [[finding.kind.value, finding.subject, *finding.amounts] for finding in told]


def by_source(amounts: dict[str, int]) -> dict[Source, int]:
    return {Source(source): amount for source, amount in amounts.items()}


def keyed(meters: dict[str, int]) -> dict[str, int]:
    return {name.replace("-", "_"): wh for name, wh in meters.items()}


# -- Converters


def a_region_of_converters() -> Region:
    return a_region(
        meters=[
            *(a_meter(f"m-{name}", "e0") for name in ("grid", "wind", "home", "chp-el", "hp-el")),
            *(a_meter(f"m-{name}", "g0") for name in ("gas", "chp-gas")),
            *(a_meter(f"m-{name}", "h0") for name in ("chp-heat", "hp-heat", "house")),
        ],
        nodes=[a_node("e0"), a_node("g0", GAS), a_node("h0", HEAT)],
        generators=three_generators(),
        converters=a_plant_and_a_heat_pump(),
    )


@cases("converters")
def test_converters_pass_on_what_they_took(case: dict[str, Any]) -> None:
    fed_in = {f"m_{source}": -wh for source, wh in case["electricity"].items()}
    flows = Days(a_region_of_converters()).close(**fed_in, m_gas=-case["gas"], **keyed(case["meters"]))
    for name, carrier in (("home", ELECTRICITY), ("house", HEAT)):
        if name in case:
            assert origin(flows, name, carrier) == by_source(case[name]["origin"])
            assert carbon_mg(flows, name, carrier) == case[name]["carbon_mg"]
    rows = [[row.converter, row.input_wh, row.output_wh, row.burned_mg] for row in flows.converters]
    assert rows == case["converters"]
    assert found(flows) == case["findings"]


def test_what_a_plant_burns_beyond_what_the_network_brought_is_of_unknown_origin() -> None:
    """500 gas are fed in, and the plant says that it took 1,000: the network brought 667 by the meters' variance."""
    days = Days(a_region_of_converters())
    flows = days.close(m_gas=-500, m_chp_gas=1_000, m_chp_el=-400, m_chp_heat=-500, m_home=400, m_house=500)
    gas = origin(flows, "home")[Source.GAS] + origin(flows, "house", HEAT)[Source.GAS]
    assert gas <= 0.9 * 500 * 1.04  # the accuracies of both sides
    assert flows.converters[0].burned_mg == 1_000 * 200, "what nobody saw come in is burned all the same"


# -- Storage


def a_region_of_a_tank(**tank: Any) -> Region:
    default = {"id": "tank", "charge_meter": "m-tank", "discharge_meter": "m-tank", "capacity_wh": 10_000}
    return a_region(
        meters=[
            a_meter("m-e", "e0"),
            *(a_meter(f"m-{name}", "h0") for name in ("wind", "waste", "tank", "tap", "house")),
        ],
        nodes=[a_node("e0"), a_node("h0", HEAT)],
        generators=[a_generator("m-wind", Source.WIND), a_generator("m-waste", Source.WASTE_HEAT, 10)],
        storages=[default | tank],
    )


@cases("storage")
def test_a_storage_gives_what_it_was_given(case: dict[str, Any]) -> None:
    tank = dict(case["tank"])
    length_ms = 24 * HOUR_MS if tank.pop("day", False) else HOUR_MS
    days = Days(a_region_of_a_tank(**tank), length_ms=length_ms)
    for step in case["steps"]:
        flows = days.close(**keyed(step["meters"]))
        (row,) = flows.storages
        assert dict(row.content.mix_wh) == by_source(step["holds"])
        assert row.content.carbon_mg == step["carbon_mg"]
        if "house" in step:
            assert origin(flows, "house", HEAT) == by_source(step["house"])
        assert found(flows) == step.get("findings", [])


def test_the_example_of_the_explanation() -> None:
    """docs/explanation/origin.md: this morning's wind, through a heat pump and a tank."""
    region = a_region(
        meters=[
            *(a_meter(f"m-{name}", "e0") for name in ("grid", "wind", "house", "pump-el")),
            *(a_meter(f"m-{name}", "h0") for name in ("pump-heat", "factory", "tank", "home")),
        ],
        nodes=[a_node("e0"), a_node("h0", HEAT)],
        generators=[
            a_generator("m-grid", Source.GRID, 400),
            a_generator("m-wind", Source.WIND),
            a_generator("m-factory", Source.WASTE_HEAT, 10),
        ],
        converters=[
            {
                "id": "pump",
                "kind": "heat_pump",
                "inputs": ["m-pump-el"],
                "outputs": [{"meter": "m-pump-heat", "efficiency_ppm": 3_000_000}],
            }
        ],
        storages=[{"id": "tank", "charge_meter": "m-tank", "discharge_meter": "m-tank", "capacity_wh": 1_000}],
    )
    days = Days(region)
    days.close(m_wind=-300, m_grid=-100, m_house=300, m_pump_el=100, m_pump_heat=-300, m_tank=300)
    days.close(m_factory=-300, m_tank=300)
    held = days.carried.storages["tank"]
    assert dict(held.mix_wh) == {Source.WIND: 225, Source.GRID: 75, Source.WASTE_HEAT: 300}
    assert held.carbon_mg == 13_000
    evening = days.close(m_tank=-300, m_home=300)
    assert origin(evening, "home", HEAT) == {Source.WIND: 113, Source.GRID: 37, Source.WASTE_HEAT: 150}
    assert carbon_mg(evening, "home", HEAT) == 6_500


# -- Delay


@cases("delay")
def test_what_arrives_was_made_earlier(case: dict[str, Any]) -> None:
    region = a_region(
        meters=[
            *(a_meter(f"m-{name}", "h0") for name in ("wind", "waste_heat".replace("_", "."))),
            a_meter("m-house", "h1"),
        ],
        nodes=[a_node("e0"), a_node("h0", HEAT), a_node("h1", HEAT)],
        pipes=[a_pipe("p", "h0", "h1", **case["pipe"])],
        generators=[a_generator("m-wind", Source.WIND), a_generator("m-waste.heat", Source.WASTE_HEAT, 10)],
    )
    days = Days(region)
    for step in case["steps"]:
        ((source, wh),) = step["sends"].items()
        flows = days.close(**{f"m_{source.replace('_', '.')}": -wh, "m_house": wh})
        assert origin(flows, "house", HEAT) == by_source(step["house"])
        assert carbon_mg(flows, "house", HEAT) == step.get("carbon_mg", carbon_mg(flows, "house", HEAT))
        assert found(flows) == step.get("findings", [])


def test_a_pipe_that_turns_gives_back_what_was_put_in_last() -> None:
    """100 wind go in at h0 and 30 of them come out at h1; then h1 feeds in, and the wind comes out at h0 again."""
    days = Days(
        a_region(
            meters=[
                a_meter(f"m-{name}", node) for name, node in (("wind", "h0"), ("a", "h0"), ("waste", "h1"), ("b", "h1"))
            ],
            nodes=[a_node("e0"), a_node("h0", HEAT), a_node("h1", HEAT)],
            pipes=[a_pipe("p", "h0", "h1", content_wh=70)],
            generators=[a_generator("m-wind", Source.WIND), a_generator("m-waste", Source.WASTE_HEAT)],
        )
    )
    first = days.close(m_wind=-100, m_b=100)
    assert origin(first, "b", HEAT) == {Source.OTHER: 70, Source.WIND: 30}
    back = days.close(m_waste=-90, m_a=90)
    assert origin(back, "a", HEAT) == {Source.WIND: 70, Source.WASTE_HEAT: 20}
    assert [(sent.is_forward, dict(sent.parcel.mix_wh)) for sent in back.sent] == [(False, {Source.WASTE_HEAT: 90})]


# -- Balance


def a_heat_network(**pipe: Any) -> Region:
    """Two producers at h0 and h1, two houses at h2 and h3, and a loop h0-h1-h2-h3."""
    corners = ["h0", "h1", "h2", "h3"]
    return a_region(
        meters=[a_meter("m-solar", "h0"), a_meter("m-waste", "h1"), a_meter("m-left", "h2"), a_meter("m-right", "h3")],
        nodes=[a_node("e0"), *(a_node(name, HEAT) for name in corners)],
        pipes=[a_pipe(f"p{i}", corners[i], corners[(i + 1) % 4], **pipe) for i in range(4)],
        generators=[a_generator("m-solar", Source.SOLAR_HEAT), a_generator("m-waste", Source.WASTE_HEAT)],
    )


def test_parallel_pipes_share_by_their_rating() -> None:
    region = a_region(
        meters=[a_meter("m-solar", "h0"), a_meter("m-house", "h1")],
        nodes=[a_node("e0"), a_node("h0", HEAT), a_node("h1", HEAT)],
        pipes=[a_pipe("wide", "h0", "h1", rating_w=3_000), a_pipe("thin", "h1", "h0", rating_w=1_000)],
        generators=[a_generator("m-solar", Source.SOLAR_HEAT)],
    )
    flows = Days(region).close(m_solar=-2_000, m_house=2_000)
    assert [(row.branch, row.flow_w, row.loading_ppm) for row in flows.branches] == [
        ("wide", 1_500, 500_000),
        ("thin", -500, 500_000),
    ]


def test_heat_that_is_missing_is_told_as_rest_and_found() -> None:
    flows = Days(a_heat_network()).close(m_solar=-500, m_waste=-500, m_left=300, m_right=300)
    (balance,) = flows.balances
    assert (balance.fed_in_wh, balance.taken_wh, balance.losses_wh, balance.rest_wh) == (1_000, 600, 0, 400)
    assert found(flows) == [[FindingKind.UNBALANCED.value, "heat", 1_000, 600, 400]]


def test_heat_within_the_meters_accuracy_is_not_worth_a_word() -> None:
    flows = Days(a_heat_network()).close(m_solar=-500, m_waste=-500, m_left=505, m_right=500)
    assert found(flows) == []
    assert Source.OTHER not in origin(flows, "left", HEAT)


def test_heat_out_of_nowhere_is_of_unknown_origin() -> None:
    """The houses take twice what is fed in: no meter's accuracy explains that, so they do not get it as solar heat."""
    flows = Days(a_heat_network()).close(m_solar=-500, m_waste=0, m_left=500, m_right=500)
    taken = [origin(flows, name, HEAT) for name in ("left", "right")]
    assert sum(mix[Source.SOLAR_HEAT] for mix in taken) <= 500 * 1.03  # the accuracies of both sides
    assert kinds(flows) == {FindingKind.UNBALANCED}


@pytest.mark.parametrize("loss_ppm", [0, 1, 50_000, 400_000])
def test_heat_balances_at_every_node_whatever_its_pipes_lose(loss_ppm: int) -> None:
    days = Days(a_heat_network(loss_ppm=loss_ppm))
    energy = {"m_solar": -900, "m_waste": -200, "m_left": 400, "m_right": 500}
    solved, flows = days.solve(**energy), days.close(**energy)
    networks, pipes = solved.networks, solved.pipes
    net = pipes.correction_w - np.array(list(energy.values()))
    for number, (near, far) in enumerate(zip(networks.pipes.pipe_from, networks.pipes.pipe_to, strict=True)):
        net[near] -= pipes.from_w[number]
        net[far] -= pipes.to_w[number]
        sent, arriving = max(pipes.from_w[number], pipes.to_w[number]), -min(pipes.from_w[number], pipes.to_w[number])
        assert arriving == pytest.approx(sent * (1 - loss_ppm / 1e6))
    assert net == pytest.approx(0, abs=1e-6)
    (balance,) = flows.balances
    assert balance.fed_in_wh - balance.taken_wh - balance.losses_wh - balance.rest_wh == 0
    assert balance.losses_wh == pytest.approx(float(pipes.losses_w.sum()), abs=0.5)


def test_a_check_meter_in_a_pipe_shows_whether_the_others_tell_the_truth() -> None:
    """The house says that it took 500, but 800 went by in its pipe: somebody taps it, or its meter lies."""
    region = a_region(
        meters=[
            a_meter("m-solar", "h0"),
            a_meter("m-near", "h0"),
            a_meter("m-house", "h1"),
            a_meter("m-check", "h1", participant="house", branch="p"),
        ],
        nodes=[a_node("e0"), a_node("h0", HEAT), a_node("h1", HEAT)],
        pipes=[a_pipe("p", "h0", "h1")],
        generators=[a_generator("m-solar", Source.SOLAR_HEAT)],
    )
    honest = Days(region).close(m_solar=-1_000, m_near=500, m_house=500, m_check=500)
    assert found(honest) == []
    assert honest.balances[0].taken_wh == 1_000
    tapped = Days(region).close(m_solar=-1_000, m_near=500, m_house=500, m_check=800)
    assert found(tapped) == [[FindingKind.CHECK_DIFFERS.value, "m-check", 800, 500]]


def test_a_piece_of_network_without_a_producer_stands_still() -> None:
    region = a_region(
        meters=[a_meter("m-solar", "h0"), a_meter("m-near", "h0"), a_meter("m-far", "h2")],
        nodes=[a_node("e0"), *(a_node(name, HEAT) for name in ("h0", "h1", "h2"))],
        pipes=[a_pipe("p", "h1", "h2")],
        generators=[a_generator("m-solar", Source.SOLAR_HEAT)],
    )
    flows = Days(region).close(m_solar=-100, m_near=100, m_far=50)
    assert [row.flow_w for row in flows.branches] == [0]
    assert origin(flows, "near", HEAT) == {Source.SOLAR_HEAT: 100}
    assert kinds(flows) == {FindingKind.UNBALANCED}


# -- The seam of state estimation


def test_what_a_disbelieved_meter_says_is_of_unknown_origin() -> None:
    def disbelieve(region: Region, networks: Networks, plan: MeterPlan) -> Believe:
        believe = as_metered(region, networks, plan)
        finding = Finding(FindingKind.IMPOSSIBLE_READING, "m-home", (300, 100))

        def flag(energies: Energies, interval: Interval, metered: Metered) -> AsMetered:
            said = believe(energies, interval, metered)
            return AsMetered(said.flow, said.injection_w, (finding,), frozenset({"m-home"}))

        return flag

    days = Days(a_region_of_converters(), physics=IntervalPhysics(disbelieve))
    flows = days.close(m_wind=-300, m_home=200, m_hp_el=100, m_hp_heat=-300, m_house=300)
    assert origin(flows, "home") == {Source.OTHER: 200}
    assert origin(flows, "house", HEAT) == {Source.WIND: 300}
    assert kinds(flows) >= {FindingKind.IMPOSSIBLE_READING}


def test_a_little_that_meters_cannot_tell_is_not_of_unknown_origin() -> None:
    """The estimate lets 3 W come out of a house that takes nothing: its meter may be off by 5 W."""

    def estimate(region: Region, networks: Networks, plan: MeterPlan) -> Believe:
        believe = as_metered(region, networks, plan)

        def nearly(energies: Energies, interval: Interval, metered: Metered) -> AsMetered:
            said = believe(energies, interval, metered)
            return AsMetered(said.flow, said.injection_w + 3, ())

        return nearly

    days = Days(a_region_of_converters(), physics=IntervalPhysics(estimate))
    flows = days.close(m_wind=-300, m_home=0, m_hp_el=300, m_hp_heat=-900, m_house=900)
    assert origin(flows, "house", HEAT) == {Source.WIND: 900}


# -- Rows


def test_participants_energy_is_what_the_data_chain_says() -> None:
    days = Days(a_region_of_converters())
    energies = days.energies(m_wind=-300, m_home=299, m_gas=-7, m_house=3, m_hp_el=1)
    flows = days.physics(days.region, days.interval, Known(energies))
    stripped = {
        (flow.participant, flow.carrier): (flow.imported_wh, flow.exported_wh, flow.emitted_mg)
        for flow in flows.participants
    }
    expected = participant_energy(days.region, energies)
    assert stripped == {key: (flow.imported_wh, flow.exported_wh, flow.emitted_mg) for key, flow in expected.items()}
    assert list(stripped) == list(expected)


def test_an_interval_of_silence_closes() -> None:
    flows = Days(a_region_of_a_tank()).close()
    assert (flows.participants, flows.balances, flows.sent, found(flows)) == ((), (), (), [])


def test_heat_meters_that_sent_nothing_are_named() -> None:
    flows = Days(a_heat_network()).close(m_solar=-500, m_waste=0, m_left=500)
    assert [(finding.kind, finding.subject) for finding in flows.findings] == [(FindingKind.UNMETERED, "m-right")]


def test_what_a_network_lacks_is_looked_for_at_a_silent_meter() -> None:
    """1,000 are fed in and one house took 500. The other house's meter is silent, so the heat went there."""
    solved = Days(a_heat_network()).solve(m_solar=-500, m_waste=-500, m_left=500)
    assert solved.pipes.correction_w == pytest.approx([0, 0, 0, -500], abs=1)


def test_what_a_silent_producer_has_fed_in_is_of_unknown_origin() -> None:
    flows = Days(a_heat_network()).close(m_solar=-500, m_left=500, m_right=500)
    taken = [origin(flows, name, HEAT) for name in ("left", "right")]
    assert sum(mix.get(Source.SOLAR_HEAT, 0) for mix in taken) == pytest.approx(500, abs=2)
    assert sum(mix.get(Source.OTHER, 0) for mix in taken) == pytest.approx(500, abs=2)


def test_flows_are_spelled_and_read_back() -> None:
    days = Days(a_heat_network(delay_ms=HOUR_MS, loss_ppm=1_000))
    flows = days.close(m_solar=-500, m_left=500)
    assert Flows.read(flows.spell(), 100) == flows


# -- Called events


def a_feeder(*extra: dict[str, Any]) -> Region:
    """grid at e0, a house at e1, a house at e2 behind it."""
    return a_region(
        meters=[a_meter("m-grid", "e0"), a_meter("m-near", "e1"), a_meter("m-far", "e2")],
        nodes=[a_node("e0"), a_node("e1"), a_node("e2")],
        branches=[a_branch("b1", "e0", "e1", rating_ma=100), a_branch("b2", "e1", "e2", rating_ma=100), *extra],
        generators=[a_generator("m-grid", Source.GRID, 400)],
    )


def test_in_a_network_without_loops_who_is_behind_a_branch_relieves_it_watt_for_watt() -> None:
    event = CalledEvent(3, "b2", {"near": 1_000, "far": 4_000})
    flows = Days(a_feeder()).close(events=[event], m_near=1_000, m_far=1_000)
    (row,) = flows.events
    assert (row.event, row.relieving_ppm) == (3, (("far", 1_000_000),))
    metered = next(branch.loading_ppm for branch in flows.branches if branch.branch == "b2")
    assert row.loading_ppm == pytest.approx(4 * metered, rel=1e-3)


def test_in_a_loop_relief_is_shared() -> None:
    event = CalledEvent(3, "b2", {"near": 1_000, "far": 4_000})
    flows = Days(a_feeder(a_branch("b3", "e0", "e2"))).close(events=[event], m_near=1_000, m_far=1_000)
    (row,) = flows.events
    assert dict(row.relieving_ppm) == {"far": pytest.approx(333_333, abs=1), "near": pytest.approx(-333_333, abs=1)}


def test_who_feeds_in_behind_an_exporting_branch_relieves_it_by_taking_more() -> None:
    region = a_region(
        meters=[a_meter("m-grid", "e0"), a_meter("m-near", "e1"), a_meter("m-far", "e1")],
        nodes=[a_node("e0"), a_node("e1")],
        branches=[a_branch("b1", "e0", "e1")],
        generators=[a_generator("m-grid", Source.GRID, 400), a_generator("m-far", Source.PV)],
    )
    flows = Days(region).close(events=[CalledEvent(1, "b1", {"near": 0})], m_near=500, m_far=-3_000)
    assert flows.events[0].relieving_ppm == (("near", -1_000_000),)


def test_an_event_of_the_whole_region_has_no_branch_to_relieve() -> None:
    flows = Days(a_feeder()).close(events=[CalledEvent(1, "", {"far": 1_000})], m_far=500)
    assert [(row.event, row.loading_ppm, row.relieving_ppm) for row in flows.events] == [(1, 0, ())]


# -- Who uses a line


def test_shares_of_a_line_follow_heat_back_to_its_electricity() -> None:
    """A heat pump takes 100 of the 400 that the line brings: its house answers for a quarter of the line."""
    region = a_region(
        meters=[
            *(a_meter(f"m-{name}", "e1") for name in ("home", "hp-el")),
            *(a_meter(f"m-{name}", "h0") for name in ("hp-heat", "house")),
        ],
        nodes=[a_node("e0"), a_node("e1"), a_node("h0", HEAT)],
        branches=[a_branch("b", "e0", "e1")],
        converters=[
            {
                "id": "hp",
                "kind": "heat_pump",
                "inputs": ["m-hp-el"],
                "outputs": [{"meter": "m-hp-heat", "efficiency_ppm": 3_000_000}],
            }
        ],
    )
    solved = Days(region, carried=Carried()).solve(m_home=300, m_hp_el=100, m_hp_heat=-300, m_house=300)
    assert solved.line_shares(["home", "house"])[0] == pytest.approx([0.75, 0.25])
