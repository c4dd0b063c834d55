"""Cutting a register's rise into intervals loses no watt-hour and invents none."""

from __future__ import annotations

from aggregator.chains.metering.registers import Curve, credit, per_interval
from protocol.energy_register import EnergyRegister, Place, RegisterLimit

LIMIT = RegisterLimit(power_max_w=36_000, resolution_wh=1)  # 10 Wh a second


def a_register(value_wh: int = 1_000, at_ms: int = 0) -> EnergyRegister:
    return EnergyRegister(trusted=Place(value_wh=value_wh, at_ms=at_ms))


def test_the_first_reading_ever_is_nobodys_energy() -> None:
    register, curve = credit(None, [5_000], [123_456], LIMIT)
    assert register.trusted == Place(value_wh=123_456, at_ms=5_000)
    assert per_interval(curve, 5_000, 0) == [(5_000, 0)]


def test_a_rise_within_one_interval_belongs_to_it() -> None:
    _, curve = credit(a_register(), [1_000, 2_000], [1_005, 1_012], LIMIT)
    assert per_interval(curve, 5_000, 0) == [(0, 12)]


def test_a_rise_over_a_boundary_is_shared_by_time() -> None:
    _, curve = credit(a_register(at_ms=4_000), [6_000], [1_010], LIMIT)
    assert per_interval(curve, 5_000, 0) == [(0, 5), (5_000, 5)]


def test_rounding_at_a_boundary_is_made_good_on_the_other_side() -> None:
    _, curve = credit(a_register(at_ms=4_000), [7_000], [1_010], LIMIT)
    assert per_interval(curve, 5_000, 0) == [(0, 3), (5_000, 7)]


def test_a_gap_of_several_intervals_is_filled_evenly() -> None:
    _, curve = credit(a_register(), [20_000], [1_040], LIMIT)
    assert per_interval(curve, 5_000, 0) == [(0, 10), (5_000, 10), (10_000, 10), (15_000, 10)]


def test_a_reading_exactly_on_a_boundary_ends_the_interval_before_it() -> None:
    _, curve = credit(a_register(), [5_000], [1_020], LIMIT)
    assert per_interval(curve, 5_000, 0) == [(0, 20)]


def test_a_glitch_to_zero_and_back_loses_nothing_and_earns_nothing() -> None:
    register, curve = credit(a_register(), [1_000, 2_000, 3_000], [1_005, 0, 1_015], LIMIT)
    assert sum(energy for _, energy in per_interval(curve, 5_000, 0)) == 15
    assert curve.unexplained == 1
    assert register == a_register(1_015, 3_000)


def test_a_lifetime_of_energy_in_a_second_is_not_energy() -> None:
    _, curve = credit(a_register(), [1_000], [25_567_000], LIMIT)
    assert curve == Curve((), (), 1)


def test_a_meter_that_was_replaced_counts_again_after_it_has_settled() -> None:
    instants = [1_000 * i for i in range(1, 13)]
    values = [5 * i for i in range(1, 13)]
    register, curve = credit(a_register(), instants, values, LIMIT)
    assert curve.unexplained == 9
    assert sum(energy for _, energy in per_interval(curve, 60_000, 0)) == 60 - 5  # from its first place on
    assert register.trusted.value_wh == 60


def test_a_clock_that_was_set_back_does_not_turn_time_around() -> None:
    _, curve = credit(a_register(at_ms=10_000), [8_000, 12_000], [1_001, 1_010], LIMIT)
    assert per_interval(curve, 5_000, 0) == [(10_000, 10)]


def test_what_lies_before_the_intervals_of_interest_is_one_piece() -> None:
    _, curve = credit(a_register(), [20_000], [1_040], LIMIT)
    assert per_interval(curve, 5_000, 10_000) == [(0, 20), (10_000, 10), (15_000, 10)]
    assert per_interval(curve, 5_000, 20_000) == per_interval(curve, 5_000, 100_000) == [(0, 40)]


def test_a_clock_that_stood_in_1970_makes_no_endless_work() -> None:
    """Half a century of intervals would stop every node of the region: 350 million, of five seconds each."""
    now_ms = 1_790_000_000_000
    _, curve = credit(a_register(), [now_ms], [1_040], LIMIT)
    cut = per_interval(curve, 5_000, now_ms - 60_000)
    assert len(cut) == 13
    assert sum(energy for _, energy in cut) == 40
