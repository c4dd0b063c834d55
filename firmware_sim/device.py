"""What stands behind an electricity meter: a household, a plant or a battery, and what a limiter does to it.

A limiter is real: a plant never feeds in more than its limit, and a household never buys more than its limit or what
it cannot shed, whichever is more. A household sheds its heat pump only; its own sun counts for it. A set-point is as
real: a battery takes or feeds in what it is told, and a plant feeds in what it is told as far as there is wind, or sun.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

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


@dataclass(frozen=True, slots=True)
class Held:
    """What a limiter, or a controller, holds a site to."""

    take_w: int | None = None
    """The most that it may take; None where there is no limit."""
    feed_in_w: int | None = None
    set_w: int | None = None
    """What it is to take, or, below 0, to feed in; None where it runs as it likes."""

    @classmethod
    def both(cls, limit_w: int | None) -> Held:
        """Held to the same both ways, or free."""
        return cls(limit_w, limit_w)

    def within(self, taken_mw: int) -> int:
        """Power within both limits."""
        most = taken_mw if self.take_w is None else min(taken_mw, MILLI * self.take_w)
        return most if self.feed_in_w is None else max(most, -MILLI * self.feed_in_w)


FREE: Final = Held()


class Device(Protocol):
    """Whatever uses or makes power behind one meter."""

    @property
    def import_max_w(self) -> int:
        """The most that it can ever import."""

    @property
    def export_max_w(self) -> int:
        """The most that it can ever export."""

    def flow(self, t_s: float, held: Held = FREE) -> Flow:
        """Its power at a simulated time, held to something or free."""


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

    def flow(self, t_s: float, held: Held = FREE) -> Flow:
        """The base load, less the sun, and as much of the heat pump as the limit leaves room for."""
        base_mw = round(MILLI * self.habits.base_load_w(t_s))
        made_mw = self.made_mw(t_s)
        heat_mw = round(MILLI * self.habits.heat_pump_load_w(t_s))
        if held.take_w is not None:
            room_mw = MILLI * held.take_w - (base_mw - made_mw)
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

    def flow(self, t_s: float, held: Held = FREE) -> Flow:
        """What it feeds in, at most the limit: an engine what it is set to, wind and sun what there is of it."""
        made_mw = round(MILLI * self.curve.power_w(t_s))
        if held.set_w is not None:
            told_mw = MILLI * min(max(0, -held.set_w), self.curve.rated_w)
            made_mw = told_mw if isinstance(self.curve, GasEngineCurve) else min(made_mw, told_mw)
        made_mw = -held.within(-made_mw)
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

    def flow(self, t_s: float, held: Held = FREE) -> Flow:
        """What it takes or feeds in, within the limit of each way: what it is set to, or by its own habits."""
        taken_mw = round(MILLI * self.curve.power_w(t_s))
        if held.set_w is not None:
            rated_w = self.curve.rated_w
            taken_mw = MILLI * max(-rated_w, min(held.set_w, rated_w))
        return Flow(held.within(taken_mw), 0)

    def charge_ppm(self, t_s: float) -> int:
        """How full it is."""
        return round(PPM * self.curve.state_of_charge(t_s))
