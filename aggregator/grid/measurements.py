"""From meters' rows of an interval to what was measured in the electricity network, and how sure it is.

A meter's class is a bound: whatever lies within ±a is as likely, so σ = a/√3 (JCGM 100:2008, GUM, 4.3.7). Below a
twentieth of the connection's power the bound stays what it is there, since classes promise no share of little (IEC
62053-21, table 4). What else honest readings may be off by is added: energy registers count in steps, readings are
samples, and nobody knows a line's resistance or a home's reactive power exactly.

Shapes: n nodes, m meters of electricity, in the order of the grid file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.metering.interval_energy import FIELDS, Energies
from aggregator.chains.region import MeterAsset, Region
from aggregator.grid.network import Floats, Ints, Network, summed
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
"""Of a connection's power: no larger step lies between two readings, so that their mean misses half of it;"""
STEP_W: Final = 1000.0
STEP_SHOWN_SHARE: Final = 0.3
"""nor a larger one than this power and this share of what the meter showed: a feeder of many homes does not jump."""
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


@dataclass(frozen=True)
class Measured:
    """What was measured in one interval, and by whom."""

    meters: Electrics
    node: Ints
    """(m) where each meter stands, or is supposed to."""
    net_w: Floats
    """(m) what each meter says was fed in, less what was taken; of one that was not heard, 0. What a check meter
    exports flows into its branch."""
    sigma_w: Floats
    """(m)"""
    is_heard: Flags
    """(m)"""
    voltage_v: Floats
    """(m) line-to-line; 0 is none."""

    def without(self, meter: int, is_voltage: bool) -> Measured:
        """The same, had a meter not been heard, or told no voltage."""
        if is_voltage:
            return replace(self, voltage_v=_changed(self.voltage_v, meter, 0.0))
        return replace(
            self,
            net_w=_changed(self.net_w, meter, 0.0),
            sigma_w=_changed(self.sigma_w, meter, self.meters.power_max_w[meter] / ROOT_3),
            is_heard=_changed(self.is_heard, meter, False),
        )

    def moved(self, meter: int, node: int) -> Measured:
        """The same, did a meter stand at another node."""
        return replace(self, node=_changed(self.node, meter, node))

    def meters_at(self, node: int) -> list[int]:
        """The meters that were heard and count what is fed in and taken at a node."""
        found = self.meters.is_injection & (self.node == node) & self.is_heard
        return [int(meter) for meter in np.flatnonzero(found)]

    @cached_property
    def check_meter(self) -> Ints:
        """The meter of each check in `sensors`."""
        return np.flatnonzero(self.meters.is_check & self.is_heard)

    @cached_property
    def voltage_meter(self) -> Ints:
        """The meter of each voltage in `sensors`, and −1 for the last, which nobody measured."""
        return np.append(np.flatnonzero(self.voltage_v > 0), -1)

    @cached_property
    def sensors(self) -> Sensors:
        """The measurements at nodes and branches. Of reactive power it is supposed that there is none."""
        meters, network = self.meters, self.meters.network
        n, own = network.nodes, meters.is_injection
        at, sigma, checks, outside = self.node[own], self.sigma_w[own], self.check_meter, meters.is_connection
        reactive = np.maximum(REACTIVE_SHARE * np.abs(self.net_w[own]) / ROOT_3, sigma)
        knows_outside = bool(outside.any() and self.is_heard[outside].all())
        volts = self._voltages()
        return Sensors(
            is_metered=np.bincount(at, minlength=n) > 0,
            injection_w=summed(at, self.net_w[own], n),
            injection_sigma_w=np.sqrt(summed(at, sigma**2, n)),
            reactive_sigma_var=np.sqrt(summed(at, reactive**2, n)),
            connection_w=float(self.net_w[outside].sum()) if knows_outside else None,
            connection_sigma_w=float(np.sqrt((self.sigma_w[outside] ** 2).sum())),
            check_branch=meters.check_branch[checks],
            check_is_from=network.branch_from[meters.check_branch[checks]] == self.node[checks],
            check_w=self.net_w[checks],
            check_sigma_w=self.sigma_w[checks],
            voltage_node=volts[0],
            voltage_v=volts[1],
            voltage_sigma_v=volts[2],
        )

    def _voltages(self) -> tuple[Ints, Floats, Floats]:
        """Node, line-to-line voltage and σ of each, and last what is supposed of the one outside."""
        network, told = self.meters.network, self.voltage_meter[:-1]
        volts, node = self.voltage_v[told], self.node[told]
        rated_v = float(network.node_rated_v[network.reference])
        at_reference = volts[node == network.reference]
        outside_v = float(at_reference.mean()) if len(at_reference) else rated_v
        by_class = VOLTAGE_SHARE * volts
        by_phase = np.where(self.meters.is_single_phase[told], PHASE_SHARE * volts, 0.0)
        by_lines = DROP_SHARE * np.abs(volts - outside_v)
        sigma = np.sqrt(by_class**2 + by_phase**2 + by_lines**2) / ROOT_3
        return (
            np.append(node, network.reference),
            np.append(volts, rated_v),
            np.append(sigma, OUTSIDE_SHARE * rated_v / ROOT_3),
        )


def _changed(values: NDArray[Any], at: int, value: float) -> NDArray[Any]:
    changed = values.copy()
    changed[at] = value
    return changed


class Electrics:
    """The electricity meters of a region, as arrays: prepared once, and asked for every interval."""

    def __init__(self, region: Region, network: Network) -> None:
        """`network` is the electricity network of `region`."""
        assets = [asset for asset in region.meters.values() if region.carriers[asset.meter.node] is Carrier.ELECTRICITY]
        branch_number = {name: i for i, name in enumerate(network.branch_names)}
        meters = [asset.meter for asset in assets]
        self.network = network
        self.region = region.grid.region
        self.names = tuple(meter.id for meter in meters)
        self._index = {name: i for i, name in enumerate(self.names)}
        self.node: Ints = np.array([network.node_number[meter.node] for meter in meters], dtype=np.int64)
        self.power_max_w: Floats = np.array([float(meter.power_max_w) for meter in meters])
        self._accuracy: Floats = np.array([meter.accuracy_ppm / PPM for meter in meters])
        self._step_wh: Floats = np.array([step_wh(asset) for asset in assets])
        three_phase = {profile.id for profile in region.genesis.profiles if _has_three_phases(set(profile.codecs))}
        self.is_single_phase: Flags = np.array([meter.profile not in three_phase for meter in meters], dtype=np.bool_)
        self.check_branch: Ints = np.array(
            [branch_number.get(meter.branch or "", -1) for meter in meters], dtype=np.int64
        )
        self.is_check: Flags = self.check_branch >= 0
        outside = np.array([_is_outside(asset) for asset in assets], dtype=np.bool_)
        self.is_connection: Flags = outside & (self.node == network.reference) & ~self.is_check
        self.is_injection: Flags = ~self.is_check & ~self.is_connection

    def measure(self, energies: Energies, interval: Interval) -> Measured:
        """What one interval's rows say."""
        rows, is_heard = self._rows(energies)
        net_w, sigma_w = self._powers(rows, interval.length_ms / MS_PER_HOUR, is_heard)
        volts = np.divide(rows[:, VOLTAGE_SUM], rows[:, VOLTAGES], out=np.zeros(len(rows)), where=rows[:, VOLTAGES] > 0)
        return Measured(self, self.node, net_w, sigma_w, is_heard, volts * ROOT_3 / 1e3)

    def silent(self, measured: Measured) -> list[Finding]:
        """A finding for every meter that was not heard."""
        silent = np.flatnonzero(~measured.is_heard)[:SILENT_MAX].tolist()
        return [Finding(FindingKind.UNMETERED, self.names[i], (0,) if self.is_injection[i] else ()) for i in silent]

    def _rows(self, energies: Energies) -> tuple[Floats, Flags]:
        rows, is_heard = np.zeros((len(self.names), FIELDS)), np.zeros(len(self.names), dtype=np.bool_)
        known = [(i, energy.amounts) for name, energy in energies.items() if (i := self._index.get(name)) is not None]
        if known:
            places, amounts = zip(*known, strict=True)
            rows[list(places)] = np.array(amounts, dtype=np.float64)
            is_heard[list(places)] = True
        return rows, is_heard

    def _powers(self, rows: Floats, hours: float, is_heard: Flags) -> tuple[Floats, Floats]:
        """Mean power and its σ: by energy, unless the register's steps would be the larger part of what is unsure."""
        readings = rows[:, READINGS]
        count = np.maximum(readings, 1.0)
        shown = (rows[:, IMPORT_SUM] + rows[:, EXPORT_SUM]) / count
        shown = np.where(readings > 0, shown, (rows[:, IMPORTED] + rows[:, EXPORTED]) / hours)
        by_class = self._accuracy * np.maximum(shown, FLOOR_SHARE * self.power_max_w) / ROOT_3
        step_max_w = np.minimum(STEP_SHARE * self.power_max_w, STEP_W + STEP_SHOWN_SHARE * shown)
        by_samples = np.where(readings > 0, step_max_w / (2 * ROOT_3 * count), 0.0)
        by_steps = self._step_wh / hours / 6**0.5  # the difference of two roundings
        is_fine = (by_steps <= np.maximum(by_samples, by_class / 2)) & (rows[:, LATE] == 0)
        by_energy = is_fine | (rows[:, CORRECTIONS] > 0) | (readings == 0)
        taken = np.where(by_energy, rows[:, IMPORTED] / hours, rows[:, IMPORT_SUM] / count)
        fed_in = np.where(by_energy, rows[:, EXPORTED] / hours, rows[:, EXPORT_SUM] / count)
        along_lines = np.where(self.is_injection, 0.0, LINE_SHARE * shown / ROOT_3)
        unsure = np.where(by_energy, by_steps, 0.0)
        sigma = np.sqrt(by_class**2 + unsure**2 + by_samples**2 + along_lines**2)
        return np.where(is_heard, fed_in - taken, 0.0), np.where(is_heard, sigma, self.power_max_w / ROOT_3)


def _is_outside(asset: MeterAsset) -> bool:
    return asset.generator is not None and asset.generator.source is Source.GRID


def step_wh(asset: MeterAsset) -> float:
    """The coarsest step of a meter's energy registers."""
    steps = [
        FLOAT_STEP_WH if codec.type is WordType.F32 else max(1.0, float(codec.scale))
        for _, codec, _ in asset.energy_registers
    ]
    return float(max(steps, default=1.0))


def _has_three_phases(quantities: set[Quantity]) -> bool:
    return {Quantity.VOLTAGE_L1_MV, Quantity.VOLTAGE_L2_MV, Quantity.VOLTAGE_L3_MV} <= quantities
