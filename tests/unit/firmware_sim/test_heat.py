"""A simulated heat meter counts what its water carries, and renews what it shows as rarely as a real one."""

from __future__ import annotations

import pytest

from agent.library.doctor import HEAT_OF_WATER
from config.load import load_profiles
from config.settings.fleet import FleetSettings
from firmware_sim.fleet import Fleet
from firmware_sim.heat import HeatCounters, Water, measure_heat
from firmware_sim.heat_firmware import HEAT_FIRMWARE
from firmware_sim.meter import UJ_PER_WH, Shown
from firmware_sim.scenario import compose

ECHO = "m-heat-2"
"""An Itron, which renews what it shows once a minute."""


def a_fleet(*, speed: int = 1) -> Fleet:
    return Fleet(compose(FleetSettings(meters=4, heat=5)), speed=speed)


def test_heat_is_flow_times_temperature_difference() -> None:
    """198 l/h by 36.4 K: as the laboratory table of EN 1434-1 has it, 1.152 Wh for a litre and a kelvin at 38 °C."""
    water = Water(flow_mlph=198_000, supply_mdegc=74_000, return_mdegc=37_600)
    assert water.power_mw == pytest.approx(198_000 * 36.4 * 1.152, rel=0.001)


@pytest.mark.parametrize("return_mdegc", [20_000, 45_000, 75_000])
def test_the_doctors_one_number_for_water_is_never_far_from_the_truth(return_mdegc: int) -> None:
    water = Water(flow_mlph=500_000, supply_mdegc=80_000, return_mdegc=return_mdegc)
    told = 500_000 * (80_000 - return_mdegc) / 1_000 * float(HEAT_OF_WATER)
    assert water.power_mw == pytest.approx(told, rel=0.02)


def test_what_has_been_counted_is_what_has_been_shown() -> None:
    water = Water(flow_mlph=360_000, supply_mdegc=70_000, return_mdegc=40_000)
    counters = HeatCounters(heat_uj=7, passed=0)
    for _ in range(10):
        counters = counters.after(water, 1_000)
    shown = measure_heat(water, counters)
    assert shown[Shown.HEAT_UJ] == 7 + 10_000 * water.power_mw
    assert shown[Shown.HEAT_VOLUME_ML] == 1_000
    assert shown[Shown.TEMPERATURE_DIFFERENCE_MK] == 30_000


def test_a_meter_shows_the_same_until_it_is_time_to_renew_it() -> None:
    fleet = a_fleet()
    first = fleet.measured(ECHO)
    for _ in range(59):
        fleet.step(1_000)
        assert fleet.measured(ECHO) == first
    fleet.step(1_000)
    after = fleet.measured(ECHO)
    assert after[Shown.HEAT_UJ] > first[Shown.HEAT_UJ], "nothing was lost meanwhile"


def test_all_five_models_are_met_and_stay_within_their_connection() -> None:
    fleet = a_fleet(speed=96)
    heat = [c for c in fleet.scenario.connections if c.site.heat]
    assert {c.site.model for c in heat} == set(HEAT_FIRMWARE)
    for _ in range(96):
        fleet.step(10_000)
        for c in heat:
            shown = fleet.measured(c.site.meter)
            assert 0 < shown[Shown.HEAT_POWER_MW] < 1_000 * c.site.power_max_w
            assert 30_000 < shown[Shown.RETURN_TEMPERATURE_MDEGC] < shown[Shown.SUPPLY_TEMPERATURE_MDEGC] < 80_000


def test_heat_is_none_of_the_electricity_networks_business() -> None:
    with_heat, without = a_fleet(), Fleet(compose(FleetSettings(meters=4)))
    for fleet in (with_heat, without):
        fleet.step(60_000)
    assert with_heat.measured("m-grid") == without.measured("m-grid")


@pytest.mark.parametrize("model", [model for model in HEAT_FIRMWARE if load_profiles()[model].refresh_ms])
def test_a_meter_renews_what_it_shows_no_more_often_than_its_profile_says(model: str) -> None:
    assert HEAT_FIRMWARE[model].refresh_ms >= (load_profiles()[model].refresh_ms or 0)


def test_energy_begins_where_a_float32_still_shows_single_watt_hours() -> None:
    for c in compose(FleetSettings(meters=4, heat=50)).connections:
        if c.site.heat:
            assert c.site.heat.counters.heat_uj < 16_384_000 * UJ_PER_WH
