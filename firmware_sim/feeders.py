"""The cables of the region: feeders of up to eight sites at 400 V, all from one busbar.

Sites are dealt to the feeders in turn, one after another, so that turbine, engine and sun come to lie on different ones
and each feeder mixes its own power. The cable is the thinnest of a maker's list that carries all the feeder's sites at
once, whichever way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from config.grid_model import Branch, Node
from firmware_sim.chance import between
from firmware_sim.sites import Site

SITES_PER_FEEDER: Final = 8
REFERENCE_NODE: Final = "n-0"
VOLTAGE_MV: Final = 400_000
_MA_PER_W: Final = 1_000 / (3.0**0.5 * 400)
"""At 400 V, three-phase, power factor 1."""

RESERVE: Final = 1.2
"""Beyond the sites' active power: reactive power, and a neighbour who buys a car."""


@dataclass(frozen=True, slots=True)
class Cable:
    """One entry of a cable list: NAYY-J, buried."""

    rating_ma: int
    resistance_uohm_per_m: int
    reactance_uohm_per_m: int


CABLES: Final = (
    Cable(275_000, 206, 80),  # 4 × 150 mm²
    Cable(364_000, 125, 80),  # 4 × 240 mm²
    Cable(728_000, 63, 40),  # two of those side by side
)


@dataclass(frozen=True, slots=True)
class Feeders:
    """The network as laid."""

    nodes: tuple[Node, ...]
    branches: tuple[Branch, ...]
    node_of: Mapping[str, str]
    """The node that each site hangs on, by the site's name."""


def lay(connection: Site, others: Sequence[Site], seed: int) -> Feeders:
    """Lay the feeders of a region: `connection` at the busbar, each of the others at a node of its own."""
    nodes = [Node(id=REFERENCE_NODE, voltage_mv=VOLTAGE_MV)]
    branches: list[Branch] = []
    node_of = {connection.name: REFERENCE_NODE}
    feeders = ceil(len(others) / SITES_PER_FEEDER)
    for feeder in range(feeders):
        on_feeder = others[feeder::feeders]
        cable = _cable_for(on_feeder)
        before = REFERENCE_NODE
        for number, site in enumerate(on_feeder, start=1):
            node = f"n-{feeder + 1}-{number}"
            nodes.append(Node(id=node, voltage_mv=VOLTAGE_MV))
            branches.append(_branch(before, node, cable, length_m=between(25, 60, seed, node)))
            node_of[site.name] = before = node
    return Feeders(nodes=tuple(nodes), branches=tuple(branches), node_of=node_of)


def _branch(from_node: str, to_node: str, cable: Cable, *, length_m: int) -> Branch:
    return Branch(
        id=to_node.replace("n", "b", 1),
        from_node=from_node,
        to_node=to_node,
        resistance_uohm=cable.resistance_uohm_per_m * length_m,
        reactance_uohm=cable.reactance_uohm_per_m * length_m,
        rating_ma=cable.rating_ma,
    )


def _cable_for(on_feeder: Sequence[Site]) -> Cable:
    """The thinnest cable that carries everybody on the feeder at once, or the thickest there is."""
    imported_w = sum(site.import_max_w for site in on_feeder)
    exported_w = sum(site.export_max_w for site in on_feeder)
    needed_ma = RESERVE * max(imported_w, exported_w) * _MA_PER_W
    return next((cable for cable in CABLES if cable.rating_ma >= needed_ma), CABLES[-1])
