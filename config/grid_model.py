"""The grid file: who and what is in a region, and by which rules. Signed, it is the genesis of the asset chain.

Energy, power and money are integers; resistances are micro-ohms and currents milliamperes, so that the chain holds
no float. Names are unique within their kind; every reference must lead somewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, model_validator

from config.model import Exact, Listed, Model, Name, Natural, Positive, mistake
from protocol.messages import RightKind
from protocol.topics import AGGREGATOR
from protocol.units import PPM

DAY_MS: Final = 86_400_000

RESERVE: Final = "reserve"
"""The region's own account; no participant can bear this name."""


class Source(StrEnum):
    """What a generator runs on: the columns of every statement of origin."""

    PV = "pv"
    WIND = "wind"
    HYDRO = "hydro"
    GAS = "gas"
    GRID = "grid"
    """The network outside the region, through its connection."""
    OTHER = "other"
    """Fed in through a meter without a registered generator: never clean."""


class Participant(Model):
    """Somebody with an account."""

    id: Name
    name: str = ""


class Node(Model):
    """A point of the electricity network."""

    id: Name
    voltage_mv: Positive
    """Rated line-to-line voltage."""


class Branch(Model):
    """A line between two nodes, three-phase, balanced."""

    id: Name
    from_node: Name
    to_node: Name
    resistance_uohm: Positive
    reactance_uohm: Natural
    rating_ma: Positive
    """Current that it carries for good; above it is congested."""


class Generator(Model):
    """What feeds in through a meter, and what that emits. It belongs to the meter's participant."""

    id: Name
    meter: Name
    source: Annotated[Source, Field(strict=False)]
    rated_w: Positive
    emission_g_per_kwh: Annotated[int, Field(ge=0, le=5_000)]

    @property
    def is_clean(self) -> bool:
        """Clean generation emits 0 (paper 1, below equation 2)."""
        return self.emission_g_per_kwh == 0


class Meter(Model):
    """Where energy is counted: what it imports is used by its participant, what it exports they fed in."""

    id: Name
    participant: Name
    node: Name
    gateway: Name
    profile: Name
    power_max_w: Positive
    """What the connection can carry, by its fuses. A faster counter is no energy."""


class Device(Model):
    """Something that a participant's right or restriction acts on."""

    id: Name
    participant: Name
    gateway: Name
    rated_w: Positive


class Permit(Model):
    """Emission that a participant is permitted per settlement period: S_permit of equation (1)."""

    participant: Name
    grams: Positive


class CarbonRule(Model):
    """Coefficients of equations (1) and (2)."""

    alpha: Exact
    beta: Exact
    gamma: Exact
    sigma: Exact
    demand_response: Annotated[tuple[Annotated[tuple[Natural, Exact], Listed], ...], Listed] = ((0, Decimal(0)),)
    """f of equation (2): points (Wh, value) of a piecewise-linear function, flat beyond its ends."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        starts = [point[0] for point in self.demand_response]
        if not starts or starts != sorted(set(starts)):
            raise mistake("demand_response points with rising watt-hours, at least one")
        if min(self.alpha, self.beta, self.gamma, self.sigma) < 0:
            raise mistake("coefficients of 0 or more")
        return self


class TokenRule(Model):
    """Coefficients of equation (3)."""

    penalty: Exact
    """ϑ: tokens owed for a factor below 0."""
    reward: Exact
    """ξ: tokens earned for a factor above `factor_low`."""
    factor_low: Exact
    """F1: below it nothing is earned."""
    factor_high: Exact
    """F2: from it on, the most is earned."""
    tokens_max: Natural
    """N_max: the most that one participant is awarded in a settlement period."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not 0 <= self.factor_low < self.factor_high:
            raise mistake("0 ≤ factor_low < factor_high", f"{self.factor_low} and {self.factor_high}")
        if min(self.penalty, self.reward) < 0:
            raise mistake("coefficients of 0 or more")
        if self.factor_high > 20 or max(self.penalty, self.reward) > 10**9:
            raise mistake("factor_high up to 20, and coefficients up to 1,000,000,000")
        return self


class AccountRule(Model):
    """How much may be held, and what owing means."""

    ceiling: Positive
    """Tokens above it go to the reserve: an account is not for hoarding."""
    restricted_ppm: Annotated[int, Field(ge=0, lt=PPM)]
    """Share of a device's rated power that is left to a participant with a balance below 0."""


class RightPrice(Model):
    """What one right costs for one settlement period."""

    right: str
    price: Positive

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.right not in (kind.name.lower() for kind in RightKind):
            raise mistake(f"a right out of {', '.join(kind.name.lower() for kind in RightKind)}")
        return self

    @property
    def kind(self) -> RightKind:
        """The right's number on the wire."""
        return RightKind[self.right.upper()]


class TimeRule(Model):
    """How time is cut."""

    interval_ms: Annotated[int, Field(ge=1000, le=DAY_MS)]
    """Metering interval; its boundaries are multiples of it since 1970."""
    grace_ms: Natural
    """How long after its end an interval waits for readings before it is closed."""
    period_ms: Positive | None = None
    """Settlement period; none means the calendar month of `time_zone`."""
    time_zone: str = "Etc/UTC"
    future_max_ms: Natural = 10_000
    """How far ahead of the block's time a reading may be: clocks differ, but not by more."""
    restate_after_ms: Natural = 3_600_000
    """How long late energy of an interval waits for more of it, before the interval is restated."""
    restate_periods: Annotated[int, Field(ge=0, le=24)] = 2
    """How many settlement periods that are over may still be restated."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if DAY_MS % self.interval_ms:
            raise mistake("an interval that divides the day")
        if self.period_ms is not None and self.period_ms % self.interval_ms:
            raise mistake("a settlement period of whole intervals")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise mistake("a time zone of the tz database, such as Europe/Berlin") from error
        return self


class Rules(Model):
    """What the regulator has laid down."""

    time: TimeRule
    carbon: CarbonRule
    tokens: TokenRule
    accounts: AccountRule
    rights: Annotated[tuple[RightPrice, ...], Listed] = ()


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

    @property
    def gateways(self) -> tuple[str, ...]:
        """Every gateway that a meter or device hangs on, sorted."""
        return tuple(sorted({meter.gateway for meter in self.meters} | {device.gateway for device in self.devices}))

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
        _leads_to("reference_node", [self.reference_node], nodes)
        _leads_to("branches.*.from_node", (b.from_node for b in self.branches), nodes)
        _leads_to("branches.*.to_node", (b.to_node for b in self.branches), nodes)
        _leads_to("meters.*.participant", (m.participant for m in self.meters), participants)
        _leads_to("meters.*.node", (m.node for m in self.meters), nodes)
        _leads_to("generators.*.meter", (g.meter for g in self.generators), meters)
        _leads_to("devices.*.participant", (d.participant for d in self.devices), participants)
        _leads_to("permits.*.participant", (p.participant for p in self.permits), participants)
        if RESERVE in participants:
            raise mistake(f"no participant by the reserved name {RESERVE!r}", "one")
        if AGGREGATOR in self.gateways:
            raise mistake(f"no gateway by the reserved name {AGGREGATOR!r}", "one")
        for source in {generator.source for generator in self.generators}:
            if len({g.is_clean for g in self.generators if g.source is source}) > 1:
                raise mistake(f"generators of source {source} to be all clean or all not", "both")
        if any(generator.source is Source.OTHER for generator in self.generators):
            raise mistake(f"a source other than {Source.OTHER!r}, which is for what has no generator", "that one")
        for branch in self.branches:
            if branch.from_node == branch.to_node:
                raise mistake(f"branch {branch.id} to join two different nodes", f"{branch.to_node} twice")
        return self


def _unique(what: str, names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise mistake(f"{what} to stand once each", f"{name} twice")
        seen.add(name)
    return seen


def _leads_to(what: str, names: Iterable[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            raise mistake(f"{what} to name something in this file", f"{name}, which is not in it")
