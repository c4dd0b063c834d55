"""A dead meter rests; the others do not notice."""

from __future__ import annotations

import pytest

from agent.isolation import REST_CYCLES_MAX, Health, next_slot_ms, probe_timeout_ms, turn


def failed(times: int) -> Health:
    health = Health()
    for _ in range(times):
        health = health.after_failure()
    return health


def rested(times: int) -> Health:
    health = failed(times)
    while health.rest_cycles:
        health = health.after_cycle_off()
    return health


def test_a_failing_meter_rests_twice_as_long_each_time_up_to_a_bound() -> None:
    assert [failed(times).rest_cycles for times in range(1, 9)] == [
        1,
        2,
        4,
        8,
        16,
        32,
        REST_CYCLES_MAX,
        REST_CYCLES_MAX,
    ]


def test_it_still_does_after_a_year_of_failures() -> None:
    assert Health(failures=10**9).after_failure().rest_cycles == REST_CYCLES_MAX


def test_one_answer_makes_it_healthy() -> None:
    assert failed(5).after_success() == Health()


def test_a_resting_meter_is_not_asked() -> None:
    order = turn({"a": Health(), "b": failed(2)})
    assert (order.healthy, order.probed, order.resting) == (("a",), (), ("b",))


def test_a_rested_one_is_asked_behind_the_healthy() -> None:
    order = turn({"b": rested(2), "a": Health()})
    assert (order.healthy, order.probed, order.resting) == (("a",), ("b",), ())


def test_of_several_rested_ones_only_the_least_hopeless_is_asked() -> None:
    order = turn({"a": rested(7), "b": rested(3), "c": rested(5)})
    assert (order.probed, order.resting) == (("b",), ("a", "c"))


def test_every_dead_meter_is_asked_again_some_day() -> None:
    health = {f"m-{number}": Health() for number in range(20)}
    asked: set[str] = set()
    for _ in range(5 * REST_CYCLES_MAX):
        order = turn(health)
        asked.update(order.probed)
        for name in (*order.healthy, *order.probed):
            health[name] = health[name].after_failure()
        for name in order.resting:
            health[name] = health[name].after_cycle_off()
    assert asked == set(health)


@pytest.mark.parametrize(
    ("left_ms", "timeout_ms"),
    [(5000, 1000), (600, 600), (100, 250), (-300, 250)],
    ids=["plenty of time", "less than the timeout", "almost none", "none"],
)
def test_a_probe_gets_the_time_that_is_left(left_ms: int, timeout_ms: int) -> None:
    assert probe_timeout_ms(1000, left_ms) == timeout_ms


@pytest.mark.parametrize(
    ("now_ms", "next_ms"),
    [(10_000, 11_000), (10_999, 11_000), (11_000, 11_000), (11_001, 11_000), (12_000, 12_000), (14_500, 14_000)],
    ids=["at once", "just in time", "to the tick", "a little late", "a cycle late", "many cycles late"],
)
def test_the_cadence_keeps_its_grid_and_never_piles_up(now_ms: int, next_ms: int) -> None:
    assert next_slot_ms(10_000, now_ms, 1000) == next_ms
