"""Whose meters an explanation calls as witnesses: those of stores and machines, and check meters around a doubt."""

from __future__ import annotations

import pytest

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.views.behind import witnesses
from config.grid_model import Grid
from config.rules import TimeRule
from config.settings.fleet import FleetSettings
from firmware_sim.scenario import compose

NOBODY: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def grid() -> Grid:
    settings = FleetSettings(heat=2, heat_works=True, thin_feeder=True, speed=3_600)
    return compose(settings).grid(TimeRule(interval_ms=4_000, grace_ms=0))


def test_a_meter_that_cannot_be_right_is_known_from_the_check_meters_in_the_lines_at_its_node(grid: Grid) -> None:
    doubt = Finding(FindingKind.IMPOSSIBLE_READING, "m-home-3", (-2_850, -7_127))
    found = witnesses(grid, NOBODY, NOBODY, (doubt,), NOBODY)
    assert found == {"m-check-b-2-3", "m-check-b-2-4"}


def test_another_finding_calls_no_witness(grid: Grid) -> None:
    silent = Finding(FindingKind.UNMETERED, "m-home-3", (0,))
    assert witnesses(grid, NOBODY, NOBODY, (silent,), NOBODY) == frozenset()


def test_the_check_meter_in_a_relieved_cable_is_a_witness(grid: Grid) -> None:
    assert witnesses(grid, NOBODY, NOBODY, (), ("b-2-4",)) == {"m-check-b-2-4"}


def test_the_meters_of_a_store_and_of_what_feeds_it_are_witnesses(grid: Grid) -> None:
    found = witnesses(grid, ("tank",), ("heat-pump",), (), NOBODY)
    assert found == {"m-works-pump", "m-works-pump-heat", "m-works-tank-in", "m-works-tank-out"}
