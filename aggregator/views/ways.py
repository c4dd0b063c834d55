"""On which way energy reaches a node: the branches and pipes that lead to where its network is fed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from config.carriers import Carrier
from config.grid_model import Grid


@dataclass(frozen=True, slots=True)
class Line:
    """A branch or a pipe."""

    id: str
    from_node: str
    to_node: str
    carrier: Carrier
    rating_w: int | None = None
    """Of a pipe; a branch is rated by its current."""


def lines_of(grid: Grid) -> tuple[Line, ...]:
    """Every branch, and behind them every pipe, in the order of the grid file."""
    carrier = {node.id: node.carrier for node in grid.nodes}
    branches = [Line(b.id, b.from_node, b.to_node, Carrier.ELECTRICITY) for b in grid.branches]
    pipes = [Line(p.id, p.from_node, p.to_node, carrier[p.from_node], p.rating_w) for p in grid.pipes]
    return (*branches, *pipes)


def feeding_nodes(grid: Grid) -> frozenset[str]:
    """Nodes at which something feeds in: the reference node, generators, converters and storages."""
    node = {meter.id: meter.node for meter in grid.meters}
    meters = [generator.meter for generator in grid.generators]
    meters += [output.meter for converter in grid.converters for output in converter.outputs]
    meters += [storage.discharge_meter for storage in grid.storages]
    return frozenset({grid.reference_node, *(node[meter] for meter in meters)})


def way_to(grid: Grid, nodes: Iterable[str]) -> tuple[str, ...]:
    """The lines between some nodes and where their networks are fed, nearest to the source first.

    Electricity is followed to the reference node, whatever feeds in on the way; heat, gas and hydrogen to the nearest
    node that something feeds in at. Among ways of one length the one that stands first in the grid file is taken.
    """
    carrier = {node.id: node.carrier for node in grid.nodes}
    others = {node for node in feeding_nodes(grid) if carrier[node] is not Carrier.ELECTRICITY}
    before = _tree(grid, [grid.reference_node, *sorted(others)])
    found: dict[str, int] = {}
    for node in nodes:
        way, at = list[str](), node
        while (step := before.get(at)) is not None:
            name, at = step
            way.append(name)
        for distance, name in enumerate(reversed(way)):
            found[name] = max(found.get(name, 0), distance)
    return tuple(sorted(found, key=lambda name: found[name]))


def _tree(grid: Grid, roots: Iterable[str]) -> dict[str, tuple[str, str] | None]:
    """By node, the line and the node that come before it on the shortest way from any of the roots."""
    neighbours: dict[str, list[tuple[str, str]]] = {node.id: [] for node in grid.nodes}
    for one in lines_of(grid):
        neighbours[one.from_node].append((one.id, one.to_node))
        neighbours[one.to_node].append((one.id, one.from_node))
    before: dict[str, tuple[str, str] | None] = dict.fromkeys(roots)
    front = deque(before)
    while front:
        node = front.popleft()
        for line, neighbour in neighbours[node]:
            if neighbour not in before:
                before[neighbour] = (line, node)
                front.append(neighbour)
    return before
