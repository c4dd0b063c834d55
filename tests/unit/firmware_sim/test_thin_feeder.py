"""A cable that is too thin for its evening, check meters along it, people who save, and a wire past a meter."""

from __future__ import annotations

import pytest

from config.rules import TimeRule
from config.settings.fleet import FleetSettings
from firmware_sim.faults import Fault, Faults, shown
from firmware_sim.fleet import Fleet
from firmware_sim.meter import Shown
from firmware_sim.scenario import Scenario, compose

SPEED = 2_880
THIN = "b-2-4"
BEHIND = ("m-home-5", "m-home-7")


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return compose(FleetSettings(thin_feeder=True, speed=SPEED))


def loading(fleet: Fleet) -> float:
    """Of the thin cable, by its check meter and its rating: the mean of the phases, which a balanced model knows."""
    rating_ma = next(branch.rating_ma for branch in fleet.scenario.branches if branch.id == THIN)
    return sum(fleet.measured(f"m-check-{THIN}")[current] for current in CURRENTS) / len(CURRENTS) / rating_ma


CURRENTS = (Shown.CURRENT_L1_MA, Shown.CURRENT_L2_MA, Shown.CURRENT_L3_MA)


def day(fleet: Fleet) -> dict[int, float]:
    """The mean loading in each hour of a day."""
    found: dict[int, list[float]] = {}
    for _ in range(240):
        fleet.step(125)
        hour = int(fleet.time_s // 3_600 % 24)
        found.setdefault(hour, []).append(loading(fleet))
    return {hour: sum(seen) / len(seen) for hour, seen in found.items()}


def test_the_thin_cable_is_congested_in_the_evening_and_not_at_night(scenario: Scenario) -> None:
    hours = day(Fleet(scenario, speed=SPEED))
    assert min(hours[18], hours[19]) > 1.2
    assert max(hours[2], hours[13]) < 1.0


def test_a_check_meter_sees_all_that_flows_past_it(scenario: Scenario) -> None:
    fleet = Fleet(scenario, speed=SPEED)
    fleet.step(250)
    behind_mw = sum(fleet.measured(meter)[Shown.ACTIVE_POWER_MW] for meter in BEHIND)
    past_mw = -fleet.measured(f"m-check-{THIN}")[Shown.ACTIVE_POWER_MW]
    assert behind_mw < past_mw < 1.01 * behind_mw, "and the losses of the cables"
    assert fleet.measured(f"m-check-{THIN}")[Shown.EXPORTED_UJ] > 0


def test_check_meters_change_nothing_for_the_region(scenario: Scenario) -> None:
    truth = Fleet(scenario).truth()
    apart = {c.site.meter for c in scenario.connections if c.site.branch}
    total = sum(seen[Shown.ACTIVE_POWER_MW] for meter, seen in truth.meters.items() if meter not in apart)
    assert total == -truth.losses_mw


def test_the_grid_file_tells_of_check_meters_and_of_who_responds(scenario: Scenario) -> None:
    grid = scenario.grid(TimeRule(interval_ms=5_000, grace_ms=0))
    checks = {meter.id: meter for meter in grid.meters if meter.branch}
    assert set(checks) == {f"m-check-b-2-{number}" for number in range(1, 6)}
    assert {meter.participant for meter in checks.values()} == {"grid-operator"}
    assert len({participant.id for participant in grid.participants}) == len(grid.participants)
    assert {p.id for p in grid.participants if p.responds} == {f"home-{number}" for number in range(1, 9)}


def test_a_region_with_a_thin_feeder_has_the_same_people(scenario: Scenario) -> None:
    plain = compose(FleetSettings(speed=SPEED))
    assert scenario.connections[: len(plain.connections)] == plain.connections


def test_who_saves_sheds_the_heat_pump_and_nothing_else(scenario: Scenario) -> None:
    fleet, other = Fleet(scenario, speed=SPEED), Fleet(scenario, speed=SPEED)
    fleet.save(BEHIND[0], 1_000)
    for world in (fleet, other):
        world.step(250)
    less = [
        other.measured(meter)[Shown.ACTIVE_POWER_MW] - fleet.measured(meter)[Shown.ACTIVE_POWER_MW] for meter in BEHIND
    ]
    assert less[0] > 500_000 and less[1] == 0
    for world in (fleet, other):
        world.step(750)
        world.step(250)
    assert fleet.measured(BEHIND[0])[Shown.ACTIVE_POWER_MW] == other.measured(BEHIND[0])[Shown.ACTIVE_POWER_MW]


def test_only_households_and_plants_can_be_switched_off(scenario: Scenario) -> None:
    fleet = Fleet(scenario)
    for meter in ("m-grid", "m-nobody", f"m-check-{THIN}"):
        with pytest.raises(KeyError):
            fleet.save(meter, 1_000)


def test_a_plant_that_is_switched_off_feeds_nothing_in_and_then_runs_again(scenario: Scenario) -> None:
    fleet = Fleet(scenario)
    fleet.save("m-gas", 1_000)
    fleet.step(500)
    assert fleet.measured("m-gas")[Shown.ACTIVE_POWER_MW] == 0
    fleet.step(1_000)
    assert fleet.measured("m-gas")[Shown.ACTIVE_POWER_MW] < 0


def test_a_wire_past_a_meter_takes_its_share_of_everything_but_the_voltage(scenario: Scenario) -> None:
    fleet = Fleet(scenario)
    meter = BEHIND[0]
    faults, before = Faults(1, [meter]), fleet.measured(meter)
    faults.inject(meter, Fault.BYPASS, number=40, now_ms=0, for_ms=None, before=before)
    fleet.step(60_000)
    true, seen = fleet.measured(meter), shown(faults.of(meter, 60_000), fleet.measured(meter))
    assert seen[Shown.ACTIVE_POWER_MW] == true[Shown.ACTIVE_POWER_MW] * 40 // 100
    assert seen[Shown.VOLTAGE_L1_MV] == true[Shown.VOLTAGE_L1_MV]
    counted = true[Shown.IMPORTED_UJ] - before[Shown.IMPORTED_UJ]
    assert seen[Shown.IMPORTED_UJ] - before[Shown.IMPORTED_UJ] == counted * 40 // 100 > 0
