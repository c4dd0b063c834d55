"""What stands behind an electricity meter: a household, a plant or a battery, and what a limiter does to it.

A limiter is real: a plant never feeds in more than its limit, and a household never buys more than its limit or what
it cannot shed, whichever is more. A household sheds its heat pump only; its own sun counts for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from firmware_sim.curves import (
    HOUSEHOLD_PEAK,
    BatteryCurve,
    GasEngineCurve,
    HouseholdCurve,
    PvCurve,
    WeirCurve,
    WindCurve,
)
from protocol.units import PPM

MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Flow:
    """Power through a connection, three phases together. What is imported counts positive."""

    active_mw: int
    reactive_mvar: int


class Device(Protocol):
    """Whatever uses or makes power behind one meter."""

    @property
    def import_max_w(self) -> int:
        """The most that it can ever import."""

    @property
    def export_max_w(self) -> int:
        """The most that it can ever export."""

    def flow(self, t_s: float, limit_w: int | None) -> Flow:
        """Its power at a simulated time, with its limiter set to `limit_w`, or lifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """People with a heat pump, and perhaps with sun on their roof, behind one bidirectional meter."""

    habits: HouseholdCurve
    roof: PvCurve | None
    reactive_share: float
    """Reactive power of what they use, as a share of its active power (tan φ). The roof feeds in none."""

    @property
    def import_max_w(self) -> int:
        """Everything at once, and no sun."""
        return HOUSEHOLD_PEAK * self.habits.base_w + self.habits.heat_pump_w

    @property
    def export_max_w(self) -> int:
        """All of the roof, and nobody at home."""
        return self.roof.rated_w if self.roof else 0

    def flow(self, t_s: float, limit_w: int | None) -> Flow:
        """The base load, less the sun, and as much of the heat pump as the limit leaves room for."""
        base_mw = round(MILLI * self.habits.base_load_w(t_s))
        made_mw = self.made_mw(t_s)
        heat_mw = round(MILLI * self.habits.heat_pump_load_w(t_s))
        if limit_w is not None:
            room_mw = MILLI * limit_w - (base_mw - made_mw)
            heat_mw = min(heat_mw, max(0, room_mw))
        used_mw = base_mw + heat_mw
        return Flow(used_mw - made_mw, round(used_mw * self.reactive_share))

    def made_mw(self, t_s: float) -> int:
        """What the roof's inverter feeds in, wherever it goes from there."""
        return round(MILLI * self.roof.power_w(t_s)) if self.roof else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A generator that only feeds in."""

    curve: PvCurve | WindCurve | GasEngineCurve | WeirCurve
    reactive_share: float
    """Reactive power that it feeds in, as a share of its active power."""

    @property
    def import_max_w(self) -> int:
        """A plant's own needs are not simulated."""
        return 0

    @property
    def export_max_w(self) -> int:
        """Its rated power."""
        return self.curve.rated_w

    def flow(self, t_s: float, limit_w: int | None) -> Flow:
        """What it feeds in, at most the limit."""
        made_mw = round(MILLI * self.curve.power_w(t_s))
        if limit_w is not None:
            made_mw = min(made_mw, MILLI * limit_w)
        return Flow(-made_mw, -round(made_mw * self.reactive_share))


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """A battery with an inverter and a meter of its own."""

    curve: BatteryCurve

    @property
    def import_max_w(self) -> int:
        """Its rated power."""
        return self.curve.rated_w

    @property
    def export_max_w(self) -> int:
        """The same."""
        return self.curve.rated_w

    def flow(self, t_s: float, limit_w: int | None) -> Flow:
        """What it takes or feeds in, within the limit either way."""
        taken_mw = round(MILLI * self.curve.power_w(t_s))
        if limit_w is not None:
            taken_mw = max(-MILLI * limit_w, min(taken_mw, MILLI * limit_w))
        return Flow(taken_mw, 0)

    def charge_ppm(self, t_s: float) -> int:
        """How full it is."""
        return round(PPM * self.curve.state_of_charge(t_s))
