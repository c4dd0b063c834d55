"""The networks of a region as numbered nodes, branches and pipes, ready for solvers.

Shapes: n nodes, b branches, p pipes. The nodes of the electricity network are numbered first, then those of heat, gas
and hydrogen, each in the order of the grid file; lines are numbered likewise, branches before pipes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aggregator.chains.intervals.flows import CARRIERS
from config.carriers import Carrier
from config.grid_model import Grid
from protocol.units import PPM

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Network:
    """The electricity network: one or more islands around one reference node."""

    node_number: dict[str, int]
    node_rated_v: Floats
    """(n) line-to-line."""
    branch_names: tuple[str, ...]
    branch_from: Ints
    """(b) node numbers."""
    branch_to: Ints
    resistance_ohm: Floats
    """(b) per phase."""
    reactance_ohm: Floats
    rating_a: Floats
    reference: int
    """Number of the node where the region meets the network outside."""
    reached: Bools
    """(n) whether a path of branches leads to the reference node."""

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.node_number)

    @property
    def branches(self) -> int:
        """How many branches there are."""
        return len(self.branch_names)


@dataclass(frozen=True, slots=True)
class PipeNetwork:
    """All networks of heat, gas and hydrogen. Nodes are numbered from 0 here."""

    node_number: dict[str, int]
    node_carrier: Ints
    """(n) number of its carrier."""
    island: Ints
    """(n) number of the connected piece of network that it belongs to."""
    pipe_from: Ints
    """(p) node numbers."""
    pipe_to: Ints
    rating_w: Floats
    loss: Floats
    """(p) share of what enters that does not arrive."""

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.node_number)

    @property
    def islands(self) -> int:
        """How many connected pieces there are."""
        return int(self.island.max()) + 1 if len(self.island) else 0


@dataclass(frozen=True, slots=True)
class Networks:
    """All networks of a region together."""

    electricity: Network
    pipes: PipeNetwork
    node_names: tuple[str, ...]
    node_number: dict[str, int]
    node_carrier: Ints
    """(n) number of its carrier."""
    line_names: tuple[str, ...]
    """Branches, then pipes."""
    line_from: Ints
    """(b + p) node numbers."""
    line_to: Ints

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.node_names)


def networks_of(grid: Grid) -> Networks:
    """Number everything in a grid file."""
    electricity, pipes = network_of(grid), pipe_network_of(grid)
    first = electricity.nodes
    number = electricity.node_number | {name: first + node for name, node in pipes.node_number.items()}
    electric = np.full(first, CARRIERS.index(Carrier.ELECTRICITY), dtype=np.int64)
    return Networks(
        electricity=electricity,
        pipes=pipes,
        node_names=tuple(number),
        node_number=number,
        node_carrier=np.concatenate([electric, pipes.node_carrier]),
        line_names=(*electricity.branch_names, *(pipe.id for pipe in grid.pipes)),
        line_from=np.concatenate([electricity.branch_from, first + pipes.pipe_from]),
        line_to=np.concatenate([electricity.branch_to, first + pipes.pipe_to]),
    )


def network_of(grid: Grid) -> Network:
    """Number the nodes and branches of the electricity network."""
    nodes = [node for node in grid.nodes if node.carrier is Carrier.ELECTRICITY]
    number = {node.id: i for i, node in enumerate(nodes)}
    branch_from = _numbers(number[branch.from_node] for branch in grid.branches)
    branch_to = _numbers(number[branch.to_node] for branch in grid.branches)
    reference = number[grid.reference_node]
    island = _islands(len(number), branch_from, branch_to)
    return Network(
        node_number=number,
        node_rated_v=np.array([node.voltage_mv or 0 for node in nodes]) / 1e3,
        branch_names=tuple(branch.id for branch in grid.branches),
        branch_from=branch_from,
        branch_to=branch_to,
        resistance_ohm=np.array([branch.resistance_uohm for branch in grid.branches]) / 1e6,
        reactance_ohm=np.array([branch.reactance_uohm for branch in grid.branches]) / 1e6,
        rating_a=np.array([branch.rating_ma for branch in grid.branches]) / 1e3,
        reference=reference,
        reached=island == island[reference],
    )


def pipe_network_of(grid: Grid) -> PipeNetwork:
    """Number the nodes and pipes of all other networks."""
    nodes = [node for node in grid.nodes if node.carrier is not Carrier.ELECTRICITY]
    number = {node.id: i for i, node in enumerate(nodes)}
    pipe_from = _numbers(number[pipe.from_node] for pipe in grid.pipes)
    pipe_to = _numbers(number[pipe.to_node] for pipe in grid.pipes)
    return PipeNetwork(
        node_number=number,
        node_carrier=_numbers(CARRIERS.index(node.carrier) for node in nodes),
        island=_islands(len(number), pipe_from, pipe_to),
        pipe_from=pipe_from,
        pipe_to=pipe_to,
        rating_w=np.array([pipe.rating_w for pipe in grid.pipes], dtype=np.float64),
        loss=np.array([pipe.loss_ppm for pipe in grid.pipes], dtype=np.float64) / PPM,
    )


def summed(places: Ints, amounts: Floats, count: int) -> Floats:
    """(count) the sum of the amounts at each place."""
    sums: Floats = np.bincount(places, amounts, count).astype(np.float64, copy=False)
    return sums


def is_bridge(network: PipeNetwork, pipes: Ints) -> Bools:
    """(pipes) whether there is no other way between the ends of each of these pipes: its flow follows from balance."""
    bridges = []
    for pipe in pipes.tolist():
        rest = np.arange(len(network.pipe_from)) != pipe
        islands = _islands(network.nodes, network.pipe_from[rest], network.pipe_to[rest])
        bridges.append(bool(islands[network.pipe_from[pipe]] != islands[network.pipe_to[pipe]]))
    return np.array(bridges, dtype=np.bool_)


def _numbers(values: Iterable[int]) -> Ints:
    return np.array(list(values), dtype=np.int64)


def _islands(nodes: int, line_from: Ints, line_to: Ints) -> Ints:
    """(n) which nodes a path of lines joins: those with the same number."""
    joined = coo_array((np.ones(len(line_from)), (line_from, line_to)), shape=(nodes, nodes))
    island: Ints = connected_components(joined, directed=False)[1].astype(np.int64)
    return island
