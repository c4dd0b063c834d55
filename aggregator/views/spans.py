"""Which settlement period, interval or span of time somebody means, in the words of the command line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aggregator.chains.five import Five
from aggregator.chains.region import Region
from aggregator.economy.periods import interval_start
from config.time_zone import zone_of
from protocol.errors import EsteError
from protocol.units import Interval, UnixMs

LAST: Final = "last"
NOW: Final = "now"
"""The settlement period that runs, as far as its intervals are closed."""
_MONTH: Final = re.compile(r"(\d{4})-(\d{2})")
SHOWN_MAX: Final = 6
"""Settled periods that an error names."""


class NotSettledError(EsteError):
    """That period is not over, or its factors are not drawn up yet; those that are, are named."""


class NoSuchTimeError(EsteError):
    """That is no instant, or one at which the region was not there or has no result yet."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an explanation is to be of."""

    period: Interval
    interval: Interval | None = None
    """One of it that is to be looked into, or None for all of them in short."""
    is_settled: bool = True
    """Whether the period is; else it is told as far as it is known."""


def instant_of(text: str) -> int:
    """An instant that somebody typed, in milliseconds.

    Raises:
        NoSuchTimeError: it is none, or says no time zone.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise NoSuchTimeError(f"expected an instant such as 2026-11-20T12:00:00Z, got {text!r}") from error
    if moment.tzinfo is None:
        raise NoSuchTimeError(f"say which time zone: {text}Z for UTC")
    return round(moment.timestamp() * 1000)


def settled_period(five: Five, text: str = LAST) -> Interval:
    """A settlement period whose factors are drawn up: the last, or one by its month or an instant in it.

    Raises:
        NotSettledError: it is not over yet, or lies before the region.
        NoSuchTimeError: it is named by no month and no instant.
    """
    region, cursor = five.asset.region, five.analysis.cursor
    if not cursor.periods:
        raise NotSettledError(f"no settlement period is closed yet: {_running(five)}")
    if text == LAST:
        return region.period_of(cursor.factors_start_ms).span
    at_ms = _in_month(text, region)
    if not region.begin_ms <= at_ms < cursor.period_start_ms:
        raise NotSettledError(f"no closed settlement period holds {text}: {_closed(five)}; {_running(five)}")
    return region.period_of(at_ms).span


def asked(five: Five, period: str, interval: str | None) -> Asked:
    """What is to be explained; an interval alone names its period, too.

    While no period is settled, the last one is the one that runs.

    Raises:
        NotSettledError: that period is not closed, or nothing at all is.
        NoSuchTimeError: no such instant, the interval lies in another period, or it is not closed yet.
    """
    region, cursor = five.asset.region, five.analysis.cursor
    has_begun = cursor.next_interval_ms > max(region.begin_ms, cursor.period_start_ms)
    if period == NOW and not has_begun:
        raise NotSettledError(f"no interval of it is closed yet: {_running(five)}")
    if interval is None:
        is_now = has_begun and (period == NOW or (period == LAST and not cursor.periods))
        return Asked(five.analysis.period.span if is_now else settled_period(five, period), is_settled=not is_now)
    start_ms = interval_start(instant_of(interval), region.rules.time)
    is_now = has_begun and start_ms >= cursor.period_start_ms and period in {LAST, NOW}
    span = five.analysis.period.span if is_now else settled_period(five, interval if period == LAST else period)
    if not span.start_ms <= start_ms < span.end_ms:
        raise NoSuchTimeError(f"the interval from {spelled(start_ms)} is not in the period {_span(span)}")
    if start_ms >= cursor.next_interval_ms:
        closed = f"intervals are closed up to {spelled(cursor.next_interval_ms)}"
        raise NoSuchTimeError(f"the interval from {spelled(start_ms)} is not closed yet: {closed}")
    end_ms = start_ms + region.rules_at(start_ms).time.interval_ms
    return Asked(span, Interval(start_ms=UnixMs(start_ms), end_ms=UnixMs(end_ms)), is_settled=not is_now)


def closed_span(five: Five, from_: str | None, to: str | None, period: str | None = None) -> Interval:
    """A span of closed intervals: a period, or from one instant to another; by default everything that is closed.

    Raises:
        NoSuchTimeError: no interval of it is closed, or it ends before it begins.
        NotSettledError: a period was asked for that is not closed.
    """
    if period is not None:
        return settled_period(five, period)
    region, until_ms = five.asset.region, five.analysis.cursor.next_interval_ms
    start_ms = max(region.begin_ms, interval_start(instant_of(from_), region.rules.time) if from_ else 0)
    end_ms = min(until_ms, instant_of(to)) if to else until_ms
    if start_ms >= end_ms:
        closed = f"{spelled(region.begin_ms)} to {spelled(until_ms)}" if until_ms > region.begin_ms else "none yet"
        raise NoSuchTimeError(f"no closed interval from {from_ or 'the beginning'} to {to or 'now'}; closed: {closed}")
    return Interval(start_ms=UnixMs(start_ms), end_ms=UnixMs(end_ms))


def restatable_ms(region: Region) -> int:
    """How long after its end an interval's last restatement may come, at most, with what it waits for."""
    rule = region.rules.time
    whole_ms = rule.period_ms or 31 * 86_400_000
    return (rule.restate_periods + 2) * whole_ms + rule.restate_after_ms + rule.grace_ms


def spelled(at_ms: int) -> str:
    """An instant, UTC, as short as it may be."""
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.strftime("%Y-%m-%d %H:%M" if at_ms % 60_000 == 0 else "%Y-%m-%d %H:%M:%S")


def _in_month(text: str, region: Region) -> int:
    """An instant in the month, or the instant itself."""
    month = _MONTH.fullmatch(text)
    if month is None:
        return instant_of(text)
    try:
        middle = datetime(int(month[1]), int(month[2]), 15, tzinfo=zone_of(region.rules.time.time_zone))
    except ValueError as error:
        raise NoSuchTimeError(f"no month {text}") from error
    at_ms = round(middle.timestamp() * 1000)
    first = region.period_of(region.begin_ms).span
    return first.start_ms if region.rules.time.period_ms is None and at_ms < first.start_ms < first.end_ms else at_ms


def _closed(five: Five) -> str:
    region, spans = five.asset.region, list[str]()
    at_ms, count = five.analysis.cursor.period_start_ms, five.analysis.cursor.periods
    while at_ms > region.begin_ms and len(spans) < SHOWN_MAX:
        span = region.period_of(at_ms - 1).span
        spans.append(_span(span))
        at_ms = span.start_ms
    more = f" and {count - len(spans)} before" if count > len(spans) else ""
    return f"closed are {', '.join(reversed(spans))}{more}"


def _running(five: Five) -> str:
    return f"the running one is {_span(five.analysis.period.span)}"


def _span(span: Interval) -> str:
    return f"{spelled(span.start_ms)} – {spelled(span.end_ms)}"
