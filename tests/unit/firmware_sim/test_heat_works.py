"""The heat works' books balance, the tank lasts from night to night, and the grid file tells what there is."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from config.carriers import Carrier, ConverterKind
from config.rules import TimeRule
from config.settings.fleet import FleetSettings
from firmware_sim.fleet import Fleet
from firmware_sim.heat_works import PIPE_LOSS_PPM
from firmware_sim.meter import UJ_PER_WH, Shown
from firmware_sim.scenario import compose
from protocol.units import PPM

SPEED = 2_880
"""A day in half a minute."""
SETTINGS = FleetSettings(heat=2, heat_works=True, speed=SPEED)
HOUSES = ("m-heat-1", "m-heat-2")


def a_fleet() -> Fleet:
    return Fleet(compose(SETTINGS), speed=SPEED)


def heat_mw(fleet: Fleet, meter: str) -> int:
    return fleet.measured(meter)[Shown.HEAT_POWER_MW]


def test_what_is_made_and_taken_out_is_what_is_put_in_and_used_and_lost() -> None:
    fleet = a_fleet()
    for _ in range(60):
        fleet.step(2_000)  # so that every meter has just renewed what it shows
        given = heat_mw(fleet, "m-works-pump-heat") + heat_mw(fleet, "m-works-tank-out")
        used = sum(heat_mw(fleet, house) for house in HOUSES) * PPM / (PPM - PIPE_LOSS_PPM)
        assert given == pytest.approx(heat_mw(fleet, "m-works-tank-in") + used, rel=1e-4)


def test_the_pump_takes_what_its_performance_says() -> None:
    fleet = a_fleet()
    ran = False
    for _ in range(60):
        fleet.step(2_000)
        made = heat_mw(fleet, "m-works-pump-heat")
        assert fleet.measured("m-works-pump")[Shown.ACTIVE_POWER_MW] * 3.2 == pytest.approx(made, rel=1e-4, abs=10)
        ran = ran or made > 0
    assert ran


def test_by_day_the_tank_serves_the_houses_and_at_night_it_is_filled() -> None:
    fleet = a_fleet()
    fleet.step(2_000)
    assert 13 <= fleet.time_s / 3_600 % 24 < 22
    assert heat_mw(fleet, "m-works-tank-out") > 0 == heat_mw(fleet, "m-works-pump-heat")
    fleet.step(10_000)
    assert fleet.time_s / 3_600 % 24 >= 22
    assert heat_mw(fleet, "m-works-tank-in") > 0 == heat_mw(fleet, "m-works-tank-out")


def test_the_tank_never_gives_more_than_it_holds_in_a_week() -> None:
    fleet, tank = a_fleet(), compose(SETTINGS).heat_plan
    assert tank is not None
    before = {port: fleet.measured(f"m-works-{port}")[Shown.HEAT_UJ] for port in ("tank-in", "tank-out")}
    for _ in range(7 * 120):
        fleet.step(250)
        shown = {port: fleet.measured(f"m-works-{port}")[Shown.HEAT_UJ] - uj for port, uj in before.items()}
        content_wh = tank.begin_wh + (shown["tank-in"] - shown["tank-out"]) / UJ_PER_WH
        assert -0.05 * tank.tank_wh < content_wh < 1.05 * tank.tank_wh


def test_the_grid_file_tells_of_pump_tank_and_pipes() -> None:
    grid = compose(SETTINGS).grid(TimeRule(interval_ms=5_000, grace_ms=0))
    (pump,), (tank,) = grid.converters, grid.storages
    assert (pump.kind, pump.meters) == (ConverterKind.HEAT_PUMP, ("m-works-pump", "m-works-pump-heat"))
    assert tank.meters == ("m-works-tank-in", "m-works-tank-out")
    node_of = {meter.id: meter.node for meter in grid.meters}
    carrier_of = {node.id: node.carrier for node in grid.nodes}
    assert carrier_of[node_of["m-works-pump"]] is Carrier.ELECTRICITY
    for meter in (*HOUSES, *tank.meters, "m-works-pump-heat"):
        assert carrier_of[node_of[meter]] is Carrier.HEAT
    assert {meter.id for meter in grid.meters if meter.feeds_in} == {"m-works-pump-heat", "m-works-tank-out"}
    assert {pipe.to_node for pipe in grid.pipes} == {node_of[house] for house in HOUSES}


def test_works_for_nobody_are_refused() -> None:
    with pytest.raises(ValidationError, match="heat of at least 1"):
        FleetSettings(heat_works=True)
