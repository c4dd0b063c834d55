"""How far the machine's time may be believed, and which time readings are stamped with when it changes.

Instants of readings are on the boot's own clock, which is never set; UTC is told beside them, once per batch, as the
epoch of that clock. So a clock that is set, lost or found moves no reading against another, and what was read before
the time was known is stamped when it is. Given what the kernel and the programs that keep its time say; asks nobody.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from protocol.batch import Clock, ClockState

ERROR_MAX_MS: Final = 86_400_000
"""The bound of the estimated error in a batch: a day, or nobody knows."""

CLOCK_STEP_MS: Final = 1000
"""A clock that moved by more than this against the boot's clock was set, not trimmed."""

DRIFT_PPM_MAX: Final = 500
"""How fast a clock that nobody corrects may go wrong: what Linux itself assumes (MAXFREQ, kernel/time/ntp.c)."""

UTC_MIN_MS: Final = 1_735_689_600_000
"""2025-01-01: whoever says that it is earlier has no clock, since there was no este then."""

CHRONY: Final = "chrony"
TIMESYNCD: Final = "timesyncd"
KERNEL: Final = "kernel"
KEEPERS: Final = (CHRONY, TIMESYNCD)
"""Programs that look for the time: where one runs, a clock that is not synchronized may still become so."""

TIMESYNCD_DISTANCE_MAX_MS: Final = 5000
"""How far from the truth a server may be that timesyncd believes (RootDistanceMaxSec, timesyncd.conf(5)). It tells the
kernel nothing of it."""

STA_UNSYNC: Final = 0x0040
"""timex.status: the clock is not synchronized (adjtimex(2))."""

CHRONY_FIELDS: Final = 14
"""Of ``chronyc -c tracking``: reference, its address, stratum, time of the last update, what is left to correct, last
and mean offset, frequency, its residual and skew, root delay, root dispersion, update interval, leap status."""

CHRONY_ITSELF: Final = "7F7F0101"
"""The reference of a chronyd that follows its own clock, and so nobody (chronyc(1))."""


@dataclass(frozen=True, slots=True)
class ClockReport:
    """What somebody says about the clock."""

    is_synchronized: bool
    error_ms: int
    """At most; of a clock that is not synchronized it says nothing."""
    source: str


def kernel_report(status: int, error_us: int) -> ClockReport:
    """What adjtimex(2) says."""
    return ClockReport(not status & STA_UNSYNC, -(-max(0, error_us) // 1000), KERNEL)


def chrony_report(line: str) -> ClockReport | None:
    """What ``chronyc -c tracking`` says; None if it is not that.

    chronyc(1) bounds the error by what is left to correct, and root dispersion, and half of the root delay.
    """
    fields = line.strip().split(",")
    if len(fields) != CHRONY_FIELDS:
        return None
    try:
        left_s, delay_s, dispersion_s = (Decimal(fields[place]) for place in (4, 10, 11))
        error_ms = math.ceil(min(1000 * (abs(left_s) + dispersion_s + delay_s / 2), Decimal(ERROR_MAX_MS)))
    except (ArithmeticError, ValueError):  # what decimal raises is of the former, and no OverflowError
        return None
    return ClockReport(fields[13] != "Not synchronised" and fields[0] != CHRONY_ITSELF, max(1, error_ms), CHRONY)


def whom_to_believe(kernel: ClockReport | None, chrony: ClockReport | None, *, has_timesyncd: bool) -> ClockReport:
    """One report out of what several say.

    chrony knows best, and tells the kernel only if its settings say so (``rtcsync``). timesyncd tells the kernel, but
    not how far its server may be from the truth.
    """
    if chrony is not None:
        return chrony
    if kernel is None:
        return ClockReport(False, ERROR_MAX_MS, "unknown")
    if has_timesyncd:
        return ClockReport(kernel.is_synchronized, kernel.error_ms + TIMESYNCD_DISTANCE_MAX_MS, TIMESYNCD)
    return kernel


class Holdover:
    """How well this program has a hold of UTC, from one look at the clock to the next.

    The error of a clock that has lost its source is what it was, and has grown since as fast as clocks go wrong. One
    that was never synchronized, or was set since, may be wrong by anything.
    """

    def __init__(self) -> None:
        self._last: Clock | None = None
        """The clock when it was last synchronized."""
        self._last_ms = 0

    def look(self, report: ClockReport, epoch_ms: int, now_ms: int) -> Clock:
        """What is known about UTC now, on the boot's clock."""
        if report.is_synchronized:
            self._last_ms = now_ms
            self._last = Clock(ClockState.SYNCHRONIZED, min(report.error_ms, ERROR_MAX_MS), report.source, epoch_ms)
            return self._last
        error_ms = ERROR_MAX_MS
        if self._last is not None and abs(self._last.epoch_ms - epoch_ms) <= CLOCK_STEP_MS:
            drifted_ms = -(-(now_ms - self._last_ms) * DRIFT_PPM_MAX // 1_000_000)
            error_ms = min(self._last.error_ms + drifted_ms, ERROR_MAX_MS)
        return Clock(ClockState.UNSYNCHRONIZED, error_ms, report.source, epoch_ms)


def is_other_clock(known: Clock, now: Clock) -> bool:
    """Whether the clock changed its state or was set, so that readings before and after belong in two batches."""
    return known.state is not now.state or abs(known.epoch_ms - now.epoch_ms) > CLOCK_STEP_MS


def clock_of_the_past(known: Clock, now: Clock) -> Clock:
    """The clock that readings before a change are stamped with.

    The boot's own clock runs evenly, so a clock that is at last synchronized tells the time of what came before it
    too. In every other case the clock of their own time is what is known about them.
    """
    was_found = known.state is ClockState.UNSYNCHRONIZED and now.state is ClockState.SYNCHRONIZED
    return now if was_found else known


def clock_of_both(known: Clock, now: Clock) -> Clock:
    """The clock of readings of which some came when it was `known` and some `now`, while it was only trimmed.

    The earlier of the two epochs, so that none is stamped later than it was read; what lies between them is error.
    """
    between_ms = now.epoch_ms - known.epoch_ms
    error_ms = max(known.error_ms + max(0, -between_ms), now.error_ms + max(0, between_ms))
    return replace(now, epoch_ms=min(known.epoch_ms, now.epoch_ms), error_ms=min(error_ms, ERROR_MAX_MS))


def may_be_found(clock: Clock, now_ms: int) -> bool:
    """Whether it is worth waiting for a better clock: somebody looks for the time, or this one is no time at all."""
    if clock.state is ClockState.SYNCHRONIZED:
        return False
    return clock.source in KEEPERS or clock.epoch_ms + now_ms < UTC_MIN_MS
