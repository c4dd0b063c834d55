"""Who is called and responds is measured against their like days, and paid for relieving a congested line.

A day has one interval of five seconds, so that three of them make a baseline. The home takes 36 kW by default, 50 Wh in
an interval, through a line that is rated for 30 kW; taking 18 kW relieves it by 18 kW.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from aggregator.chains.congestion.events import ResponseEvent
from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.restatement import Restatement
from aggregator.chains.metering.correction import Correction, Delta
from aggregator.economy.accounts import MovementKind
from config.grid_model import Grid
from config.load import check
from protocol.messages import MessageType
from tests.late_village import leaves, movements
from tests.plain_physics import PlainPhysics
from tests.village import GRACE_MS, INTERVAL_MS, START_MS, Village, a_grid_document

USUAL = {"m-gas": 0, "m-wind": 0, "m-grid": -36_000, "m-home": 36_000}
SAVING = {"m-gas": 0, "m-wind": 0, "m-grid": -18_000, "m-home": 18_000}
CONGESTION = {"steps": [[10_000, 0.1], [15_000, 0.4]], "threshold": 1, "award": 20}
DAYS = 24
"""Intervals of a settlement period."""


def a_village(rating_w: int = 30_000, time: Mapping[str, int] | None = None, **rules: Any) -> Village:
    """A village in which home and wind respond."""
    document = a_grid_document()
    cut = {"grace_ms": INTERVAL_MS + GRACE_MS, "day_ms": INTERVAL_MS, "period_ms": DAYS * INTERVAL_MS}
    document["rules"] |= {"congestion": CONGESTION} | rules
    document["rules"]["time"] |= cut | (time or {})
    document["rules"]["carbon"]["demand_response"] = [[0, 0], [100, 1]]
    for participant in document["participants"]:
        participant["responds"] = participant["id"] in ("home", "wind")
    return Village(grid=check(document, Grid, "grid.yaml"), physics=PlainPhysics(rating_w))


def call(village: Village, first: int, last: int, branch: str = "b1", *called: str) -> None:
    """Call an event for a run of intervals, both ends included."""
    window = (START_MS + first * INTERVAL_MS, START_MS + (last + 1) * INTERVAL_MS)
    for start in range(*window, village.grid.rules.time.day_ms):
        event = ResponseEvent(village.link("regulator"), start, start + INTERVAL_MS, branch, called)
        record = village.record(village.sign(event, MessageType.EVENT, "regulator"))
        assert village.close([record]).outcomes[0].refusal is None


def live(village: Village, intervals: int, power_w: dict[str, int]) -> None:
    village.live(intervals * INTERVAL_MS // 1000, power_w)


def responses(village: Village, participant: str = "home") -> list[dict[str, Any]]:
    """The evidence of what somebody did in events."""
    names = ("start_ms", "event", "branch", "baseline_wh", "metered_wh", "loading_ppm", "called_ppm")
    names += ("relieving_ppm", "relief_w", "factor_ppm")
    return [dict(zip(names, leaf[1:], strict=True)) for leaf in leaves(village, "response") if leaf[0] == participant]


def sums(village: Village, participant: str = "home") -> tuple[int, int]:
    """Response and relief of the running period."""
    found = village.five.analysis.sums[participant]
    return found.response_wh, found.relief_ppm


@pytest.fixture
def village() -> Village:
    """Five usual days, then an event of three days to which the home responds; the last days of it are closed."""
    village = a_village()
    call(village, 6, 8)
    live(village, 6, USUAL)
    live(village, 5, SAVING)
    return village


def test_a_baseline_is_the_mean_of_like_days_and_the_difference_is_a_response(village: Village) -> None:
    told = responses(village)
    assert [(one["event"], one["baseline_wh"], one["metered_wh"]) for one in told] == [
        (1, 49, 25),  # the second before a batch is of the interval before: (50 + 4 · 50 + 45) // 6
        (2, 49, 25),
        (3, 49, 25),
    ]
    assert sums(village)[0] == 3 * (49 - 25)


def test_the_evidence_holds_all_that_the_relief_follows_from(village: Village) -> None:
    first = responses(village)[0]
    assert first == {
        "start_ms": START_MS + 6 * INTERVAL_MS,
        "event": 1,
        "branch": "b1",
        "baseline_wh": 49,
        "metered_wh": 25,
        "loading_ppm": 600_000,
        "called_ppm": (18_000 + 24 * 720) * 10**6 // 30_000,  # 1 Wh in five seconds is 720 W
        "relieving_ppm": 1_000_000,
        "relief_w": 24 * 720,
        "factor_ppm": 400_000,
    }


def test_a_line_that_would_have_been_congested_counts_as_congested(village: Village) -> None:
    """Else a response that works would abolish its own reward."""
    assert all(one["loading_ppm"] < 10**6 < one["called_ppm"] for one in responses(village))
    assert sums(village)[1] == 3 * 400_000


def test_a_line_that_is_not_congested_pays_nothing_and_the_response_still_counts() -> None:
    village = a_village(rating_w=100_000)
    call(village, 6, 6)
    live(village, 6, USUAL)
    live(village, 3, SAVING)
    assert [one["factor_ppm"] for one in responses(village)] == [0]
    assert sums(village) == (24, 0)


def test_an_event_for_no_line_is_demand_response_alone() -> None:
    village = a_village()
    call(village, 6, 6, "")
    live(village, 6, USUAL)
    live(village, 3, SAVING)
    assert [(one["branch"], one["factor_ppm"]) for one in responses(village)] == [(None, 0)]
    assert sums(village) == (24, 0)


def test_whoever_is_not_called_is_not_paid() -> None:
    village = a_village()
    call(village, 6, 6, "b1", "wind")
    live(village, 6, USUAL)
    live(village, 3, SAVING)
    assert responses(village) == [] and sums(village) == (0, 0)


def test_with_too_few_like_days_there_is_no_baseline_and_no_reward() -> None:
    village = a_village()
    call(village, 2, 2)
    live(village, 2, USUAL)
    live(village, 3, SAVING)
    assert responses(village) == [] and sums(village) == (0, 0)


def test_whoever_takes_more_than_usual_loses_nothing_and_gains_nothing() -> None:
    village = a_village()
    call(village, 6, 6)
    live(village, 6, SAVING)
    live(village, DAYS - 3, USUAL)
    assert [(one["relief_w"], one["factor_ppm"]) for one in responses(village)] == [(0, 0)]
    row = village.five.analysis.factors["home"]
    assert (row.response_wh, row.relief_ppm, row.demand_factor) == (-25, 0, "0/1")


def test_whoever_swings_from_one_interval_to_the_next_has_not_responded() -> None:
    """As much as ever in sum: else a boiler that is switched on and off would earn without saving anything."""
    village = a_village(rating_w=100_000)
    call(village, 6, 9)
    live(village, 6, USUAL)
    for power_w in (24_000, 48_000, 24_000, 48_000, 36_000, 36_000):
        live(village, 1, {**USUAL, "m-home": power_w, "m-grid": -power_w})
    departures = [one["baseline_wh"] - one["metered_wh"] for one in responses(village)]
    assert sum(wh for wh in departures if wh > 0) > 15 and abs(sum(departures)) < 10
    assert sums(village) == (sum(departures), 0)


def test_a_response_below_nothing_can_be_restated() -> None:
    village = a_village(time={"restate_after_ms": 0})
    call(village, 6, 6)
    live(village, 6, SAVING)
    live(village, 5, USUAL)
    before, _ = sums(village)
    assert before < 0 and restated(village, 6, 10) is not None
    assert sums(village) == (before - 10, 0)


def test_days_with_an_event_do_not_count_for_baselines() -> None:
    """Nobody raises, or lowers, their baseline by what they do while they are called."""
    village = a_village()
    call(village, 6, 10)
    live(village, 6, USUAL)
    live(village, 7, {**USUAL, "m-home": 48_000, "m-grid": -48_000})
    assert {one["baseline_wh"] for one in responses(village)} == {50}
    assert len(responses(village)) == 5


def test_two_events_at_a_time_pay_once() -> None:
    village = a_village()
    call(village, 6, 6)
    call(village, 6, 6)
    live(village, 6, USUAL)
    live(village, 3, SAVING)
    assert [one["event"] for one in responses(village)] == [1, 2]
    assert sums(village) == (24, 400_000)


def test_a_flagged_meter_is_paid_nothing_and_teaches_nothing() -> None:
    village = a_village()
    physics = village.physics
    assert isinstance(physics, PlainPhysics)
    call(village, 6, 6)
    live(village, 6, USUAL)
    physics.findings = (Finding(FindingKind.IMPOSSIBLE_READING, "m-home", (18_000, 36_000)),)
    live(village, 3, SAVING)
    assert responses(village) == [] and sums(village) == (0, 0)
    physics.findings = ()
    call(village, 12, 12)
    live(village, 6, SAVING)
    assert responses(village)[0]["baseline_wh"] < 49  # only the days since then have lowered it


def test_silence_is_no_response() -> None:
    """A gateway that is unplugged while its participant is called; what its register says later is believed."""
    village = a_village(time={"restate_after_ms": 0})
    call(village, 6, 7)
    live(village, 6, USUAL)
    for _ in range(4):  # intervals 6 to 9; the home is not heard in the last three
        batch = village.a_batch(SAVING)
        silent = village.now_ms >= START_MS + 7 * INTERVAL_MS
        heard = tuple(block for block in batch.meters if block.meter != "m-home" or not silent)
        village.now_ms += INTERVAL_MS
        sent = replace(batch, meters=heard)
        village.close([village.record(village.sign(sent, MessageType.BATCH))])
        village.close_due()
    assert [one["event"] for one in responses(village)] == [1]
    live(village, 3, SAVING)
    assert [one["metered_wh"] for one in responses(village) if one["event"] == 2][-1] in (24, 25)


# -- Tokens


def test_a_response_counts_in_equation_2_and_relief_reaches_its_threshold() -> None:
    village = a_village()
    call(village, 6, 8)
    live(village, 6, USUAL)
    live(village, DAYS - 3, SAVING)
    row = village.five.analysis.factors["home"]
    assert (row.response_wh, row.relief_ppm) == (3 * 24, 3 * 400_000)
    assert row.demand_factor == "18/25", "0.72: f is 1 at 100 Wh, and none of the electricity was clean"
    (relief,) = [leaf for leaf in leaves(village, "relief") if leaf[0] == "home"]
    assert relief[2:] == [0, 1_200_000, 1, 20, 200_000]  # before, of the period, awards, tokens, carried over
    assert movements(village, "home") == [(MovementKind.AWARD, 105 + 20, 125)]  # ⌊100 (e^0.72 − 1)⌋ = 105
    assert village.five.payment.relief.carried_ppm("home") == 200_000


def test_the_cap_of_a_period_is_over_carbon_and_congestion_together() -> None:
    village = a_village(congestion=CONGESTION | {"award": 150})
    call(village, 6, 8)
    live(village, 6, USUAL)
    live(village, DAYS - 3, SAVING)
    assert movements(village, "home") == [(MovementKind.AWARD, 200, 200)]


def test_what_is_carried_over_counts_in_the_next_period() -> None:
    village = a_village(time={"period_ms": 8 * INTERVAL_MS})
    call(village, 6, 8)
    live(village, 6, USUAL)
    live(village, 13, SAVING)
    carried = [leaf[2:] for leaf in leaves(village, "relief") if leaf[0] == "home"]
    assert carried == [[0, 800_000, 0, 0, 800_000], [800_000, 400_000, 1, 20, 200_000]]


# -- What comes late


def restated(village: Village, interval: int, less_wh: int) -> Restatement | None:
    """Let the home have imported less, or more, in an interval than was known."""
    delta = Delta(START_MS + interval * INTERVAL_MS, less_wh, 0)
    correction = Correction(village.link("regulator"), "m-home", (delta,), "a wrong ratio")
    record = village.record(village.sign(correction, MessageType.CORRECTION, "regulator"))
    assert village.close([record]).outcomes[0].refusal is None
    village.close_due()
    records = [outcome.record for block in village.blocks for outcome in block.outcomes]
    found = [record.message for record in records if record.type is MessageType.RESTATEMENT]
    return found[-1] if found else None


def test_a_restated_response_is_reckoned_with_the_baseline_of_its_time() -> None:
    village = a_village(time={"restate_after_ms": 0})
    call(village, 6, 8)
    live(village, 6, USUAL)
    live(village, 5, SAVING)
    before = sums(village)
    assert restated(village, 7, 10) is not None
    assert responses(village)[-1]["metered_wh"] == 35 and responses(village)[-1]["baseline_wh"] == 49
    assert sums(village) == (before[0] - 10, before[1] - 400_000)


def test_relief_of_a_settled_period_changes_in_the_running_one() -> None:
    village = a_village(time={"restate_after_ms": 0, "period_ms": 9 * INTERVAL_MS})
    call(village, 6, 8)
    live(village, 6, USUAL)
    live(village, 6, SAVING)
    row = village.five.analysis.factors["home"]
    assert (row.response_wh, row.relief_ppm) == (72, 1_200_000)
    running = sums(village)
    restated(village, 7, 10)
    after = village.five.analysis.factors["home"]
    assert (after.response_wh, after.relief_ppm) == (62, 1_200_000)
    assert sums(village) == (running[0], running[1] - 400_000), "a debt that the next relief makes up for"
    (debt,) = [leaf for leaf in leaves(village, "restated") if leaf[0] == "home" and leaf[5][7]]
    assert debt[2] == START_MS + 9 * INTERVAL_MS
    kinds = [kind for kind, *_ in movements(village, "home")]
    assert kinds == [MovementKind.AWARD, MovementKind.ADJUSTMENT_DOWN], "f(62 Wh) instead of f(72 Wh); the 20 stay"
    live(village, 9, SAVING)
    carried = [leaf[2:] for leaf in leaves(village, "relief") if leaf[0] == "home"]
    assert carried == [[0, 1_200_000, 1, 20, 200_000], [200_000, -400_000, 0, 0, -200_000]]
