"""AC power flow and state estimation, by power-grid-model (LF Energy).

The only importer of power_grid_model. Balanced three-phase; the reference node takes up what is left over. What power
cannot reach is left without: its flows and voltages are 0.

Shapes: n nodes, b branches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from power_grid_model import (
    CalculationMethod,
    ComponentType,
    LoadGenType,
    MeasuredTerminalType,
    PowerGridModel,
    initialize_array,
)
from power_grid_model.errors import PowerGridError

from aggregator.grid.network import Floats, Ints, Network, summed
from aggregator.grid.observability import Flags, LivePart, live_part, spread

SOURCE_SHORT_CIRCUIT_VA: Final = 1e9
"""Strength of the network outside: stiff against anything that a low-voltage region does."""
ITERATIONS_MAX: Final = 50
TOLERANCE: Final = 1e-6
"""Of the rated voltage: when the estimation stops. Where σ differ by 10,000, rounding leaves no more."""
WIDE: Final = 10_000.0
"""Of the surest node's σ: the most that is supposed of reactive power at check meters and at the connection, of which
nothing is known. power-grid-model wants one; a wider one makes its matrix singular."""
METHODS: Final = (CalculationMethod.newton_raphson, CalculationMethod.iterative_linear)
"""The first solves the weighted least squares themselves. The second, should the first fail, approximates them, and
does not converge where many voltages are measured (ADR 0034)."""

Phasors = NDArray[np.complex128]


def _none() -> Phasors:
    return np.zeros(0, dtype=np.complex128)


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
    phasor_v: Phasors = field(default_factory=_none)
    """(n) line-to-line voltage, against that of the network outside."""

    @property
    def losses_w(self) -> float:
        """Active power that the branches turn into heat."""
        return float(self.from_w.sum() + self.to_w.sum())

    @property
    def voltage_v(self) -> Floats:
        """(n) line-to-line; 0 where there is none."""
        return np.abs(self.phasor_v)


class PowerFlowError(Exception):
    """The network has no solution for these injections, or the solver finds none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensors:
    """What was measured in one interval, each with its standard deviation σ."""

    is_metered: Flags
    """(n) whether power is fed in or taken; at all other nodes there is none."""
    injection_w: Floats
    """(n) fed in less taken; at the reference node without what comes from outside."""
    injection_sigma_w: Floats
    reactive_sigma_var: Floats
    """(n) of reactive power, which is taken to be 0."""
    connection_w: float | None
    """What comes from outside; None is not known."""
    connection_sigma_w: float
    check_branch: Ints
    check_is_from: Flags
    """Whether a check meter stands at the from node of its branch."""
    check_w: Floats
    """What flows into the branch there."""
    check_sigma_w: Floats
    voltage_node: Ints
    voltage_v: Floats
    """Line-to-line."""
    voltage_sigma_v: Floats


class _Solver:
    """A network as power-grid-model has it: the live part's nodes, branches, and the network outside."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.part: LivePart = live_part(network)
        nodes, branches = self.part.nodes, self.part.branches
        n, b = len(nodes), len(branches)
        self.node_ids, self.line_ids = np.arange(n), np.arange(n, n + b)
        self.source_id, self.next_id = n + b, n + b + 1
        node = initialize_array("input", ComponentType.node, n)
        node["id"], node["u_rated"] = self.node_ids, network.node_rated_v[nodes]
        line = initialize_array("input", ComponentType.line, b)
        line["id"] = self.line_ids
        line["from_node"] = self.part.position[network.branch_from[branches]]
        line["to_node"] = self.part.position[network.branch_to[branches]]
        line["from_status"] = line["to_status"] = 1
        line["r1"], line["x1"] = network.resistance_ohm[branches], network.reactance_ohm[branches]
        line["c1"] = line["tan1"] = 0.0
        line["i_n"] = network.rating_a[branches]
        source = initialize_array("input", ComponentType.source, 1)
        source["id"], source["node"], source["status"] = self.source_id, self.part.position[network.reference], 1
        source["u_ref"], source["sk"] = 1.0, SOURCE_SHORT_CIRCUIT_VA
        self.input: dict[ComponentType, Any] = {ComponentType.node: node, ComponentType.source: source}
        if b:
            self.input[ComponentType.line] = line

    def loads_at(self, nodes: Ints) -> NDArray[Any]:
        """Loads of constant power at nodes of the live part."""
        load = initialize_array("input", ComponentType.sym_load, len(nodes))
        load["id"] = np.arange(self.next_id, self.next_id + len(nodes))
        load["node"], load["status"], load["type"] = nodes, 1, LoadGenType.const_power
        load["p_specified"] = load["q_specified"] = 0.0
        self.next_id += len(nodes)
        return load

    def read(self, result: Any, reference_w: float | None) -> PowerFlow:
        """What power-grid-model found, in the numbers of the whole network."""
        n, b = self.network.nodes, self.network.branches
        node = result[ComponentType.node].reshape(-1)
        phasor = np.zeros(n, dtype=np.complex128)
        phasor[self.part.nodes] = node["u"] * np.exp(1j * node["u_angle"])
        if len(self.part.branches) == 0:
            empty = np.zeros(b)
            return PowerFlow(empty, empty, empty, reference_w or 0.0, phasor)
        line = result[ComponentType.line].reshape(-1)
        from_w, to_w, loading = (spread(line[name], self.part.branches, b) for name in ("p_from", "p_to", "loading"))
        flow = PowerFlow(from_w, to_w, loading, reference_w or 0.0, phasor)
        if not (np.isfinite(phasor).all() and np.isfinite(flow.from_w).all()):
            raise PowerFlowError("the solution is not a number")
        return flow


class PowerFlowSolver:
    """A network, prepared once and solved for many intervals."""

    def __init__(self, network: Network) -> None:
        """Nodes that no path joins to the reference node are left without power."""
        self._solver = _Solver(network)
        self._load = self._solver.loads_at(self._solver.node_ids)
        self._model = PowerGridModel({**self._solver.input, ComponentType.sym_load: self._load})

    def solve(self, consumption_w: Floats) -> PowerFlow:
        """Work out the flows.

        Args:
            consumption_w: (n) net active power taken at each node; below 0 fed in.

        Raises:
            PowerFlowError: no solution.
        """
        update = initialize_array("update", ComponentType.sym_load, len(self._load))
        update["id"], update["p_specified"] = self._load["id"], consumption_w[self._solver.part.nodes]
        try:
            result = self._model.calculate_power_flow(
                update_data={ComponentType.sym_load: update[np.newaxis, :]},
                calculation_method=CalculationMethod.newton_raphson,
                output_component_types=[ComponentType.node, ComponentType.line, ComponentType.source],
            )
        except PowerGridError as error:
            raise PowerFlowError(_said(error)) from error
        return self._solver.read(result, float(result[ComponentType.source].reshape(-1)["p"][0]))


class StateSolver:
    """Finds the state of a network that fits its measurements best, by weighted least squares."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def solve(self, sensors: Sensors) -> PowerFlow:
        """Estimate the state.

        Raises:
            PowerFlowError: none is found.
        """
        solver = _Solver(self._network)
        model, said = _model_of(solver, sensors), ""
        for method in METHODS:
            try:
                return self._with_reference(solver.read(state_of(model, method), None), sensors)
            except (PowerGridError, PowerFlowError) as error:
                said = _said(error)
        raise PowerFlowError(said)

    def model(self, sensors: Sensors) -> PowerGridModel:
        """The measurements as power-grid-model takes them, for whoever wants to time it alone."""
        return _model_of(_Solver(self._network), sensors)

    def _with_reference(self, flow: PowerFlow, sensors: Sensors) -> PowerFlow:
        at_reference = injections(self._network, flow)[self._network.reference]
        own = sensors.injection_w[self._network.reference]
        return PowerFlow(flow.from_w, flow.to_w, flow.loading, float(at_reference - own), flow.phasor_v)


def state_of(model: PowerGridModel, method: CalculationMethod = METHODS[0]) -> Any:
    """The estimation itself.

    Raises:
        PowerGridError: it does not converge, or the state cannot be told.
    """
    return model.calculate_state_estimation(
        calculation_method=method,
        error_tolerance=TOLERANCE,
        max_iterations=ITERATIONS_MAX,
        output_component_types=[ComponentType.node, ComponentType.line],
    )


def _model_of(solver: _Solver, sensors: Sensors) -> PowerGridModel:
    part = solver.part
    load = solver.loads_at(part.position[part.nodes[sensors.is_metered[part.nodes]]])
    components = {
        ComponentType.sym_load: load,
        ComponentType.sym_power_sensor: _power_sensors(solver, load, sensors),
        ComponentType.sym_voltage_sensor: _voltage_sensors(solver, sensors),
    }
    try:
        return PowerGridModel({**solver.input, **components})
    except PowerGridError as error:
        raise PowerFlowError(_said(error)) from error


def injections(network: Network, flow: PowerFlow) -> Floats:
    """(n) active power that enters the branches at each node: what is fed in there, less what is taken."""
    return summed(network.branch_from, flow.from_w, network.nodes) + summed(network.branch_to, flow.to_w, network.nodes)


def _power_sensors(solver: _Solver, load: NDArray[Any], sensors: Sensors) -> NDArray[Any]:
    nodes = solver.part.nodes[load["node"]]
    line_of = np.full(solver.network.branches, -1, dtype=np.int64)
    line_of[solver.part.branches] = solver.line_ids
    checks = np.flatnonzero(line_of[sensors.check_branch] >= 0)
    has_connection = sensors.connection_w is not None
    count = len(load) + len(checks) + has_connection
    sensor = initialize_array("input", ComponentType.sym_power_sensor, count)
    sensor["id"] = np.arange(solver.next_id, solver.next_id + count)
    solver.next_id += count
    at_loads, at_checks = slice(0, len(load)), slice(len(load), len(load) + len(checks))
    sensor["measured_object"][at_loads] = load["id"]
    sensor["measured_terminal_type"][at_loads] = MeasuredTerminalType.load
    sensor["p_measured"][at_loads] = -sensors.injection_w[nodes]
    sensor["p_sigma"][at_loads] = sensors.injection_sigma_w[nodes]
    sensor["q_sigma"][at_loads] = sensors.reactive_sigma_var[nodes]
    sensor["measured_object"][at_checks] = line_of[sensors.check_branch[checks]]
    sensor["measured_terminal_type"][at_checks] = np.where(
        sensors.check_is_from[checks], MeasuredTerminalType.branch_from, MeasuredTerminalType.branch_to
    )
    sensor["p_measured"][at_checks] = sensors.check_w[checks]
    sensor["p_sigma"][at_checks] = sensors.check_sigma_w[checks]
    sigma = sensors.injection_sigma_w[sensors.is_metered]
    most_var, least_var = WIDE * float(sigma.min(initial=np.inf)), 10 * float(sigma.max(initial=1.0))

    def unknown_var(power_w: Floats) -> Floats:
        return np.minimum(np.maximum(np.abs(power_w), least_var), max(most_var, least_var))

    sensor["q_sigma"][at_checks] = unknown_var(sensors.check_w[checks])
    if has_connection:
        sensor["measured_object"][-1] = solver.source_id
        sensor["measured_terminal_type"][-1] = MeasuredTerminalType.source
        sensor["p_measured"][-1], sensor["p_sigma"][-1] = sensors.connection_w, sensors.connection_sigma_w
        sensor["q_sigma"][-1] = float(unknown_var(np.array(sensors.connection_w)))
    sensor["q_measured"] = 0.0
    return sensor


def _voltage_sensors(solver: _Solver, sensors: Sensors) -> NDArray[Any]:
    at = solver.part.position[sensors.voltage_node]
    known = np.flatnonzero(at >= 0)
    sensor = initialize_array("input", ComponentType.sym_voltage_sensor, len(known))
    sensor["id"] = np.arange(solver.next_id, solver.next_id + len(known))
    sensor["measured_object"] = at[known]
    sensor["u_measured"], sensor["u_sigma"] = sensors.voltage_v[known], sensors.voltage_sigma_v[known]
    return sensor


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
