"""Whose energy it was: proportional sharing (Bialek 1996) over all networks at once, with losses.

What flows out of a node has the mix of what flows into it. For node i with mix x_i, what is known to enter it by source
G_i, and power a_ij that enters it with the mix of node j (through a branch or a pipe, a converter, or a storage that
gives back what it has just taken):

    T_i x_i − Σ_j a_ij x_j = G_i        with T_i = Σ_k G_ik + Σ_j a_ij

One sparse linear system for all nodes, carriers and sources. A branch loses power on its way with the mix of its
sending node, so feed-in = use + losses, source by source. Carbon is one more column; it differs in one thing: a
converter passes on the carbon of *all* that it took, so that a kilowatt-hour out bears more of it, or less, than one
in.

Shapes: n nodes, k sources, a arcs, m takers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.sparse import csc_array, csr_array
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import splu

from aggregator.grid.network import Bools, Floats, Ints, summed
from aggregator.grid.quantize import NUMBERS, OTHER

IDLE_W: Final = 1e-6
"""A node with less through-flow has no mix of its own."""


@dataclass(frozen=True, slots=True)
class Arcs:
    """Power on its way from node to node, with the mix of the node where it begins."""

    sender: Ints
    """(a) node numbers."""
    receiver: Ints
    sent_w: Floats
    """(a) what leaves the sender."""
    arriving_w: Floats
    """(a) what comes to the receiver."""
    carbon_w: Floats
    """(a) what would bring as much carbon to the receiver, if a watt brought what a watt of the sender has."""

    def __add__(self, other: Arcs) -> Arcs:
        """Both together."""
        return Arcs(*(np.concatenate(pair) for pair in zip(self._columns, other._columns, strict=True)))

    @property
    def _columns(self) -> tuple[Ints, Ints, Floats, Floats, Floats]:
        return self.sender, self.receiver, self.sent_w, self.arriving_w, self.carbon_w


NO_ARCS: Final = Arcs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))


def arcs_along(line_from: Ints, line_to: Ints, from_w: Floats, to_w: Floats) -> Arcs:
    """What branches or pipes carry, in the direction in which it flows.

    Args:
        from_w: power that enters at each line's from node; `to_w` at its to node. A line that takes in power at both
            ends keeps all of it.
    """
    forward = from_w >= to_w
    sender, receiver = np.where(forward, line_from, line_to), np.where(forward, line_to, line_from)
    sent, arriving = np.where(forward, from_w, to_w), np.where(forward, -to_w, -from_w).clip(min=0.0)
    carries = sent > IDLE_W
    arrives = arriving[carries]
    return Arcs(sender[carries], receiver[carries], sent[carries], arrives, arrives)


def mixes(known: Floats, arcs: Arcs) -> Floats:
    """The mix of sources, and the carbon, of what flows through every node.

    Args:
        known: (n, k + 1) power that enters each node by source, 0 or more; in the last column its carbon, in mg/Wh
            times watts.

    Returns:
        (n, k + 1) shares that sum to 1, or to 0 at a node without through-flow, and milligrams of carbon per watt-hour.
        What only goes round in a circle is of unknown origin.
    """
    nodes = len(known)
    through = known[:, :NUMBERS].sum(axis=1) + summed(arcs.receiver, arcs.arriving_w, nodes)
    idle = through < IDLE_W
    scale = 1 / np.where(idle, 1.0, through)
    given = known * scale[:, None]
    arrives = ~idle[arcs.receiver] & ~idle[arcs.sender] & (arcs.arriving_w > 0)
    sender, receiver = arcs.sender[arrives], arcs.receiver[arrives]
    fed = _follow(sender, receiver, given[:, :NUMBERS].sum(axis=1) > 0)
    circling = ~fed & ~idle
    if circling.any():
        given[circling] = np.eye(NUMBERS + 1)[OTHER]
        arrives[arrives] = ~circling[receiver]
        sender, receiver = arcs.sender[arrives], arcs.receiver[arrives]
    given[idle] = 0.0
    weight = arcs.arriving_w[arrives] * scale[receiver]
    carbon_weight = arcs.carbon_w[arrives] * scale[receiver]
    if np.array_equal(weight, carbon_weight):
        found = _solve(nodes, sender, receiver, weight, given)
    else:
        shares = _solve(nodes, sender, receiver, weight, given[:, :NUMBERS])
        carbon = _solve(nodes, sender, receiver, carbon_weight, given[:, NUMBERS:])
        found = np.hstack([shares, carbon])
    found = found.clip(min=0.0)
    total = found[:, :NUMBERS].sum(axis=1, keepdims=True)
    mixed: Floats = found / np.where(total > 0, total, 1.0)
    return mixed


def users(taken_w: Floats, arcs: Arcs) -> Floats:
    """Who takes, in the end, what flows through every node: the same sharing, looking downstream.

    A node's power goes where it goes in proportion; whoever takes something in the end also answers for what is lost on
    its way. For node i and what taker k takes there, L_ik:

        O_i y_ik − Σ_j s_ij y_jk = L_ik        with O_i = Σ_k L_ik + Σ_j s_ij

    where s_ij is what arc i → j takes from node i.

    Args:
        taken_w: (n, m) power that each taker takes at each node, 0 or more. Shares sum to 1 if all takers are there.

    Returns:
        (n, m) shares; 0 at a node whose power nobody takes.
    """
    nodes = len(taken_w)
    out = taken_w.sum(axis=1) + summed(arcs.sender, arcs.sent_w, nodes)
    idle = out < IDLE_W
    scale = 1 / np.where(idle, 1.0, out)
    goes = ~idle[arcs.sender] & ~idle[arcs.receiver] & (arcs.sent_w > 0)
    used = _follow(arcs.receiver[goes], arcs.sender[goes], taken_w.sum(axis=1) > 0)
    goes &= used[arcs.sender] & used[arcs.receiver]
    sender, receiver = arcs.sender[goes], arcs.receiver[goes]
    given = np.where((used & ~idle)[:, None], taken_w * scale[:, None], 0.0)
    shares: Floats = _solve(nodes, receiver, sender, arcs.sent_w[goes] * scale[sender], given).clip(min=0.0)
    return shares


def _follow(tail: Ints, head: Ints, start: Bools) -> Bools:
    """Which nodes can be reached from those of `start` along arcs."""
    nodes, begin = len(start), np.flatnonzero(start)
    if len(begin) == nodes:
        return start
    rows = np.concatenate([tail, np.full(len(begin), nodes)])
    columns = np.concatenate([head, begin])
    graph = csr_array((np.ones(len(rows)), (rows, columns)), shape=(nodes + 1, nodes + 1))
    reached = np.zeros(nodes + 1, dtype=np.bool_)
    reached[breadth_first_order(graph, nodes, return_predecessors=False)] = True
    return reached[:nodes]


def _solve(nodes: int, sender: Ints, receiver: Ints, weight: Floats, given: Floats) -> Floats:
    """Solve x_i − Σ_j w_ij x_j = g_i. Rows or columns dominate their diagonal, so no pivoting is needed."""
    diagonal = np.arange(nodes)
    matrix = csc_array(
        (
            np.concatenate([np.ones(nodes), -weight]),
            (np.concatenate([diagonal, receiver]), np.concatenate([diagonal, sender])),
        ),
        shape=(nodes, nodes),
    )
    factors = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    found: Floats = factors.solve(np.ascontiguousarray(given))
    return found
