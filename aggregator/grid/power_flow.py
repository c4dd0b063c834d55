"""AC power flow, by power-grid-model (LF Energy): from injections at nodes to flows in branches.

The only importer of power_grid_model. Balanced three-phase; the reference node takes up what is left over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from power_grid_model import CalculationMethod, ComponentType, LoadGenType, PowerGridModel, initialize_array
from power_grid_model.errors import PowerGridError

from aggregator.grid.network import Floats, Network

SOURCE_SHORT_CIRCUIT_VA = 1e9
"""Strength of the network outside: stiff against anything that a low-voltage region does."""


@dataclass(frozen=True, slots=True)
class PowerFlow:
    """The solution of one interval, on average over it."""

    from_w: Floats
    """(b) active power that enters each branch at its from node."""
    to_w: Floats
    """(b) active power that enters each branch at its to node."""
    loading: Floats
    """(b) current as a share of the rating."""
    reference_w: float
    """Active power that comes in from the network outside; below 0 goes out."""

    @property
    def losses_w(self) -> float:
        """Active power that the branches turn into heat."""
        return float(self.from_w.sum() + self.to_w.sum())


class PowerFlowError(Exception):
    """The network has no solution for these injections, or the solver finds none."""


class PowerFlowSolver:
    """A network, prepared once and solved for many intervals."""

    def __init__(self, network: Network) -> None:
        """Nodes that no path joins to the reference node are left without power."""
        self._network = network
        n, b = network.nodes, network.branches
        node = initialize_array("input", ComponentType.node, n)
        node["id"], node["u_rated"] = np.arange(n), network.node_rated_v
        line = initialize_array("input", ComponentType.line, b)
        line["id"] = np.arange(n, n + b)
        line["from_node"], line["to_node"] = network.branch_from, network.branch_to
        line["from_status"] = line["to_status"] = 1
        line["r1"], line["x1"], line["c1"], line["tan1"] = network.resistance_ohm, network.reactance_ohm, 0.0, 0.0
        line["i_n"] = network.rating_a
        source = initialize_array("input", ComponentType.source, 1)
        source["id"], source["node"], source["status"] = n + b, network.reference, 1
        source["u_ref"], source["sk"] = 1.0, SOURCE_SHORT_CIRCUIT_VA
        load = initialize_array("input", ComponentType.sym_load, n)
        load["id"], load["node"], load["status"] = np.arange(n + b + 1, 2 * n + b + 1), np.arange(n), 1
        load["type"], load["p_specified"], load["q_specified"] = LoadGenType.const_power, 0.0, 0.0
        self._load_ids = load["id"].copy()
        self._model = PowerGridModel(
            {
                ComponentType.node: node,
                ComponentType.line: line,
                ComponentType.source: source,
                ComponentType.sym_load: load,
            }
        )

    def solve(self, consumption_w: Floats) -> PowerFlow:
        """Work out the flows.

        Args:
            consumption_w: (n) net active power taken at each node; below 0 fed in.

        Raises:
            PowerFlowError: no solution.
        """
        if not self._network.branches:
            taken_w = float(consumption_w[self._network.reference])
            return PowerFlow(np.zeros(0), np.zeros(0), np.zeros(0), reference_w=taken_w)
        update = initialize_array("update", ComponentType.sym_load, self._network.nodes)
        update["id"], update["p_specified"] = self._load_ids, consumption_w
        try:
            result = self._model.calculate_power_flow(
                update_data={ComponentType.sym_load: update[np.newaxis, :]},
                calculation_method=CalculationMethod.newton_raphson,
                output_component_types=[ComponentType.line, ComponentType.source],
            )
        except PowerGridError as error:
            raise PowerFlowError(" ".join(str(error).split())[:200]) from error
        line, source = result[ComponentType.line][0], result[ComponentType.source][0]
        return PowerFlow(
            from_w=line["p_from"].astype(np.float64),
            to_w=line["p_to"].astype(np.float64),
            loading=line["loading"].astype(np.float64),
            reference_w=float(source["p"][0]),
        )
