"""Tracing against a published network, cases worked by hand, and two independent ways to reckon."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aggregator.chains.intervals.flows import SOURCES
from aggregator.grid.network import Network, network_of
from aggregator.grid.power_flow import PowerFlowSolver
from aggregator.grid.quantize import NUMBERS, OTHER, evenly, split
from aggregator.grid.tracing import Arcs, arcs_along, mixes, users
from config.grid_model import Source
from tests.energy_village import a_branch, a_node
from tests.vector_files import read_vectors
from tests.village import a_grid

BIALEK = read_vectors("tracing/bialek_4_bus.yaml")
EMISSION_MG = {"gas": 500}
"""Carbon of a watt-hour, in the cases of three nodes."""


def some_arcs(rows: list[list[Any]]) -> Arcs:
    """Arcs between nodes n1, n2, …: from, to, what enters, what arrives."""
    ends = np.array([[int(row[0][1:]) - 1, int(row[1][1:]) - 1] for row in rows])
    watts = np.array([row[2:] for row in rows], dtype=np.float64)
    return Arcs(ends[:, 0], ends[:, 1], watts[:, 0], watts[:, 1], watts[:, 1])


def some_known(rows: list[dict[str, float]]) -> NDArray[np.float64]:
    """What is fed in at each node, by source, with its carbon."""
    known = np.zeros((len(rows), NUMBERS + 1))
    for node, sources in enumerate(rows):
        for source, watts in sources.items():
            known[node, SOURCES.index(Source(source))] += watts
            known[node, NUMBERS] += watts * EMISSION_MG.get(source, 0)
    return known


def share(fraction: list[int]) -> float:
    return float(Fraction(*fraction))


# -- Published


def test_bialeks_network_balances_as_printed() -> None:
    for node in ("n1", "n2", "n3", "n4"):
        enters = BIALEK["generation"].get(node, 0) + sum(row[3] for row in BIALEK["branches"] if row[1] == node)
        leaves = BIALEK["load"].get(node, 0) + sum(row[2] for row in BIALEK["branches"] if row[0] == node)
        assert enters == leaves


def test_bialeks_loads_are_shared_as_worked_by_hand() -> None:
    known = some_known([{"gas": 400}, {"wind": 114}, {}, {}])
    gas = mixes(known, some_arcs(BIALEK["branches"]))[:, SOURCES.index(Source.GAS)]
    for node, case in BIALEK["share_of_generator_1"].items():
        assert gas[int(node[1]) - 1] == pytest.approx(share(case["fraction"]), abs=1e-12), case["working"]
    for node, case in BIALEK["load_from_generator_1"].items():
        assert gas[int(node[1]) - 1] * BIALEK["load"][node] == pytest.approx(share(case["fraction"])), case["working"]


def test_another_program_shares_bialeks_branches_nearly_alike() -> None:
    second = BIALEK["second_program"]
    arcs = some_arcs(BIALEK["branches"])
    gas = mixes(some_known([{"gas": 400}, {"wind": 114}, {}, {}]), arcs)[:, SOURCES.index(Source.GAS)]
    for branch, (first, other) in second["upstream"].items():
        assert gas[int(branch[1]) - 1] == pytest.approx(first / (first + other), abs=second["tolerance"])
    taken = np.zeros((4, 2))
    taken[2, 0], taken[3, 1] = 300, 200
    used = users(taken, arcs)
    for branch, (first, other) in second["downstream"].items():
        assert used[int(branch[4]) - 1, 0] == pytest.approx(first / (first + other), abs=second["tolerance"])


# -- Worked by hand


@pytest.mark.parametrize("case", read_vectors("tracing/three_nodes.yaml")["cases"], ids=lambda case: case["name"])
def test_three_nodes_are_mixed_as_worked_by_hand(case: dict[str, Any]) -> None:
    found = mixes(some_known([case["known"][node] for node in ("n1", "n2", "n3")]), some_arcs(case["arcs"]))
    for place, node in enumerate(("n1", "n2", "n3")):
        expected = {Source(source): share(fraction) for source, fraction in case["mix"][node].items()}
        got = {SOURCES[k]: value for k, value in enumerate(found[place, :NUMBERS].tolist()) if value > 1e-12}
        assert got == pytest.approx(expected), node
        assert found[place, NUMBERS] == pytest.approx(share(case["carbon_mg"][node])), node


def test_a_branch_may_be_drawn_against_its_flow() -> None:
    ends = (np.array([1]), np.array([0]))
    arcs = arcs_along(*ends, np.array([-45.0]), np.array([50.0]))
    assert (arcs.sender[0], arcs.receiver[0], arcs.sent_w[0], arcs.arriving_w[0]) == (0, 1, 50.0, 45.0)


def test_a_node_without_flow_has_no_mix() -> None:
    found = mixes(some_known([{"gas": 10}, {}, {}]), some_arcs([["n1", "n2", 10, 10]]))
    assert found[2].sum() == 0
    assert np.isfinite(found).all()


def test_a_line_answers_to_those_who_take_what_it_carries() -> None:
    """100 go to n2, which takes 25 of it and sends 75 on; n3 gets 60 after losses."""
    taken = np.zeros((3, 2))
    taken[1, 0], taken[2, 1] = 25, 60
    used = users(taken, some_arcs([["n1", "n2", 100, 100], ["n2", "n3", 75, 60]]))
    assert used == pytest.approx(np.array([[0.25, 0.75], [0.25, 0.75], [0, 1]]))


def test_power_that_goes_round_for_ever_is_nobodys_use() -> None:
    taken = np.zeros((3, 1))
    taken[2, 0] = 10
    used = users(taken, some_arcs([["n1", "n2", 30, 30], ["n2", "n1", 30, 30]]))
    assert used == pytest.approx(np.array([[0], [0], [1]]))


# -- Independent ways


def a_meshed_network(nodes: int, seed: int) -> Network:
    chance = np.random.default_rng(seed)
    pairs = [(int(chance.integers(0, i)), i) for i in range(1, nodes)] + [(1, 7), (3, 11), (5, 9)]
    line = {"resistance_uohm": 10_000, "reactance_uohm": 4_000}
    branches = [a_branch(f"b{k}", f"n{a}", f"n{b}", **line) for k, (a, b) in enumerate(pairs)]
    grid = a_grid(
        reference_node="n0",
        nodes=[a_node(f"n{i}") | {"voltage_mv": 400_000} for i in range(nodes)],
        branches=branches,
        meters=[],
        generators=[],
        devices=[],
        permits=[],
    )
    return network_of(grid)


def a_solved_case(seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], Arcs]:
    """What is fed in and taken in a meshed network with losses, and what its lines carry by power-grid-model."""
    nodes, chance = 12, np.random.default_rng(seed)
    network = a_meshed_network(nodes, seed)
    known = np.zeros((nodes, NUMBERS + 1))
    known[[2, 5, 8], [0, 1, 1]] = chance.uniform(5_000, 20_000, 3)
    known[:, NUMBERS] = known[:, 0] * 30
    taken = chance.uniform(0, 8_000, nodes)
    flow = PowerFlowSolver(network).solve(taken - known[:, :NUMBERS].sum(axis=1))
    outside = SOURCES.index(Source.GRID)
    known[0, outside] += max(0.0, flow.reference_w)
    known[0, NUMBERS] += max(0.0, flow.reference_w) * 400
    taken[0] += max(0.0, -flow.reference_w)
    return known, taken, arcs_along(network.branch_from, network.branch_to, flow.from_w, flow.to_w)


@pytest.mark.parametrize("seed", range(10))
def test_a_solved_network_is_traced_as_a_dense_solution_traces_it(seed: int) -> None:
    """The same linear system, written down as the paper does, and solved densely."""
    known, taken, arcs = a_solved_case(seed)
    system = np.diag(known[:, :NUMBERS].sum(axis=1))
    for sender, receiver, watts in zip(arcs.sender, arcs.receiver, arcs.arriving_w, strict=True):
        system[receiver, receiver] += watts
        system[receiver, sender] -= watts
    found = mixes(known, arcs)
    assert found == pytest.approx(np.linalg.solve(system, known), abs=1e-9)
    lost = (found[arcs.sender] * (arcs.sent_w - arcs.arriving_w)[:, None]).sum(axis=0)
    assert found.T @ taken + lost == pytest.approx(known.sum(axis=0), abs=100, rel=1e-6)  # feed-in = use + losses


@pytest.mark.parametrize("seed", range(10))
def test_a_solved_network_is_traced_as_commons_trace_it(seed: int) -> None:
    """Kirschen, Allan and Strbac 1997: commons are visited in the order in which power flows through them, and what
    flows into each is mixed. Here every node is a common of its own; no linear system is solved."""
    known, _, arcs = a_solved_case(seed)
    expected: dict[int, NDArray[np.float64]] = {}
    waiting = set(range(len(known)))
    while waiting:
        ready = [
            node
            for node in sorted(waiting)
            if not waiting & {int(s) for s, r in zip(arcs.sender, arcs.receiver, strict=True) if r == node}
        ]
        assert ready, "power does not flow in a circle by voltage"
        for node in ready:
            into = arcs.receiver == node
            amounts = known[node] + sum(
                watts * expected[int(sender)]
                for sender, watts in zip(arcs.sender[into], arcs.arriving_w[into], strict=True)
            )
            expected[node] = amounts / amounts[:NUMBERS].sum()
            waiting.remove(node)
    assert mixes(known, arcs) == pytest.approx(np.array([expected[node] for node in range(len(known))]), abs=1e-9)


def test_generation_is_load_plus_losses() -> None:
    flow = PowerFlowSolver(a_meshed_network(12, 1)).solve(np.full(12, 2_000.0))
    assert flow.reference_w == pytest.approx(24_000 + flow.losses_w, abs=0.01)
    assert 0 < flow.losses_w < 600


def test_a_network_of_one_node_takes_what_it_lacks_from_outside() -> None:
    network = network_of(a_grid(branches=[], nodes=[a_node("n0"), a_node("n1")]))
    flow = PowerFlowSolver(network).solve(np.array([700.0, 0.0]))
    assert (flow.reference_w, flow.losses_w) == (700.0, 0.0)
    assert network.reached.tolist() == [True, False]


# -- Rounding


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
    padded = parts + [0.0] * (NUMBERS - len(parts))
    assert dict(split(whole_wh, padded)) == {SOURCES[k]: wh for k, wh in enumerate(expected) if wh}


def test_a_split_by_nothing_is_of_unknown_origin() -> None:
    assert split(5, [0.0] * NUMBERS) == ((SOURCES[OTHER], 5),)


def test_fractions_come_out_even_over_many_intervals() -> None:
    assert abs(sum(evenly(0.1, number) for number in range(10_000)) - 1_000) <= 2
    assert [evenly(7.0, number) for number in range(50)] == [7] * 50


def test_sources_keep_their_numbers() -> None:
    assert list(SOURCES) == [
        *(Source.PV, Source.WIND, Source.HYDRO, Source.GAS, Source.GRID, Source.OTHER),
        *(Source.BIOMASS, Source.SOLAR_HEAT, Source.WASTE_HEAT),
    ]
