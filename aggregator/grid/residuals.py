"""What a state says that the meters should have shown, and how surely it says so.

z = h(x) + e: measurements z, state x (voltage magnitudes and angles), errors e with σ. At the estimate, r = z − h(x)
has the covariance Ω = R − H G⁻¹ Hᵀ, with R = diag σ², H = ∂h/∂x and G = Hᵀ R⁻¹ H (Abur and Gómez Expósito, Power System
State Estimation, 2004, chapter 5). power-grid-model tells r alone, so H and Ω's diagonal are worked out here.

Shapes: r rows (measured values), s states, live nodes and branches as in `LivePart`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import Final

import numpy as np
from scipy.sparse import coo_array, csr_array, diags_array, eye_array, vstack

from aggregator.grid.measurements import ROOT_3
from aggregator.grid.network import Floats, Ints, Network, summed
from aggregator.grid.observability import LivePart, spread
from aggregator.grid.power_flow import Phasors, PowerFlow, Sensors, injections
from aggregator.grid.sparse_inverse import SparseInverse

NO_POWER_SIGMA: Final = 0.1
"""Of the surest meter's σ: that of a node without meters, where power-grid-model holds power to be 0 exactly. Much less
would lose the other rows to rounding."""


class Row(IntEnum):
    """What a measured value is of."""

    INJECTION = 0
    """Active power fed in at a node less what is taken; its place is the node."""
    CONNECTION = 1
    """The same at the reference node, with what comes from outside."""
    CHECK = 2
    """Active power into an end of a branch; its place is that in `Sensors.check_branch`."""
    VOLTAGE = 3
    """Its place is that in `Sensors.voltage_node`."""
    REACTIVE = 4
    """Supposed reactive power at a node; nobody measured it."""
    NO_POWER = 5
    """Active power of a node without meters."""
    NO_REACTIVE = 6


MEASURED_ROWS: Final = (Row.INJECTION, Row.CONNECTION, Row.CHECK, Row.VOLTAGE)


@dataclass(frozen=True)
class Residuals:
    """Every row, at one state."""

    network: Network
    part: LivePart
    kind: Ints
    place: Ints
    residual: Floats
    sigma: Floats
    flow: PowerFlow
    sensors: Sensors

    @property
    def phasor_v(self) -> Phasors:
        """(n) voltages of the state."""
        return self.flow.phasor_v

    @property
    def weighted(self) -> Floats:
        """(r) in units of σ."""
        return self.residual / self.sigma

    @property
    def squares(self) -> float:
        """The weighted sum of squares that the estimate has made as small as can be."""
        return float((self.weighted**2).sum())

    @property
    def node(self) -> Ints:
        """(r) a live node that the row lies at, by its number in the whole network."""
        sensors, at = self.sensors, self.place.copy()
        checks, voltages = self.kind == Row.CHECK, self.kind == Row.VOLTAGE
        branch = sensors.check_branch[self.place[checks]]
        ends = np.where(
            sensors.check_is_from[self.place[checks]], self.network.branch_to[branch], self.network.branch_from[branch]
        )
        at[checks], at[voltages] = ends, sensors.voltage_node[self.place[voltages]]
        return at

    @cached_property
    def jacobian(self) -> csr_array:
        """H, (r, s): angles of all live nodes but the reference, then magnitudes of all."""
        return _jacobian(self)

    @cached_property
    def _inverse(self) -> SparseInverse:
        """G⁻¹, but for the row of the connection: it joins all feeders, and would fill G."""
        others = self.kind != Row.CONNECTION
        weighted = diags_array(1 / self.sigma[others]) @ self.jacobian[np.flatnonzero(others)]
        return SparseInverse(csr_array(weighted.T @ weighted))

    @cached_property
    def _connection(self) -> tuple[Floats, float] | None:
        """By Sherman and Morrison, what the connection's row takes from G⁻¹: (v, c) stand for v vᵀ / c."""
        (rows,) = np.nonzero(self.kind == Row.CONNECTION)
        if not len(rows):
            return None
        row = self.jacobian[rows].toarray()[0]
        image = self._inverse.solve(row)
        return image, float(self.sigma[rows[0]] ** 2 + row @ image)

    @cached_property
    def leverage(self) -> Floats:
        """(r) diagonal of H G⁻¹ Hᵀ: how uncertain the estimate of each row is, as a variance."""
        found = self._inverse.quadratic_forms(self.jacobian)
        if self._connection is not None:
            image, scale = self._connection
            found -= (self.jacobian @ image) ** 2 / scale
            own = self.kind == Row.CONNECTION  # the only row that is none of G's summands
            found[own] = self.sigma[own] ** 2 * (1 - self.sigma[own] ** 2 / scale)
        return np.clip(found, 0.0, self.sigma**2)

    @cached_property
    def variance(self) -> Floats:
        """(r) diagonal of Ω; 0 where the row is the only one that tells what it tells."""
        free = self.sigma**2 - self.leverage
        return np.where(free > CRITICAL * self.sigma**2, free, 0.0)

    @cached_property
    def normalized(self) -> Floats:
        """(r) residuals in units of their own standard deviation; 0 where nothing contradicts a row."""
        sigma = np.sqrt(self.variance)
        return np.divide(self.residual, sigma, out=np.zeros_like(sigma), where=sigma > 0)

    @cached_property
    def without(self) -> Floats:
        """(r) what all other rows say instead of each: how far it is from what was measured."""
        return np.divide(self.residual * self.sigma**2, self.variance, out=np.zeros_like(self.sigma),
                         where=self.variance > 0)  # fmt: skip

    def refined(self) -> Residuals:
        """The state that fits best, by Gauss and Newton from this one: each step as long as it leads nearer.

        Beside a gross lie whole steps lead to and fro without an end, and what is not the best state has no residuals
        from which anybody could be named.

        Raises:
            NoInverse: the rows do not tell the state.
        """
        rows = self
        for _ in range(STEPS_MAX):
            step, before = rows._step(), rows.squares
            tried = (rows._moved(step / 2**halvings) for halvings in range(HALVINGS_MAX))
            nearer = next((one for one in tried if one.squares < before), None)
            if nearer is None:
                break
            rows = nearer
            if before - rows.squares <= STOP_SHARE * before:
                break
        return rows

    def _step(self) -> Floats:
        """(s) where the best state would be, were everything linear."""
        step: Floats = self._inverse.solve(self.jacobian.T @ (self.residual / self.sigma**2))
        if self._connection is None:
            return step
        image, scale = self._connection
        row = self.jacobian[np.flatnonzero(self.kind == Row.CONNECTION)].toarray()[0]
        return step - image * float(row @ step) / scale

    def _moved(self, step: Floats) -> Residuals:
        live, m = self.part.nodes, len(self.part.nodes)
        turn = np.insert(step[: m - 1], int(self.part.position[self.network.reference]), 0.0)
        phasor = self.phasor_v.copy()
        magnitude = np.maximum(np.abs(phasor[live]) + step[m - 1 :], VOLTAGE_MIN * np.abs(phasor[live]))
        phasor[live] = magnitude * np.exp(1j * (np.angle(phasor[live]) + turn))
        own_w = float(self.sensors.injection_w[self.network.reference])
        flow = flow_of(self.network, self.part, phasor, own_w)
        return residuals_at(self.network, self.part, self.sensors, flow)

    def column(self, row: int) -> Floats:
        """(r) of R⁻¹ Ω R⁻¹: by how much the gradient of the sum of squares turns when one row is measured anew."""
        at = self.jacobian[[row]].toarray()[0]
        image = self._inverse.solve(at)
        if self._connection is not None:
            through, scale = self._connection
            image = image - through * float(at @ through) / scale
        found: Floats = -(self.jacobian @ image) / self.sigma**2 / self.sigma[row] ** 2
        found[row] += 1 / self.sigma[row] ** 2
        return found


STEPS_MAX: Final = 40
HALVINGS_MAX: Final = 12
STOP_SHARE: Final = 1e-7
"""A step that changes the sum of squares by no more than this share of it was the last."""
VOLTAGE_MIN: Final = 0.5
"""No step makes a voltage smaller than by half."""
CRITICAL: Final = 1e-6
"""A residual with less than this share of the measurement's variance is rounding."""


def residuals_at(network: Network, part: LivePart, sensors: Sensors, flow: PowerFlow) -> Residuals:
    """Hold a state against what was measured."""
    power = _injections(network, part, flow.phasor_v)
    live, reference = part.nodes, network.reference
    metered = live[sensors.is_metered[live] & (live != reference)]
    idle = live[~sensors.is_metered[live] & (live != reference)]
    surest = float(sensors.injection_sigma_w[metered].min(initial=np.inf))
    sigma_0 = NO_POWER_SIGMA * (surest if np.isfinite(surest) else 1.0)
    blocks: list[tuple[Row, Ints, Floats, Floats]] = [
        (
            Row.INJECTION,
            metered,
            sensors.injection_w[metered] - power.real[metered],
            sensors.injection_sigma_w[metered],
        ),
        (Row.REACTIVE, metered, -power.imag[metered], sensors.reactive_sigma_var[metered]),
        (Row.NO_POWER, idle, -power.real[idle], np.full(len(idle), sigma_0)),
        (Row.NO_REACTIVE, idle, -power.imag[idle], np.full(len(idle), sigma_0)),
    ]
    if sensors.connection_w is not None:
        said = sensors.connection_w + sensors.injection_w[reference]
        sigma = np.hypot(sensors.connection_sigma_w, sensors.injection_sigma_w[reference])
        at = np.array([reference])
        blocks.append((Row.CONNECTION, at, said - power.real[at], np.array([sigma])))
    is_live = np.zeros(network.branches, dtype=np.bool_)
    is_live[part.branches] = True
    checks = np.flatnonzero(is_live[sensors.check_branch])
    shown = np.where(
        sensors.check_is_from[checks],
        flow.from_w[sensors.check_branch[checks]],
        flow.to_w[sensors.check_branch[checks]],
    )
    blocks.append((Row.CHECK, checks, sensors.check_w[checks] - shown, sensors.check_sigma_w[checks]))
    told = np.flatnonzero(part.position[sensors.voltage_node] >= 0)
    shown = np.abs(flow.phasor_v[sensors.voltage_node[told]])
    blocks.append((Row.VOLTAGE, told, sensors.voltage_v[told] - shown, sensors.voltage_sigma_v[told]))
    return Residuals(
        network=network,
        part=part,
        kind=np.concatenate([np.full(len(place), kind) for kind, place, _, _ in blocks]),
        place=np.concatenate([place for _, place, _, _ in blocks]),
        residual=np.concatenate([residual for _, _, residual, _ in blocks]),
        sigma=np.concatenate([sigma for _, _, _, sigma in blocks]),
        flow=flow,
        sensors=sensors,
    )


def _admittances(network: Network, part: LivePart) -> tuple[Ints, Ints, Phasors]:
    lines = part.branches
    impedance = (network.resistance_ohm[lines] + 1j * network.reactance_ohm[lines]).astype(np.complex128)
    return network.branch_from[lines], network.branch_to[lines], 1 / impedance


def _injections(network: Network, part: LivePart, phasor_v: Phasors) -> Phasors:
    """(n) complex power that enters the branches at each node."""
    one, other, admittance = _admittances(network, part)
    current = (phasor_v[one] - phasor_v[other]) * admittance
    at_one, at_other = phasor_v[one] * current.conj(), -phasor_v[other] * current.conj()
    n = network.nodes
    real = summed(one, at_one.real, n) + summed(other, at_other.real, n)
    imag = summed(one, at_one.imag, n) + summed(other, at_other.imag, n)
    found: Phasors = real + 1j * imag
    return found


def flow_of(network: Network, part: LivePart, phasor_v: Phasors, own_w: float) -> PowerFlow:
    """The flows that voltages make; `own_w` is what meters at the reference node feed in less what they take."""
    one, other, admittance = _admittances(network, part)
    current = (phasor_v[one] - phasor_v[other]) * admittance
    b, reference = network.branches, network.reference
    flow = PowerFlow(
        from_w=spread((phasor_v[one] * current.conj()).real, part.branches, b),
        to_w=spread(-(phasor_v[other] * current.conj()).real, part.branches, b),
        loading=spread(np.abs(current) / ROOT_3 / network.rating_a[part.branches], part.branches, b),
        reference_w=0.0,
        phasor_v=phasor_v,
    )
    return replace(flow, reference_w=float(injections(network, flow)[reference]) - own_w)


def _jacobian(rows: Residuals) -> csr_array:
    """∂h/∂x: rows chosen from all that could be measured."""
    network, part, sensors = rows.network, rows.part, rows.sensors
    n, lines = network.nodes, len(part.branches)
    active, reactive = _end_derivatives(network, part, rows.phasor_v)
    ends = np.concatenate([network.branch_from[part.branches], network.branch_to[part.branches]])
    summed = coo_array((np.ones(2 * lines), (ends, np.arange(2 * lines))), shape=(n, 2 * lines)).tocsr()
    magnitudes = eye_array(len(part.nodes), 2 * len(part.nodes), k=len(part.nodes), format="csr")
    everything = csr_array(vstack([summed @ active, summed @ reactive, active, magnitudes]))
    line_of = np.zeros(network.branches, dtype=np.int64)
    line_of[part.branches] = np.arange(lines)
    chosen = rows.place.copy()
    chosen[np.isin(rows.kind, (Row.REACTIVE, Row.NO_REACTIVE))] += n
    checks, voltages = rows.kind == Row.CHECK, rows.kind == Row.VOLTAGE
    at = rows.place[checks]
    side = np.where(sensors.check_is_from[at], 0, lines)
    chosen[checks] = 2 * n + line_of[sensors.check_branch[at]] + side
    chosen[voltages] = 2 * n + 2 * lines + part.position[sensors.voltage_node[rows.place[voltages]]]
    states = np.delete(np.arange(2 * len(part.nodes)), part.position[network.reference])
    return csr_array(everything[chosen][:, states])


def _end_derivatives(network: Network, part: LivePart, phasor_v: Phasors) -> tuple[csr_array, csr_array]:
    """Of active and of reactive power into each branch at its from node, then at its to node.

    At node i towards j, with y = g + jb and θ = θᵢ − θⱼ: P = Vᵢ² g − Vᵢ Vⱼ (g cos θ + b sin θ),
    Q = −Vᵢ² b − Vᵢ Vⱼ (g sin θ − b cos θ).
    """
    one, other, admittance = _admittances(network, part)
    here, there = np.concatenate([one, other]), np.concatenate([other, one])
    g, b = np.tile(admittance.real, 2), np.tile(admittance.imag, 2)
    v, w = np.abs(phasor_v[here]), np.abs(phasor_v[there])
    angle = np.angle(phasor_v[here] * phasor_v[there].conj())
    along, across = g * np.cos(angle) + b * np.sin(angle), g * np.sin(angle) - b * np.cos(angle)
    m = len(part.nodes)
    i, j = part.position[here], part.position[there]
    columns = np.concatenate([i, j, m + i, m + j])
    row = np.tile(np.arange(len(here)), 4)
    shape = (len(here), 2 * m)
    of_active = np.concatenate([v * w * across, -v * w * across, 2 * v * g - w * along, -v * along])
    of_reactive = np.concatenate([-v * w * along, v * w * along, -2 * v * b - w * across, -v * across])
    return (
        csr_array(coo_array((of_active, (row, columns)), shape=shape)),
        csr_array(coo_array((of_reactive, (row, columns)), shape=shape)),
    )
