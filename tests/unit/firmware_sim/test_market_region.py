"""A region that trades: who lives in the lane, what its cable carries, and what the regulator has laid down."""

from __future__ import annotations

import pytest

from aggregator.grid.check import check_grid
from config.load import load_profiles
from config.settings.fleet import FleetSettings
from firmware_sim.demo.market.stage import MARKET_TIME, SPEED
from firmware_sim.device import Household
from firmware_sim.feeders import LANE_BRANCH
from firmware_sim.lane import ENGINE, VILLA, WEIR, WORKSHOP
from firmware_sim.scenario import Connection, Scenario, compose

SIZES = [4, 5, 12, 30]
SEEDS = [1, 2, 3, 7, 40]
"""Regions of which the story has to come true."""
COLD = 3_600 * 17


def a_region(meters: int = 12, seed: int = 1) -> Scenario:
    return compose(FleetSettings(meters=meters, seed=seed, market=True, speed=SPEED))


def site(scenario: Scenario, name: str) -> Connection:
    return next(one for one in scenario.connections if one.site.name == name)


@pytest.mark.parametrize("meters", SIZES)
def test_a_market_moves_none_of_the_others(meters: int) -> None:
    plain, trading = compose(FleetSettings(meters=meters, speed=SPEED)), a_region(meters)
    before = {one.site.meter: (one.place, one.serial, one.site.device) for one in plain.connections}
    after = {one.site.meter: (one.place, one.serial, one.site.device) for one in trading.connections}
    assert before.items() <= after.items()


@pytest.mark.parametrize("meters", SIZES)
def test_the_villa_is_behind_another_gateway_than_whoever_sells_to_it(meters: int) -> None:
    scenario = a_region(meters)
    assert site(scenario, VILLA).place.gateway not in {site(scenario, name).place.gateway for name in ("wind", WEIR)}


def test_the_workshop_has_an_engine_in_town_and_a_house_in_the_lane() -> None:
    scenario = a_region()
    assert site(scenario, ENGINE).site.participant == site(scenario, WORKSHOP).site.participant == WORKSHOP


@pytest.mark.parametrize("seed", SEEDS)
def test_the_lane_carries_all_but_the_last_heat_pump(seed: int) -> None:
    scenario = a_region(seed=seed)
    villa, workshop = (site(scenario, name).site.device for name in (VILLA, WORKSHOP))
    assert isinstance(villa, Household) and isinstance(workshop, Household)
    nodes = {node.id: node for node in scenario.nodes}
    cable = next(branch for branch in scenario.branches if branch.id == LANE_BRANCH)
    rating_w = cable.rating_w(nodes[cable.from_node].voltage_mv or 0)
    evening = range(COLD, COLD + 4 * 3_600, 60)
    base_w = [villa.habits.base_load_w(t) + workshop.habits.base_load_w(t) for t in evening]
    first_w = [villa.habits.heat_pump_load_w(t) for t in evening]
    last_w = [workshop.habits.heat_pump_load_w(t) for t in evening]
    assert max(base + first for base, first in zip(base_w, first_w, strict=True)) < rating_w
    full = [base + first + last > rating_w for base, first, last in zip(base_w, first_w, last_w, strict=True)]
    assert sum(full) > len(full) // 2


@pytest.mark.parametrize("meters", SIZES)
def test_its_grid_file_is_one_that_founds_a_region(meters: int) -> None:
    grid = a_region(meters).grid(MARKET_TIME)
    assert grid.rules.contracts and grid.rules.market and grid.rules.curtailment and grid.rules.exchange
    assert not [one for one in check_grid(grid, load_profiles()) if one.is_fault]
