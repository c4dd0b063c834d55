"""What a limiter does, and what a meter makes of the power that it sees."""

from __future__ import annotations

import math

import pytest

from firmware_sim.curves import HOUR_S, BatteryCurve, GasEngineCurve, HouseholdCurve, PvCurve, WindCurve
from firmware_sim.device import Flow, Held, Household, Plant, Storage
from firmware_sim.meter import SINGLE_PHASE, UJ_PER_WH, Counters, Shown, measure

BEYOND_THE_CONNECTION = {
    *(Shown.MADE_POWER_MW, Shown.MADE_UJ, Shown.STATE_OF_CHARGE_PPM),
    *(Shown.HEAT_UJ, Shown.COOLING_UJ, Shown.HEAT_POWER_MW, Shown.HEAT_VOLUME_ML, Shown.HEAT_FLOW_MLPH),
    *(Shown.SUPPLY_TEMPERATURE_MDEGC, Shown.RETURN_TEMPERATURE_MDEGC, Shown.TEMPERATURE_DIFFERENCE_MK),
}
"""What inverters, batteries and heat meters show."""

NOON_S = 13 * HOUR_S
EVENING_S = 21 * HOUR_S

HABITS = HouseholdCurve("1/home-1", base_w=3_000, heat_pump_w=5_000)
HOUSE = Household(habits=HABITS, roof=None, reactive_share=0.2)
PROSUMER = Household(habits=HABITS, roof=PvCurve("1", rated_w=20_000, shift_s=0), reactive_share=0.2)
ENGINE = Plant(curve=GasEngineCurve("1/gas", rated_w=32_000), reactive_share=0.1)


def base_mw(t_s: float) -> int:
    return round(1_000 * HABITS.base_load_w(t_s))


def test_an_engine_feeds_in_no_more_than_its_limit() -> None:
    assert ENGINE.flow(NOON_S, Held.both(9_600)) == Flow(-9_600_000, -960_000)
    assert ENGINE.flow(NOON_S, Held.both(0)) == Flow(0, 0)


BATTERY = Storage(curve=BatteryCurve(8_000))


def test_an_engine_feeds_in_what_it_is_set_to_within_its_rating_and_its_limit() -> None:
    told = [Held(set_w=-5_000), Held(set_w=-50_000), Held(set_w=5_000), Held(feed_in_w=3_000, set_w=-5_000)]
    assert [ENGINE.flow(NOON_S, held).active_mw for held in told] == [-5_000_000, -32_000_000, 0, -3_000_000]


def test_there_is_no_more_wind_than_there_is() -> None:
    turbine = Plant(curve=WindCurve("1/wind", 40_000), reactive_share=0.0)
    free_mw = turbine.flow(NOON_S).active_mw
    assert turbine.flow(NOON_S, Held(set_w=-40_000)).active_mw == free_mw
    assert turbine.flow(NOON_S, Held(set_w=-1_000)).active_mw == -1_000_000


def test_a_battery_does_what_it_is_set_to_and_a_limit_holds_one_way_only() -> None:
    told = [Held(set_w=-5_000), Held(set_w=5_000), Held(set_w=9_000), Held(take_w=0, set_w=-5_000)]
    assert [BATTERY.flow(NOON_S, held).active_mw for held in told] == [-5_000_000, 5_000_000, 8_000_000, -5_000_000]
    charging_mw = BATTERY.flow(NOON_S).active_mw
    assert charging_mw > 0 == BATTERY.flow(NOON_S, Held(take_w=0)).active_mw
    assert BATTERY.flow(NOON_S, Held(feed_in_w=0)).active_mw == charging_mw


def test_a_limit_above_the_power_changes_nothing() -> None:
    assert ENGINE.flow(NOON_S, Held.both(40_000)) == ENGINE.flow(NOON_S)
    assert HOUSE.flow(NOON_S, Held.both(40_000)) == HOUSE.flow(NOON_S)


def test_a_household_sheds_its_heat_pump_down_to_the_limit() -> None:
    unlimited_mw = HOUSE.flow(EVENING_S).active_mw
    limit_w = (base_mw(EVENING_S) + unlimited_mw) // 2_000
    assert HOUSE.flow(EVENING_S, Held.both(limit_w)).active_mw == 1_000 * limit_w


def test_a_household_cannot_shed_its_base_load() -> None:
    assert HOUSE.flow(EVENING_S, Held.both(0)).active_mw == base_mw(EVENING_S) > 0


def test_a_prosumers_own_sun_runs_the_heat_pump_that_it_may_not_buy_for() -> None:
    at_noon = PROSUMER.flow(NOON_S, Held.both(0))
    assert at_noon == PROSUMER.flow(NOON_S)
    assert at_noon.active_mw < 0, "the roof feeds in through the same meter"


def test_a_roof_feeds_in_active_power_only() -> None:
    with_roof, without = PROSUMER.flow(NOON_S), HOUSE.flow(NOON_S)
    assert with_roof.active_mw < without.active_mw
    assert with_roof.reactive_mvar == without.reactive_mvar


def test_one_kilowatt_for_an_hour_is_one_thousand_watt_hours() -> None:
    assert Counters(0, 0).after(1_000_000, 3_600_000) == Counters(1_000 * UJ_PER_WH, 0)
    assert Counters(0, 0).after(-1_000_000, 3_600_000) == Counters(0, 1_000 * UJ_PER_WH)


def test_a_meter_shows_what_belongs_together() -> None:
    flow = Flow(active_mw=7_000_001, reactive_mvar=2_000_000)
    shown = measure(flow, Counters(5, 3), voltage_mv=231_000, frequency_mhz=49_990, shares=(400_000, 350_000, 250_000))
    phases = (Shown.ACTIVE_POWER_L1_MW, Shown.ACTIVE_POWER_L2_MW, Shown.ACTIVE_POWER_L3_MW)
    assert sum(shown[phase] for phase in phases) == shown[Shown.ACTIVE_POWER_MW] == 7_000_001
    assert shown[Shown.APPARENT_POWER_MVA] == round(math.hypot(7_000_001, 2_000_000))
    assert shown[Shown.CURRENT_L1_MA] == pytest.approx(1_000 * 0.4 * shown[Shown.APPARENT_POWER_MVA] / 231_000, abs=1)
    assert shown[Shown.TOTAL_UJ] == 8
    assert set(Shown) - set(shown) == BEYOND_THE_CONNECTION


def test_a_single_phase_meter_has_all_power_on_its_phase() -> None:
    shown = measure(Flow(-1_000_000, 0), Counters(0, 0), voltage_mv=230_000, frequency_mhz=50_000, shares=SINGLE_PHASE)
    assert shown[Shown.ACTIVE_POWER_L1_MW] == -1_000_000
    assert shown[Shown.CURRENT_L1_MA] == 4_348
    assert shown[Shown.CURRENT_L2_MA] == shown[Shown.ACTIVE_POWER_L3_MW] == 0
    assert shown[Shown.POWER_FACTOR_PPM] == -1_000_000


def test_no_power_is_shown_as_such() -> None:
    shown = measure(Flow(0, 0), Counters(0, 0), voltage_mv=230_000, frequency_mhz=50_000, shares=SINGLE_PHASE)
    assert shown[Shown.CURRENT_L1_MA] == shown[Shown.ACTIVE_POWER_MW] == 0
