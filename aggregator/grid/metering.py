"""What a region's meters say of an interval, as arrays: where each stands, what it counts, and how far it may be off.

Mean power tells how energy flowed; the energy registers tell how much of it there was.

Shapes: m meters, in the order of their names; r rows of participants and carriers; k sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import attrgetter
from typing import Final

import numpy as np

from aggregator.chains.intervals.flows import CARRIERS, SOURCES
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.region import Region
from aggregator.grid.measurements import step_wh
from aggregator.grid.network import Bools, Floats, Ints, Networks, summed
from aggregator.grid.quantize import NUMBERS, OTHER
from config.carriers import Carrier
from config.grid_model import Source
from protocol.energy_register import MS_PER_HOUR
from protocol.units import PPM, Interval

FIELDS: Final = ("imported_wh", "exported_wh", "late_wh", "readings", "import_sum_w", "export_sum_w", "corrections")
FLOOR_SHARE: Final = 0.05
"""Of a connection's power: a class promises no share of less (IEC 62053-21, table 4)."""
FEWEST: Final = 5
"""Readings in an interval: with fewer, no more of what the registers counted is supposed to be missing."""
FUELS: Final = (Carrier.GAS, Carrier.HYDROGEN)
_fields = attrgetter(*FIELDS)


@dataclass(frozen=True, slots=True)
class Metered:
    """What every meter counted in an interval; nothing where none sent a reading."""

    imported_wh: Ints
    """(m)"""
    exported_wh: Ints
    import_w: Floats
    """(m) mean power taken, from the readings as far as the registers bear it out, which may be off by a step, and by
    what lies between two readings. Without readings, and where the regulator has corrected the meter, from energy."""
    export_w: Floats
    is_read: Bools
    """(m) whether it sent anything at all."""


class MeterPlan:
    """Where every meter of a region stands, prepared once."""

    def __init__(self, region: Region, networks: Networks) -> None:
        """`networks` are those of `region`."""
        assets = [region.meters[name] for name in sorted(region.meters)]
        meters, generators = [asset.meter for asset in assets], [asset.generator for asset in assets]
        lines = {name: number for number, name in enumerate(networks.line_names)}
        keys = [(meter.participant, CARRIERS.index(region.carriers[meter.node])) for meter in meters]
        rows = sorted(set(keys))
        row_number = {key: number for number, key in enumerate(rows)}
        self.rows: tuple[tuple[str, Carrier], ...] = tuple((name, CARRIERS[carrier]) for name, carrier in rows)
        self.names = tuple(meter.id for meter in meters)
        self.number = {name: number for number, name in enumerate(self.names)}
        self.node = _ints(networks.node_number[meter.node] for meter in meters)
        """(m) node numbers."""
        self.carrier = _ints(carrier for _, carrier in keys)
        self.row = _ints(row_number[key] for key in keys)
        """(m) whose energy it counts: number of its row of participant and carrier."""
        self.source = _ints(SOURCES.index(generator.source) if generator else OTHER for generator in generators)
        self.emission_mg = _ints(generator.emission_g_per_kwh if generator else 0 for generator in generators)
        """(m) carbon of a watt-hour fed in; grams for a kilowatt-hour are milligrams for a watt-hour."""
        self.accuracy: Floats = _ints(meter.accuracy_ppm for meter in meters) / PPM
        self.step_wh: Floats = np.array([step_wh(asset) for asset in assets])
        """(m) last digit of its energy registers."""
        self.power_max_w: Floats = _ints(meter.power_max_w for meter in meters).astype(np.float64)
        self.unknown_mg = self._unknown_mg(networks)
        outputs = {output.meter for converter in region.grid.converters for output in converter.outputs}
        self.feeds_in: Bools = np.array(
            [asset.meter.feeds_in or asset.generator is not None or asset.meter.id in outputs for asset in assets],
            dtype=np.bool_,
        )
        """(m) whether it stands where energy goes into its network."""
        self.line = _ints(lines[meter.branch] if meter.branch else -1 for meter in meters)
        """(m) of a check meter, the number of the branch or pipe that it stands in; else −1."""
        self.is_apart: Bools = np.array([name in region.meters_apart for name in self.names], dtype=np.bool_)
        """(m) whether it counts nobody's use or feed-in: of a converter or storage, or a check meter."""
        self.reference_emission_mg = 0
        """Of the network outside, by the first generator that stands for it at the reference node."""
        reference = networks.electricity.reference
        at_reference = (self.node == reference) & (self.source == SOURCES.index(Source.GRID))
        self.is_slack: Bools = at_reference & ~self.is_apart
        """(m) whether it stands at the connection to the network outside: the power flow finds what flows there."""
        if self.is_slack.any():
            self.reference_emission_mg = int(self.emission_mg[np.flatnonzero(self.is_slack)[0]])

    def _unknown_mg(self, networks: Networks) -> Ints:
        """(n) carbon of a watt-hour of unknown origin: of gas and hydrogen, as much as of the dirtiest known one.

        It is burned all the same, and whoever burns it must not be the cleaner for not telling where it is from.
        """
        dirtiest_mg = np.zeros(len(CARRIERS), dtype=np.int64)
        np.maximum.at(dirtiest_mg, self.carrier, self.emission_mg)
        dirtiest_mg[[number for number, carrier in enumerate(CARRIERS) if carrier not in FUELS]] = 0
        return dirtiest_mg[networks.node_carrier]

    @cached_property
    def is_check(self) -> Bools:
        """(m) whether it only serves to see whether others tell the truth."""
        return self.line >= 0

    @cached_property
    def is_plain(self) -> Bools:
        """(m) whether it counts what a participant takes and feeds in, and the power flow does not find that itself."""
        return ~self.is_apart & ~self.is_slack

    def metered(self, energies: Energies, interval: Interval) -> Metered:
        """What the meters counted in an interval."""
        read = np.fromiter(chain.from_iterable(map(_fields, energies.values())), np.int64).reshape(-1, len(FIELDS))
        table = np.zeros((len(self.names), len(FIELDS)), dtype=np.int64)
        is_read = np.zeros(len(self.names), dtype=np.bool_)
        numbers = _ints(map(self.number.__getitem__, energies))
        table[numbers], is_read[numbers] = read, True
        imported, exported, late, readings, import_sum, export_sum, corrections = table.T
        hours = interval.length_ms / MS_PER_HOUR
        believed = (readings > 0) & (corrections == 0)
        count = np.where(believed, readings, 1)

        covered = 1 - 1 / np.maximum(count, FEWEST)  # what registers did between the last two readings may be missing

        def power(counted_wh: Ints, sum_w: Ints) -> Floats:
            least_wh = (counted_wh - late - self.step_wh).clip(min=0.0) * covered
            most_wh = (counted_wh + self.step_wh) / covered
            return np.where(believed, np.clip(sum_w / count, least_wh / hours, most_wh / hours), counted_wh / hours)

        return Metered(imported, exported, power(imported, import_sum), power(exported, export_sum), is_read)

    def fed_in(self, metered: Metered, nodes: int, flagged: Iterable[str] = ()) -> Floats:
        """(n, k + 1) mean power that participants fed in at each node by source, and the carbon of it.

        What flagged meters say was fed in is of unknown origin.
        """
        fed_in = np.zeros((nodes, NUMBERS + 1))
        plain, source = np.flatnonzero(self.is_plain & (metered.export_w > 0)), self.source
        if wrong := [self.number[name] for name in flagged]:
            source = source.copy()
            source[wrong] = OTHER
        np.add.at(fed_in, (self.node[plain], source[plain]), metered.export_w[plain])
        np.add.at(fed_in[:, NUMBERS], self.node[plain], metered.export_w[plain] * self.emission_mg[plain])
        return fed_in

    def totals(self, metered: Metered, nodes: int) -> tuple[Floats, Floats, Floats]:
        """(n) what was taken and fed in at each node, and how far both may be off: power that meters count.

        Below a twentieth of what its connection carries, a meter is no more accurate than there.
        """
        counts = ~self.is_check & ~self.is_slack
        least = np.maximum(metered.import_w + metered.export_w, FLOOR_SHARE * self.power_max_w)
        amounts = (metered.import_w, metered.export_w, self.accuracy * least)
        taken, fed_in, off = (summed(self.node, np.where(counts, amount, 0.0), nodes) for amount in amounts)
        return taken, fed_in, off

    def variance(self, metered: Metered, nodes: int) -> Floats:
        """(n) how far what was metered at each node may be off, in W²: accuracies add up squared."""
        off = np.where(self.is_check, 0.0, self.accuracy * (metered.import_w + metered.export_w))
        return summed(self.node, off**2, nodes)

    def silent_variance(self, metered: Metered, lacks: Bools) -> Floats:
        """(n) the same of meters that sent nothing: each may have counted all that its connection carries.

        Args:
            lacks: (n) where more was taken than fed in: there, what was fed in may be missing, elsewhere what was
                taken.
        """
        fits = ~self.is_check & ~metered.is_read & (self.feeds_in == lacks[self.node])
        return summed(self.node, np.where(fits, self.power_max_w**2 / 3, 0.0), len(lacks))


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, np.int64)
