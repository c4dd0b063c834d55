"""The region as the asset chain has it: participants, meters, devices, network, and the rules of every instant."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from aggregator.chains.admission.genesis import Genesis
from aggregator.chains.admission.laws import Laws
from aggregator.economy.network import TradedNetwork, traded_network
from aggregator.economy.periods import Period, interval_start, period_of
from config.carriers import Carrier
from config.grid_model import Device, Generator, Grid, Meter, Source
from config.meter_profile import MeterProfile
from config.rules import Rules
from protocol.energy_register import RegisterLimit
from protocol.limits import Direction
from protocol.registers import RegisterCodec
from protocol.units import PPM, Quantity

DELAYED_MAX: Final = 3
"""Parcels that one pipe with a fixed delay hands to an interval: two, or three where it turned."""
RESTATED_ROWS_MAX: Final = 100_000
"""Meters, or branches, of the largest region that restates: a row takes 130, 160 (twice) and 90 bytes at most for a
meter, a participant and a branch, and all of them together less than a record may have."""


@dataclass(frozen=True, slots=True)
class MeterAsset:
    """A meter, with everything that it takes to judge its readings."""

    meter: Meter
    profile_digest: bytes
    energy_registers: tuple[tuple[Quantity, RegisterCodec, RegisterLimit], ...]
    generator: Generator | None
    is_at_home: bool = True
    """False for a heat meter in the electricity network: its readings are kept, and nothing is booked.

    In networks of gas and hydrogen it stands for a meter of theirs, as long as there is no profile of one."""

    def counts_export(self, quantity: Quantity) -> bool:
        """Whether an energy register counts what is fed in: the only one of a meter may, by the grid file."""
        is_one_way = len(self.energy_registers) == 1
        return quantity is Quantity.EXPORTED_WH or (is_one_way and self.meter.feeds_in)


class Region:
    """The region as the asset chain has it, indexed for those downstream."""

    def __init__(
        self, genesis: Genesis, amendments: Mapping[int, Laws] | None = None, in_force_ms: int | None = None
    ) -> None:
        """`genesis` has been checked.

        Args:
            genesis: how the region began.
            amendments: what was laid down since, by the instant from which on it holds, in rising order.
            in_force_ms: which of them holds now; None for the genesis.
        """
        self.genesis = genesis
        self.grid: Grid = genesis.grid
        self._laws = {0: Laws(genesis.grid.rules, genesis.grid.permits), **(amendments or {})}
        self._begins = tuple(self._laws)
        self.rules = self._laws[in_force_ms or 0].rules

    @property
    def amended_ms(self) -> tuple[int, ...]:
        """The instants at which something else was, or will be, laid down."""
        return self._begins[1:]

    def laws_at(self, instant_ms: int) -> Laws:
        """What is laid down for an instant: rules and permits."""
        return self._laws[self._begins[bisect_right(self._begins, instant_ms) - 1]]

    def rules_at(self, instant_ms: int) -> Rules:
        """The rules for an instant: what is done again later is done by those that were in force then."""
        return self.laws_at(instant_ms).rules

    @cached_property
    def can_restate(self) -> bool:
        """Whether an interval's restatement is sure to fit into one record."""
        branches, pipes = len(self.grid.branches), len(self.grid.pipes)
        return max(len(self.grid.meters), branches + pipes, DELAYED_MAX * pipes) <= RESTATED_ROWS_MAX

    @cached_property
    def begin_ms(self) -> int:
        """Start of the region's first interval."""
        return interval_start(self.genesis.time_ms, self.rules.time)

    def period_of(self, instant_ms: int) -> Period:
        """The settlement period that an instant belongs to."""
        return period_of(instant_ms, self.rules.time, self.begin_ms)

    @cached_property
    def meters(self) -> Mapping[str, MeterAsset]:
        """Every meter, by name."""
        profiles = {profile.id: profile for profile in self.genesis.profiles}
        generators = {generator.meter: generator for generator in self.grid.generators}
        return {
            meter.id: _asset_of(meter, profiles[meter.profile], generators, self.carriers[meter.node])
            for meter in self.grid.meters
        }

    @cached_property
    def participants(self) -> tuple[str, ...]:
        """Every participant, in the order of their names."""
        return tuple(sorted(participant.id for participant in self.grid.participants))

    @cached_property
    def gateways_of(self) -> Mapping[str, frozenset[str]]:
        """The gateways through which a participant is metered or controlled."""
        gateways: dict[str, set[str]] = {participant: set() for participant in self.participants}
        for meter in self.grid.meters:
            gateways[meter.participant].add(meter.gateway)
        for device in self.grid.devices:
            gateways[device.participant].add(device.gateway)
        return {participant: frozenset(names) for participant, names in gateways.items()}

    @cached_property
    def participants_of(self) -> Mapping[str, tuple[str, ...]]:
        """The participants behind each gateway, in the order of their names."""
        behind: dict[str, list[str]] = {gateway: [] for gateway in self.grid.gateways}
        for participant in self.participants:
            for gateway in sorted(self.gateways_of[participant]):
                behind[gateway].append(participant)
        return {gateway: tuple(participants) for gateway, participants in behind.items()}

    @cached_property
    def devices_of(self) -> Mapping[tuple[str, str], tuple[Device, ...]]:
        """The devices of a participant on a gateway, by (gateway, participant)."""
        devices: dict[tuple[str, str], list[Device]] = {}
        for device in sorted(self.grid.devices, key=lambda device: device.id):
            devices.setdefault((device.gateway, device.participant), []).append(device)
        return {place: tuple(found) for place, found in devices.items()}

    @cached_property
    def outside(self) -> frozenset[str]:
        """Participants who stand for the network outside: what the region sends out is not their consumption."""
        borders = {generator.meter for generator in self.grid.generators if generator.source is Source.GRID}
        return frozenset(meter.participant for meter in self.grid.meters if meter.id in borders)

    @cached_property
    def carriers(self) -> Mapping[str, Carrier]:
        """What flows at each node."""
        return {node.id: node.carrier for node in self.grid.nodes}

    @cached_property
    def meters_apart(self) -> frozenset[str]:
        """Meters that count nobody's use or feed-in: of converters and storages, and check meters."""
        apart = {meter.id for meter in self.grid.meters if meter.branch}
        for converter in self.grid.converters:
            apart.update(converter.meters)
        for storage in self.grid.storages:
            apart.update(storage.meters)
        return frozenset(apart)

    @cached_property
    def operators(self) -> Mapping[str, str]:
        """Whose each converter is, by its first input: what it burns, they emit."""
        return {one.id: self.meters[one.inputs[0]].meter.participant for one in self.grid.converters}

    @cached_property
    def responding(self) -> tuple[str, ...]:
        """Everybody who takes part in demand response, in the order of their names."""
        return tuple(sorted(participant.id for participant in self.grid.participants if participant.responds))

    @cached_property
    def electric_meters(self) -> Mapping[str, tuple[Meter, ...]]:
        """Every participant's meters of electricity, their converters' and storages' among them."""
        found: dict[str, list[Meter]] = {participant: [] for participant in self.participants}
        for meter in self.grid.meters:
            if not meter.branch and self.carriers[meter.node] is Carrier.ELECTRICITY:
                found[meter.participant].append(meter)
        return {participant: tuple(meters) for participant, meters in found.items()}

    @cached_property
    def lines(self) -> frozenset[str]:
        """Every power line."""
        return frozenset(branch.id for branch in self.grid.branches)

    @cached_property
    def ratings_w(self) -> Mapping[str, int]:
        """What every power line carries at its rated voltage and current."""
        return self.grid.ratings_w()

    @cached_property
    def traded_network(self) -> TradedNetwork:
        """The network that auctions are cleared within, and contracts are judged by."""
        rule = self.rules.contracts
        return traded_network(self.grid, rule.lines_ppm if rule else PPM)

    @cached_property
    def limitable_w(self) -> Mapping[tuple[str, Direction], int]:
        """Rated power, each way, of all devices of a participant, by participant and direction."""
        return self.grid.limitable_w()

    @cached_property
    def clean_ppm(self) -> Mapping[Source, int]:
        """How much of each source is clean; what is not here is not."""
        return {generator.source: generator.clean_share_ppm for generator in self.grid.generators}


def _asset_of(meter: Meter, profile: MeterProfile, generators: Mapping[str, Generator], carrier: Carrier) -> MeterAsset:
    registers = tuple(
        (quantity, profile.codecs[quantity], profile.register_limit(quantity, meter.power_max_w))
        for quantity in profile.energy_registers
    )
    is_at_home = Quantity.HEAT_WH not in profile.energy_registers or carrier is not Carrier.ELECTRICITY
    return MeterAsset(meter, profile.digest, registers, generators.get(meter.id), is_at_home)
