"""The sweeps find what a textbook finds, and what power-grid-model finds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from power_grid_model import (
    ComponentType,
    DatasetType,
    LoadGenType,
    PowerGridModel,
    initialize_array,
)

from config.grid_model import Branch, Node
from config.settings.fleet import FleetSettings
from firmware_sim.device import Flow
from firmware_sim.feeders import REFERENCE_NODE
from firmware_sim.fleet import Fleet
from firmware_sim.meter import Shown
from firmware_sim.network import RadialNetwork
from firmware_sim.scenario import Scenario, compose


def a_branch(from_node: str, to_node: str, *, resistance_uohm: int = 100_000, reactance_uohm: int = 0) -> Branch:
    return Branch(
        id=f"{from_node}-{to_node}",
        from_node=from_node,
        to_node=to_node,
        resistance_uohm=resistance_uohm,
        reactance_uohm=reactance_uohm,
        rating_ma=200_000,
    )


def nodes(*names: str) -> list[Node]:
    return [Node(id=name, voltage_mv=400_000) for name in names]


def test_one_line_with_one_load_as_in_the_textbook() -> None:
    network = RadialNetwork(nodes("a", "b"), [a_branch("a", "b")], "a")
    solution = network.solve({"b": Flow(30_000_000, 0)})
    # 10 kW per phase over 0.1 Ω from 400/√3 V: u² − 400/√3 u + 1000 = 0
    source_v = 400 / math.sqrt(3)
    load_v = (source_v + math.sqrt(source_v**2 - 4 * 1_000)) / 2
    assert solution.voltages_mv["a"] == round(1_000 * source_v)
    assert solution.voltages_mv["b"] == pytest.approx(1_000 * load_v, abs=2)
    assert solution.losses.active_mw == pytest.approx(1_000 * 3 * 0.1 * (10_000 / load_v) ** 2, rel=1e-5)


def test_whoever_feeds_in_lifts_the_voltage_and_loses_power_too() -> None:
    network = RadialNetwork(nodes("a", "b"), [a_branch("a", "b")], "a")
    solution = network.solve({"b": Flow(-30_000_000, 0)})
    assert solution.voltages_mv["b"] > solution.voltages_mv["a"]
    assert solution.losses.active_mw > 0


def test_an_idle_network_loses_nothing() -> None:
    network = RadialNetwork(nodes("a", "b", "c"), [a_branch("b", "a"), a_branch("b", "c")], "a")
    assert network.solve({}).losses == Flow(0, 0)


@pytest.mark.parametrize(
    "branches",
    [
        [a_branch("a", "b")],
        [a_branch("a", "b"), a_branch("b", "c"), a_branch("c", "a")],
        [a_branch("a", "b"), a_branch("a", "b")],
    ],
    ids=["cut off", "ring", "double"],
)
def test_what_is_no_tree_is_refused(branches: list[Branch]) -> None:
    with pytest.raises(ValueError, match="no tree"):
        RadialNetwork(nodes("a", "b", "c"), branches, "a")


def second_opinion(scenario: Scenario, flows: dict[str, Flow]) -> tuple[dict[str, float], float]:
    """Voltages from line to neutral in millivolts, and losses in milliwatts, by power-grid-model."""
    numbers = {node.id: number for number, node in enumerate(scenario.nodes)}
    node = initialize_array(DatasetType.input, ComponentType.node, len(numbers))
    node["id"], node["u_rated"] = list(numbers.values()), 400.0
    line = initialize_array(DatasetType.input, ComponentType.line, len(scenario.branches))
    line["id"] = np.arange(len(line)) + 10_000
    line["from_node"] = [numbers[branch.from_node] for branch in scenario.branches]
    line["to_node"] = [numbers[branch.to_node] for branch in scenario.branches]
    line["from_status"] = line["to_status"] = 1
    line["r1"] = [branch.resistance_uohm * 1e-6 for branch in scenario.branches]
    line["x1"] = [branch.reactance_uohm * 1e-6 for branch in scenario.branches]
    line["c1"] = line["tan1"] = 0.0
    line["i_n"] = 1_000.0
    load = initialize_array(DatasetType.input, ComponentType.sym_load, len(flows))
    load["id"] = np.arange(len(load)) + 20_000
    load["node"] = [numbers[name] for name in flows]
    load["status"], load["type"] = 1, LoadGenType.const_power
    load["p_specified"] = [flow.active_mw / 1_000 for flow in flows.values()]
    load["q_specified"] = [flow.reactive_mvar / 1_000 for flow in flows.values()]
    source = initialize_array(DatasetType.input, ComponentType.source, 1)
    source["id"], source["node"], source["status"] = 30_000, numbers[REFERENCE_NODE], 1
    source["u_ref"], source["sk"] = 1.0, 1e15
    grid = {
        ComponentType.node: node,
        ComponentType.line: line,
        ComponentType.sym_load: load,
        ComponentType.source: source,
    }
    result = PowerGridModel(grid).calculate_power_flow(error_tolerance=1e-12)
    found = result[ComponentType.node]["u"] / math.sqrt(3) * 1_000
    lines = result[ComponentType.line]
    return dict(zip(numbers, found, strict=True)), float((lines["p_from"] + lines["p_to"]).sum() * 1_000)


@pytest.mark.parametrize("meters", [12, 200])
def test_voltages_and_losses_are_those_of_power_grid_model(meters: int) -> None:
    scenario = compose(FleetSettings(meters=meters))
    truth = Fleet(scenario).truth()
    flows = {
        c.node: Flow(
            truth.meters[c.site.meter][Shown.ACTIVE_POWER_MW], truth.meters[c.site.meter][Shown.REACTIVE_POWER_MVAR]
        )
        for c in scenario.connections[1:]
    }
    voltages_mv, losses_mw = second_opinion(scenario, flows)
    for connection in scenario.connections:
        shown_mv = truth.meters[connection.site.meter][Shown.VOLTAGE_L1_MV]
        assert shown_mv == pytest.approx(voltages_mv[connection.node], abs=2)
    assert truth.losses_mw == pytest.approx(losses_mw, rel=1e-4)
