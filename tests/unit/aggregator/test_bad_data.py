"""A validly signed reading that cannot be true: found, and its meter named where redundancy allows, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.grid.bad_data import Examiner
from aggregator.grid.estimation import Estimate, Estimator
from aggregator.grid.power_flow import StateSolver
from aggregator.grid.residuals import Residuals, Row, flow_of, residuals_at
from tests.feeders import Feeders, a_feeder_document
from tests.village import a_grid


def checked_feeders(**changes: Any) -> Feeders:
    """Two feeders of five homes, with a check meter in every line."""
    document = a_feeder_document()
    head = next(meter for meter in document["meters"] if meter["id"] == "c1")
    document["meters"] += [
        {**head, "id": f"k{f}-{h}", "branch": f"b{f}-{h}", "node": f"n{f}-{h - 1}"} for f in (1, 2) for h in range(2, 6)
    ]
    return Feeders(grid=a_grid(**document), **changes)


def estimated(feeders: Feeders, *arguments: Any, **named: Any) -> Estimate:
    return Estimator(feeders.network, feeders.meters).estimate(feeders.measured(*arguments, **named))


def kinds(estimate: Estimate) -> list[tuple[FindingKind, str]]:
    return [(finding.kind, finding.subject) for finding in estimate.findings]


def residuals_of(feeders: Feeders, *arguments: Any, **named: Any) -> Residuals:
    measured = feeders.measured(*arguments, **named)
    flow = StateSolver(feeders.network).solve(measured.sensors)
    part = Estimator(feeders.network, feeders.meters)._part
    return residuals_at(feeders.network, part, measured.sensors, flow).refined()


# -- Honest errors


def test_honest_errors_are_never_taken_for_more() -> None:
    """Errors spread over all that a class allows, in 300 intervals of two regions: not one finding."""
    for feeders in (Feeders(seed=11), checked_feeders(seed=12)):
        estimator = Estimator(feeders.network, feeders.meters)
        for _ in range(150):
            estimate = estimator.estimate(feeders.measured(feeders.some_power()))
            assert estimate.findings == ()
            assert estimate.squares < 0.8 * estimate.limit


def test_the_sum_of_squares_is_as_large_as_theory_says() -> None:
    """It is χ² distributed: on average as many as there are values beyond what tells the state."""
    feeders = Feeders(seed=13)
    estimator = Estimator(feeders.network, feeders.meters)
    squares = [estimator.estimate(feeders.measured(feeders.some_power())).squares for _ in range(150)]
    redundancy = 1 + 2 + 13  # the connection, two heads, and the voltages of all thirteen meters beyond one that tells
    assert 0.6 * redundancy < np.mean(squares) < 1.1 * redundancy


# -- Lies


def test_a_meter_that_hides_half_is_named() -> None:
    feeders = checked_feeders()
    power = feeders.some_power() | {"m1-3": -4_000.0}
    estimate = estimated(feeders, power, lies={"m1-3": -2_000.0})
    assert kinds(estimate) == [(FindingKind.IMPOSSIBLE_READING, "m1-3")]
    said_w, estimated_w = estimate.findings[0].amounts
    assert said_w == pytest.approx(-2_000, abs=25)
    assert estimated_w == pytest.approx(-4_000, abs=150)
    assert estimate.flagged == {"m1-3"}
    assert estimate.injection_w[feeders.network.node_number["n1-3"]] == pytest.approx(-4_000, abs=150)


def test_a_meter_wired_the_wrong_way_round_is_named() -> None:
    feeders = checked_feeders()
    power = feeders.some_power() | {"m2-2": 3_000.0}
    estimate = estimated(feeders, power, lies={"m2-2": -3_000.0})
    assert kinds(estimate) == [(FindingKind.IMPOSSIBLE_READING, "m2-2")]
    assert estimate.findings[0].amounts[1] == pytest.approx(3_000, abs=150)


def test_a_check_meter_may_be_the_one_that_is_wrong() -> None:
    feeders = checked_feeders()
    power = feeders.some_power()
    true_w, _ = feeders.shown(power)["k1-3"]
    estimate = estimated(feeders, power, lies={"k1-3": true_w + 2_500})
    assert kinds(estimate) == [(FindingKind.IMPOSSIBLE_READING, "k1-3")]
    assert estimate.findings[0].amounts[1] == pytest.approx(true_w, abs=150)


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_a_check_meter_far_off_does_not_bring_honest_homes_into_disrepute(seed: int) -> None:
    """It shows a third of what fifty homes take: so far off that whole steps towards the best state lead to and fro."""
    feeders = Feeders(grid=a_grid(**a_feeder_document(feeders=4, homes=50)), seed=seed)
    power_w = {home: watts / 5 for home, watts in feeders.some_power().items()}
    true_w, _ = feeders.shown(power_w)["c1"]
    estimate = estimated(feeders, power_w, {"c1": 0.3 * true_w})
    assert estimate.flagged == {"c1"}
    assert [finding.amounts[1] for finding in estimate.findings] == [pytest.approx(true_w, rel=0.01)]


def test_the_meter_at_the_connection_may_be_the_one_that_is_wrong() -> None:
    feeders = checked_feeders()
    power = feeders.some_power()
    true_w, _ = feeders.shown(power)["m0"]
    estimate = estimated(feeders, power, lies={"m0": true_w / 2})
    assert kinds(estimate) == [(FindingKind.IMPOSSIBLE_READING, "m0")]
    assert estimate.findings[0].amounts[1] == pytest.approx(true_w, abs=200)


def test_two_liars_are_both_named() -> None:
    feeders = checked_feeders()
    power = feeders.some_power() | {"m1-2": -5_000.0, "m2-4": -4_000.0}
    estimate = estimated(feeders, power, lies={"m1-2": -1_000.0, "m2-4": 0.0})
    assert kinds(estimate) == [(FindingKind.IMPOSSIBLE_READING, "m1-2"), (FindingKind.IMPOSSIBLE_READING, "m2-4")]


def test_a_voltage_that_cannot_be_is_told_and_the_meters_power_believed() -> None:
    feeders = checked_feeders()
    energies = feeders.energies(feeders.some_power())
    row = energies["m1-4"]
    energies["m1-4"] = row.plus((0, 0, 0, 0, 0, 0, 0, -row.voltage_sum_mv // 10, 0))
    estimate = Estimator(feeders.network, feeders.meters).estimate(feeders.meters.measure(energies, feeders.interval))
    assert kinds(estimate) == [(FindingKind.IMPOSSIBLE_VOLTAGE, "m1-4")]
    assert estimate.flagged == frozenset()


def test_a_meter_at_another_node_than_the_grid_file_says_is_told_with_that_node() -> None:
    feeders = checked_feeders()
    said = feeders.some_power() | {"m1-3": -4_000.0}
    true = said | {"m1-3": 0.0, "m2-2": said["m2-2"] - 4_000.0}
    estimate = estimated(feeders, true, lies=said)
    assert estimate.findings == (Finding(FindingKind.MISPLACED, "m1-3", (feeders.network.node_number["n2-2"],)),)
    assert estimate.flagged == frozenset()


# -- What redundancy cannot tell


def test_behind_one_check_meter_nobody_is_named_but_everybody_who_might_be() -> None:
    feeders = Feeders()
    power = feeders.some_power() | {"m1-3": -4_000.0}
    estimate = estimated(feeders, power, lies={"m1-3": -1_000.0})
    assert kinds(estimate) == [
        (FindingKind.INCONSISTENT, "village"),
        *((FindingKind.AMBIGUOUS_READING, f"m1-{home}") for home in range(1, 6)),
    ]
    assert estimate.flagged == frozenset()
    assert estimate.squares > estimate.limit


@pytest.mark.parametrize("watts", [3_000.0, -2_500.0])
def test_a_lie_that_nobody_can_be_named_for_hides_no_other_feeders_liar(watts: float) -> None:
    """One of two meters at one node lies, and it costs nothing; somebody elsewhere counts on that."""
    feeders = checked_feeders()
    document = [meter.model_dump(mode="json") for meter in feeders.grid.meters]
    second = {**next(meter for meter in document if meter["id"] == "m2-5"), "id": "m2-5b"}
    feeders = Feeders(grid=a_grid(**a_feeder_document(meters=[*document, second])))
    power_w = dict.fromkeys(feeders.some_power(), -1_500.0)
    estimate = estimated(feeders, power_w, {"m1-3": 3_000.0, "m2-5": watts})
    assert estimate.flagged == {"m1-3"}
    assert {FindingKind.INCONSISTENT, FindingKind.AMBIGUOUS_READING} < {kind for kind, _ in kinds(estimate)}
    node = feeders.network.node_number["n1-3"]
    assert estimate.injection_w[node] == pytest.approx(-1_500, abs=30), "what the others say instead"


def test_where_nobody_is_named_meters_are_taken_at_their_word() -> None:
    feeders = Feeders()
    power = feeders.some_power() | {"m1-3": -4_000.0}
    estimate = estimated(feeders, power, lies={"m1-3": -1_000.0})
    assert estimate.injection_w[feeders.network.node_number["n1-3"]] == pytest.approx(-1_000, abs=15)


def test_a_lie_that_nothing_contradicts_cannot_be_seen() -> None:
    """Without check meters, a meter at the connection, or voltages, physics believes everybody."""
    document = a_feeder_document()
    document["meters"] = [meter for meter in document["meters"] if meter["id"].startswith("m1") or "m2" in meter["id"]]
    document["generators"] = []
    feeders = Feeders(grid=a_grid(**document), has_voltages=False)
    power = feeders.some_power() | {"m1-3": -4_000.0}
    estimate = estimated(feeders, power, lies={"m1-3": 0.0})
    assert estimate.findings == ()
    assert estimate.limit == 0.0


def test_several_meters_at_one_node_share_the_suspicion_unless_only_one_could_have_said_it() -> None:
    document = a_feeder_document(feeders=1, homes=1)
    home = next(meter for meter in document["meters"] if meter["id"] == "m1-1")
    document["meters"].append({**home, "id": "m1-1b", "power_max_w": 3_000})
    feeders = Feeders(grid=a_grid(**document))
    power = {"m1-1": -9_000.0, "m1-1b": -500.0}
    little = estimated(feeders, power, lies={"m1-1": -7_500.0})
    assert [finding.subject for finding in little.findings] == ["village", "m1-1", "m1-1b"]
    much = estimated(feeders, power, lies={"m1-1": -2_000.0})
    assert kinds(much) == [(FindingKind.IMPOSSIBLE_READING, "m1-1")]


# -- The arithmetic, held against a dense solution


def test_residuals_and_their_variance_are_those_of_a_dense_solution() -> None:
    feeders = checked_feeders()
    rows = residuals_of(feeders, feeders.some_power(), lies={"m1-3": 1_000.0})
    jacobian, weights = rows.jacobian.toarray(), 1 / rows.sigma**2
    gain = jacobian.T @ (weights[:, None] * jacobian)
    covariance = np.diag(rows.sigma**2) - jacobian @ np.linalg.solve(gain, jacobian.T)
    assert rows.variance / rows.sigma**2 == pytest.approx(np.diag(covariance) / rows.sigma**2, abs=1e-5)
    own = covariance * weights * weights[:, None]
    assert rows.column(3) == pytest.approx(own[:, 3], abs=1e-6 * np.abs(own[:, 3]).max())


def test_the_jacobian_is_the_slope_of_what_meters_would_show() -> None:
    feeders = checked_feeders()
    rows = residuals_of(feeders, feeders.some_power())
    reference, live = feeders.network.reference, len(rows.part.nodes)
    for state in range(rows.jacobian.shape[1]):
        step = 1e-6 if state < live - 1 else 1e-3
        node = state + (state >= reference) if state < live - 1 else state - (live - 1)
        phasor = rows.phasor_v.copy()
        phasor[node] *= np.exp(1j * step) if state < live - 1 else 1 + step / abs(phasor[node])
        moved = residuals_at(feeders.network, rows.part, rows.sensors, flow_of(feeders.network, rows.part, phasor, 0.0))
        slope = (rows.residual - moved.residual) / step
        column = rows.jacobian[:, [state]].toarray().ravel()
        assert slope == pytest.approx(column, abs=2e-3 * max(1.0, np.abs(column).max()))


def test_without_a_row_the_sum_of_squares_falls_by_the_square_of_its_normalized_residual() -> None:
    feeders = checked_feeders()
    power = feeders.some_power()
    lies = {"m1-3": power["m1-3"] + 400}
    rows = residuals_of(feeders, power, lies=lies)
    (row,) = np.flatnonzero((rows.kind == Row.INJECTION) & (rows.place == feeders.network.node_number["n1-3"]))
    measured = Feeders.measured(checked_feeders(), checked_feeders().some_power(), lies=lies)
    meter = feeders.meters.names.index("m1-3")
    without = residuals_at(feeders.network, rows.part, measured.without(meter, False).sensors, rows.flow).refined()
    assert rows.squares - without.squares == pytest.approx(rows.normalized[row] ** 2, rel=0.05)


def test_an_estimate_that_did_not_settle_is_refined_before_anybody_is_suspected() -> None:
    feeders = checked_feeders()
    measured = feeders.measured(feeders.some_power())
    flow = feeders.truth({})  # far from what was measured
    part = Estimator(feeders.network, feeders.meters)._part
    verdict = Examiner(feeders.network, part, feeders.meters).examine(measured, flow)
    assert verdict.is_consistent
    assert not verdict.suspects
