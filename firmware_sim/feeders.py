"""The cables of the region: feeders of up to eight sites at 400 V, all from one busbar.

Sites are dealt to the feeders in turn, one after another, so that turbine, engine and sun come to lie on different ones
and each feeder mixes its own power. The cable is the thinnest of a maker's list that carries all the feeder's sites at
once, whichever way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from config.grid_model import Branch, Node
from firmware_sim.chance import between
from firmware_sim.device import Household
from firmware_sim.lane import rating_w
from firmware_sim.sites import Kind, Site

SITES_PER_FEEDER: Final = 8
REFERENCE_NODE: Final = "n-0"
WORKS_NODE: Final = "n-works"
LANE_BRANCH: Final = "b-lane-1"
"""The thin cable to the lane."""
VOLTAGE_MV: Final = 400_000
MA_PER_W: Final = 1_000 / (3.0**0.5 * 400)
"""At 400 V, three-phase, power factor 1."""

BEHIND_THIN: Final = 2
"""Households behind the cable that is too thin."""
THIN: Final = 0.72
"""What it carries of their mean evening: the mean of a few evenings, in whole watt-hours, is sure to be above it."""
EVENING: Final = 1.5
"""Of a household's mean base load, in the evening."""
HEAT_PUMP_MEAN: Final = 0.66
"""Of a heat pump's rated power, at any time."""

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

    @property
    def last_feeder(self) -> tuple[Branch, ...]:
        """Its cables, from the busbar on."""
        feeder = self.branches[-1].id.rsplit("-", 1)[0]
        return tuple(branch for branch in self.branches if branch.id.rsplit("-", 1)[0] == feeder)


def lay(sites: Sequence[Site], seed: int, *, is_last_thin: bool = False) -> Feeders:
    """Lay the feeders of a region: its connection, the first site, at the busbar, and each other at a node of its own.

    Args:
        sites: with electricity. Heat works hang beside the turbine, by a cable of their own; the lane has a thin one.
        is_last_thin: have the cable that leads to the last households of the last feeder be too thin for their evening.
    """
    connection, works = sites[0], [site for site in sites if site.works]
    lane = [site for site in sites if site.kind is Kind.LANE]
    others = [site for site in sites[1:] if not site.works and site.kind is not Kind.LANE]
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
    if is_last_thin:
        _thin(branches, node_of, others)
    for site in works:
        nodes.append(Node(id=WORKS_NODE, voltage_mv=VOLTAGE_MV))
        at = next((node_of[site.name] for site in others if site.kind is Kind.WIND), REFERENCE_NODE)
        own = _branch(at, WORKS_NODE, _cable_for([site]), length_m=between(25, 60, seed, WORKS_NODE))
        branches.insert(0, own)
        node_of[site.name] = WORKS_NODE
    before = REFERENCE_NODE
    for number, site in enumerate(lane):
        node = f"n-lane-{number + 1}"
        cable = CABLES[0] if number else replace(CABLES[0], rating_ma=round(rating_w(lane) * MA_PER_W))
        nodes.append(Node(id=node, voltage_mv=VOLTAGE_MV))
        branches.insert(number, _branch(before, node, cable, length_m=between(25, 60, seed, node)))
        node_of[site.name] = before = node
    return Feeders(nodes=tuple(nodes), branches=tuple(branches), node_of=node_of)


def _thin(branches: list[Branch], node_of: Mapping[str, str], others: Sequence[Site]) -> None:
    """Put a thin cable before the last households of the last feeder."""
    behind: list[Household] = []
    devices = {node_of[site.name]: site.device for site in others}
    while len(behind) < BEHIND_THIN:
        place = len(branches) - 1 - len(behind)
        device = devices[branches[place].to_node]
        if not isinstance(device, Household):
            break
        behind.append(device)
        if branches[place].from_node == REFERENCE_NODE:
            break
    if not behind:
        return
    place = len(branches) - len(behind)
    evening_w = sum(EVENING * home.habits.base_w + home.habits.heat_pump_w * HEAT_PUMP_MEAN for home in behind)
    rating_ma = max(1, round(THIN * evening_w * MA_PER_W))
    branches[place] = branches[place].model_copy(update={"rating_ma": rating_ma})


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
    needed_ma = RESERVE * max(imported_w, exported_w) * MA_PER_W
    return next((cable for cable in CABLES if cable.rating_ma >= needed_ma), CABLES[-1])
