"""By how much each line carries more when a watt goes from one node to another: exact to a millionth, in integers.

Power shares ways in proportion to their conductance, as current does. The network is folded up node by node (a node
with its lines is replaced by lines between its neighbours that carry the same: the star-mesh transform), and unfolded
for every node that is asked about. All in integers with 64 bits behind the point: so whoever keeps the ledger comes to
the same factors, whatever their processor, and nobody has to sign them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from aggregator.economy.network import TradedNetwork
from protocol.contract import rounded
from protocol.units import PPM

POINT: Final = 64
"""Bits behind the point."""

COLUMNS_MAX: Final = 1024
"""Nodes whose factors are kept; where there are more they are worked out anew."""


@dataclass(frozen=True, slots=True)
class Line:
    """A way between two nodes."""

    name: str
    from_node: str
    to_node: str
    resistance: int
    """Above 0, in any unit that is the same for all lines."""


@dataclass(frozen=True, slots=True)
class _Folded:
    """A node, as it was folded up."""

    node: str
    neighbours: tuple[tuple[str, int], ...]
    """With the conductance that led there then."""
    whole: int
    """All of these together."""


class Sensitivity:
    """One network of lines; it may fall apart into islands."""

    def __init__(self, lines: Iterable[Line]) -> None:
        """Fold the network up."""
        self._lines = tuple(lines)
        self._conductance = [(1 << POINT) // line.resistance for line in self._lines]
        self._folded = self._fold()
        self.island: Mapping[str, int] = self._islands()
        """By node: two nodes can reach each other if they have the same number. A node without lines is not here."""
        self._columns: dict[str, Mapping[str, int]] = {}

    @classmethod
    def of(cls, network: TradedNetwork) -> Sensitivity:
        """Of the network of trade. Pipes share ways evenly: they have no resistance here."""
        nodes = network.nodes
        return cls(
            Line(line.name, nodes[line.from_node], nodes[line.to_node], max(1, line.impedance_uohm))
            for line in network.lines
        )

    def carried(self, givers: Mapping[str, int], takers: Mapping[str, int]) -> Mapping[str, int]:
        """How much each line carries, from its from node, of a watt that `givers` feed in and `takers` take.

        In millionths; lines that carry nothing are left out.

        Args:
            givers: by node, millionths of the watt; a million together.
            takers: likewise. All nodes lie on one island.
        """
        shares: dict[str, int] = {}
        for nodes, sign in ((givers, 1), (takers, -1)):
            for node, part in nodes.items():
                for line, share in self._column(node).items():
                    shares[line] = shares.get(line, 0) + sign * part * share
        return {line: carried for line, share in shares.items() if (carried := rounded(share, PPM))}

    def _fold(self) -> list[_Folded]:
        net: dict[str, dict[str, int]] = {}
        for line, conductance in zip(self._lines, self._conductance, strict=True):
            for here, there in ((line.from_node, line.to_node), (line.to_node, line.from_node)):
                ways = net.setdefault(here, {})
                ways[there] = ways.get(there, 0) + conductance
        waiting: dict[int, dict[str, None]] = {}
        for node in sorted(net):
            waiting.setdefault(len(net[node]), {})[node] = None
        folded = []
        while net:
            node = _fewest(waiting)
            ways = net.pop(node)
            neighbours, whole = tuple(ways.items()), sum(ways.values())
            folded.append(_Folded(node, neighbours, whole))
            before = {name: len(net[name]) for name in ways}
            for name in ways:
                del net[name][node]
            for place, (one, to_one) in enumerate(neighbours):
                for other, to_other in neighbours[place + 1 :]:
                    more = to_one * to_other // whole
                    net[one][other] = net[one].get(other, 0) + more
                    net[other][one] = net[other].get(one, 0) + more
            for name, count in before.items():
                del waiting[count][name]
                waiting.setdefault(len(net[name]), {})[name] = None
        return folded

    def _islands(self) -> dict[str, int]:
        """The last node of an island that is folded up has no neighbours left: it is the island's ground."""
        island: dict[str, int] = {}
        for number, fold in enumerate(reversed(self._folded)):
            island[fold.node] = island[fold.neighbours[0][0]] if fold.neighbours else number
        return island

    def _column(self, node: str) -> Mapping[str, int]:
        """What every line carries when `node` feeds in a watt that its island's ground takes."""
        known = self._columns.get(node)
        if known is None:
            if len(self._columns) >= COLUMNS_MAX:
                self._columns.clear()
            known = self._columns[node] = self._unfold(node)
        return known

    def _unfold(self, node: str) -> dict[str, int]:
        flowing, potential = {node: PPM << POINT}, dict[str, int]()
        for fold in self._folded:
            here = flowing.get(fold.node, 0)
            if here and fold.neighbours:
                for name, conductance in fold.neighbours:
                    flowing[name] = flowing.get(name, 0) + here * conductance // fold.whole
        ground = self.island.get(node)
        for fold in reversed(self._folded):
            if self.island[fold.node] == ground and fold.neighbours:
                above = sum(conductance * potential.get(name, 0) for name, conductance in fold.neighbours)
                potential[fold.node] = ((flowing.get(fold.node, 0) << POINT) + above) // fold.whole
        half = 1 << (2 * POINT - 1)
        shares = {}
        for line, conductance in zip(self._lines, self._conductance, strict=True):
            drop = potential.get(line.from_node, 0) - potential.get(line.to_node, 0)
            if drop and (share := (conductance * drop + half) >> (2 * POINT)):
                shares[line.name] = share
        return shares


def _fewest(waiting: dict[int, dict[str, None]]) -> str:
    """Take a node with the fewest neighbours: folding it up makes the fewest lines."""
    nodes = waiting[min(count for count, nodes in waiting.items() if nodes)]
    node = next(iter(nodes))
    del nodes[node]
    return node
