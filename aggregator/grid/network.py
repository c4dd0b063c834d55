"""The electricity network of a region as numbered nodes and branches, ready for solvers.

Shapes: n nodes, b branches. Node numbers are positions in the grid file; so are branch numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.grid_model import Grid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Network:
    """A network of one or more islands around one reference node."""

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
    reached: NDArray[np.bool_]
    """(n) whether a path of branches leads to the reference node."""

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self.node_number)

    @property
    def branches(self) -> int:
        """How many branches there are."""
        return len(self.branch_names)


def network_of(grid: Grid) -> Network:
    """Number the nodes and branches of a grid file."""
    number = {node.id: i for i, node in enumerate(grid.nodes)}
    branch_from = np.array([number[branch.from_node] for branch in grid.branches], dtype=np.int64)
    branch_to = np.array([number[branch.to_node] for branch in grid.branches], dtype=np.int64)
    reference = number[grid.reference_node]
    return Network(
        node_number=number,
        node_rated_v=np.array([node.voltage_mv or 0 for node in grid.nodes]) / 1e3,
        branch_names=tuple(branch.id for branch in grid.branches),
        branch_from=branch_from,
        branch_to=branch_to,
        resistance_ohm=np.array([branch.resistance_uohm for branch in grid.branches]) / 1e6,
        reactance_ohm=np.array([branch.reactance_uohm for branch in grid.branches]) / 1e6,
        rating_a=np.array([branch.rating_ma for branch in grid.branches]) / 1e3,
        reference=reference,
        reached=_reached(len(number), branch_from, branch_to, reference),
    )


def _reached(nodes: int, branch_from: Ints, branch_to: Ints, reference: int) -> NDArray[np.bool_]:
    """Which nodes a path of branches joins to the reference node."""
    neighbours: list[list[int]] = [[] for _ in range(nodes)]
    for a, b in zip(branch_from.tolist(), branch_to.tolist(), strict=True):
        neighbours[a].append(b)
        neighbours[b].append(a)
    reached = np.zeros(nodes, dtype=np.bool_)
    reached[reference] = True
    front = [reference]
    while front:
        for neighbour in neighbours[front.pop()]:
            if not reached[neighbour]:
                reached[neighbour] = True
                front.append(neighbour)
    return reached
