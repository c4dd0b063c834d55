"""The simulated region's meters, held against physics: they tell the truth, and one that does not is named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from aggregator.chains.admission.genesis import Genesis
from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.chains.region import Region
from aggregator.grid.estimation import estimating
from aggregator.grid.network import network_of
from config.load import load_profiles
from config.rules import TimeRule
from config.settings.fleet import FleetSettings
from firmware_sim.fleet import Fleet
from firmware_sim.meter import Measured, Shown
from firmware_sim.scenario import Scenario, compose
from protocol.link import NO_RECORD, Link
from protocol.units import Interval, UnixMs

STEP_MS = 100
INTERVAL_MS = 5_000
LIAR = "m-home-17"
"""On the last feeder, with a check meter in the cable before it."""
VOLTAGES = (Shown.VOLTAGE_L1_MV, Shown.VOLTAGE_L2_MV, Shown.VOLTAGE_L3_MV)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return compose(FleetSettings(meters=24, thin_feeder=True, seed=1))


def findings(scenario: Scenario, *, speed: int, intervals: int, hidden: float = 0.0) -> Iterator[tuple[Finding, ...]]:
    """What physics finds in each interval, if every gateway reads once a second, each at its own moment."""
    grid = scenario.grid(TimeRule(interval_ms=INTERVAL_MS, grace_ms=2_500, period_ms=30_000))
    profiles = load_profiles()
    used = tuple(profiles[name] for name in sorted({meter.profile for meter in grid.meters}))
    region = Region(Genesis(Link(grid.region, "regulator", 1, NO_RECORD), 0, (), grid, used))
    estimate = estimating(region, network_of(grid))
    fleet, moment = Fleet(scenario, speed=speed), {name: i % 10 for i, name in enumerate(grid.gateways)}
    for _ in range(intervals):
        shown: dict[str, list[Measured]] = {meter.id: [] for meter in grid.meters}
        for tick in range(INTERVAL_MS // STEP_MS):
            for meter in grid.meters:
                if tick % 10 == moment[meter.gateway]:
                    shown[meter.id].append(fleet.measured(meter.id))
            fleet.step(STEP_MS)
        rows = {name: a_row(shown[name], 1 - hidden if name == LIAR else 1.0) for name in sorted(shown)}
        yield estimate(rows, Interval(start_ms=UnixMs(0), end_ms=UnixMs(INTERVAL_MS))).findings


def a_row(shown: list[Measured], share: float) -> IntervalEnergy:
    """Five readings, of which the power may be told only in part."""
    watts = [round(one[Shown.ACTIVE_POWER_MW] * share / 1000) for one in shown]
    taken, fed_in = sum(w for w in watts if w > 0), -sum(w for w in watts if w < 0)
    wh = INTERVAL_MS / 3_600_000 / len(watts)
    volts = [sum(one[phase] for phase in VOLTAGES) // 3 for one in shown]
    return IntervalEnergy(int(taken * wh), int(fed_in * wh), 0, len(watts), taken, fed_in, 0, sum(volts), len(volts))


@pytest.mark.parametrize("speed", [1, 360])
def test_nothing_is_found_against_meters_that_tell_the_truth(scenario: Scenario, speed: int) -> None:
    """Also while the day goes by 360 times as fast as in the demo, so that power changes between two readings."""
    assert list(findings(scenario, speed=speed, intervals=6)) == [()] * 6


def test_a_home_that_hides_most_of_what_it_takes_is_named(scenario: Scenario) -> None:
    for found in findings(scenario, speed=360, intervals=4, hidden=0.7):
        assert [(finding.kind, finding.subject) for finding in found] == [(FindingKind.IMPOSSIBLE_READING, LIAR)]
        said_w, estimated_w = found[0].amounts
        assert 2.5 < estimated_w / said_w < 4.5
