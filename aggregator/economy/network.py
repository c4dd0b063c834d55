"""The network of trade, in integers: what lines may carry of it in an interval, and how power divides in loops.

Lines of electricity are lossless, and power divides as a direct current would: around every loop, impedance times flow
adds up to nothing. Pipes are opened as is wanted: their flows are free. Loops are those that a spanning forest leaves,
built in the order of the nodes and lines, so that every node of the region numbers the same ones. Auctions are cleared
within it, and contracts are judged by it (`aggregator.economy.contracts.sensitivity`): there is no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from config.grid_model import Grid
from protocol.energy_register import MS_PER_HOUR
from protocol.units import PPM

MWH_PER_WH: Final = 1000
"""Flows are told in thousandths of a watt-hour: what loops divide comes to no whole ones."""


@dataclass(frozen=True, slots=True)
class Line:
    """A branch or pipe."""

    name: str
    from_node: int
    to_node: int
    impedance_uohm: int
    """0 for a pipe."""
    rating_w: int
    """What trade may use of it."""

    def room_mwh(self, interval_ms: int, taken_w: int = 0) -> int:
        """What it carries in an interval, either way, beside what is taken already; in thousandths of a watt-hour."""
        return max(0, self.rating_w - taken_w) * interval_ms * MWH_PER_WH // MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Loop:
    """Lines that lead around, each with +1 where the way around runs from its from_node to its to_node, else −1."""

    lines: tuple[int, ...]
    signs: tuple[int, ...]


@dataclass(frozen=True)
class TradedNetwork:
    """Numbered nodes and lines of all carriers."""

    nodes: tuple[str, ...]
    lines: tuple[Line, ...]

    @cached_property
    def node_number(self) -> dict[str, int]:
        """By name."""
        return {name: number for number, name in enumerate(self.nodes)}

    @cached_property
    def forest(self) -> Forest:
        """A way from every node to the first one of its island."""
        return _forest_of(len(self.nodes), self.lines)

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """One for each power line that the forest leaves out, in their order."""
        return tuple(_loop(self, number) for number in self.forest.left_out if self.lines[number].impedance_uohm)

    def flows_mwh(self, injected_mwh: Sequence[int], left_out_mwh: Sequence[int]) -> list[int]:
        """The flow of every line, so that what flows out of each node is exactly what is fed in there.

        Args:
            injected_mwh: fed in less taken, by node; adds up to 0 on every island.
            left_out_mwh: flows of the lines that the forest leaves out, in their order.
        """
        flows, rest = [0] * len(self.lines), list(injected_mwh)
        for left_out, flow in zip(self.forest.left_out, left_out_mwh, strict=True):
            line, flows[left_out] = self.lines[left_out], flow
            rest[line.from_node] -= flow
            rest[line.to_node] += flow
        for node in reversed(self.forest.order):
            number = self.forest.line_up[node]
            if number is None:
                assert not rest[node], f"{rest[node]} mWh are left over on the island of {self.nodes[node]}"
                continue
            line = self.lines[number]
            is_up = line.from_node == node
            flows[number] = rest[node] if is_up else -rest[node]
            rest[line.to_node if is_up else line.from_node] += rest[node]
        return flows


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees over all nodes; the first node of each island is its root."""

    order: tuple[int, ...]
    """Nodes, none before the one above it."""
    line_up: tuple[int | None, ...]
    """By node: the line to the node above it; none at a root."""
    island: tuple[int, ...]
    """By node: number of its island, in the order of their first nodes."""
    left_out: tuple[int, ...]
    """Lines that are in no tree."""


def traded_network(grid: Grid, lines_ppm: int = PPM) -> TradedNetwork:
    """The network of a grid file: nodes and lines in its order, branches before pipes.

    Args:
        grid: the region's.
        lines_ppm: share of what lines and pipes carry for good that trade may use.
    """
    numbers, ratings_w = {node.id: number for number, node in enumerate(grid.nodes)}, grid.ratings_w()
    rows = [(one.id, one.from_node, one.to_node, one.impedance_uohm, ratings_w[one.id]) for one in grid.branches]
    rows += [(one.id, one.from_node, one.to_node, 0, one.rating_w) for one in grid.pipes]
    lines = tuple(
        Line(name, numbers[begin], numbers[end], impedance, rating_w * lines_ppm // PPM)
        for name, begin, end, impedance, rating_w in rows
    )
    return TradedNetwork(tuple(numbers), lines)


def _forest_of(nodes: int, lines: Sequence[Line]) -> Forest:
    at: list[list[tuple[int, int]]] = [[] for _ in range(nodes)]
    for number, line in enumerate(lines):
        at[line.from_node].append((line.to_node, number))
        at[line.to_node].append((line.from_node, number))
    order, line_up, island, islands = list[int](), [None] * nodes, [-1] * nodes, 0
    in_tree = [False] * len(lines)
    up: list[int | None] = list(line_up)
    for root in range(nodes):
        if island[root] >= 0:
            continue
        island[root], waiting = islands, deque([root])
        while waiting:
            node = waiting.popleft()
            order.append(node)
            for neighbour, number in at[node]:
                if island[neighbour] < 0:
                    island[neighbour], up[neighbour], in_tree[number] = islands, number, True
                    waiting.append(neighbour)
        islands += 1
    left_out = tuple(number for number, is_in in enumerate(in_tree) if not is_in)
    return Forest(tuple(order), tuple(up), tuple(island), left_out)


def _loop(network: TradedNetwork, number: int) -> Loop:
    """The line itself, then back from its end to its beginning through the tree."""
    line, lines, signs = network.lines[number], [number], [1]
    begin, end = _way_up(network, line.from_node), _way_up(network, line.to_node)
    while begin and end and begin[-1] == end[-1]:
        begin.pop()
        end.pop()
    for way, is_back in ((end, True), (reversed(begin), False)):
        for step, is_up in way:
            lines.append(step)
            signs.append(1 if is_up is is_back else -1)
    return Loop(tuple(lines), tuple(signs))


def _way_up(network: TradedNetwork, node: int) -> list[tuple[int, bool]]:
    """Lines from a node to its root, and whether each runs upwards from its from_node."""
    way, number = list[tuple[int, bool]](), network.forest.line_up[node]
    while number is not None:
        line = network.lines[number]
        is_up = line.from_node == node
        way.append((number, is_up))
        node = line.to_node if is_up else line.from_node
        number = network.forest.line_up[node]
    return way
