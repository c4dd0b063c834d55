"""Whose energy it was: proportional sharing upstream (Bialek 1996), with losses.

What flows out of a node has the mix of what flows into it. For node i with through-flow T_i, mix x_i by source, feed-in
G_i by source, and f_ji the power that arrives at i through branch ji:

    T_i x_i − Σ_j f_ji x_j = G_i

One sparse linear system for all nodes and sources. A branch loses power on its way with the mix of its sending node,
so feed-in = use + losses, source by source.

Shapes: n nodes, b branches, k sources.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from aggregator.grid.network import Floats, Network
from aggregator.grid.power_flow import PowerFlow

IDLE_W = 1e-6
"""A node with less through-flow has no mix of its own."""


def mixes(network: Network, flow: PowerFlow, fed_in_w: Floats) -> Floats:
    """The mix of sources at every node.

    Args:
        fed_in_w: (n, k) power fed in at each node by each source, 0 or more.

    Returns:
        (n, k) shares that sum to 1, or to 0 at a node without through-flow.
    """
    from_w, to_w = flow.from_w, flow.to_w
    sender = np.concatenate([network.branch_from, network.branch_to])
    receiver = np.concatenate([network.branch_to, network.branch_from])
    arriving = np.concatenate([np.where(from_w > 0, -to_w, 0.0), np.where(to_w > 0, -from_w, 0.0)]).clip(min=0.0)
    through = fed_in_w.sum(axis=1)
    np.add.at(through, receiver, arriving)
    idle = through < IDLE_W
    diagonal = np.where(idle, 1.0, through)
    nodes = np.arange(network.nodes)
    carried = arriving > 0
    matrix = csc_array(
        (
            np.concatenate([diagonal, -arriving[carried]]),
            (np.concatenate([nodes, receiver[carried]]), np.concatenate([nodes, sender[carried]])),
        ),
        shape=(network.nodes, network.nodes),
    )
    solution: Floats = splu(matrix).solve(np.where(idle[:, None], 0.0, fed_in_w))
    shares = solution.clip(min=0.0)
    total = shares.sum(axis=1, keepdims=True)
    return shares / np.where(total > 0, total, 1.0)
