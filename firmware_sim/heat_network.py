"""The pipes of a heat network: each house at the end of a pipe of its own, from where the works are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from config.carriers import Carrier, Pipe
from config.grid_model import Node
from firmware_sim.heat_works import PIPE_LOSS_PPM, WorksPort
from firmware_sim.sites import Site

WORKS_NODE: Final = "h-0"
RATING_FACTOR: Final = 2
"""Of a pipe, over its house's rated heat."""
DELAY_MS: Final = 5_000
"""How long hot water is on its way, in real time."""


@dataclass(frozen=True, slots=True)
class HeatNetwork:
    """The network as laid; without pipes, where the houses' heat comes from elsewhere."""

    nodes: tuple[Node, ...] = ()
    pipes: tuple[Pipe, ...] = ()

    def node_of(self, site: Site) -> str | None:
        """Where a site takes heat or gives it; None if it does neither here."""
        if not self.nodes or site.is_electric:
            return None
        if site.works is not None:
            return None if site.works.port is WorksPort.PUMP else WORKS_NODE
        return _node(site) if site.heat is not None else None


def heat_network(houses: Sequence[Site]) -> HeatNetwork:
    """Lay the pipes."""
    names = [WORKS_NODE, *map(_node, houses)]
    pipes = [
        Pipe(
            id=f"p-{site.name}",
            from_node=WORKS_NODE,
            to_node=_node(site),
            rating_w=RATING_FACTOR * site.power_max_w,
            loss_ppm=PIPE_LOSS_PPM,
            delay_ms=DELAY_MS,
        )
        for site in houses
    ]
    return HeatNetwork(tuple(Node(id=name, carrier=Carrier.HEAT) for name in names), tuple(pipes))


def _node(site: Site) -> str:
    return f"h-{site.name}"
