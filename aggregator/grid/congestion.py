"""How a network would be loaded if what is planned were done: what a contract's verdict rests on.

A pure function of the grid file and the plan. It knows power lines only; pipes are rated in power, and a plan's flows
in them follow from their balance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aggregator.grid.network import network_of
from aggregator.grid.power_flow import PowerFlowError, PowerFlowSolver
from config.grid_model import Grid
from protocol.units import PPM


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLoad:
    """What is planned at one node in one interval, on average over it."""

    node: str
    power_w: int
    """Fed in; below 0, taken. Several plans at one node add up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """How one interval would be."""

    is_solved: bool
    """Whether power could flow like this at all."""
    loading_ppm: Mapping[str, int]
    """By branch, in the order of the grid file, of its rating."""
    flow_w: Mapping[str, int]
    """By branch, from its from_node to its to_node."""

    @property
    def congested(self) -> tuple[str, ...]:
        """Branches that would carry more than they are rated for."""
        return tuple(branch for branch, loading in self.loading_ppm.items() if loading > PPM)


def forecast(grid: Grid, plan: Sequence[Iterable[PlannedLoad]]) -> list[Outlook]:
    """Work out every interval of a plan; whatever is left over comes from outside.

    Raises:
        KeyError: a plan names a node that is not in the grid file.
    """
    network = network_of(grid)
    solver = PowerFlowSolver(network)
    outlooks = []
    for loads in plan:
        consumption_w = np.zeros(network.nodes)
        for load in loads:
            consumption_w[network.node_number[load.node]] -= load.power_w
        try:
            flow = solver.solve(consumption_w)
        except PowerFlowError:
            outlooks.append(Outlook(is_solved=False, loading_ppm={}, flow_w={}))
            continue
        loading, power = np.rint(flow.loading * PPM), np.rint(flow.from_w)
        outlooks.append(
            Outlook(
                is_solved=True,
                loading_ppm=dict(zip(network.branch_names, map(int, loading.tolist()), strict=True)),
                flow_w=dict(zip(network.branch_names, map(int, power.tolist()), strict=True)),
            )
        )
    return outlooks
