"""Voltages and losses of a radial network, by sweeps along its lines.

Backward, from the ends of the feeders to the reference node: currents are summed. Forward: voltages fall along the
lines. A few rounds of both come closer than a meter can tell. Written on its own, without the library that the
aggregator computes with, so that a mistake in either shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from config.grid_model import Branch, Node
from firmware_sim.device import MILLI, Flow

ROUNDS: Final = 4
"""Each round multiplies the error by the share of voltage that is lost on the way, a few percent."""

_OHM_PER_UOHM: Final = 1e-6
_SQRT_3: Final = 3.0**0.5


@dataclass(frozen=True, slots=True)
class Solution:
    """The state of the network at one moment."""

    voltages_mv: Mapping[str, int]
    """From line to neutral, per node."""
    losses: Flow
    """What all lines together turn into heat, and take of reactive power."""
    entering: Mapping[str, Flow]
    """Power that enters each line at its end towards the reference node, by the line's name."""


class RadialNetwork:
    """Lines that hang from one node as a tree.

    Raises:
        ValueError: a node cannot be reached from the reference node, or in more than one way.
    """

    def __init__(self, nodes: Sequence[Node], branches: Sequence[Branch], reference_node: str) -> None:
        rated_mv = {node.id: node.voltage_mv for node in nodes if node.voltage_mv is not None}
        self._source_v = rated_mv[reference_node] / MILLI / _SQRT_3
        self._names = [reference_node]
        self._parents = [0]
        self._impedances_ohm = [0j]
        """Of the line between a node and its parent. The reference node is its own parent, without a line."""
        self._lines = [""]
        """Names of the same lines."""
        self._hang(branches)
        if len(self._names) != len(nodes) or len(branches) != len(nodes) - 1:
            raise ValueError(f"the branches are no tree that hangs from {reference_node}")

    def _hang(self, branches: Sequence[Branch]) -> None:
        """Number the nodes so that each stands behind its parent."""
        lines: dict[str, list[tuple[str, Branch]]] = {}
        for branch in branches:
            lines.setdefault(branch.from_node, []).append((branch.to_node, branch))
            lines.setdefault(branch.to_node, []).append((branch.from_node, branch))
        seen = set(self._names)
        for number, name in enumerate(self._names):  # grows while it is read: that is the search
            for child, branch in lines.get(name, ()):
                if child in seen:
                    continue
                seen.add(child)
                self._names.append(child)
                self._parents.append(number)
                self._lines.append(branch.id)
                self._impedances_ohm.append(_OHM_PER_UOHM * complex(branch.resistance_uohm, branch.reactance_uohm))

    def solve(self, flows: Mapping[str, Flow]) -> Solution:
        """Work out the voltages and losses while each node takes the power that `flows` says; others take none."""
        idle = Flow(0, 0)
        taken = [flows.get(name, idle) for name in self._names]
        per_phase_va = [complex(flow.active_mw, flow.reactive_mvar) / (3 * MILLI) for flow in taken]
        volts = [complex(self._source_v)] * len(self._names)
        amperes: list[complex] = []
        for _ in range(ROUNDS):
            amperes = self._sweep_backward(per_phase_va, volts)
            volts = self._sweep_forward(amperes)
        return Solution(
            voltages_mv={name: round(abs(volt) * MILLI) for name, volt in zip(self._names, volts, strict=True)},
            losses=self._losses(amperes),
            entering=self._entering(volts, amperes),
        )

    def _sweep_backward(self, per_phase_va: Sequence[complex], volts: Sequence[complex]) -> list[complex]:
        """The current on each node's line, from what it and all nodes behind it take."""
        amperes = [(va / volt).conjugate() for va, volt in zip(per_phase_va, volts, strict=True)]
        for number in range(len(amperes) - 1, 0, -1):
            amperes[self._parents[number]] += amperes[number]
        return amperes

    def _sweep_forward(self, amperes: Sequence[complex]) -> list[complex]:
        """The voltage of each node, from that of its parent."""
        volts = [complex(self._source_v)]
        for number in range(1, len(amperes)):
            volts.append(volts[self._parents[number]] - amperes[number] * self._impedances_ohm[number])
        return volts

    def _entering(self, volts: Sequence[complex], amperes: Sequence[complex]) -> dict[str, Flow]:
        """3 V I*, with the voltage of each node's parent."""
        entering = {}
        for number in range(1, len(amperes)):
            va = 3 * volts[self._parents[number]] * amperes[number].conjugate()
            entering[self._lines[number]] = Flow(round(MILLI * va.real), round(MILLI * va.imag))
        return entering

    def _losses(self, amperes: Sequence[complex]) -> Flow:
        """3 I² Z of all lines."""
        lost_va = sum(
            3 * (i.real * i.real + i.imag * i.imag) * z for i, z in zip(amperes, self._impedances_ohm, strict=True)
        )
        return Flow(round(MILLI * lost_va.real), round(MILLI * lost_va.imag))
