"""What of a network can be solved, and what of it can be known from the meters that were heard.

Shapes: n nodes, b branches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from aggregator.grid.network import Floats, Ints, Network

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class LivePart:
    """The part of a network that power can reach from the reference node, numbered by itself."""

    nodes: Ints
    """Numbers, in the whole network, of the nodes in it."""
    branches: Ints
    contradictory: Ints
    """Branches of the whole network that join nodes of different rated voltage: no power line does, so they carry
    nothing."""
    position: Ints
    """(n) where each node of the whole network stands in `nodes`; −1 is nowhere."""


def spread(values: Floats, places: Ints, size: int) -> Floats:
    """Values at their places, and 0 elsewhere."""
    whole = np.zeros(size)
    whole[places] = values
    return whole


def live_part(network: Network) -> LivePart:
    """What hangs on the reference node by branches that can be."""
    rated = network.node_rated_v
    fits = rated[network.branch_from] == rated[network.branch_to]
    zones = zones_of(network.nodes, network.branch_from[fits], network.branch_to[fits])
    is_live = zones == zones[network.reference]
    position = np.full(network.nodes, -1, dtype=np.int64)
    nodes = np.flatnonzero(is_live)
    position[nodes] = np.arange(len(nodes))
    return LivePart(
        nodes=nodes,
        branches=np.flatnonzero(fits & is_live[network.branch_from]),
        contradictory=np.flatnonzero(~fits),
        position=position,
    )


def zones_of(nodes: int, one_end: Ints, other_end: Ints) -> Ints:
    """The number of the connected part that each node is in."""
    joined = coo_array((np.ones(len(one_end)), (one_end, other_end)), shape=(nodes, nodes))
    labels: Ints = connected_components(joined, directed=False)[1].astype(np.int64)
    return labels


def unobservable(network: Network, part: LivePart, unknown: Flags, checked: Flags) -> list[tuple[int, int, int]]:
    """Nodes whose power no reading tells and no balance yields.

    Cut at its check meters, a network falls into zones. In each, what flows in over the cuts and what is fed in and
    taken must balance: that yields one unknown power, and every further check meter on a line inside the zone one more.
    Voltages narrow powers down, but are not counted: on a short line they tell next to nothing.

    Args:
        unknown: (n) whether power is fed in or taken at a node and was not metered; at the reference node, whether
            nobody metered what comes from outside.
        checked: (b) whether a check meter in the branch was heard.

    Returns:
        Node, unknown powers in its zone, and powers that the zone's balance yields.
    """
    live = np.zeros(network.branches, dtype=np.bool_)
    live[part.branches] = True
    one_end, other_end = network.branch_from, network.branch_to
    zones = zones_of(network.nodes, one_end[live & ~checked], other_end[live & ~checked])
    inside = live & checked & (zones[one_end] == zones[other_end])
    known = 1 + np.bincount(zones[one_end[inside]], minlength=network.nodes)
    in_part = part.position >= 0
    many = np.bincount(zones[unknown & in_part], minlength=network.nodes)
    found = np.flatnonzero(unknown & in_part & (many[zones] > known[zones]))
    return [
        (node, int(many[zones[node]]), int(known[zones[node]])) for node in found.tolist() if node != network.reference
    ]
