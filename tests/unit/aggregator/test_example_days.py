"""The example regions live from what their meters count, and their days could have been."""

from __future__ import annotations

import pytest

from aggregator.chains.intervals.findings import FindingKind
from aggregator.chains.intervals.known import Known
from aggregator.grid.interval import IntervalPhysics
from protocol.units import Interval, UnixMs
from tests.example_days import DAY_START_MS, INTERVAL_MS, example_region, feeder_day

NOON, EVENING = 52, 77


@pytest.mark.parametrize("name", ["low-voltage-feeder", "regional-energy-system"])
def test_what_every_meter_of_an_example_region_counts_is_booked(name: str) -> None:
    for meter, asset in example_region(name).meters.items():
        assert asset.energy_registers, f"{meter} has no counter of energy"
        assert asset.is_at_home, f"{meter} counts nothing of its network"


@pytest.mark.parametrize("number", [NOON, EVENING])
def test_the_meters_of_the_feeder_do_not_contradict_each_other(number: int) -> None:
    """Where what the cable loses is not what its currents bring about, voltages are estimated that nobody has."""
    region = example_region("low-voltage-feeder")
    energies = feeder_day(region)[number]
    start_ms = DAY_START_MS + number * INTERVAL_MS
    interval = Interval(start_ms=UnixMs(start_ms), end_ms=UnixMs(start_ms + INTERVAL_MS))
    flows = IntervalPhysics()(region, interval, Known(energies))
    assert {finding.kind for finding in flows.findings} <= {FindingKind.VOLTAGE}
    assert all(finding.amounts[0] < 400_000 for finding in flows.findings), "cars pull voltages down"
    congested = {flow.branch for flow in flows.branches if flow.is_congested}
    assert congested == ({"b-7", "b-8"} if number == EVENING else set())
