"""How time is cut: metering intervals and settlement periods.

Intervals begin at multiples of their length since 1970. A settlement period is a calendar month in the region's time
zone, or, for simulations, any number of intervals. Both are half-open.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from config.rules import TimeRule
from config.time_zone import zone_of
from protocol.units import Interval, UnixMs

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def interval_start(instant_ms: int, rule: TimeRule) -> int:
    """Start of the interval that an instant belongs to."""
    return instant_ms - instant_ms % rule.interval_ms


@dataclass(frozen=True, slots=True)
class Period:
    """A settlement period: the part of it that the region was there for, and how long a whole one is."""

    span: Interval
    whole_ms: int

    def part_of(self, permitted: int) -> int:
        """What is permitted in this part of the period; a region founded in mid-month has its part of the month."""
        return permitted * self.span.length_ms // self.whole_ms


def period_of(instant_ms: int, rule: TimeRule, begin_ms: int) -> Period:
    """The settlement period that an instant belongs to, in a region that began at the interval from `begin_ms`.

    Periods of a fixed length are counted from there. Months are those of the region's calendar, cut at the interval
    that midnight falls into, which belongs to the new month as a whole; the first one begins with the region.
    """
    if rule.period_ms is not None:
        start = instant_ms - (instant_ms - begin_ms) % rule.period_ms
        return Period(Interval(start_ms=UnixMs(start), end_ms=UnixMs(start + rule.period_ms)), rule.period_ms)
    zone = zone_of(rule.time_zone)
    local = datetime.fromtimestamp(instant_ms // 1000, tz=UTC).astimezone(zone)
    month, following = (local.year, local.month), _month_after(local.year, local.month)
    if instant_ms >= _midnight(*following, zone, rule):
        month, following = following, _month_after(*following)
    start, end = _midnight(*month, zone, rule), _midnight(*following, zone, rule)
    return Period(Interval(start_ms=UnixMs(max(start, begin_ms)), end_ms=UnixMs(end)), end - start)


def _month_after(year: int, month: int) -> tuple[int, int]:
    return (year + 1, 1) if month == 12 else (year, month + 1)


def _midnight(year: int, month: int, zone: ZoneInfo, rule: TimeRule) -> int:
    midnight = datetime(year, month, 1, tzinfo=zone)
    return interval_start((midnight - EPOCH) // timedelta(milliseconds=1), rule)
