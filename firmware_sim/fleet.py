"""The world: every connection moves forward together, and the books of the whole network balance at every step.

Whatever the sites and the lines take or leave over comes or goes through the region's connection, to the milliwatt:
exported = imported + losses, in the same integers that the meters count. The fleet is handed its time; it has no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from firmware_sim.curves import HOUR_S, frequency_mhz
from firmware_sim.device import FREE, MILLI, Flow, Held, Household, Plant, Storage
from firmware_sim.feeders import REFERENCE_NODE
from firmware_sim.heat import HeatCounters, Water, measure_heat
from firmware_sim.heat_firmware import MODELS
from firmware_sim.heat_works import HeatWorks, WorksPort, water_of
from firmware_sim.meter import UJ_PER_WH, Measured, Shown, measure
from firmware_sim.network import RadialNetwork, Solution
from firmware_sim.scenario import Connection, Scenario
from firmware_sim.sites import Kind, Site

BEGIN_H: Final = 13
"""Hour at which a fleet begins to live: solar noon in summer, when everybody uses or feeds in something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What really is, for whoever wants to compare. All of one moment."""

    tick: int
    meters: Mapping[str, Measured]
    losses_mw: int
    losses_uj: int
    """Lost in the lines since the fleet began."""


class Fleet:
    """All connections of a region.

    Between two steps everything stands still, so that whoever reads a meter in several requests sees one moment.
    Energy always follows power in real time; `speed` only lets the sun and the habits go by faster.
    """

    def __init__(self, scenario: Scenario, *, speed: int = 1, begin_h: int = BEGIN_H) -> None:
        self.scenario = scenario
        self.tick = 0
        """How many steps were made."""
        self._speed = speed
        self._begin_s = begin_h * HOUR_S
        self._elapsed_ms = 0
        self._network = RadialNetwork(scenario.power_nodes, scenario.branches, REFERENCE_NODE)
        self._connections = {c.site.meter: c for c in scenario.connections}
        self._electric = [c for c in scenario.connections if c.site.is_electric]
        self._checks = [c for c in scenario.connections if c.site.kind is Kind.CHECK]
        self._counters = {c.site.meter: c.site.counters for c in (*self._electric, *self._checks)}
        self._made_uj = {c.site.meter: c.site.made_uj for c in self._electric if c.site.sunspec}
        self._stations = {c.site.meter: station for c in scenario.connections if (station := c.site.heat)}
        self._heat: dict[str, HeatCounters] = {meter: station.counters for meter, station in self._stations.items()}
        self._ports = {c.site.meter: works for c in scenario.connections if (works := c.site.works)}
        self._heat |= {meter: p.counters for meter, p in self._ports.items() if p.port is not WorksPort.PUMP}
        plan = scenario.heat_plan
        self._works = HeatWorks(plan=plan, content_uj=plan.begin_wh * UJ_PER_WH) if plan else None
        self._saving_until_ms: dict[str, int] = {}
        self._water: dict[str, Water] = {}
        self._held: dict[str, Measured] = {}
        """What meters go on showing until they renew it."""
        self._holds: dict[str, Held] = {limiter.name: FREE for c in scenario.connections if (limiter := c.site.limiter)}
        self._losses_uj = 0
        self._flows: dict[str, Flow] = {}
        self._solution: Solution
        self._settle()
        self._renew(-1)

    @property
    def time_s(self) -> float:
        """Simulated time, in seconds since the midnight before the fleet began."""
        return self._begin_s + self._speed * self._elapsed_ms / MILLI

    @property
    def elapsed_ms(self) -> int:
        """Real time that has gone by since the fleet began."""
        return self._elapsed_ms

    def step(self, span_ms: int) -> None:
        """Let `span_ms` of real time go by: count the power that was shown all the while, then show the next.

        Raises:
            ValueError: time would stand still or run backwards.
        """
        if span_ms <= 0:
            raise ValueError(f"a step takes at least 1 ms, not {span_ms}")
        for meter, flow in self._flows.items():
            self._counters[meter] = self._counters[meter].after(flow.active_mw, span_ms)
        for meter, made_uj in self._made_uj.items():
            self._made_uj[meter] = made_uj + self._made_mw(meter) * span_ms
        for meter, water in self._water.items():
            self._heat[meter] = self._heat[meter].after(water, span_ms)
        if self._works is not None:
            self._works = self._works.after(span_ms)
        self._losses_uj += self._solution.losses.active_mw * span_ms
        before_ms = self._elapsed_ms
        self._elapsed_ms += span_ms
        self.tick += 1
        self._settle()
        self._renew(before_ms)

    def limit(self, limiter: str, power_w: int | None) -> None:
        """Set a limiter, or lift it with None. The device follows at the next step, as a real one takes a moment.

        Raises:
            KeyError: there is no such limiter.
        """
        self.hold(limiter, Held.both(power_w))

    def hold(self, limiter: str, held: Held) -> None:
        """Set a limiter, or a controller, each way on its own.

        Raises:
            KeyError: there is no such limiter.
        """
        if limiter not in self._holds:
            raise KeyError(limiter)
        self._holds[limiter] = held

    def held(self, limiter: str) -> Held:
        """What a limiter, or a controller, is set to.

        Raises:
            KeyError: there is no such limiter.
        """
        return self._holds[limiter]

    def save(self, meter: str, for_ms: int) -> None:
        """Have the household behind a meter switch off, for a while, what it can do without; or a plant stand still.

        Raises:
            KeyError: there is nothing to switch off behind such a meter.
        """
        if not isinstance(self._connections[meter].site.device, Household | Plant):
            raise KeyError(meter)
        self._saving_until_ms[meter] = self._elapsed_ms + for_ms

    def measured(self, meter: str) -> Measured:
        """What one meter shows now.

        Raises:
            KeyError: there is no such meter.
        """
        return self._held[meter] if meter in self._held else self._now(self._connections[meter])

    def truth(self) -> Truth:
        """What every meter shows, and what no meter does."""
        return Truth(
            tick=self.tick,
            meters={meter: self.measured(meter) for meter in self._connections},
            losses_mw=self._solution.losses.active_mw,
            losses_uj=self._losses_uj,
        )

    def _now(self, connection: Connection) -> Measured:
        meter = connection.site.meter
        if meter in self._water:
            return measure_heat(self._water[meter], self._heat[meter])
        measured = measure(
            self._flows[meter],
            self._counters[meter],
            voltage_mv=self._solution.voltages_mv[connection.node],
            frequency_mhz=frequency_mhz(str(self.scenario.seed), self.time_s),
            shares=connection.site.shares,
        )
        return {**measured, **self._inside(connection.site)} if connection.site.sunspec else measured

    def _inside(self, site: Site) -> Measured:
        """What a SunSpec device tells of what is behind its meter."""
        if isinstance(site.device, Storage):
            return {Shown.STATE_OF_CHARGE_PPM: site.device.charge_ppm(self.time_s)}
        return {Shown.MADE_POWER_MW: self._made_mw(site.meter), Shown.MADE_UJ: self._made_uj[site.meter]}

    def _made_mw(self, meter: str) -> int:
        device = self._connections[meter].site.device
        return device.made_mw(self.time_s) if isinstance(device, Household) else 0

    def _renew(self, before_ms: int) -> None:
        """Let every meter that shows something new from time to time do so, if it is time."""
        for meter in self._water:
            connection = self._connections[meter]
            refresh_ms = MODELS[connection.site.model].refresh_ms
            if refresh_ms and self._elapsed_ms // refresh_ms > before_ms // refresh_ms:
                self._held[meter] = self._now(connection)

    def _settle(self) -> None:
        """Work out the power of every site at this moment, then what the connection has to carry."""
        time_s = self.time_s
        self._settle_heat(time_s)
        connection, *others = self._electric
        flows = {other.site.meter: self._flow(other.site, time_s) for other in others}
        self._solution = self._network.solve({other.node: flows[other.site.meter] for other in others})
        flows[connection.site.meter] = _what_is_left(flows, self._solution.losses)
        for check in self._checks:
            assert check.site.branch is not None, "a check meter stands in a cable"
            entering = self._solution.entering[check.site.branch]
            flows[check.site.meter] = Flow(-entering.active_mw, -entering.reactive_mvar)
        self._flows = flows

    def _settle_heat(self, time_s: float) -> None:
        """Work out what the houses on the heat network take, then what the works do for them."""
        self._water = {meter: station.water(time_s) for meter, station in self._stations.items()}
        if self._works is not None:
            self._works = self._works.at(time_s, sum(water.power_mw for water in self._water.values()))
            for meter, works in self._ports.items():
                if works.port is not WorksPort.PUMP:
                    self._water[meter] = water_of(self._works.heat_mw(works.port))

    def _flow(self, site: Site, time_s: float) -> Flow:
        """The power of a site with electricity."""
        if site.works is not None and self._works is not None:
            return self._works.pump_flow
        assert site.device is not None, f"{site.name} is a site without anything behind it"
        held = self._holds[site.limiter.name] if site.limiter else FREE
        if self._saving_until_ms.get(site.meter, 0) > self._elapsed_ms:
            held = Held.both(0)
        return site.device.flow(time_s, held)


def _what_is_left(flows: Mapping[str, Flow], losses: Flow) -> Flow:
    """The power at the region's connection: whatever is used or lost inside is fed in there, so it counts negative."""
    return Flow(
        active_mw=-sum(flow.active_mw for flow in flows.values()) - losses.active_mw,
        reactive_mvar=-sum(flow.reactive_mvar for flow in flows.values()) - losses.reactive_mvar,
    )
