"""What an energy register may do, and when its step is energy.

A register that counts watt-hours may rise, within what the connection can carry; it may wrap at its modulus.
Everything else (a glitch to 0, a step back, a jump of a lifetime's energy, a new meter) is *unexplained*: it
is told, and it is never energy. A register that comes back to where it was goes on from there, so a glitch
loses nothing; one that stays away is believed again after `settle_after` readings, from its new place on.

A register counts in steps, so it may show one count before the connection can have carried it. That is honest, but
it is booked only as time goes by: over no span is more booked than the connection can carry, however often it is
read.

Both the gateway and the aggregator run this same machine, so that a lying gateway gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

MS_PER_HOUR: Final = 3_600_000


class StepKind(IntEnum):
    """What one more reading of a register turned out to be."""

    FIRST = 0
    """Nothing to compare with yet."""
    RISE = 1
    """Energy flowed, or none did."""
    UNEXPLAINED = 2
    """It fell, or rose faster than the connection can carry. No energy."""
    SETTLED = 3
    """It has stayed where it stepped to; from there on its rises count again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterLimit:
    """How fast a register can honestly move."""

    power_max_w: int
    """What the connection can carry, with its fuses' tolerance."""
    resolution_wh: int
    """What one count of the register stands for: it may show a rise that much too early."""
    modulus_wh: int | None = None
    """Where the register wraps to 0, if it does within a meter's life."""
    settle_after: int = 10
    """Readings in a row that must follow one another before a new place is believed."""

    def allows(self, rise_wh: int, span_ms: int) -> bool:
        """Whether an honest register can show a rise of `rise_wh` after `span_ms`: one count may come too early."""
        return self.carries(rise_wh - self.resolution_wh, span_ms)

    def carries(self, energy_wh: int, span_ms: int) -> bool:
        """Whether `energy_wh` can have flowed in `span_ms`."""
        return energy_wh * MS_PER_HOUR <= self.power_max_w * span_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a register showed, and when."""

    value_wh: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyRegister:
    """What is believed about one register."""

    trusted: Place
    """Where it stood last; or, while it is ahead of what the connection can carry, as far as it may be believed."""
    doubtful_since: Place | None = None
    """Where it first stepped to without explanation, while it stays away."""
    doubtful_last: Place | None = None
    doubts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The judgement on one reading, and the energy that may be booked for it."""

    kind: StepKind
    since: Place
    """Where the energy began to flow; energy is spread evenly from here to the reading."""
    energy_wh: int = 0


def first(value_wh: int, at_ms: int) -> EnergyRegister:
    """The register as first seen. What it counted before is nobody's energy here."""
    return EnergyRegister(trusted=Place(value_wh=value_wh, at_ms=at_ms))


def advance(register: EnergyRegister, value_wh: int, at_ms: int, limit: RegisterLimit) -> tuple[EnergyRegister, Step]:
    """Judge the next reading of a register; `at_ms` is not before the last one."""
    here = Place(value_wh=value_wh, at_ms=at_ms)
    if _honest_rise(register.trusted, here, limit) is not None:
        return _believe(StepKind.RISE, register.trusted, here, limit)
    unexplained = Step(kind=StepKind.UNEXPLAINED, since=register.trusted)
    since, last = register.doubtful_since, register.doubtful_last
    if since is None or last is None or None in (_honest_rise(last, here, limit), _honest_rise(since, here, limit)):
        return replace(register, doubtful_since=here, doubtful_last=here, doubts=1), unexplained
    if register.doubts + 1 < limit.settle_after:
        return replace(register, doubtful_last=here, doubts=register.doubts + 1), unexplained
    return _believe(StepKind.SETTLED, since, here, limit)


def _believe(kind: StepKind, before: Place, here: Place, limit: RegisterLimit) -> tuple[EnergyRegister, Step]:
    """Book an honest rise from `before` to `here`, as far as the connection can have carried it by now."""
    rise = _honest_rise(before, here, limit)
    assert rise is not None, "only an honest rise is believed"
    if limit.carries(rise, here.at_ms - before.at_ms):
        return EnergyRegister(trusted=here), Step(kind=kind, since=before, energy_wh=rise)
    energy = max(0, limit.power_max_w * (here.at_ms - before.at_ms) // MS_PER_HOUR)
    reached_wh = before.value_wh + energy
    reached = Place(
        value_wh=reached_wh % limit.modulus_wh if limit.modulus_wh else reached_wh,
        at_ms=before.at_ms - -energy * MS_PER_HOUR // limit.power_max_w,
    )
    return EnergyRegister(trusted=reached), Step(kind=kind, since=before, energy_wh=energy)


def _honest_rise(before: Place, after: Place, limit: RegisterLimit) -> int | None:
    """How far the register rose from `before` to `after`, or None where no meter could have counted it."""
    rise = after.value_wh - before.value_wh
    if rise < 0 and limit.modulus_wh is not None:
        rise += limit.modulus_wh
    if rise < 0 or not limit.allows(rise, after.at_ms - before.at_ms):
        return None
    return rise
