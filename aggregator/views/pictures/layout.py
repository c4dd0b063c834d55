"""Where the nodes of a network stand in its picture: drawn from the network itself, the same every time.

A radial network is laid out as a tree, the reference node on the left; a meshed one by forces (Fruchterman and
Reingold, 1991) that begin from the tree's places. Networks of several carriers stand below each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.views.ways import Line, feeding_nodes, lines_of
from config.carriers import Carrier
from config.grid_model import Grid

Place = tuple[float, float]
STEPS: Final = 200
SPRING_NODES_MAX: Final = 400
"""A larger mesh keeps the tree's places: forces take the square of it."""
ROW_NODES_MAX: Final = 9
"""A longer way without any fork is folded."""
BANDS: Final = (Carrier.ELECTRICITY, Carrier.HEAT, Carrier.HYDROGEN, Carrier.GAS)
"""From above; who is turned into whom stands near each other."""


def places_of(grid: Grid) -> dict[str, Place]:
    """Where every node stands; one step to the right is one line further from where the network is fed."""
    found: dict[str, Place] = {}
    base, converted = 0.0, _converted(grid)
    for carrier in BANDS:
        nodes = [node.id for node in grid.nodes if node.carrier is carrier]
        lines = [line for line in lines_of(grid) if line.carrier is carrier]
        if not nodes:
            continue
        band = _band(nodes, lines, _roots(grid, nodes))
        if found and _reach(band, found, converted) > _reach(_mirrored(band), found, converted):
            band = _mirrored(band)
        top = max(y for _, y in band.values())
        lowest = min(y for _, y in band.values())
        shift = base - top
        found |= {node: (x, y + shift) for node, (x, y) in band.items()}
        base = lowest + shift - 1.4
    return found


def _band(nodes: Sequence[str], lines: Sequence[Line], roots: Sequence[str]) -> dict[str, Place]:
    """One carrier's network."""
    tree = _tree_places(nodes, lines, roots)
    is_meshed = len(lines) > len(nodes) - _islands(nodes, lines)
    if is_meshed and len(nodes) <= SPRING_NODES_MAX:
        return _sprung(tree, lines)
    is_one_way = len({y for _, y in tree.values()}) == 1
    return _folded(tree) if is_one_way and len(nodes) > ROW_NODES_MAX else tree


def _folded(way: Mapping[str, Place]) -> dict[str, Place]:
    """A long way without any fork, in rows that are read to and fro."""
    rows = -(-len(way) // ROW_NODES_MAX)
    per_row = -(-len(way) // rows)
    found = {}
    for node, (x, _) in way.items():
        row, column = divmod(round(x), per_row)
        found[node] = (float(column if row % 2 == 0 else per_row - 1 - column), -1.5 * row)
    return found


def _tree_places(nodes: Sequence[str], lines: Sequence[Line], roots: Sequence[str]) -> dict[str, Place]:
    """Depth to the right; below each other who has no line to each other."""
    neighbours: dict[str, list[str]] = {node: [] for node in nodes}
    for line in lines:
        neighbours[line.from_node].append(line.to_node)
        neighbours[line.to_node].append(line.from_node)
    children: dict[str, list[str]] = {node: [] for node in nodes}
    depth: dict[str, int] = {}
    tops = []
    for root in [*roots, *nodes]:
        if root in depth:
            continue
        tops.append(root)
        depth[root] = 0
        front = [root]
        for node in front:
            for neighbour in neighbours[node]:
                if neighbour not in depth:
                    depth[neighbour] = depth[node] + 1
                    children[node].append(neighbour)
                    front.append(neighbour)
    rows: dict[str, float] = {}
    leaves = 0
    stack = [(top, False) for top in reversed(tops)]
    while stack:
        node, is_done = stack.pop()
        if not children[node]:
            rows[node] = -float(leaves)
            leaves += 1
        elif is_done:
            rows[node] = rows[children[node][0]]
        else:
            stack.append((node, True))
            stack += [(child, False) for child in reversed(children[node])]
    return {node: (float(depth[node]), rows[node]) for node in nodes}


def _sprung(begin: Mapping[str, Place], lines: Sequence[Line]) -> dict[str, Place]:
    """Lines pull, nodes push, and every step is shorter than the one before."""
    names = list(begin)
    number = {name: place for place, name in enumerate(names)}
    at = np.array([begin[name] for name in names])
    at += 0.05 * np.column_stack([np.sin(np.arange(len(names)) * 2.4), np.cos(np.arange(len(names)) * 2.4)])
    joined = np.zeros((len(names), len(names)))
    for line in lines:
        a, b = number[line.from_node], number[line.to_node]
        joined[a, b] = joined[b, a] = 1.0
    reach = 0.3 * max(1.0, float(np.ptp(at)))
    for step in range(STEPS):
        apart = at[:, None, :] - at[None, :, :]
        distance = np.maximum(np.sqrt((apart**2).sum(axis=2)), 0.01)
        force = 1.0 / distance**2 - joined * distance
        move = (apart * force[:, :, None]).sum(axis=1)
        length = np.maximum(np.sqrt((move**2).sum(axis=1)), 1e-9)
        at = at + move / length[:, None] * np.minimum(length, reach * (1 - step / STEPS))[:, None]
    return _turned(names, at)


def _turned(names: Sequence[str], at: NDArray[np.float64]) -> dict[str, Place]:
    """The longest way lies flat, and the first node stands on the left."""
    centred = at - at.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    turned = centred @ vectors[:, ::-1]
    for axis, wanted in ((0, -1.0), (1, 1.0)):
        if turned[0, axis] * wanted < 0:
            turned[:, axis] *= -1
    turned -= turned.min(axis=0)
    return {name: (float(x), float(y)) for name, (x, y) in zip(names, turned.tolist(), strict=True)}


def _islands(nodes: Sequence[str], lines: Sequence[Line]) -> int:
    """How many parts of a network hang together."""
    leader = {node: node for node in nodes}

    def find(node: str) -> str:
        while leader[node] != node:
            node = leader[node]
        return node

    for line in lines:
        leader[find(line.from_node)] = find(line.to_node)
    return len({find(node) for node in nodes})


def _roots(grid: Grid, nodes: Sequence[str]) -> list[str]:
    if grid.reference_node in nodes:
        return [grid.reference_node]
    feeding = feeding_nodes(grid)
    return [node for node in nodes if node in feeding]


def _converted(grid: Grid) -> list[tuple[str, str]]:
    """Pairs of nodes that a converter joins."""
    node = {meter.id: meter.node for meter in grid.meters}
    return [
        (node[taken], node[output.meter])
        for converter in grid.converters
        for taken in converter.inputs
        for output in converter.outputs
    ]


def _mirrored(band: Mapping[str, Place]) -> dict[str, Place]:
    right = max(x for x, _ in band.values())
    return {node: (right - x, y) for node, (x, y) in band.items()}


def _reach(band: Mapping[str, Place], found: Mapping[str, Place], pairs: Sequence[tuple[str, str]]) -> float:
    """How far converters reach from a network to those that stand already."""
    both = {**found, **band}
    return sum(abs(both[a][0] - both[b][0]) for a, b in pairs if a in both and b in both and (a in band) != (b in band))
