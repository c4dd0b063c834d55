"""A dead meter rests; the others do not notice."""

from __future__ import annotations

import pytest

from agent.bus.isolation import (
    PATIENCE_MIN_MS,
    PROBE_SHARE,
    REST_CYCLES_MAX,
    Health,
    Patience,
    ProbeCredit,
    next_slot_ms,
    slow_turn,
    turn,
)


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
    ("left_ms", "saved_ms", "timeout_ms"),
    [(5000, 0, 1000), (600, 0, 600), (600, 100, 700), (100, 100, 0), (-300, 0, 0), (-300, 250, 250)],
    ids=["plenty of time", "less than the timeout", "with savings", "too short", "none", "none but savings"],
)
def test_a_probe_gets_the_time_that_is_left_and_what_was_saved(left_ms: int, saved_ms: int, timeout_ms: int) -> None:
    assert ProbeCredit(1000, saved_ms).timeout_ms(1000, left_ms, is_patient=True) == timeout_ms


def test_every_other_probe_lets_the_next_cycle_begin_in_time() -> None:
    credit = ProbeCredit(1000, 500)
    assert credit.timeout_ms(1000, 700, is_patient=False) == 700
    assert credit.timeout_ms(1000, 700, is_patient=True) == 1000
    assert credit.timeout_ms(1000, 100, is_patient=False) == 600


def test_probes_on_a_bus_without_time_to_spare_take_their_share_and_no_more() -> None:
    credit, probes_ms = ProbeCredit(1000, 0), 0
    for _ in range(1000):
        took_ms = credit.timeout_ms(1000, 0, is_patient=True)
        probes_ms += took_ms
        credit = credit.after_use(took_ms, 0).after_cycle(1000)
    assert 0.9 * 1_000_000 / PROBE_SHARE <= probes_ms <= 1_000_000 / PROBE_SHARE


def test_savings_have_a_bound() -> None:
    credit = ProbeCredit(1000, 1000)
    assert credit.after_cycle(1_000_000).saved_ms == 1000
    assert credit.after_use(5000, 1000).saved_ms == 0
    assert credit.after_use(500, 1000).saved_ms == 1000


def test_a_stranger_is_waited_for_as_long_as_the_settings_say() -> None:
    assert Patience().timeout_ms(1000) == 1000


def test_who_answers_quickly_is_not_waited_for_long() -> None:
    assert Patience().after_answer(12).timeout_ms(1000) == PATIENCE_MIN_MS
    assert Patience().after_answer(40).after_answer(12).timeout_ms(1000) == 320
    assert Patience().after_answer(300).timeout_ms(1000) == 1000


def test_who_holds_up_all_others_is_slow() -> None:
    quick = {f"m-{number}": Health().after_success(15) for number in range(5)}
    order = turn({**quick, "slow": Health().after_success(800)}, 1000)
    assert (order.healthy, order.slow) == (tuple(quick), ("slow",))


@pytest.mark.parametrize(
    "took_ms",
    [{"a": 800, "b": 700, "c": 900}, {"a": 15, "b": 60}, {"a": 900}, {"a": 0, "b": 0}],
    ids=["as slow as all others", "hardly noticed", "alone on its bus", "never answered yet"],
)
def test_others_are_not(took_ms: dict[str, int]) -> None:
    order = turn({name: Health().after_success(ms) for name, ms in took_ms.items()}, 1000)
    assert (order.healthy, order.slow) == (tuple(took_ms), ())


def test_of_the_slow_ones_the_first_is_who_waited_longest() -> None:
    quick = {f"m-{number}": Health().after_success(15) for number in range(5)}
    slow = Health().after_success(800)
    order = turn({**quick, "a": slow, "b": slow.after_cycle_off().after_cycle_off(), "c": slow.after_cycle_off()}, 1000)
    assert order.slow == ("b", "c", "a")


@pytest.mark.parametrize(
    ("now_ms", "next_ms"),
    [(10_000, 11_000), (10_999, 11_000), (11_000, 11_000), (11_001, 11_000), (12_000, 12_000), (14_500, 14_000)],
    ids=["at once", "just in time", "to the tick", "a little late", "a cycle late", "many cycles late"],
)
def test_the_cadence_keeps_its_grid_and_never_piles_up(now_ms: int, next_ms: int) -> None:
    assert next_slot_ms(10_000, now_ms, 1000) == next_ms


def test_of_those_whose_slow_quantities_are_due_whoever_has_waited_longest_comes_first() -> None:
    assert slow_turn({"a": 300, "b": 100, "c": 200, "d": 301}, 300) == ("b", "c", "a")
