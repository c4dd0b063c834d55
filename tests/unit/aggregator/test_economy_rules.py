"""Accounts, rights, the order of priority, and how time is cut."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from aggregator.economy.accounts import Movement, MovementKind, effect_of, settle
from aggregator.economy.periods import interval_start, period_of
from aggregator.economy.rights import priority_order
from config.rules import TimeRule

HOUR_MS = 3_600_000


@pytest.mark.parametrize("kind", list(MovementKind))
def test_what_one_side_is_debited_the_other_is_credited(kind: MovementKind) -> None:
    effect = effect_of(kind, 7)
    assert effect.minted - effect.burned == effect.participant + effect.reserve


def test_an_award_above_the_ceiling_flows_over_to_the_reserve() -> None:
    assert settle(450, 100, 500, "wind") == [
        Movement(MovementKind.AWARD, "wind", 100, 550),
        Movement(MovementKind.OVERFLOW, "wind", 50, 500),
    ]


def test_a_charge_may_leave_an_account_below_zero() -> None:
    assert settle(10, -42, 500, "gas") == [Movement(MovementKind.CHARGE, "gas", 42, -32)]


def test_nothing_earned_moves_nothing() -> None:
    assert settle(10, 0, 500, "home") == []


def test_holders_come_first_and_debtors_last() -> None:
    balances = {"rich": 300, "holder": 20, "poor": 0, "debtor": -5, "holding-debtor": -1}
    order = priority_order(balances, holders={"holder", "holding-debtor"})
    assert order == ["holder", "rich", "poor", "holding-debtor", "debtor"]


def test_among_equals_the_name_decides() -> None:
    assert priority_order({"b": 1, "a": 1}, holders=set()) == ["a", "b"]


def a_time_rule(**changes: Any) -> TimeRule:
    return TimeRule.model_validate({"interval_ms": 900_000, "grace_ms": 60_000} | changes)


def utc(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * 1000  # type: ignore[arg-type]


def test_intervals_begin_at_multiples_of_their_length() -> None:
    assert interval_start(utc(2026, 11, 20, 12, 14), a_time_rule()) == utc(2026, 11, 20, 12)


def test_a_month_is_the_regions_own_with_its_clock_changes() -> None:
    rule = a_time_rule(time_zone="Europe/Berlin")
    period = period_of(utc(2026, 3, 15), rule, begin_ms=utc(2026, 1, 1))
    assert (period.span.start_ms, period.span.end_ms) == (utc(2026, 2, 28, 23), utc(2026, 3, 31, 22))
    assert period.whole_ms == (31 * 24 - 1) * HOUR_MS  # summer time began


def test_december_ends_with_the_year() -> None:
    period = period_of(utc(2026, 12, 31, 23, 59), a_time_rule(), begin_ms=0)
    assert (period.span.start_ms, period.span.end_ms) == (utc(2026, 12, 1), utc(2027, 1, 1))


def test_a_region_founded_in_mid_month_is_permitted_its_part_of_it() -> None:
    period = period_of(utc(2026, 11, 20), a_time_rule(), begin_ms=utc(2026, 11, 16))
    assert period.span.start_ms == utc(2026, 11, 16)
    assert period.part_of(3_000) == 1_500


def test_periods_of_a_fixed_length_are_counted_from_the_regions_beginning() -> None:
    rule = a_time_rule(interval_ms=5_000, period_ms=30_000)
    period = period_of(1_000_047_000, rule, begin_ms=1_000_010_000)
    assert (period.span.start_ms, period.span.end_ms) == (1_000_040_000, 1_000_070_000)
    assert period.part_of(77) == 77
