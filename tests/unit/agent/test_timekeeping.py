"""How far a clock is believed: pains row 9, a stale value with a fresh time stamp and a wrong clock on a Pi."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.timekeeping import (
    CLOCK_STEP_MS,
    ERROR_MAX_MS,
    UTC_MIN_MS,
    ClockReport,
    Holdover,
    chrony_report,
    clock_of_both,
    kernel_report,
    may_be_found,
    whom_to_believe,
)
from protocol.batch import Clock, ClockState
from tests.builders import EPOCH_MS, a_clock

TRACKING = (
    "A29FC801,162.159.200.1,4,1795209957.987233028,-0.000012345,0.000023456,0.000034567,-12.345,0.001,0.023,"
    "0.012345678,0.004321000,64.2,Normal"
)
"""As chronyc 4.3 prints it: 12 µs to correct, 12 ms of root delay, 4 ms of root dispersion."""

ALONE = "7F7F0101,,10,1795209957.987233028,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,0.0,0.0,0.0,Normal"
"""chronyd 4.3 with ``local stratum 10`` and no server, as it printed it."""

LOST = (
    "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,0.000,1.000000000,1.000000000,0.0,"
    "Not synchronised"
)

SURE = ClockReport(True, 10, "kernel")
UNSYNCHRONIZED = ClockReport(False, 16_000, "kernel")


class TestReports:
    """What kernel, chrony and timesyncd say, made into one report."""

    def test_the_kernel_s_error_is_rounded_up(self) -> None:
        assert kernel_report(0x2001, 1_500) == ClockReport(True, 2, "kernel")

    def test_the_kernel_says_when_it_knows_nothing(self) -> None:
        assert not kernel_report(0x0041, 16_000_000).is_synchronized

    def test_chrony_s_error_is_bounded_as_its_manual_bounds_it(self) -> None:
        report = ClockReport(True, 11, "chrony")  # 0.012345 + 4.321 + 12.345678 / 2 ms, rounded up
        assert chrony_report(TRACKING) == report

    @pytest.mark.parametrize("line", [ALONE, LOST], ids=["follows its own clock", "not synchronised"])
    def test_a_chrony_without_a_source_is_not_synchronized(self, line: str) -> None:
        report = chrony_report(line)
        assert report is not None
        assert not report.is_synchronized

    @pytest.mark.parametrize("line", ["", "506 Cannot talk to daemon", TRACKING + ",1", TRACKING.replace("0.0", "x")])
    def test_what_is_no_report_is_none(self, line: str) -> None:
        assert chrony_report(line) is None

    @pytest.mark.parametrize("size", ["9e999999", "1e999990", "Infinity", "NaN", "sNaN"])
    def test_a_number_beyond_all_measure_breaks_nothing(self, size: str) -> None:
        report = chrony_report(TRACKING.replace("0.012345678", size))
        assert report is None or report.error_ms == ERROR_MAX_MS

    @given(st.text())
    def test_no_line_whatever_breaks_the_reader(self, line: str) -> None:
        chrony_report(line)

    def test_chrony_knows_better_than_the_kernel(self) -> None:
        chrony = ClockReport(True, 11, "chrony")
        assert whom_to_believe(UNSYNCHRONIZED, chrony, has_timesyncd=True) == chrony

    def test_timesyncd_s_server_may_be_wrong_by_more_than_the_kernel_knows(self) -> None:
        assert whom_to_believe(SURE, None, has_timesyncd=True) == ClockReport(True, 5010, "timesyncd")

    def test_where_nobody_says_anything_nothing_is_believed(self) -> None:
        assert whom_to_believe(None, None, has_timesyncd=False) == ClockReport(False, ERROR_MAX_MS, "unknown")


class TestHoldover:
    """An error is what somebody vouches for, or what it can have grown to since; pains row 9."""

    def test_a_clock_that_was_never_synchronized_may_be_wrong_by_anything(self) -> None:
        clock = Holdover().look(UNSYNCHRONIZED, EPOCH_MS, 1000)
        assert (clock.state, clock.error_ms) == (ClockState.UNSYNCHRONIZED, ERROR_MAX_MS)

    def test_one_that_has_lost_its_source_goes_wrong_as_fast_as_clocks_do(self) -> None:
        holdover = Holdover()
        holdover.look(SURE, EPOCH_MS, 0)
        clock = holdover.look(UNSYNCHRONIZED, EPOCH_MS, 3_600_000)
        assert (clock.state, clock.error_ms) == (ClockState.UNSYNCHRONIZED, 10 + 1800)

    def test_one_that_was_set_since_may_be_wrong_by_anything(self) -> None:
        holdover = Holdover()
        holdover.look(SURE, EPOCH_MS, 0)
        assert holdover.look(UNSYNCHRONIZED, EPOCH_MS + CLOCK_STEP_MS + 1, 1000).error_ms == ERROR_MAX_MS

    @given(st.integers(0, 2**40), st.integers(0, 2**40))
    def test_an_error_never_shrinks_by_waiting(self, early_ms: int, late_ms: int) -> None:
        holdover = Holdover()
        holdover.look(SURE, EPOCH_MS, 0)
        errors_ms = [holdover.look(UNSYNCHRONIZED, EPOCH_MS, now_ms).error_ms for now_ms in sorted((early_ms, late_ms))]
        assert errors_ms == sorted(errors_ms)


clocks = st.builds(
    Clock,
    state=st.just(ClockState.SYNCHRONIZED),
    error_ms=st.integers(0, 60_000),
    source=st.just("kernel"),
    epoch_ms=st.integers(EPOCH_MS - 1000, EPOCH_MS + 1000),
)


class TestTrimming:
    """A clock that is trimmed while a batch gathers stamps no reading later than it was read; pains row 9."""

    @given(st.lists(clocks, min_size=1, max_size=20))
    def test_the_epoch_is_the_earliest_and_the_error_covers_all(self, seen: list[Clock]) -> None:
        known = seen[0]
        for now in seen[1:]:
            known = clock_of_both(known, now)
        assert known.epoch_ms == min(clock.epoch_ms for clock in seen)
        assert all(known.epoch_ms + known.error_ms >= clock.epoch_ms + clock.error_ms for clock in seen)


class TestWaiting:
    """It is worth waiting for the time where somebody looks for it, or where there is none at all; pains row 9."""

    @pytest.mark.parametrize(
        ("changes", "is_worth_it"),
        [
            ({"source": "timesyncd"}, True),
            ({"source": "chrony"}, True),
            ({"source": "kernel"}, False),
            ({"source": "kernel", "epoch_ms": 0}, True),
            ({"source": "unknown", "epoch_ms": UTC_MIN_MS - 1001}, True),
            ({"source": "timesyncd", "state": ClockState.SYNCHRONIZED}, False),
        ],
        ids=["timesyncd", "chrony", "nobody looks", "1970", "before este", "known"],
    )
    def test_who_waits_for_the_time(self, changes: dict[str, object], is_worth_it: bool) -> None:
        clock = a_clock(**{"state": ClockState.UNSYNCHRONIZED, **changes})
        assert may_be_found(clock, 1000) is is_worth_it
