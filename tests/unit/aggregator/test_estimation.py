"""What is estimated, what is said of what cannot be known, and that an interval always closes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.grid.congestion import PlannedLoad, forecast
from aggregator.grid.estimation import Estimate, Estimator
from aggregator.grid.limits import voltage_findings
from aggregator.grid.measurements import ROOT_3, Electrics
from aggregator.grid.network import network_of
from aggregator.grid.power_flow import PowerFlowError, PowerFlowSolver, StateSolver
from protocol.units import Interval, UnixMs
from tests.feeders import INTERVAL, Feeders, a_feeder_document, a_region, a_row, injected
from tests.village import START_MS, a_grid


def estimated(feeders: Feeders, *arguments: Any, **named: Any) -> Estimate:
    return Estimator(feeders.network, feeders.meters).estimate(feeders.measured(*arguments, **named))


def broken_feeders(**changes: Any) -> Feeders:
    return Feeders(grid=a_grid(**a_feeder_document() | changes))


# -- What is estimated


def test_what_is_said_twice_is_known_better_than_what_is_said_once() -> None:
    """Sums over a feeder lie nearer to the truth than what its homes' meters, or its check meter, say alone."""
    feeders = Feeders(seed=3)
    estimator = Estimator(feeders.network, feeders.meters)
    off_said, off_estimated = [], []
    for _ in range(60):
        power = feeders.some_power()
        measured, true = feeders.measured(power), injected(feeders, power)
        estimate = estimator.estimate(measured)
        off_said.append(float((measured.sensors.injection_w - true)[1:].sum()))
        off_estimated.append(float((estimate.injection_w - true)[1:].sum()))
    assert np.std(off_estimated) < 0.8 * np.std(off_said)


def test_an_estimate_of_exact_measurements_is_the_truth() -> None:
    feeders = Feeders()
    power = feeders.some_power()
    true = feeders.truth(power)
    rows = {meter: a_row(watts, volts) for meter, (watts, volts) in sorted(feeders.shown(power).items())}
    flow = Estimator(feeders.network, feeders.meters).estimate(feeders.meters.measure(rows, INTERVAL)).flow
    assert flow is not None
    assert flow.from_w == pytest.approx(true.from_w, abs=15)  # the registers' steps are 4 W in a quarter of an hour
    assert flow.voltage_v == pytest.approx(true.voltage_v, abs=0.05)
    assert flow.reference_w == pytest.approx(true.reference_w, abs=20)


def test_without_anything_said_twice_the_estimate_is_the_power_flow() -> None:
    document = a_feeder_document()
    document["meters"] = [meter for meter in document["meters"] if "branch" not in meter and meter["id"] != "m0"]
    feeders = Feeders(grid=a_grid(**document | {"generators": []}), has_voltages=False)
    measured = feeders.measured(feeders.some_power())
    estimate = Estimator(feeders.network, feeders.meters).estimate(measured)
    expected = PowerFlowSolver(feeders.network).solve(-measured.sensors.injection_w)
    assert estimate.flow is not None
    assert np.array_equal(estimate.flow.from_w, expected.from_w)


# -- How sure a measurement is


def sigma_of(row: IntervalEnergy, interval: Interval = INTERVAL, **changes: Any) -> tuple[float, float]:
    """Mean power and σ of a home's meter."""
    document = a_feeder_document(feeders=1, homes=1)
    document["meters"][1] |= changes
    feeders = Feeders(grid=a_grid(**document))
    measured = feeders.meters.measure({"m1-1": row}, interval)
    return float(measured.net_w[1]), float(measured.sigma_w[1])


def test_a_class_is_a_bound_so_that_sigma_is_less_by_the_root_of_three() -> None:
    net_w, sigma_w = sigma_of(a_row(-10_000.0))
    assert net_w == pytest.approx(-10_000)
    assert sigma_w == pytest.approx(10_000 * 0.01 / ROOT_3, rel=0.01)


def test_a_better_class_is_surer() -> None:
    assert sigma_of(a_row(-10_000.0), accuracy_ppm=5_000)[1] < 0.6 * sigma_of(a_row(-10_000.0))[1]


def test_little_power_is_not_known_better_than_a_twentieth_of_the_connections() -> None:
    assert sigma_of(a_row(-1.0))[1] == pytest.approx(sigma_of(a_row(-500.0))[1], rel=0.01)


def test_energy_tells_the_power_of_a_long_interval_and_readings_that_of_a_short_one() -> None:
    """A meter whose few readings all fell on a quiet moment: in a quarter of an hour its register knows better."""
    row = IntervalEnergy(imported_wh=1000, readings=5, import_sum_w=500)
    assert sigma_of(row)[0] == pytest.approx(-4_000)
    short = Interval(start_ms=UnixMs(START_MS), end_ms=UnixMs(START_MS + 5_000))
    assert sigma_of(row, short)[0] == pytest.approx(-100)


def test_few_readings_are_less_sure_than_many() -> None:
    few = IntervalEnergy(imported_wh=1000, readings=5, import_sum_w=20_000)
    many = IntervalEnergy(imported_wh=1000, readings=900, import_sum_w=3_600_000)
    assert sigma_of(few)[1] > 3 * sigma_of(many)[1]


def test_energy_that_came_late_is_not_power_of_this_interval() -> None:
    assert sigma_of(a_row(-4_000.0).plus((500, 0, 500, 0, 0, 0, 0, 0, 0)))[0] == pytest.approx(-4_000)


def test_a_corrected_meters_power_is_its_energy() -> None:
    row = IntervalEnergy(imported_wh=500, readings=900, import_sum_w=9_000_000, corrections=1)
    assert sigma_of(row)[0] == pytest.approx(-2_000)


# -- What is missing


def test_a_meter_that_was_not_heard_is_told_and_made_up_for_by_the_others() -> None:
    feeders = Feeders()
    power = feeders.some_power()
    estimate = estimated(feeders, power, silent=("m1-3",))
    assert estimate.findings == (Finding(FindingKind.UNMETERED, "m1-3", (0,)),)
    assert estimate.injection_w[feeders.network.node_number["n1-3"]] == pytest.approx(power["m1-3"], abs=150)


def test_two_silent_meters_behind_one_check_meter_cannot_be_told_apart() -> None:
    estimate = estimated(feeders := Feeders(), feeders.some_power(), silent=("m1-3", "m1-4", "m2-1"))
    assert [finding for finding in estimate.findings if finding.kind is FindingKind.UNOBSERVABLE] == [
        Finding(FindingKind.UNOBSERVABLE, "n1-3", (2, 1)),
        Finding(FindingKind.UNOBSERVABLE, "n1-4", (2, 1)),
    ]


def test_a_check_meter_on_a_ring_tells_one_power_more() -> None:
    """In a mesh, a line's own flow says something that no balance does."""
    document = a_feeder_document(feeders=1, homes=4)
    document["meters"] = [meter for meter in document["meters"] if meter["id"] != "c1"]
    document["branches"].append({**document["branches"][0], "id": "ring", "from_node": "n0", "to_node": "n1-4"})
    head = {**document["meters"][0], "id": "k", "branch": "b1-3", "node": "n1-2"}
    without = Feeders(grid=a_grid(**document))
    document["meters"] = [*document["meters"], head]
    checked = Feeders(grid=a_grid(**document))
    silent = ("m1-1", "m1-3")
    many = [estimated(feeders, feeders.some_power(), silent=silent).findings for feeders in (without, checked)]
    assert [sum(f.kind is FindingKind.UNOBSERVABLE for f in findings) for findings in many] == [2, 0]


def test_an_interval_of_which_nothing_was_heard_closes() -> None:
    feeders = Feeders()
    estimate = Estimator(feeders.network, feeders.meters).estimate(feeders.meters.measure({}, INTERVAL))
    assert estimate.flow is not None
    assert {finding.kind for finding in estimate.findings} == {FindingKind.UNMETERED, FindingKind.UNOBSERVABLE}


# -- Grids that cannot be


def test_what_no_branch_leads_to_is_told_and_the_rest_estimated() -> None:
    branches = [branch for branch in a_feeder_document()["branches"] if branch["id"] != "b1-4"]
    feeders = broken_feeders(branches=branches)
    estimate = estimated(feeders, feeders.some_power())
    assert [f for f in estimate.findings if f.kind is FindingKind.NO_PATH] == [
        Finding(FindingKind.NO_PATH, "n1-4"),
        Finding(FindingKind.NO_PATH, "n1-5"),
    ]
    assert estimate.flow is not None
    assert estimate.flow.voltage_v[feeders.network.node_number["n1-5"]] == 0
    assert estimate.flow.voltage_v[feeders.network.node_number["n1-3"]] > 380


def test_a_branch_between_different_rated_voltages_is_told_and_taken_for_open() -> None:
    nodes = [
        node | ({"voltage_mv": 20_000_000} if node["id"] == "n2-5" else {}) for node in a_feeder_document()["nodes"]
    ]
    feeders = broken_feeders(nodes=nodes)
    estimate = estimated(feeders, feeders.some_power())
    assert Finding(FindingKind.RATINGS_DIFFER, "b2-5", (400_000, 20_000_000)) in estimate.findings
    assert Finding(FindingKind.NO_PATH, "n2-5") in estimate.findings
    assert estimate.flow is not None


def test_a_grid_without_branches_is_a_point() -> None:
    document = a_feeder_document(feeders=1, homes=1)
    document["meters"] = [meter | {"node": "n0"} for meter in document["meters"] if "branch" not in meter]
    grid = a_grid(**document | {"branches": [], "nodes": document["nodes"][:1]})
    region = a_region(grid)
    network = network_of(grid)
    meters = Electrics(region, network)
    rows = {"m0": a_row(3_000.0, 400.0), "m1-1": a_row(-3_000.0, 400.0)}
    estimate = Estimator(network, meters).estimate(meters.measure(rows, INTERVAL))
    assert estimate.findings == ()
    assert estimate.flow is not None
    assert estimate.flow.reference_w == pytest.approx(3_000, abs=20)


def test_a_load_that_no_line_carries_has_no_solution_and_closes() -> None:
    feeders = Feeders(has_voltages=False)
    rows = {f"m{f}-{h}": a_row(-900_000.0) for f in (1, 2) for h in range(1, 6)}
    estimate = Estimator(feeders.network, feeders.meters).estimate(feeders.meters.measure(rows, INTERVAL))
    assert Finding(FindingKind.NO_SOLUTION, "village") in estimate.findings
    assert estimate.flow is None


# -- Limits


def test_a_voltage_beyond_a_tenth_is_told() -> None:
    feeders = Feeders()
    flow = feeders.truth({f"m1-{home}": -70_000.0 for home in range(1, 6)})
    low = [name for name, volts in zip(feeders.network.node_number, flow.voltage_v, strict=True) if volts < 360]
    findings = voltage_findings(feeders.network, flow)
    assert low
    assert [(finding.kind, finding.subject) for finding in findings] == [(FindingKind.VOLTAGE, name) for name in low]


# -- Forecasts


def test_a_forecast_says_which_planned_interval_overloads_which_branch() -> None:
    feeders = Feeders()
    quiet = [PlannedLoad(node="n1-5", power_w=-10_000)]
    busy = [PlannedLoad(node=f"n1-{home}", power_w=-40_000) for home in range(1, 6)]
    first, second = forecast(feeders.grid, [quiet, busy])
    assert first.congested == ()
    assert second.congested == ("b1-1", "b1-2")
    assert second.loading_ppm["b1-1"] > second.loading_ppm["b1-2"] > 1_000_000


def test_a_forecast_of_what_cannot_flow_says_so() -> None:
    feeders = Feeders()
    (outlook,) = forecast(feeders.grid, [[PlannedLoad(node="n1-5", power_w=-10_000_000)]])
    assert not outlook.is_solved
    assert outlook.congested == ()


def test_a_forecast_knows_its_nodes() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        forecast(Feeders().grid, [[PlannedLoad(node="nowhere", power_w=1)]])


def test_a_feeder_with_a_large_fuse_does_not_jump() -> None:
    """A check meter in a feeder that shows 5 kW: five readings know it to 150 W, whatever the feeder could carry."""
    row = IntervalEnergy(readings=5, import_sum_w=25_000)
    short = Interval(start_ms=UnixMs(START_MS), end_ms=UnixMs(START_MS + 5_000))
    assert sigma_of(row, short, power_max_w=250_000)[1] < 200


def test_an_estimate_begins_with_what_meters_said_where_the_library_finds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    feeders = Feeders()
    power = feeders.some_power()
    measured = feeders.measured(power)
    lied = feeders.measured(power, lies={"m1-3": power["m1-3"] + 5_000})
    estimator = Estimator(feeders.network, feeders.meters)

    def fails(*_: object) -> None:
        raise PowerFlowError("a singular matrix")

    monkeypatch.setattr(StateSolver, "solve", fails)
    assert estimator.estimate(measured).findings == ()
    assert estimator.estimate(lied).squares > estimator.estimate(lied).limit
