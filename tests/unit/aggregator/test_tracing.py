"""Power flow and tracing against cases worked by hand and an independent dense solution."""

from __future__ import annotations

import numpy as np
import pytest

from aggregator.chains.flows import SOURCES
from aggregator.grid.quantize import split
from aggregator.grid.network import Network, network_of
from aggregator.grid.power_flow import PowerFlow, PowerFlowSolver
from aggregator.grid.tracing import mixes
from config.grid_model import Source
from tests.village import a_grid

GAS, WIND = 0, 1


def a_network(nodes: int, branches: list[tuple[int, int]]) -> Network:
    names = [f"n{i}" for i in range(nodes)]
    grid = a_grid(
        reference_node="n0",
        nodes=[{"id": name, "voltage_mv": 400_000} for name in names],
        branches=[
            {
                "id": f"b{k}",
                "from_node": names[a],
                "to_node": names[b],
                "resistance_uohm": 10_000,
                "reactance_uohm": 4_000,
                "rating_ma": 200_000,
            }
            for k, (a, b) in enumerate(branches)
        ],
        meters=[],
        generators=[],
        devices=[],
        permits=[],
    )
    return network_of(grid)


def a_lossless_flow(flows_w: list[float]) -> PowerFlow:
    flows = np.array(flows_w, dtype=float)
    return PowerFlow(from_w=flows, to_w=-flows, loading=np.zeros(len(flows_w)), reference_w=0.0)


def test_a_node_has_the_mix_of_what_flows_into_it() -> None:
    """Three nodes worked by hand: 60 gas at n0 and 40 wind at n1 meet at n2, which is 60 % gas."""
    network = a_network(3, [(0, 2), (1, 2)])
    fed_in = np.array([[60.0, 0.0], [0.0, 40.0], [0.0, 0.0]])
    found = mixes(network, a_lossless_flow([60.0, 40.0]), fed_in)
    assert found == pytest.approx(np.array([[1, 0], [0, 1], [0.6, 0.4]]))


def test_what_passes_through_a_node_mixes_with_what_it_feeds_in() -> None:
    """n0 sends 100 gas; n1 uses 40 of it and adds 40 wind; n2 gets 100 of a mix of 100 to 40."""
    network = a_network(3, [(0, 1), (1, 2)])
    fed_in = np.array([[100.0, 0.0], [0.0, 40.0], [0.0, 0.0]])
    found = mixes(network, a_lossless_flow([100.0, 100.0]), fed_in)
    assert found[1] == pytest.approx([100 / 140, 40 / 140])
    assert found[2] == pytest.approx(found[1])


def test_a_branch_may_be_drawn_against_its_flow() -> None:
    network = a_network(2, [(1, 0)])
    found = mixes(network, a_lossless_flow([-50.0]), np.array([[50.0, 0.0], [0.0, 0.0]]))
    assert found[1] == pytest.approx([1.0, 0.0])


def test_losses_have_the_mix_of_where_they_were_sent_from() -> None:
    network = a_network(2, [(0, 1)])
    flow = PowerFlow(from_w=np.array([100.0]), to_w=np.array([-95.0]), loading=np.zeros(1), reference_w=0.0)
    found = mixes(network, flow, np.array([[80.0, 20.0], [0.0, 0.0]]))
    assert found == pytest.approx(np.array([[0.8, 0.2], [0.8, 0.2]]))


def test_a_node_without_flow_has_no_mix() -> None:
    network = a_network(3, [(0, 1), (1, 2)])
    found = mixes(network, a_lossless_flow([10.0, 0.0]), np.array([[10.0, 0.0], [0, 0], [0, 0]]))
    assert found[2].sum() == 0


@pytest.mark.parametrize("seed", range(10))
def test_a_solved_network_is_traced_as_a_dense_solution_traces_it(seed: int) -> None:
    """Meshed networks with losses: the same linear system, built another way and solved densely."""
    chance = np.random.default_rng(seed)
    nodes = 12
    branches = [(int(chance.integers(0, i)), i) for i in range(1, nodes)]
    branches += [(1, 7), (3, 11), (5, 9)]
    network = a_network(nodes, branches)
    fed_in = np.zeros((nodes, 3))
    fed_in[[2, 5, 8], [0, 1, 1]] = chance.uniform(5_000, 20_000, 3)
    taken = chance.uniform(0, 8_000, nodes)
    flow = PowerFlowSolver(network).solve(taken - fed_in.sum(axis=1))
    fed_in[0, 2] += max(0.0, flow.reference_w)
    sent_out = max(0.0, -flow.reference_w)

    system = np.zeros((nodes, nodes))
    through = fed_in.sum(axis=1)
    for (a, b), from_w, to_w in zip(branches, flow.from_w, flow.to_w, strict=True):
        sender, receiver, arrives = (a, b, -to_w) if from_w > 0 else (b, a, -from_w)
        arrives = max(0.0, arrives)
        through[receiver] += arrives
        system[receiver, sender] -= arrives
    system += np.diag(through)
    expected = np.linalg.solve(system, fed_in)

    found = mixes(network, flow, fed_in)
    assert found == pytest.approx(expected, abs=1e-9)
    assert found.sum(axis=1) == pytest.approx(np.ones(nodes))
    used = found.T @ taken + found[0] * sent_out
    lost = sum(
        (from_w + to_w) * found[a if from_w > 0 else b]
        for (a, b), from_w, to_w in zip(branches, flow.from_w, flow.to_w, strict=True)
    )
    assert used + lost == pytest.approx(fed_in.sum(axis=0), abs=0.5)  # each source: feed-in = use + losses


def test_generation_is_load_plus_losses() -> None:
    network = a_network(3, [(0, 1), (1, 2)])
    flow = PowerFlowSolver(network).solve(np.array([0.0, 10_000.0, 20_000.0]))
    assert flow.reference_w == pytest.approx(30_000 + flow.losses_w, abs=0.01)
    assert 0 < flow.losses_w < 600


def test_an_island_is_told_and_shares_the_regions_average() -> None:
    network = a_network(3, [(0, 1)])
    assert network.reached.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("whole_wh", "parts", "expected"),
    [
        (10, [0.5, 0.5], [5, 5]),
        (1, [0.5, 0.5], [1, 0]),  # a tie goes to the source that stands first
        (2, [1 / 3, 1 / 3, 1 / 3], [1, 1, 0]),
        (100, [0.3333, 0.6667], [33, 67]),
        (7, [0.0, 1.0], [0, 7]),
        (0, [1.0, 2.0], [0, 0]),
    ],
)
def test_a_split_is_exact_by_largest_remainder(whole_wh: int, parts: list[float], expected: list[int]) -> None:
    padded = parts + [0.0] * (len(SOURCES) - len(parts))
    assert dict(split(whole_wh, padded)) == {SOURCES[k]: wh for k, wh in enumerate(expected) if wh}


def test_sources_keep_their_numbers() -> None:
    assert list(SOURCES) == [
        Source.PV,
        Source.WIND,
        Source.HYDRO,
        Source.GAS,
        Source.GRID,
        Source.OTHER,
        Source.BIOMASS,
        Source.SOLAR_HEAT,
        Source.WASTE_HEAT,
    ]
