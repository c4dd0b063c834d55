"""Baselines and the congestion factor by hand: like days, the step table, what adds up and what carries over."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aggregator.economy.baseline import LIKE_DAYS, baseline_wh, slot_of, with_value
from aggregator.economy.congestion import Accumulated, accumulate, relief_w
from config.rules import CarbonRule, CongestionRule, TimeRule

HOUR_MS = 3_600_000
RULE = CongestionRule.model_validate({"steps": [[1000, 0.1], [5000, 0.4]], "threshold": 1, "award": 20})


def a_time_rule(**changes: Any) -> TimeRule:
    return TimeRule.model_validate({"interval_ms": 900_000, "grace_ms": 0, "time_zone": "Europe/Berlin"} | changes)


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("one", "other", "is_alike"),
    [
        pytest.param("2026-11-19T17:00", "2026-11-20T17:00", True, id="Thursday and Friday"),
        pytest.param("2026-11-20T17:00", "2026-11-21T17:00", False, id="Friday and Saturday"),
        pytest.param("2026-11-21T17:00", "2026-11-22T17:00", True, id="Saturday and Sunday"),
        pytest.param("2026-11-19T17:00", "2026-11-19T17:15", False, id="a quarter of an hour later"),
        pytest.param("2026-10-23T16:00", "2026-10-26T17:00", True, id="18 o'clock, summer time and winter time"),
        pytest.param("2026-11-20T22:45", "2026-11-20T23:00", False, id="midnight, where Saturday begins in Berlin"),
    ],
)
def test_like_intervals_are_those_of_the_same_clock_on_like_days(one: str, other: str, is_alike: bool) -> None:
    rule = a_time_rule()
    assert (slot_of(at(one), rule) == slot_of(at(other), rule)) is is_alike


def test_like_intervals_do_not_depend_on_the_machines_own_time_zones(tmp_path: Path) -> None:
    """Else a node that was brought up to date on another day would reckon other baselines, and vote everything down."""
    (tmp_path / "Europe").mkdir()
    utc = resources.files("tzdata").joinpath("zoneinfo", "Etc", "UTC").read_bytes()
    (tmp_path / "Europe" / "Berlin").write_bytes(utc)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        assert slot_of(at("2026-11-19T17:00"), a_time_rule()) == 18 * 4 * 2
    finally:
        zoneinfo.reset_tzpath(before)
        zoneinfo.ZoneInfo.clear_cache()


def test_every_interval_of_a_day_has_its_own_number() -> None:
    rule, start = a_time_rule(), at("2026-11-18T23:00")
    assert len({slot_of(start + n * 900_000, rule) for n in range(96)}) == 96


def test_in_a_simulation_a_day_is_as_long_as_the_rules_say() -> None:
    rule, start = a_time_rule(interval_ms=5000, day_ms=20_000), at("2026-11-20T17:00")
    slots = [slot_of(start + n * 5000, rule) for n in range(8)]
    assert slots[:4] == slots[4:] and len(set(slots)) == 4


def test_a_baseline_is_the_mean_of_at_most_ten_days_rounded_down() -> None:
    values: tuple[int, ...] = ()
    for n, value in enumerate([800, 760, 841]):
        assert baseline_wh(values) is None, f"{n} days tell nothing"
        values = with_value(values, value, 10**6)
    assert baseline_wh(values) == 800
    for _ in range(LIKE_DAYS):
        values = with_value(values, 500, 10**6)
    assert (len(values), baseline_wh(values)) == (LIKE_DAYS, 500)
    assert baseline_wh((-10, -10, -11)) == -11


def test_a_day_counts_at_most_what_the_connections_carry() -> None:
    assert with_value((), 10**9, 250) == (250,)
    assert with_value((), -(10**9), 250) == (-250,)


@pytest.mark.parametrize(
    ("departure_wh", "share_ppm", "watts"),
    [
        pytest.param(25, 1_000_000, 18_000, id="all of it is felt"),
        pytest.param(25, 500_000, 9_000, id="half of it is"),
        pytest.param(-25, -500_000, 9_000, id="less fed in, where feed-in congests"),
        pytest.param(-25, 1_000_000, 0, id="more taken"),
        pytest.param(25, -1_000_000, 0, id="less taken, where feed-in congests"),
        pytest.param(1, 1_390, 1, id="rounded down"),
    ],
)
def test_relief_is_power_that_the_line_carries_less(departure_wh: int, share_ppm: int, watts: int) -> None:
    assert relief_w(departure_wh, share_ppm, 5000) == watts


def test_the_table_is_a_step_function() -> None:
    assert [RULE.factor_ppm(watts) for watts in (0, 999, 1000, 4999, 5000, 10**9)] == [
        *(0, 0, 100_000, 100_000),
        *(400_000, 400_000),
    ]


def test_what_does_not_reach_the_threshold_carries_over() -> None:
    first = accumulate(0, 900_000, RULE)
    assert first == Accumulated(900_000, 0)
    second = accumulate(first.carried_ppm, 100_000, RULE)
    assert (second, second.tokens(RULE)) == (Accumulated(0, 1), 20)
    assert accumulate(500_000, 2_700_000, RULE) == Accumulated(200_000, 3)


def test_what_was_counted_too_much_comes_first() -> None:
    assert accumulate(100_000, -400_000, RULE) == Accumulated(-300_000, 0)


def test_without_a_rule_nothing_is_awarded_and_nothing_lost() -> None:
    assert accumulate(5, 0, None) == Accumulated(5, 0)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"steps": []}, id="no steps"),
        pytest.param({"steps": [[5000, 0.4], [1000, 0.5]]}, id="falling watts"),
        pytest.param({"steps": [[1000, 0.4], [5000, 0.1]]}, id="more relief would earn less"),
        pytest.param({"steps": [[1000, -0.1]]}, id="relief that costs"),
        pytest.param({"steps": [[1000, "0.0000001"]]}, id="less than a millionth"),
        pytest.param({"threshold": 0}, id="no threshold"),
        pytest.param({"threshold": "0.0000005"}, id="a threshold of half a millionth"),
        pytest.param({"award": 0}, id="no award"),
    ],
)
def test_a_congestion_rule_that_cannot_be_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CongestionRule.model_validate({"steps": [[1000, 0.1]], "threshold": 1, "award": 20} | changes)


@pytest.mark.parametrize("points", [[[0, 0.5], [100, 0.4]], [[0, -1], [100, 0]]], ids=["falls", "below 0"])
def test_more_response_never_earns_less(points: list[list[float]]) -> None:
    coefficients = dict.fromkeys(("alpha", "beta", "gamma", "sigma"), 1)
    with pytest.raises(ValidationError):
        CarbonRule.model_validate({**coefficients, "demand_response": points})


def test_a_day_has_whole_intervals() -> None:
    with pytest.raises(ValidationError):
        a_time_rule(day_ms=1_000_000)
