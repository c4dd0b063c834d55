"""Curves are plausible, smooth and repeatable."""

from __future__ import annotations

from itertools import pairwise

import pytest

from firmware_sim.chance import between, draw, noise
from firmware_sim.curves import (
    DAY_S,
    GAS_ENGINE_MEAN,
    HOUR_S,
    HOUSEHOLD_PEAK,
    GasEngineCurve,
    HouseholdCurve,
    PvCurve,
    WindCurve,
    frequency_mhz,
    sun,
)

HOUSE = HouseholdCurve("1/home-1", base_w=3_000, heat_pump_w=5_000)
ROOF = PvCurve("1", rated_w=10_000, shift_s=0)
TURBINE = WindCurve("1/wind", rated_w=80_000)
ENGINE = GasEngineCurve("1/gas", rated_w=32_000)
MINUTES_OF_A_DAY = range(0, DAY_S, 60)


def test_a_draw_is_the_same_on_every_machine() -> None:
    by_coreutils = 0xDFD9B7AEE66C01E1  # printf '1/wind/rated' | b2sum -l 64
    assert draw(1, "wind", "rated") == (by_coreutils >> 11) / 2**53
    assert between(1, 6, "dice") == between(1, 6, "dice")


def test_draws_spread_over_the_whole_range() -> None:
    faces = [between(1, 6, "dice", throw) for throw in range(600)]
    assert set(faces) == {1, 2, 3, 4, 5, 6}
    assert 3.2 < sum(faces) / 600 < 3.8


def test_noise_meets_its_knots_and_has_no_jumps() -> None:
    values = [noise("seed", "channel", t_s / 10, 20) for t_s in range(4_000)]
    assert max(abs(a - b) for a, b in pairwise(values)) < 0.02
    assert min(values) < -0.5 < 0.5 < max(values)
    assert max(map(abs, values)) <= 1


def test_the_sun_is_highest_at_noon_and_gone_at_night() -> None:
    assert sun(13 * HOUR_S) == pytest.approx(1)
    assert sun(3 * HOUR_S) == sun(23 * HOUR_S) == 0
    assert sun(37 * HOUR_S) == sun(13 * HOUR_S)


def test_a_roof_makes_nothing_at_night_and_never_more_than_its_rating() -> None:
    made_w = [ROOF.power_w(t_s) for t_s in MINUTES_OF_A_DAY]
    assert min(made_w) == 0
    assert 0.4 * ROOF.rated_w < max(made_w) <= ROOF.rated_w


def test_clouds_are_shared_by_the_region() -> None:
    other = PvCurve("1", rated_w=20_000, shift_s=0)
    assert other.power_w(12 * HOUR_S) == pytest.approx(2 * ROOF.power_w(12 * HOUR_S))


def test_a_household_has_its_peaks_when_people_are_at_home() -> None:
    def mean_w(hour: int) -> float:
        return sum(HOUSE.base_load_w(day * DAY_S + hour * HOUR_S) for day in range(50)) / 50

    assert mean_w(3) < mean_w(7) < mean_w(19)


def test_a_household_stays_within_its_bounds() -> None:
    for t_s in MINUTES_OF_A_DAY:
        assert 0 < HOUSE.base_load_w(t_s) <= HOUSEHOLD_PEAK * HOUSE.base_w
        assert 0 < HOUSE.heat_pump_load_w(t_s) <= HOUSE.heat_pump_w


def test_a_turbine_stays_within_its_rating_and_knows_lulls() -> None:
    made_w = [TURBINE.power_w(t_s) for t_s in range(0, 10 * DAY_S, 600)]
    assert 0 <= min(made_w) < 0.1 * TURBINE.rated_w
    assert 0.6 * TURBINE.rated_w < max(made_w) <= TURBINE.rated_w


def test_an_engine_runs_steadily_a_little_below_its_rating() -> None:
    made_w = [ENGINE.power_w(t_s) for t_s in MINUTES_OF_A_DAY]
    assert sum(made_w) / len(made_w) == pytest.approx(GAS_ENGINE_MEAN * ENGINE.rated_w, rel=0.005)
    assert max(made_w) < ENGINE.rated_w


def test_the_frequency_stays_near_50_hz() -> None:
    assert all(49_980 <= frequency_mhz("1", t_s) <= 50_020 for t_s in MINUTES_OF_A_DAY)
