"""A region is composed by rule: who is in it, where everything is found, and what the grid file says."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from config.grid_model import Grid, Source
from config.load import load_profiles
from config.rules import TimeRule
from config.settings.agent import AgentSettings
from config.settings.fleet import FleetSettings
from firmware_sim.firmware import FIRMWARE
from firmware_sim.fleet import Fleet
from firmware_sim.meter import UJ_PER_KWH, Shown
from firmware_sim.scenario import CONTROLLER_MODEL, LIMITER_MODEL, Scenario, compose
from firmware_sim.sites import Kind, sites
from firmware_sim.wiring import places
from protocol.errors import OperatorError

SHORT = TimeRule(interval_ms=5_000, grace_ms=2_000, period_ms=30_000)


def a_scenario(**changes: int) -> Scenario:
    return compose(FleetSettings.model_validate(changes))


def kinds(scenario: Scenario) -> Counter[Kind]:
    return Counter(connection.site.kind for connection in scenario.connections)


def test_the_default_region() -> None:
    scenario = a_scenario()
    assert [connection.site.meter for connection in scenario.connections][:5] == [
        "m-grid", "m-wind", "m-gas", "m-pv-1", "m-home-1",
    ]  # fmt: skip
    assert kinds(scenario) == {
        Kind.GRID: 1, Kind.WIND: 1, Kind.GAS: 1, Kind.PV: 1, Kind.HOUSEHOLD: 6, Kind.PROSUMER: 2,
    }  # fmt: skip


@pytest.mark.parametrize("meters", [4, 5, 6, 12, 24, 25, 250, 251, 1_000])
def test_a_region_has_as_many_meters_as_asked_for(meters: int) -> None:
    scenario = a_scenario(meters=meters)
    assert len({connection.site.meter for connection in scenario.connections}) == meters
    assert kinds(scenario)[Kind.HOUSEHOLD] >= 1


def test_fewer_than_four_meters_are_no_region() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        sites(3, seed=1)


def test_all_five_models_are_met_in_the_default_region() -> None:
    assert {connection.site.model for connection in a_scenario().connections} == set(FIRMWARE)


def test_the_same_settings_give_the_same_region_and_another_seed_another() -> None:
    assert a_scenario(meters=40) == a_scenario(meters=40)
    assert a_scenario(meters=40).connections != a_scenario(meters=40, seed=2).connections


def test_a_household_is_the_same_in_a_small_region_and_in_a_large_one() -> None:
    def home(meters: int) -> object:
        return next(site for site in sites(meters, seed=1) if site.name == "home-4")

    assert home(12) == home(500)


def test_sunspec_devices_and_heat_meters_move_nobody_else() -> None:
    plain, more = a_scenario(), a_scenario(sunspec=3, heat=5)
    assert [c.site.name for c in more.connections[12:]] == [
        "sunspec-1", "sunspec-2", "sunspec-3", "heat-1", "heat-2", "heat-3", "heat-4", "heat-5",
    ]  # fmt: skip
    for before, after in zip(plain.connections, more.connections, strict=False):
        assert (before.place, before.serial) == (after.place, after.serial)
        assert before.site == after.site or before.site.kind is Kind.GRID, "whose connection has to carry more"


def test_a_region_with_sunspec_and_heat_survives_being_written_and_read() -> None:
    scenario = a_scenario(meters=4, sunspec=3, heat=5)
    grid = scenario.grid(SHORT)
    assert Grid.unpack(grid.pack()) == grid
    assert {g.meter for g in grid.generators} == {"m-grid", "m-wind", "m-gas", "m-sunspec-1", "m-sunspec-2"}
    node_of = {meter.id: meter.node for meter in grid.meters}
    assert {node_of[f"m-heat-{n}"] for n in range(1, 6)} == {grid.reference_node}
    assert node_of["m-sunspec-3"] != grid.reference_node
    profile_of = {meter.id: meter.profile for meter in grid.meters}
    assert re.fullmatch(r"sunspec_simsun_i_[0-9]{8}_203", profile_of["m-sunspec-1"])
    assert profile_of["m-heat-1"] == "diehl_sharky_775"


def test_serial_numbers_are_unique_and_told_where_the_model_tells_one() -> None:
    connections = a_scenario(meters=500).connections
    told = [connection.serial for connection in connections if connection.serial]
    assert len(set(told)) == len(told)
    assert {c.site.model for c in connections if c.serial is None} == {"carlo_gavazzi_em24"}


def test_a_household_meter_begins_where_a_float32_still_shows_single_watt_hours() -> None:
    for site in sites(300, seed=3):
        if site.kind in (Kind.HOUSEHOLD, Kind.PROSUMER):
            assert 3_000 * UJ_PER_KWH <= site.counters.imported_uj < 12_000 * UJ_PER_KWH
            assert (site.counters.exported_uj > 0) == (site.kind is Kind.PROSUMER)


@pytest.mark.parametrize("meters", [12, 200])
def test_connections_carry_what_is_behind_them_and_meters_can_measure_it(meters: int) -> None:
    profiles = load_profiles()
    for connection in a_scenario(meters=meters, heat=5).connections:
        site = connection.site
        assert max(site.import_max_w, site.export_max_w) <= site.power_max_w <= profiles[site.model].power_max_w


# -- wiring


def test_a_small_region_has_six_meters_per_gateway_each_on_its_own_port() -> None:
    found = places(12, first_port=15_020, units_per_port=200)
    assert [(place.gateway, place.port, place.unit) for place in (found[0], found[5], found[6], found[11])] == [
        ("gw-1", 15_020, 1), ("gw-1", 15_020, 6), ("gw-2", 15_021, 1), ("gw-2", 15_021, 6),
    ]  # fmt: skip


def test_a_large_region_has_250_meters_per_gateway_on_as_many_ports_as_it_takes() -> None:
    found = places(1_000, first_port=15_020, units_per_port=200)
    assert Counter(place.gateway for place in found) == {f"gw-{number}": 250 for number in (1, 2, 3, 4)}
    assert len({place.port for place in found}) == 12
    assert all(len({place.gateway for place in found if place.port == port}) == 1 for port in range(15_020, 15_032))


@pytest.mark.parametrize("units_per_port", [1, 2, 10, 200, 247])
def test_no_unit_is_given_twice_and_all_are_units_of_modbus(units_per_port: int) -> None:
    found = places(300, first_port=15_020, units_per_port=units_per_port)
    units = [(place.port, unit) for place in found for unit in (place.unit, place.limiter_unit)]
    assert len(set(units)) == len(units)
    assert all(1 <= unit <= 247 for _, unit in units)


def test_too_few_ports_are_told_with_the_highest_that_would_do() -> None:
    with pytest.raises(OperatorError, match="first_port: expected 65524 or less, for 1000 meters, got 65530"):
        a_scenario(meters=1_000, first_port=65_530)


# -- the grid file


@pytest.mark.parametrize("meters", [4, 12, 60])
def test_the_grid_file_survives_being_written_and_read(meters: int) -> None:
    grid = a_scenario(meters=meters).grid(SHORT)
    assert Grid.model_validate(grid.model_dump(mode="json")) == grid
    assert Grid.unpack(grid.pack()) == grid


def test_every_source_feeds_in_through_the_meter_of_its_site() -> None:
    grid = a_scenario().grid(SHORT)
    assert {(g.meter, g.source, g.emission_g_per_kwh) for g in grid.generators} == {
        ("m-grid", Source.GRID, 400),
        ("m-wind", Source.WIND, 0),
        ("m-gas", Source.GAS, 500),
        ("m-pv-1", Source.PV, 0),
        ("m-home-4", Source.PV, 0),
        ("m-home-8", Source.PV, 0),
    }


def test_limiters_hang_on_the_gateway_of_their_participants_meter() -> None:
    grid = a_scenario(meters=60).grid(SHORT)
    gateway_of = {meter.participant: meter.gateway for meter in grid.meters}
    assert all(device.gateway == gateway_of[device.participant] for device in grid.devices)
    with_limiter = {device.participant for device in grid.devices}
    assert with_limiter == {"gas"} | {p for p in gateway_of if p.startswith("home-")}


def test_cables_carry_everybody_at_once() -> None:
    scenario = a_scenario(meters=200)
    grid = scenario.grid(SHORT)
    current_ma = {
        f"b-{c.node.removeprefix('n-')}": 1_000 * max(c.site.import_max_w, c.site.export_max_w) / (400 * 3**0.5)
        for c in scenario.connections[1:]
    }
    for branch in grid.branches:
        feeder = branch.id.rpartition("-")[0]
        assert sum(current for name, current in current_ma.items() if name.startswith(f"{feeder}-")) <= branch.rating_ma


@pytest.mark.parametrize("period_ms", [30_000, 3_600_000])
def test_the_engine_breaks_its_permit_unless_it_is_restricted(period_ms: int) -> None:
    scenario = a_scenario()
    grid = scenario.grid(TimeRule(interval_ms=5_000, grace_ms=2_000, period_ms=period_ms))
    engine = next(device for device in grid.devices if device.participant == "gas")
    permit_g = next(permit.grams for permit in grid.permits if permit.participant == "gas")

    def factor(limit_w: int | None) -> float:
        fleet = Fleet(scenario)
        fleet.limit(engine.id, limit_w)
        fleet.step(1_000)  # the limit is in force from here on
        before_uj = fleet.measured("m-gas")[Shown.EXPORTED_UJ]
        for _ in range(30):
            fleet.step(period_ms // 30)
        emission_g = 500 * (fleet.measured("m-gas")[Shown.EXPORTED_UJ] - before_uj) / UJ_PER_KWH
        return (permit_g - emission_g) / permit_g

    restricted_w = engine.rated_w * grid.rules.accounts.restricted_ppm // 1_000_000
    assert factor(None) == pytest.approx(-0.6, abs=0.03)
    assert factor(restricted_w) == pytest.approx(0.5, abs=0.01)


def test_the_permit_is_for_a_month_where_the_period_is_the_calendar_month() -> None:
    month = TimeRule(interval_ms=900_000, grace_ms=60_000)
    permit = next(p for p in a_scenario().grid(month).permits if p.participant == "gas")
    assert permit.grams == pytest.approx(32 * 0.96 * 24 * 30 * 500 / 1.6, rel=1e-6)


def test_a_gateways_buses_are_good_settings_for_its_agent() -> None:
    scenario = a_scenario()
    profiles = load_profiles()
    for gateway in scenario.gateways:
        buses = [bus.model_dump(mode="json") for bus in scenario.buses(gateway, FleetSettings())]
        settings = AgentSettings.model_validate(
            {
                "region": "valley",
                "gateway": gateway,
                "data": "data",
                "key_file": "key.pem",
                "aggregator_key_file": "aggregator.pem",
                "broker": {"host": "127.0.0.1"},
                "buses": buses,
            }
        )
        for bus in settings.buses:
            assert {meter.profile for meter in bus.meters} <= set(profiles)
            assert {device.profile for device in bus.devices} <= {CONTROLLER_MODEL, LIMITER_MODEL}
            assert all((one.contracts_of is not None) is (one.profile == CONTROLLER_MODEL) for one in bus.devices)
