"""From the readings of one energy register to watt-hours per interval, exactly.

A register's readings become a *curve*: instants, and the energy up to each. Only steps that
`protocol.energy_register` explains add to it. Between two readings energy is spread evenly; at an interval's boundary
the curve is rounded down, and the same value ends one interval and begins the next. So whatever the intervals, their
sum is the register's own rise: no watt-hour is lost or invented by cutting time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import sub

from protocol.energy_register import EnergyRegister, Place, RegisterLimit, StepKind, advance, first


@dataclass(frozen=True, slots=True)
class Curve:
    """Energy up to each instant; both never fall. Only differences of energy mean anything."""

    instants_ms: Sequence[int]
    energy_wh: Sequence[int]
    unexplained: int = 0
    """Readings among them whose step was no energy."""

    @property
    def rise_wh(self) -> int:
        """All the energy there is in it."""
        return self.energy_wh[-1] - self.energy_wh[0] if self.energy_wh else 0


def credit(
    register: EnergyRegister | None, instants_ms: Sequence[int], values_wh: Sequence[int], limit: RegisterLimit
) -> tuple[EnergyRegister, Curve]:
    """Judge one register's readings of one batch, oldest first.

    Returns:
        What is believed about the register afterwards, and the energy that its readings are.
    """
    if register is None or register.doubts or not _is_smooth(register.trusted, instants_ms, values_wh, limit):
        return _credit_one_by_one(register, instants_ms, values_wh, limit)
    before, after = register.trusted, Place(value_wh=values_wh[-1], at_ms=instants_ms[-1])
    return EnergyRegister(trusted=after), Curve([before.at_ms, *instants_ms], [before.value_wh, *values_wh])


def _is_smooth(before: Place, instants_ms: Sequence[int], values_wh: Sequence[int], limit: RegisterLimit) -> bool:
    """Whether every step is an honest rise, seen at a glance: what almost every batch is."""
    rise, span = values_wh[0] - before.value_wh, instants_ms[0] - before.at_ms
    if rise < 0 or span <= 0 or not limit.carries(rise, span):
        return False
    if values_wh[-1] == values_wh[0]:
        return values_wh.count(values_wh[0]) == len(values_wh)
    if sorted(values_wh) != values_wh:
        return False
    steepest = max(map(sub, values_wh[1:], values_wh))
    return limit.carries(steepest, min(map(sub, instants_ms[1:], instants_ms)))


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
        if instant < _last_seen(register):
            unexplained += 1
            continue
        register, step = advance(register, value, instant, limit)
        if step.kind is StepKind.UNEXPLAINED:
            unexplained += 1
            continue
        if not points or points[-1][0] < step.since.at_ms:
            points.append((step.since.at_ms, credited))
        credited += step.energy_wh
        points.append((instant, credited))
    assert register is not None, "a batch holds at least one reading"
    if not points:
        return register, Curve((), (), unexplained)
    return register, Curve([at for at, _ in points], [wh for _, wh in points], unexplained)


def _last_seen(register: EnergyRegister) -> int:
    """What is older tells nothing new: a clock that was set back, or readings that were sent before.

    Nothing is lost by that. When time has come so far again, the register's rise since then is energy as ever.
    """
    return register.doubtful_last.at_ms if register.doubtful_last else register.trusted.at_ms


def per_interval(curve: Curve, interval_ms: int, from_ms: int) -> list[tuple[int, int]]:
    """Cut a curve at the boundaries of intervals.

    Args:
        curve: it may reach back as far as somebody's clock was wrong, decades over.
        interval_ms: length of an interval.
        from_ms: one of the boundaries. What lies before it stays in one piece, so that no clock makes endless work.

    Returns:
        (start of interval, watt-hours) for every interval that the curve reaches into; they sum to the curve's rise.
        Before `from_ms` it is one piece, with the start of its first interval.
    """
    if not curve.instants_ms:
        return []
    first_ms, last_ms = curve.instants_ms[0], curve.instants_ms[-1]
    start = first_ms - first_ms % interval_ms
    cut_from = max(start + interval_ms, from_ms)
    if last_ms <= cut_from:
        return [(start, curve.rise_wh)]
    boundaries = range(cut_from, last_ms, interval_ms)
    levels = [curve.energy_wh[0], *(_level(curve, at) for at in boundaries), curve.energy_wh[-1]]
    starts = [start, *boundaries]
    return [(start, after - before) for start, (before, after) in zip(starts, pairwise(levels), strict=True)]


def power_sums(
    instants_ms: Sequence[int], power_w: Sequence[int], interval_ms: int, from_ms: int
) -> Iterator[tuple[int, int, int, int]]:
    """Sum power by interval, import and export apart.

    Power beyond what the connection can carry is not to come here: it is not believed, and the interval's energy then
    has to tell the flow. Nor is there a use for it in intervals before `from_ms`, which nobody will restate.

    Yields:
        (start of interval, readings, sum of the power imported, sum of the power exported), for each with a reading.
    """
    begin = bisect_left(instants_ms, from_ms)
    while begin < len(instants_ms):
        start = instants_ms[begin] - instants_ms[begin] % interval_ms
        end = bisect_left(instants_ms, start + interval_ms, begin)
        slice_w = power_w[begin:end]
        total = sum(slice_w)
        imported = total if min(slice_w) >= 0 else sum(w for w in slice_w if w > 0)
        yield start, end - begin, imported, imported - total
        begin = end


def _level(curve: Curve, at_ms: int) -> int:
    """The curve between two of its points, rounded down."""
    after = bisect_left(curve.instants_ms, at_ms)
    span = curve.instants_ms[after] - curve.instants_ms[after - 1]
    low, high = curve.energy_wh[after - 1], curve.energy_wh[after]
    return low + (high - low) * (at_ms - curve.instants_ms[after - 1]) // span
