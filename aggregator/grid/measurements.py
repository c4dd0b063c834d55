"""From meters' rows of an interval to what was measured in the electricity network, and how sure it is.

A meter's class is a bound: whatever lies within ±a is as likely, so σ = a/√3 (JCGM 100:2008, GUM, 4.3.7). Below a
twentieth of the connection's power the bound stays what it is there, since classes promise no share of little (IEC
62053-21, table 4). What else honest readings may be off by is added: energy registers count in steps, readings are
samples, and nobody knows a line's resistance or a home's reactive power exactly.

Shapes: n nodes, m meters of electricity, in the order of the grid file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from aggregator.chains.asset import MeterAsset, Region
from aggregator.chains.findings import Finding, FindingKind
from aggregator.chains.interval_energy import FIELDS, Energies
from aggregator.grid.network import Floats, Ints, Network
from aggregator.grid.observability import Flags
from aggregator.grid.power_flow import Sensors
from config.carriers import Carrier
from config.grid_model import Source
from protocol.energy_register import MS_PER_HOUR
from protocol.registers import WordType
from protocol.units import PPM, Interval, Quantity

ROOT_3: Final = 3**0.5
FLOOR_SHARE: Final = 0.05
"""Of a connection's power: below it, a meter's error is no smaller."""
STEP_SHARE: Final = 0.1
"""Of a connection's power: the step that may lie between two readings, so that their mean misses half of it."""
ENERGY_STEP_SHARE: Final = 0.01
"""Of a connection's power: where a step of the energy register is less than it over the interval, energy tells the mean
power better than a few readings do."""
FLOAT_STEP_WH: Final = 10
"""Step of a register that is a 32-bit float in kWh, once it is beyond 100 MWh."""
REACTIVE_SHARE: Final = 0.33
"""Of active power: reactive power at a power factor of 0.95, more than which is rare. Intervals do not tell it."""
LINE_SHARE: Final = 0.005
"""Of what flows past a meter in a line: what losses may differ by if resistances are 10 % off, as by 25 K of heat."""
VOLTAGE_SHARE: Final = 0.005
"""Error of a meter's voltage (IEC 61557-12, class 0.5)."""
PHASE_SHARE: Final = 0.03
"""How far one phase's voltage may be from the mean of the three, which the balanced model knows."""
DROP_SHARE: Final = 0.1
"""Of the voltage lost on the way: resistances may be 10 % off."""
OUTSIDE_SHARE: Final = 0.1
"""How far the voltage of the network outside may be from its rating (EN 50160)."""
SILENT_MAX: Final = 1000
"""Findings about meters that were not heard, in one interval."""

IMPORTED, EXPORTED, LATE, READINGS, IMPORT_SUM, EXPORT_SUM, CORRECTIONS, VOLTAGE_SUM, VOLTAGES = range(FIELDS)
"""Columns of `IntervalEnergy`."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured in one interval, and by whom."""

    sensors: Sensors
    net_w: Floats
    """(m) what each meter says was fed in, less what was taken; of one that was not heard, 0."""
    sigma_w: Floats
    """(m)"""
    is_heard: Flags
    """(m)"""
    voltage_meter: Ints
    """The meter of each measured voltage; −1 is none, of the voltage outside."""
    findings: tuple[Finding, ...]


class Electrics:
    """The electricity meters of a region, as arrays: prepared once, and asked for every interval."""

    def __init__(self, region: Region, network: Network) -> None:
        """`network` is the electricity network of `region`."""
        assets = [asset for asset in region.meters.values() if region.carriers[asset.meter.node] is Carrier.ELECTRICITY]
        branch_number = {name: i for i, name in enumerate(network.branch_names)}
        meters = [asset.meter for asset in assets]
        self._network = network
        self.names = tuple(meter.id for meter in meters)
        self._index = {name: i for i, name in enumerate(self.names)}
        self.node: Ints = np.array([network.node_number[meter.node] for meter in meters], dtype=np.int64)
        self.power_max_w: Floats = np.array([float(meter.power_max_w) for meter in meters])
        self._accuracy: Floats = np.array([meter.accuracy_ppm / PPM for meter in meters])
        self._step_wh: Floats = np.array([_step_wh(asset) for asset in assets])
        three_phase = {profile.id for profile in region.genesis.profiles if _has_three_phases(set(profile.codecs))}
        self._is_single: Flags = np.array([meter.profile not in three_phase for meter in meters], dtype=np.bool_)
        self.check_branch: Ints = np.array(
            [branch_number.get(meter.branch or "", -1) for meter in meters], dtype=np.int64
        )
        self.is_check: Flags = self.check_branch >= 0
        outside = np.array([_is_outside(asset) for asset in assets], dtype=np.bool_)
        self.is_connection: Flags = outside & (self.node == network.reference) & ~self.is_check
        self.is_injection: Flags = ~self.is_check & ~self.is_connection

    def measure(self, energies: Energies, interval: Interval) -> Measured:
        """What one interval's rows say."""
        rows = self._rows(energies)
        hours = interval.length_ms / MS_PER_HOUR
        is_heard = rows[:, READINGS] + rows[:, VOLTAGES] + np.abs(rows[:, :2]).sum(axis=1) + rows[:, CORRECTIONS] > 0
        is_heard[[i for name in energies if (i := self._index.get(name)) is not None]] = True
        net_w, sigma_w = self._powers(rows, hours, is_heard)
        silent = np.flatnonzero(~is_heard)[:SILENT_MAX]
        sensors, voltage_meter = self._sensors(rows, net_w, sigma_w, is_heard)
        return Measured(
            sensors=sensors,
            net_w=net_w,
            sigma_w=sigma_w,
            is_heard=is_heard,
            voltage_meter=voltage_meter,
            findings=tuple(
                Finding(FindingKind.UNMETERED, self.names[i], (0,) if self.is_injection[i] else ())
                for i in silent.tolist()
            ),
        )

    def meters_at(self, node: int) -> tuple[int, ...]:
        """The meters that count what is fed in and taken at a node."""
        return tuple(np.flatnonzero(self.is_injection & (self.node == node)).tolist())

    def _rows(self, energies: Energies) -> Floats:
        rows = np.zeros((len(self.names), FIELDS))
        known = [(i, energy.amounts) for name, energy in energies.items() if (i := self._index.get(name)) is not None]
        if known:
            places, amounts = zip(*known, strict=True)
            rows[list(places)] = np.array(amounts, dtype=np.float64)
        return rows

    def _powers(self, rows: Floats, hours: float, is_heard: Flags) -> tuple[Floats, Floats]:
        """Mean power and its σ: by energy where its steps are fine enough, else by the readings."""
        readings = rows[:, READINGS]
        step_w = self._step_wh / hours
        is_fine = (step_w <= ENERGY_STEP_SHARE * self.power_max_w) & (rows[:, LATE] == 0)
        by_energy = is_fine | (rows[:, CORRECTIONS] > 0) | (readings == 0)
        count = np.maximum(readings, 1.0)
        taken = np.where(by_energy, rows[:, IMPORTED] / hours, rows[:, IMPORT_SUM] / count)
        fed_in = np.where(by_energy, rows[:, EXPORTED] / hours, rows[:, EXPORT_SUM] / count)
        by_class = self._accuracy * np.maximum(taken + fed_in, FLOOR_SHARE * self.power_max_w) / ROOT_3
        by_steps = np.where(by_energy, step_w / 6**0.5, 0.0)  # the difference of two roundings
        by_samples = np.where(readings > 0, STEP_SHARE * self.power_max_w / (2 * ROOT_3 * count), 0.0)
        along_lines = np.where(self.is_injection, 0.0, LINE_SHARE * (taken + fed_in) / ROOT_3)
        sigma = np.sqrt(by_class**2 + by_steps**2 + by_samples**2 + along_lines**2)
        return np.where(is_heard, fed_in - taken, 0.0), np.where(is_heard, sigma, self.power_max_w / ROOT_3)

    def _sensors(self, rows: Floats, net_w: Floats, sigma_w: Floats, is_heard: Flags) -> tuple[Sensors, Ints]:
        n, own = self._network.nodes, self.is_injection
        at = self.node[own]
        reactive = np.maximum(REACTIVE_SHARE * np.abs(net_w[own]) / ROOT_3, sigma_w[own])
        outside, checks = self.is_connection, np.flatnonzero(self.is_check & is_heard)
        volts = self._voltages(rows, is_heard)
        sensors = Sensors(
            is_metered=np.bincount(at, minlength=n) > 0,
            injection_w=np.bincount(at, net_w[own], n),
            injection_sigma_w=np.sqrt(np.bincount(at, sigma_w[own] ** 2, n)),
            reactive_sigma_var=np.sqrt(np.bincount(at, reactive**2, n)),
            connection_w=float(net_w[outside].sum()) if outside.any() and is_heard[outside].all() else None,
            connection_sigma_w=float(np.sqrt((sigma_w[outside] ** 2).sum())),
            check_branch=self.check_branch[checks],
            check_is_from=self._network.branch_from[self.check_branch[checks]] == self.node[checks],
            check_w=net_w[checks],
            check_sigma_w=sigma_w[checks],
            voltage_node=volts[0],
            voltage_v=volts[1],
            voltage_sigma_v=volts[2],
        )
        return sensors, volts[3]

    def _voltages(self, rows: Floats, is_heard: Flags) -> tuple[Ints, Floats, Floats, Ints]:
        """Node, line-to-line voltage, σ and meter of each voltage, and last what is supposed of the one outside."""
        reference = self._network.reference
        told = np.flatnonzero(is_heard & (rows[:, VOLTAGES] > 0))
        volts = rows[told, VOLTAGE_SUM] / rows[told, VOLTAGES] * ROOT_3 / 1e3
        at_reference = volts[self.node[told] == reference]
        rated = self._network.node_rated_v
        outside_v = float(at_reference.mean()) if len(at_reference) else float(rated[reference])
        by_class = VOLTAGE_SHARE * volts
        by_phase = np.where(self._is_single[told], PHASE_SHARE * volts, 0.0)
        by_lines = DROP_SHARE * np.abs(volts - outside_v)
        sigma = np.sqrt(by_class**2 + by_phase**2 + by_lines**2) / ROOT_3
        return (
            np.append(self.node[told], reference),
            np.append(volts, rated[reference]),
            np.append(sigma, OUTSIDE_SHARE * rated[reference] / ROOT_3),
            np.append(told, -1),
        )


def _is_outside(asset: MeterAsset) -> bool:
    return asset.generator is not None and asset.generator.source is Source.GRID


def _step_wh(asset: MeterAsset) -> float:
    """The coarsest step of a meter's energy registers."""
    steps = [
        FLOAT_STEP_WH if codec.type is WordType.F32 else max(1.0, float(codec.scale))
        for _, codec, _ in asset.energy_registers
    ]
    return float(max(steps, default=1.0))


def _has_three_phases(quantities: set[Quantity]) -> bool:
    return {Quantity.VOLTAGE_L1_MV, Quantity.VOLTAGE_L2_MV, Quantity.VOLTAGE_L3_MV} <= quantities
