"""The demo's operator calls people once, ahead, and for the time at which the cable was overloaded before."""

from __future__ import annotations

from typing import Any

import pytest

from firmware_sim.demo.story import AHEAD_MS, BYPASS_S, SAVE_AHEAD_MS, Act, Bypass, Call, Operator, Plot, Save

DAY_MS = 30_000
INTERVAL_MS = 5_000
PLOT = Plot(
    branch="b-2-4",
    called={"home-7": "m-home-7", "home-5": "m-home-5"},
    liar="m-home-3",
    liar_name="home-3",
    interval_ms=INTERVAL_MS,
    day_ms=DAY_MS,
)


def news(start_ms: int, loading_ppm: int) -> dict[str, Any]:
    return {"interval": {"start_ms": start_ms}, "branches": {"b-2-4": loading_ppm}}


def after(days: int, *, evening_ppm: int = 1_100_000) -> Operator:
    """An operator who has looked on for so many days, in each of which the third interval is the evening."""
    operator = Operator(PLOT, has_tampered=True)
    for day in range(days):
        for slot in range(6):
            operator.hear(news(day * DAY_MS + slot * INTERVAL_MS, evening_ppm if slot == 2 else 700_000))
    return operator


def calls(acts: list[Act]) -> list[Call]:
    return [act for act in acts if isinstance(act, Call)]


def test_an_event_is_called_for_the_next_evening_once_three_were_seen() -> None:
    now_ms = 3 * DAY_MS
    assert calls(after(2).acts(now_ms, 0.5)) == []
    call, *saves = after(3).acts(now_ms, 0.5)
    assert call == Call(
        branch="b-2-4", participants=("home-5", "home-7"), start_ms=now_ms + 10_000, end_ms=now_ms + 15_000
    )
    begin_ms = now_ms + 10_000 - SAVE_AHEAD_MS
    assert saves == [Save(meter=meter, at_ms=begin_ms, for_s=10.0) for meter in ("m-home-5", "m-home-7")]


def test_an_evening_that_is_too_near_is_left_for_the_next() -> None:
    now_ms = 3 * DAY_MS + 10_000 - AHEAD_MS + 1
    (call,) = calls(after(3).acts(now_ms, 0.5))
    assert call.start_ms == 4 * DAY_MS + 10_000


def test_the_worst_interval_of_the_day_is_waited_for() -> None:
    operator = after(3)
    for day in range(3):
        operator.hear(news(day * DAY_MS, 1_010_000))
    (call,) = calls(operator.acts(3 * DAY_MS - AHEAD_MS, 0.5))
    assert call.start_ms == 3 * DAY_MS + 10_000
    early = after(2)
    for day in range(3):
        early.hear(news(day * DAY_MS, 1_010_000))
    assert calls(early.acts(2 * DAY_MS + INTERVAL_MS, 0.5)) == []


@pytest.mark.parametrize("evening_ppm", [999_999, 1_000_000])
def test_a_cable_that_carries_it_is_left_alone(evening_ppm: int) -> None:
    assert after(5, evening_ppm=evening_ppm).acts(5 * DAY_MS, 0.9) == []


def test_nobody_is_called_twice() -> None:
    operator = after(3)
    assert calls(operator.acts(3 * DAY_MS, 0.5))
    assert operator.acts(4 * DAY_MS, 0.9) == []


def test_a_wire_is_led_past_a_meter_when_a_part_of_the_demo_is_over() -> None:
    operator = Operator(PLOT)
    assert operator.acts(0, 0.2) == []
    assert operator.acts(0, 0.3) == [Bypass(meter="m-home-3", for_s=BYPASS_S)]
    assert operator.acts(0, 0.4) == []


def test_without_a_power_flow_there_is_nothing_to_go_by() -> None:
    operator = Operator(PLOT)
    operator.hear({"interval": {"start_ms": 0}, "branches": {}})
    assert operator.loadings_ppm == {}
