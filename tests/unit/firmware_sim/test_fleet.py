"""The world moves forward, and its books balance."""

from __future__ import annotations

import pytest

from config.settings.fleet import FleetSettings
from firmware_sim.fleet import Fleet
from firmware_sim.meter import Shown
from firmware_sim.scenario import compose


def a_fleet(*, speed: int = 1, **changes: int) -> Fleet:
    return Fleet(compose(FleetSettings.model_validate(changes)), speed=speed)


def test_what_the_region_leaves_over_goes_through_its_connection() -> None:
    truth = a_fleet().truth()
    assert sum(shown[Shown.ACTIVE_POWER_MW] for shown in truth.meters.values()) == -truth.losses_mw
    assert truth.losses_mw > 0


def test_energy_is_the_power_that_was_shown_before_the_step() -> None:
    fleet = a_fleet()
    before = fleet.measured("m-gas")
    fleet.step(250)
    after = fleet.measured("m-gas")
    assert after[Shown.EXPORTED_UJ] - before[Shown.EXPORTED_UJ] == -before[Shown.ACTIVE_POWER_MW] * 250
    assert after[Shown.IMPORTED_UJ] == before[Shown.IMPORTED_UJ]


def test_speed_moves_the_sun_but_not_the_counters() -> None:
    slow, fast = a_fleet(), a_fleet(speed=3_600)
    before_uj = slow.measured("m-pv-1")[Shown.EXPORTED_UJ]
    slow.step(10_000)
    fast.step(10_000)
    assert fast.time_s - slow.time_s == pytest.approx(3_599 * 10)
    assert slow.measured("m-pv-1")[Shown.EXPORTED_UJ] == fast.measured("m-pv-1")[Shown.EXPORTED_UJ] > before_uj
    assert fast.measured("m-pv-1")[Shown.ACTIVE_POWER_MW] == 0, "ten hours later it is night"


def test_nothing_changes_between_two_steps() -> None:
    fleet = a_fleet()
    first = fleet.truth()
    fleet.limit("l-gas", 0)
    assert fleet.truth() == first
    fleet.step(1)
    assert fleet.measured("m-gas")[Shown.ACTIVE_POWER_MW] == 0


def test_a_limit_holds_until_it_is_lifted() -> None:
    fleet = a_fleet()
    free_mw = fleet.measured("m-gas")[Shown.ACTIVE_POWER_MW]
    fleet.limit("l-gas", 9_600)
    for _ in range(10):
        fleet.step(250)
        assert fleet.measured("m-gas")[Shown.ACTIVE_POWER_MW] == -9_600_000
    fleet.limit("l-gas", None)
    fleet.step(250)
    assert fleet.measured("m-gas")[Shown.ACTIVE_POWER_MW] == pytest.approx(free_mw, rel=0.05)


def test_a_limiter_that_is_not_there_cannot_be_set() -> None:
    with pytest.raises(KeyError):
        a_fleet().limit("l-wind", 0)


@pytest.mark.parametrize("span_ms", [0, -1])
def test_time_does_not_stand_still_or_run_backwards(span_ms: int) -> None:
    with pytest.raises(ValueError, match="at least 1 ms"):
        a_fleet().step(span_ms)


def test_a_prosumer_feeds_in_and_buys_through_one_meter() -> None:
    fleet = a_fleet(speed=60)
    powers_mw = []
    for _ in range(24):
        fleet.step(60_000)
        powers_mw.append(fleet.measured("m-home-4")[Shown.ACTIVE_POWER_MW])
    assert min(powers_mw) < 0 < max(powers_mw)


def test_households_use_two_to_eight_kilowatts_in_the_mean() -> None:
    fleet = a_fleet(meters=100, speed=96)
    started_uj = {meter: shown[Shown.IMPORTED_UJ] for meter, shown in fleet.truth().meters.items()}
    for _ in range(90):
        fleet.step(10_000)  # a simulated day in a quarter of an hour
    truth = fleet.truth()
    for connection in fleet.scenario.connections:
        if connection.site.kind == "household":
            mean_w = (truth.meters[connection.site.meter][Shown.IMPORTED_UJ] - started_uj[connection.site.meter]) / 9e8
            assert 2_000 < mean_w < 8_000
