"""The grid file: who and what is in a region, and by which rules. Signed, it is the genesis of the asset chain.

Energy, power and money are integers; resistances are micro-ohms and currents milliamperes, so that the chain holds
no float. Names are unique within their kind; every reference must lead somewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from config.carriers import Carrier, Converter, Pipe, Storage
from config.model import Listed, Model, Name, Natural, Positive, guess, mistake
from config.rules import Rules
from protocol.limits import Direction
from protocol.topics import AGGREGATOR
from protocol.units import PPM

RESERVE: Final = "reserve"
"""The region's own account; no participant can bear this name."""


class Source(StrEnum):
    """What energy was made from: the columns of every statement of origin. New ones are added at the end."""

    PV = "pv"
    WIND = "wind"
    HYDRO = "hydro"
    GAS = "gas"
    GRID = "grid"
    """The network outside the region, through its connection."""
    OTHER = "other"
    """Of unknown origin, such as what is fed in through a meter without a registered generator: never clean."""
    BIOMASS = "biomass"
    SOLAR_HEAT = "solar_heat"
    WASTE_HEAT = "waste_heat"


class Participant(Model):
    """Somebody with an account."""

    id: Name
    name: str = ""
    responds: bool = False
    """Whether they take part in demand response: their baseline is kept, and what they relieve is paid."""


class Node(Model):
    """A point of one network."""

    id: Name
    voltage_mv: Positive | None = None
    """Rated line-to-line voltage, in the electricity network."""
    carrier: Annotated[Carrier, Field(strict=False)] = Carrier.ELECTRICITY

    @model_validator(mode="after")
    def _has_its_voltage(self) -> Self:
        is_electric = self.carrier is Carrier.ELECTRICITY
        if is_electric is (self.voltage_mv is None):
            raise mistake("a voltage_mv" if is_electric else f"no voltage_mv at a node of {self.carrier}")
        return self


class Branch(Model):
    """A power line between two nodes, three-phase, balanced."""

    id: Name
    from_node: Name
    to_node: Name
    resistance_uohm: Positive
    reactance_uohm: Natural
    rating_ma: Positive
    """Current that it carries for good; above it is congested."""

    @property
    def impedance_uohm(self) -> int:
        """Of its resistance and reactance together, rounded down; at least 1."""
        return math.isqrt(self.resistance_uohm**2 + self.reactance_uohm**2)

    def rating_w(self, voltage_mv: int) -> int:
        """Power that it carries for good without reactive power, at a line-to-line voltage, rounded down."""
        return math.isqrt(3 * (self.rating_ma * voltage_mv) ** 2) // 1_000_000


class Generator(Model):
    """What feeds in through a meter, and what that emits. It belongs to the meter's participant."""

    id: Name
    meter: Name
    source: Annotated[Source, Field(strict=False)]
    rated_w: Positive
    emission_g_per_kwh: Annotated[int, Field(ge=0, le=5_000)]
    clean_ppm: Annotated[int, Field(ge=0, le=PPM)] | None = None
    """Share of it that is clean, such as of the network outside; by default all of what emits nothing, else none."""

    @property
    def clean_share_ppm(self) -> int:
        """Clean generation emits 0 (paper 1, below equation 2), unless the regulator has said otherwise."""
        if self.clean_ppm is not None:
            return self.clean_ppm
        return PPM if self.emission_g_per_kwh == 0 else 0


class Meter(Model):
    """Where energy is counted: what it imports is used by its participant, what it exports they fed in."""

    id: Name
    participant: Name
    node: Name
    gateway: Name
    profile: Name
    power_max_w: Positive
    """What the connection can carry, by its fuses. A faster counter is no energy."""
    feeds_in: bool = False
    """For a meter that counts one way, such as a heat meter: whether it counts what flows into the network."""
    branch: Name | None = None
    """Of a check meter, the branch or pipe that it stands in, at `node`: what flows in from there it imports. It is
    nobody's use, and serves to see whether the others tell the truth."""
    accuracy_ppm: Annotated[int, Field(gt=0, le=PPM)] = 10_000
    """How far it may be off by its class, of what it shows; class 1 is 10,000."""


class DeviceDirection(StrEnum):
    """Which way the power of a device goes."""

    TAKES = "takes"
    """A heat pump, a charger."""
    FEEDS_IN = "feeds_in"
    """A solar inverter, an engine."""
    BOTH = "both"
    """A battery."""


DIRECTIONS: Final = {
    DeviceDirection.TAKES: (Direction.TAKE,),
    DeviceDirection.FEEDS_IN: (Direction.FEED_IN,),
    DeviceDirection.BOTH: (Direction.TAKE, Direction.FEED_IN),
}


class Device(Model):
    """Something that a participant's right or restriction acts on."""

    id: Name
    participant: Name
    gateway: Name
    rated_w: Positive
    direction: Annotated[DeviceDirection, Field(strict=False)] = DeviceDirection.TAKES
    """Which way its power goes, and so which limits act on it."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """The directions in which it can be limited."""
        return DIRECTIONS[self.direction]


class Permit(Model):
    """Emission that a participant is permitted per settlement period: S_permit of equation (1)."""

    participant: Name
    grams: Positive


class Grid(Model):
    """One region."""

    region: Name
    reference_node: Name
    """Where the region meets the network outside, and the power flow finds its balance."""
    rules: Rules
    participants: Annotated[tuple[Participant, ...], Listed]
    nodes: Annotated[tuple[Node, ...], Listed]
    branches: Annotated[tuple[Branch, ...], Listed]
    meters: Annotated[tuple[Meter, ...], Listed]
    generators: Annotated[tuple[Generator, ...], Listed] = ()
    devices: Annotated[tuple[Device, ...], Listed] = ()
    permits: Annotated[tuple[Permit, ...], Listed] = ()
    pipes: Annotated[tuple[Pipe, ...], Listed] = ()
    converters: Annotated[tuple[Converter, ...], Listed] = ()
    storages: Annotated[tuple[Storage, ...], Listed] = ()

    @property
    def gateways(self) -> tuple[str, ...]:
        """Every gateway that a meter or device hangs on, sorted."""
        return tuple(sorted({meter.gateway for meter in self.meters} | {device.gateway for device in self.devices}))

    def ratings_w(self) -> dict[str, int]:
        """What every power line carries at its rated voltage and current: √3 · U · I, rounded down to a watt."""
        voltages_mv = {node.id: node.voltage_mv or 0 for node in self.nodes}
        return {line.id: line.rating_w(voltages_mv[line.from_node]) for line in self.branches}

    def limitable_w(self) -> dict[tuple[str, Direction], int]:
        """Rated power, each way, of all devices of a participant, by participant and direction."""
        rated: dict[tuple[str, Direction], int] = {}
        for device in self.devices:
            for direction in device.directions:
                key = (device.participant, direction)
                rated[key] = rated.get(key, 0) + device.rated_w
        return rated

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        participants = _unique("participants", (p.id for p in self.participants))
        nodes = _unique("nodes", (n.id for n in self.nodes))
        meters = _unique("meters", (m.id for m in self.meters))
        _unique("branches", (b.id for b in self.branches))
        _unique("generators", (g.id for g in self.generators))
        _unique("devices", (d.id for d in self.devices))
        _unique("permits", (p.participant for p in self.permits))
        _unique("meters of generators", (g.meter for g in self.generators))
        _leads_to("reference_node", [("", self.reference_node)], nodes)
        _leads_to("branches.*.from_node", ((b.id, b.from_node) for b in self.branches), nodes)
        _leads_to("branches.*.to_node", ((b.id, b.to_node) for b in self.branches), nodes)
        _leads_to("meters.*.participant", ((m.id, m.participant) for m in self.meters), participants)
        _leads_to("meters.*.node", ((m.id, m.node) for m in self.meters), nodes)
        _leads_to("generators.*.meter", ((g.id, g.meter) for g in self.generators), meters)
        _leads_to("devices.*.participant", ((d.id, d.participant) for d in self.devices), participants)
        _leads_to("permits.*.participant", (("", p.participant) for p in self.permits), participants)
        if RESERVE in participants:
            raise mistake(f"no participant by the reserved name {RESERVE!r}", "one")
        if AGGREGATOR in self.gateways:
            raise mistake(f"no gateway by the reserved name {AGGREGATOR!r}", "one")
        for source in {generator.source for generator in self.generators}:
            if len({g.clean_share_ppm for g in self.generators if g.source is source}) > 1:
                raise mistake(f"generators of source {source} to be equally clean", "different ones")
        if any(generator.source is Source.OTHER for generator in self.generators):
            raise mistake(f"a source other than {Source.OTHER!r}, which is for what has no generator", "that one")
        for branch in self.branches:
            if branch.from_node == branch.to_node:
                raise mistake(f"branch {branch.id} to join two different nodes", f"{branch.to_node} twice")
        return self

    @model_validator(mode="after")
    def _carriers_fit(self) -> Self:
        """Lines and pipes join nodes of one carrier, and each converter's or storage's meter serves it alone."""
        carrier = {node.id: node.carrier for node in self.nodes}
        nodes, meters = set(carrier), {meter.id: meter for meter in self.meters}
        _unique("branches and pipes", [*(line.id for line in self.branches), *(pipe.id for pipe in self.pipes)])
        _unique("converters and storages", [*(c.id for c in self.converters), *(s.id for s in self.storages)])
        _leads_to("pipes.*.from_node", ((pipe.id, pipe.from_node) for pipe in self.pipes), nodes)
        _leads_to("pipes.*.to_node", ((pipe.id, pipe.to_node) for pipe in self.pipes), nodes)
        machines: tuple[Converter | Storage, ...] = (*self.converters, *self.storages)
        ports = [(machine.id, meter) for machine in machines for meter in machine.meters]
        _leads_to("meters of converters and storages", ports, set(meters))
        single = (*(g.meter for g in self.generators), *(meter for _, meter in ports))
        _unique("meters of generators, converters and storages", single)
        ends = {branch.id: (branch.from_node, branch.to_node) for branch in self.branches}
        ends |= {pipe.id: (pipe.from_node, pipe.to_node) for pipe in self.pipes}
        _leads_to("meters.*.branch", ((meter.id, meter.branch) for meter in self.meters if meter.branch), set(ends))
        for meter in self.meters:
            if meter.branch and meter.node not in ends[meter.branch]:
                raise mistake(f"check meter {meter.id} at an end of {meter.branch}", meter.node)
        if carrier[self.reference_node] is not Carrier.ELECTRICITY:
            raise mistake("reference_node in the electricity network", carrier[self.reference_node])
        for branch in self.branches:
            if {carrier[branch.from_node], carrier[branch.to_node]} != {Carrier.ELECTRICITY}:
                ends_at = " and ".join(f"{node} ({carrier[node]})" for node in (branch.from_node, branch.to_node))
                raise mistake(f"branch {branch.id} between nodes of electricity; a pipe is listed under pipes", ends_at)
        for pipe in self.pipes:
            joined = {carrier[pipe.from_node], carrier[pipe.to_node]}
            if len(joined) > 1 or Carrier.ELECTRICITY in joined or pipe.from_node == pipe.to_node:
                ends_at = " and ".join(f"{node} ({carrier[node]})" for node in (pipe.from_node, pipe.to_node))
                raise mistake(f"pipe {pipe.id} between two nodes of one network of heat, gas or hydrogen", ends_at)
        for storage in self.storages:
            if len({carrier[meters[port].node] for port in storage.meters}) > 1:
                at = " and ".join(f"{port} ({carrier[meters[port].node]})" for port in storage.meters)
                raise mistake(f"meters of storage {storage.id} in networks of one carrier", at)
        return self


def _unique(what: str, names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise mistake(f"{what} to stand once each", f"{name} twice")
        seen.add(name)
    return seen


def _leads_to(what: str, named: Iterable[tuple[str, str]], known: set[str]) -> None:
    """`named` is by whom, and what."""
    for owner, name in named:
        if name not in known:
            by = f" of {owner}" if owner else ""
            raise mistake(
                f"{what} to name something in this file{guess(name, sorted(known))}", f"{name}{by}, which is not in it"
            )
