"""Flows in networks of heat, gas and hydrogen: an estimate in which every node's energy balances.

Nothing is known of temperatures and pressures, only what meters have counted at the nodes. So the flows are those that
explain the meters best: the sum of squared corrections, each in proportion to its meter's accuracy, is as small as
balance admits (weighted least squares). In a network without loops they follow from the balance alone; in one with
loops, parallel ways share what flows like resistors, in proportion to their rating.

With potential u of a node, rating g of a pipe and loss share λ, what enters a pipe is f = g (u_sender − u_receiver),
and (1 − λ) f arrives. For every node i with measured feed-in b_i and variance w_i:

    Σ f leaving − Σ (1 − λ) f arriving = b_i − δ w_i

with one δ for each connected network: what is fed in beyond use and losses, spread over the meters by their variance.

Shapes: n nodes, p pipes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.sparse import csc_array
from scipy.sparse.linalg import splu

from aggregator.grid.network import Bools, Floats, PipeNetwork

TURNS_MAX: Final = 20
"""How often pipes may be found to flow the other way. Where that goes on, next to nothing flows there."""
NOTHING_W: Final = 1e-6


@dataclass(frozen=True, slots=True)
class PipeFlow:
    """The estimate of one interval, on average over it."""

    from_w: Floats
    """(p) power that enters each pipe at its from node; below 0 it comes out there."""
    to_w: Floats
    """(p) power that enters each pipe at its to node."""
    loading: Floats
    """(p) what enters as a share of the rating."""
    correction_w: Floats
    """(n) what has to be added to the measured feed-in so that everything balances."""

    @property
    def losses_w(self) -> Floats:
        """(p) power that does not arrive."""
        losses: Floats = self.from_w + self.to_w
        return losses


class PipeFlowSolver:
    """Networks of pipes, prepared once and solved for many intervals."""

    def __init__(self, network: PipeNetwork) -> None:
        """A network may be of several pieces, each of which balances by itself."""
        self._network = network
        self._root = np.unique(network.island, return_index=True)[1]

    def solve(self, fed_in_w: Floats, variance: Floats) -> PipeFlow:
        """Work out the flows.

        Args:
            fed_in_w: (n) net power fed in at each node as measured; below 0 taken.
            variance: (n) in W²; 0 where nothing is metered, so that nothing is corrected.
        """
        network = self._network
        if not network.nodes:
            return PipeFlow(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
        forward = np.ones(len(network.rating_w), dtype=np.bool_)
        entering, correction = self._flows(forward, np.zeros_like(network.loss), fed_in_w, variance)
        if network.loss.any():
            for _ in range(TURNS_MAX):
                turned = entering < -NOTHING_W
                forward ^= turned
                entering, correction = self._flows(forward, network.loss, fed_in_w, variance)
                if not (entering < -NOTHING_W).any():
                    break
        arriving = entering * (1 - network.loss)
        return PipeFlow(
            from_w=np.where(forward, entering, -arriving),
            to_w=np.where(forward, -arriving, entering),
            loading=np.abs(entering) / network.rating_w,
            correction_w=correction,
        )

    def _flows(self, forward: Bools, loss: Floats, fed_in_w: Floats, variance: Floats) -> tuple[Floats, Floats]:
        """What enters each pipe, counted in the given direction, and the corrections."""
        network, rating = self._network, self._network.rating_w
        sender = np.where(forward, network.pipe_from, network.pipe_to)
        receiver = np.where(forward, network.pipe_to, network.pipe_from)
        arrives = (1 - loss) * rating
        entries = np.concatenate([rating, -rating, -arrives, arrives])
        rows = np.concatenate([sender, sender, receiver, receiver])
        columns = np.concatenate([sender, receiver, sender, receiver])
        shape = (network.nodes, network.nodes)
        balance = csc_array((entries, (rows, columns)), shape=shape)
        is_root = np.zeros(network.nodes, dtype=np.bool_)
        is_root[self._root] = True
        kept = ~is_root[rows]  # a root's potential is 0; its balance settles what is spread
        pinned = csc_array(
            (
                np.concatenate([entries[kept], np.ones(len(self._root))]),
                (np.concatenate([rows[kept], self._root]), np.concatenate([columns[kept], self._root])),
            ),
            shape=shape,
        )
        wanted = np.column_stack([fed_in_w, variance])
        potential = splu(pinned).solve(np.where(is_root[:, None], 0.0, wanted))
        left = (wanted - balance @ potential)[self._root]
        spread = np.divide(left[:, 0], left[:, 1], out=np.zeros(len(left)), where=left[:, 1] > 0)[network.island]
        potential = potential[:, 0] - spread * potential[:, 1]
        entering: Floats = rating * (potential[sender] - potential[receiver])
        return entering, -spread * variance
