"""From the readings of one energy register to watt-hours per interval, exactly.

A register's readings become a *curve*: instants, and the energy credited up to each. Only steps that
`protocol.energy_register` explains add to it. Between two readings energy is spread evenly; at an interval's boundary
the curve is rounded down, and the same value ends one interval and begins the next. So whatever the intervals, their
sum is the register's own rise: no watt-hour is lost or invented by cutting time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import le, sub
from typing import Final

from protocol.energy_register import EnergyRegister, Place, RegisterLimit, StepKind, advance, first


@dataclass(frozen=True, slots=True)
class Curve:
    """Energy credited up to each instant; both never fall."""

    instants_ms: Sequence[int]
    credited_wh: Sequence[int]
    unexplained: int = 0
    """Readings among them whose step was no energy."""


NOTHING: Final = Curve((), ())


def credit(
    register: EnergyRegister | None, instants_ms: Sequence[int], values_wh: Sequence[int], limit: RegisterLimit
) -> tuple[EnergyRegister, Curve]:
    """Judge one register's readings of one batch, oldest first.

    Returns:
        What is believed about the register afterwards, and the energy that its readings are.
    """
    if register is not None and register.doubts == 0 and _is_smooth(register.trusted, instants_ms, values_wh, limit):
        base = register.trusted.value_wh
        after = EnergyRegister(trusted=Place(value_wh=values_wh[-1], at_ms=instants_ms[-1]))
        instants = [register.trusted.at_ms, *instants_ms]
        return after, Curve(instants, [0, *(value - base for value in values_wh)])
    return _credit_one_by_one(register, instants_ms, values_wh, limit)


def _is_smooth(before: Place, instants_ms: Sequence[int], values_wh: Sequence[int], limit: RegisterLimit) -> bool:
    """Whether every step is an honest rise, seen at a glance: what almost every batch is."""
    if values_wh[0] < before.value_wh or instants_ms[0] <= before.at_ms:
        return False
    if not limit.carries(values_wh[0] - before.value_wh, instants_ms[0] - before.at_ms):
        return False
    if len(values_wh) == 1:
        return True
    rest = values_wh[1:]
    return (
        all(map(le, values_wh, rest))
        and limit.carries(max(map(sub, rest, values_wh)), min(map(sub, instants_ms[1:], instants_ms)))
    )  # fmt: skip


def _credit_one_by_one(
    register: EnergyRegister | None, instants_ms: Sequence[int], values_wh: Sequence[int], limit: RegisterLimit
) -> tuple[EnergyRegister, Curve]:
    points: list[tuple[int, int]] = []
    credited = unexplained = 0
    for instant, value in zip(instants_ms, values_wh, strict=True):
        if register is None:
            register = first(value, instant)
            points.append((instant, 0))
            continue
        at_ms = max(instant, _last_seen(register))
        register, step = advance(register, value, at_ms, limit)
        if step.kind is StepKind.UNEXPLAINED:
            unexplained += 1
            continue
        if not points or points[-1][0] < step.since.at_ms:
            points.append((step.since.at_ms, credited))
        credited += step.energy_wh
        points.append((at_ms, credited))
    assert register is not None, "a batch holds at least one reading"
    if not points:
        return register, Curve((), (), unexplained)
    return register, Curve([at for at, _ in points], [wh for _, wh in points], unexplained)


def _last_seen(register: EnergyRegister) -> int:
    """A clock that was set back must not turn time around: energy then counts from where it had come to."""
    return register.doubtful_last.at_ms if register.doubtful_last else register.trusted.at_ms


def per_interval(curve: Curve, interval_ms: int) -> list[tuple[int, int]]:
    """Cut a curve at the boundaries of intervals.

    Returns:
        (start of interval, watt-hours) for every interval that the curve reaches into; they sum to the curve's rise.
    """
    if not curve.instants_ms:
        return []
    first_ms, last_ms = curve.instants_ms[0], curve.instants_ms[-1]
    start = first_ms - first_ms % interval_ms
    if last_ms <= start + interval_ms:
        return [(start, curve.credited_wh[-1] - curve.credited_wh[0])]
    boundaries = range(start, last_ms, interval_ms)
    levels = [curve.credited_wh[0], *(_level(curve, at) for at in boundaries[1:]), curve.credited_wh[-1]]
    return [(start, after - before) for start, (before, after) in zip(boundaries, pairwise(levels), strict=True)]


def _level(curve: Curve, at_ms: int) -> int:
    """The curve between two of its points, rounded down."""
    after = bisect_left(curve.instants_ms, at_ms)
    span = curve.instants_ms[after] - curve.instants_ms[after - 1]
    low, high = curve.credited_wh[after - 1], curve.credited_wh[after]
    return low + (high - low) * (at_ms - curve.instants_ms[after - 1]) // span
