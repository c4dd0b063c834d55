"""A region out of nothing but a number of meters and a seed: who, where, on which wire, and the grid file that says so.

The same settings give the same region, byte for byte. The simulator serves it; the grid file admits it to the chains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from config.carriers import Carrier, Pipe
from config.grid_model import Branch, Device, Grid, Meter, Node, Participant
from config.rules import TimeRule
from config.settings.bus import Bus, DeviceAddress, Framing, MeterAddress, SerialPort
from config.settings.fleet import FleetSettings, Transport
from firmware_sim import grid_entries
from firmware_sim.chance import between
from firmware_sim.device import Household
from firmware_sim.feeders import REFERENCE_NODE, Feeders, lay
from firmware_sim.heat_firmware import MODELS
from firmware_sim.heat_network import HeatNetwork, heat_network
from firmware_sim.heat_works import HeatPlan, WorksPort
from firmware_sim.lane import lane_sites, town_sites
from firmware_sim.more_sites import (
    HEAT_MODELS,
    WORKS_HOUSE_MODELS,
    check_sites,
    heat_sites,
    plan_for,
    pump_site,
    sunspec_sites,
    works_sites,
)
from firmware_sim.rules import (
    market_rules,
    region_rules,
)
from firmware_sim.sites import Kind, Limiter, Site, sites
from firmware_sim.wiring import Place, places

REGION: Final = "valley"

LIMITER_MODEL: Final = "este_power_limiter"
CONTROLLER_MODEL: Final = "este_power_controller"
"""Profiles of what holds sites back, and of what also tells them what to do."""

SERIAL_BAUD: Final = 19_200
"""What an agent is told to set; a pseudo-terminal is as fast as it can be."""

EXACT_PPM: Final = 10_000
"""What a meter may be off by, of what it shows: class 1."""
HASTY_SPEED: Final = 1_000
HASTY_PPM: Final = 50_000
"""From that speed on: between two readings minutes go by, and meters are not read at the same moment."""

_NAMES: Final = {
    Kind.GRID: "Grid operator",
    Kind.WIND: "Wind turbine on the ridge",
    Kind.GAS: "Gas engine at the mill",
    Kind.PV: "Solar field",
    Kind.HOUSEHOLD: "Household",
    Kind.PROSUMER: "Household with sun on its roof",
    Kind.BATTERY: "Battery",
    Kind.HEAT: "House on the heat network",
    Kind.WORKS: "Heat works",
    Kind.CHECK: "Grid operator",
    Kind.WEIR: "Water turbine at the weir",
    Kind.ENGINE: "Workshop in the lane, with an engine in town",
    Kind.LANE: "Villa in the lane",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One site, wired up."""

    site: Site
    place: Place
    node: str
    serial: int | None
    """Serial number of the meter, unique in the fleet; None where its model does not tell any."""

    @property
    def profile(self) -> str:
        """Name of the meter's profile. A SunSpec device has its own, which este-agent sunspec writes."""
        plate = self.site.sunspec
        if plate is None:
            return self.site.model
        assert self.serial is not None, "every SunSpec device tells one"
        return plate.profile(self.serial)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole region."""

    seed: int
    connections: tuple[Connection, ...]
    """The connection to the network outside is the first."""
    nodes: tuple[Node, ...]
    branches: tuple[Branch, ...]
    pipes: tuple[Pipe, ...] = ()
    heat_plan: HeatPlan | None = None
    """Of the heat works, if there are any."""
    responders: frozenset[str] = frozenset()
    """Participants who take part in demand response."""
    accuracy_ppm: int = EXACT_PPM
    """Of every meter."""
    has_market: bool = False
    """Whether the region trades."""

    @property
    def power_nodes(self) -> tuple[Node, ...]:
        """Those of the electricity network."""
        return tuple(node for node in self.nodes if node.carrier is Carrier.ELECTRICITY)

    def thin_part(self) -> tuple[str, tuple[Connection, ...], Connection]:
        """The cable that is too thin, who lives behind it, and the next household on its near side, without a roof.

        Raises:
            ValueError: there is none.
        """
        checked = [connection.site.branch for connection in self.connections if connection.site.branch]
        cables = {branch.id: branch for branch in self.branches}
        if not checked:
            raise ValueError("no cable of the region is thin")
        thin = min(checked, key=lambda name: cables[name].rating_ma)
        along = {c.node: c for c in self.connections if c.site.is_electric}
        on_feeder = [along[cables[name].to_node] for name in checked]
        place = checked.index(thin)
        near = [c for c in on_feeder[:place] if isinstance(c.site.device, Household) and not c.site.device.roof]
        return thin, tuple(on_feeder[place:]), near[-1] if near else on_feeder[place - 1]

    @property
    def gateways(self) -> tuple[str, ...]:
        """Every gateway, in order."""
        return tuple(dict.fromkeys(connection.place.gateway for connection in self.connections))

    def grid(self, time: TimeRule) -> Grid:
        """The region as its grid file tells it, with time cut as the caller says."""
        return Grid(
            region=REGION,
            reference_node=REFERENCE_NODE,
            rules=market_rules(time) if self.has_market else region_rules(time),
            participants=tuple(self._participants()),
            nodes=self.nodes,
            branches=self.branches,
            meters=tuple(_meter(c, self.accuracy_ppm) for c in self.connections),
            generators=grid_entries.generators(c.site for c in self.connections),
            devices=tuple(_device(c, limiter) for c in self.connections if (limiter := c.site.limiter)),
            permits=grid_entries.permits((c.site for c in self.connections), time),
            pipes=self.pipes,
            converters=(grid_entries.pump(self.heat_plan),) if self.heat_plan else (),
            storages=(grid_entries.tank(self.heat_plan),) if self.heat_plan else (),
        )

    def _participants(self) -> Iterator[Participant]:
        """Everybody once, in order."""
        kinds: dict[str, Kind] = {}
        for connection in self.connections:
            kinds.setdefault(connection.site.participant, connection.site.kind)
        for name, kind in kinds.items():
            yield Participant(id=name, name=_NAMES[kind], responds=name in self.responders)

    def buses(self, gateway: str, fleet: FleetSettings) -> tuple[Bus, ...]:
        """What is on a gateway's wires, as the settings of its agent say it."""
        here = [connection for connection in self.connections if connection.place.gateway == gateway]
        ports = dict.fromkeys(connection.place.port for connection in here)
        return tuple(_bus(fleet, port, [c for c in here if c.place.port == port]) for port in ports)


def compose(settings: FleetSettings) -> Scenario:
    """The region that the settings stand for.

    Raises:
        OperatorError: there are too few ports above the first one.
    """
    seed = settings.seed
    houses = heat_sites(settings.heat, seed, WORKS_HOUSE_MODELS if settings.heat_works else HEAT_MODELS)
    plan = plan_for(houses, settings.speed) if settings.heat_works else None
    pump = [pump_site(plan, seed)] if plan else []
    town, lane = (town_sites(seed), lane_sites(seed)) if settings.market else ([], [])
    inside = sites(settings.meters, seed, (*sunspec_sites(settings.sunspec, seed), *pump, *town, *lane))
    electric = inside[: len(inside) - len(lane)]
    feeders = lay(inside, seed, is_last_thin=settings.thin_feeder)
    thin = feeders.last_feeder if settings.thin_feeder else ()
    who = (
        *electric,
        *houses,
        *(works_sites(plan, seed) if plan else ()),
        *check_sites(thin, seed),
        *lane,
    )
    where = places(
        settings.meters,
        first_port=settings.first_port,
        units_per_port=settings.units_per_port,
        more=len(who) - settings.meters,
        apart=len(lane),
    )
    heat = heat_network(houses) if plan else HeatNetwork()
    at_check = {branch.id: branch.from_node for branch in thin}
    first_serial = 20_000_000 + 100_000 * between(0, 499, settings.seed, "serial")
    connections = tuple(
        Connection(
            site=site,
            place=place,
            node=_node_of(site, feeders, heat, at_check),
            serial=first_serial + number if _tells_serial(site) else None,
        )
        for number, (site, place) in enumerate(zip(who, where, strict=True), start=1)
    )
    return Scenario(
        seed=seed,
        connections=connections,
        nodes=(*feeders.nodes, *heat.nodes),
        branches=feeders.branches,
        pipes=heat.pipes,
        heat_plan=plan,
        accuracy_ppm=HASTY_PPM if settings.speed >= HASTY_SPEED else EXACT_PPM,
        has_market=settings.market,
        responders=frozenset(site.participant for site in electric if thin and isinstance(site.device, Household)),
    )


def _node_of(site: Site, feeders: Feeders, heat: HeatNetwork, at_check: Mapping[str, str]) -> str:
    if site.branch is not None:
        return at_check[site.branch]
    return heat.node_of(site) or feeders.node_of.get(site.name, REFERENCE_NODE)


def _tells_serial(site: Site) -> bool:
    return site.sunspec is not None or MODELS[site.model].serial is not None


def _meter(connection: Connection, accuracy_ppm: int) -> Meter:
    site = connection.site
    return Meter(
        id=site.meter,
        participant=site.participant,
        node=connection.node,
        gateway=connection.place.gateway,
        profile=connection.profile,
        power_max_w=site.power_max_w,
        feeds_in=site.works is not None and site.works.port in (WorksPort.PUMP_HEAT, WorksPort.TANK_OUT),
        branch=site.branch,
        accuracy_ppm=accuracy_ppm,
    )


def _device(connection: Connection, limiter: Limiter) -> Device:
    return Device(
        id=limiter.name,
        participant=connection.site.participant,
        gateway=connection.place.gateway,
        rated_w=limiter.rated_w,
        direction=limiter.direction,
    )


def limiter_model(limiter: Limiter) -> str:
    """Name of a limiter's profile."""
    return CONTROLLER_MODEL if limiter.can_be_set else LIMITER_MODEL


def serial_device(fleet: FleetSettings, port: int) -> Path:
    """Where the serial bus is linked that stands for a TCP port."""
    assert fleet.run_folder is not None, "the settings see to it"
    return fleet.run_folder / f"bus-{port}"


def _line(fleet: FleetSettings, port: int) -> dict[str, Any]:
    if fleet.transport is Transport.SERIAL:
        return {"serial": SerialPort(device=serial_device(fleet, port), baud=SERIAL_BAUD)}
    framing = Framing.RTU if fleet.transport is Transport.RTU else Framing.TCP
    return {"host": fleet.host, "port": port, "framing": framing}


def _bus(fleet: FleetSettings, port: int, connections: list[Connection]) -> Bus:
    return Bus(
        **_line(fleet, port),
        meters=tuple(
            MeterAddress(
                id=c.site.meter,
                unit=c.place.unit,
                profile=c.profile,
                serial=None if c.serial is None else str(c.serial),
            )
            for c in connections
        ),
        devices=tuple(
            DeviceAddress(
                id=limiter.name,
                unit=c.place.limiter_unit,
                profile=limiter_model(limiter),
                power_min_w=0,
                power_max_w=limiter.rated_w,
                contracts_of=c.site.participant if limiter.can_be_set else None,
                direction=limiter.direction,
            )
            for c in connections
            if (limiter := c.site.limiter)
        ),
    )
