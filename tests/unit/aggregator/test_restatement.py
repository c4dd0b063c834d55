"""What becomes known late, or is corrected, changes its own interval: by exactly the difference, at its own rules.

Every number is worked out by hand. The home takes 36 kW: 50 Wh in an interval of five seconds, 300 Wh in a period of
thirty. Wind and gas engine feed in 18 kW each, 25 Wh and 150 Wh. So with the wind half of the home's energy is clean,
F = 1/2 and 64 tokens; without it the network outside stands in, nothing is clean, F = 0 and no tokens. The wind itself
has F = 1 and 171 tokens, or nothing to be measured by. The gas engine emits 75 of 100 g: F = 1/4, 28 tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aggregator.chains.intervals.flows import Carried, Parcel
from aggregator.chains.intervals.known import Known
from aggregator.chains.intervals.restatement import PeriodAdjustment, Restatement
from aggregator.chains.metering.correction import Correction, Delta
from aggregator.chains.metering.interval_energy import IntervalEnergy, ProvenRow, prove_row
from aggregator.economy.accounts import MovementKind
from aggregator.ledger.record import Record
from aggregator.service.stated import energies_of
from config.grid_model import Source
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from tests.late_village import (
    BATCH_MS,
    PERIOD_MS,
    a_village,
    balances,
    factors,
    known_wh,
    leaves,
    movements,
    parcels,
    tell,
)
from tests.village import INTERVAL_MS, START_MS, Village

SECOND_MS = START_MS + PERIOD_MS
THIRD_MS = SECOND_MS + PERIOD_MS
BATCHES = 12
POWER_W = {
    "m-gas": [-18_000] * BATCHES,
    "m-grid": [0] * BATCHES,
    "m-home": [36_000] * BATCHES,
    "m-wind": [-18_000] * BATCHES,
}


def silent(*, since: int, until_ms: int) -> dict[str, list[int]]:
    """The wind turbine's gateway is not heard from a batch on until an instant, when all comes at once."""
    at_once = [max(0, until_ms - (START_MS + (n + 1) * BATCH_MS)) for n in range(BATCHES)]
    return {"m-wind": [delay if n >= since else 0 for n, delay in enumerate(at_once)]}


def the_wind_comes_late(until_ms: int, **rules: Any) -> Village:
    """The second and third periods are settled without the wind, which is heard 120 s after the region began."""
    sent = parcels(POWER_W, silent(since=3, until_ms=START_MS + 120_000))
    return tell(a_village(**{"restate_periods": 3} | rules), sent, until_ms)


def in_time(until_ms: int, **rules: Any) -> Village:
    return tell(a_village(**rules), parcels(POWER_W, {}), until_ms)


def adjusted(village: Village, period_ms: int) -> list[tuple[str, int, int, int]]:
    """Who should have got something else in a period: name, tokens before, after and the difference."""
    return [(leaf[0], *leaf[2:]) for leaf in leaves(village, "adjusted") if leaf[1] == period_ms]


# -- late energy


def test_late_energy_waits_for_its_own_interval_and_touches_no_other() -> None:
    village = the_wind_comes_late(START_MS + 120_000)
    data = village.five.data
    assert data.late.rows[SECOND_MS, "m-wind"].exported_wh == 25
    assert all(row.late_wh == 0 for _, row in data.energy.items())


def test_a_settled_period_gets_the_factors_and_tokens_that_it_should_have_had() -> None:
    before, after, truth = (
        make(START_MS + at_ms, accounts={"ceiling": 10_000})
        for make, at_ms in ((the_wind_comes_late, 120_000), (the_wind_comes_late, 125_000), (in_time, 125_000))
    )
    (home,) = [row for row in factors(before) if (row.start_ms, row.participant) == (SECOND_MS, "home")]
    assert (home.used_wh, home.clean_wh, home.demand_factor) == (300, 0, "0/1")
    (home,) = [row for row in factors(after) if (row.start_ms, row.participant) == (SECOND_MS, "home")]
    assert (home.used_wh, home.clean_wh, home.demand_factor) == (300, 150, "1/2")
    assert adjusted(after, SECOND_MS) == [("home", 0, 64, 64), ("wind", 0, 171, 171)]
    assert adjusted(after, THIRD_MS) == [("home", 0, 64, 64), ("wind", 0, 171, 171)]
    assert balances(after)["wind"] - balances(before)["wind"] == 2 * 171
    assert balances(after) == balances(truth)
    assert movements(after, "gas") == movements(truth, "gas")  # who was not concerned is not touched


def test_what_was_stated_stays_and_a_new_leaf_says_old_new_and_difference() -> None:
    village = the_wind_comes_late(START_MS + 125_000)
    stated = [leaf for leaf in leaves(village, "factors") if (leaf[0], leaf[1]) == ("home", SECOND_MS)]
    assert [(leaf[5], leaf[6], leaf[-1]) for leaf in stated] == [(300, 0, "0/1")]
    restated = [leaf for leaf in leaves(village, "restated") if (leaf[0], leaf[2]) == ("home", SECOND_MS)]
    assert [leaf[1] for leaf in restated] == [SECOND_MS + n * INTERVAL_MS for n in range(6)]
    first, last = restated[0], restated[-1]
    used_clean_fed_in_emitted = [sums[:4] for sums in first[3:6]]
    assert used_clean_fed_in_emitted == [[300, 0, 0, 0], [300, 25, 0, 0], [0, 25, 0, 0]]
    assert first[6:] == [[None, "0/1"], [None, "1/12"]]
    assert (last[4][:4], last[7]) == ([300, 150, 0, 0], [None, "1/2"])


def test_a_running_period_changes_its_sums_and_moves_no_tokens() -> None:
    delays = {"m-wind": [0, 0, 0, *([30_000] * 9)]}  # the first ten seconds of the second period, 70 s after the first
    village = tell(a_village(), parcels(POWER_W, delays), START_MS + 70_000)
    assert village.five.analysis.sums["home"].clean_wh == 0
    tell(village, [], START_MS + 75_000)  # nothing more comes, and the second period is not over yet
    assert village.five.analysis.sums["home"].clean_wh == 2 * 25
    assert adjusted(village, SECOND_MS) == []


def test_a_restatement_waits_for_more_of_the_same() -> None:
    """A backlog is restated once per interval, not batch by batch."""
    delays = {"m-wind": [0, 0, 0, *([60_000, 70_000, 55_000] * 3)]}
    at_once = tell(a_village(restate_after_ms=0), parcels(POWER_W, delays), START_MS + 200_000)
    patient = tell(a_village(restate_after_ms=20_000), parcels(POWER_W, delays), START_MS + 200_000)
    assert patient.five.analysis.totals.restatements < at_once.five.analysis.totals.restatements
    assert balances(patient) == balances(at_once)


def test_a_period_that_leaves_the_horizon_takes_what_waits_with_it() -> None:
    """Waiting for more is no reason to lose what is there: before a period is left behind, it is restated."""
    patient, truth = (make(START_MS + 230_000, restate_after_ms=10**9) for make in (the_wind_comes_late, in_time))
    assert patient.five.analysis.totals.restatements > 0
    assert balances(patient) == balances(truth)


def test_what_comes_after_the_horizon_is_booked_to_the_open_interval_and_counted() -> None:
    village = the_wind_comes_late(START_MS + 120_000, restate_periods=0)
    (displaced,) = [row for _, row in village.five.data.energy.items() if row.late_wh]
    assert displaced.late_wh >= 300  # two periods of the wind
    ended = the_wind_comes_late(START_MS + 250_000, restate_periods=0)
    assert known_wh(ended) == known_wh(in_time(START_MS + 250_000))
    assert balances(ended)["wind"] < balances(in_time(START_MS + 250_000))["wind"]


def test_a_region_too_large_for_one_record_books_late_energy_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.chains.region.RESTATED_ROWS_MAX", 3)
    village = the_wind_comes_late(START_MS + 250_000)
    assert village.five.analysis.totals.restatements == 0
    assert leaves(village, "metered") == []
    assert len(village.five.data.late.closed) == len(village.five.analysis.stated) == 0


def test_the_state_forgets_what_nobody_may_restate_any_more() -> None:
    village = in_time(START_MS + 400_000)
    periods = [start for start, _ in village.five.analysis.rows.periods.items()]
    assert len(periods) == 2
    five = village.five
    for table in (five.data.late.closed, five.analysis.stated):
        assert min(start for start, _ in table.items()) == periods[0]


# -- accounts


def test_an_account_ends_at_its_ceiling_as_if_nothing_had_been_late() -> None:
    """171 from the first period; 171 more would be 342, and 42 too many; then 171 too many."""
    village = the_wind_comes_late(START_MS + 125_000, accounts={"ceiling": 300})
    assert movements(village, "wind") == [
        (MovementKind.AWARD, 171, 171),
        (MovementKind.ADJUSTMENT_UP, 171, 342),
        (MovementKind.OVERFLOW, 42, 300),
        (MovementKind.ADJUSTMENT_UP, 171, 471),
        (MovementKind.OVERFLOW, 171, 300),
    ]
    truth = in_time(START_MS + 125_000, accounts={"ceiling": 300})
    assert balances(village) == balances(truth)
    ours, theirs = village.five.payment.totals, truth.five.payment.totals
    assert (ours.reserve, ours.minted - ours.burned) == (theirs.reserve, theirs.minted - theirs.burned)


# -- corrections


def known(village: Village, start_ms: int, meter: str) -> ProvenRow:
    energies = energies_of(village, village.five.data, start_ms)
    assert energies is not None
    return prove_row(energies, meter)


def a_correction(village: Village, *deltas: Delta, meter: str = "m-wind") -> bytes:
    correction = Correction(village.link("regulator"), meter, deltas, "the current transformers are 50:5, not 100:5")
    return village.sign(correction, MessageType.CORRECTION, "regulator")


def outcome_of(village: Village, data: bytes) -> RefusalCode | None:
    return village.close([village.record(data)]).outcomes[0].refusal


def test_a_meter_that_lied_is_corrected_and_what_it_earned_is_taken_back() -> None:
    """The wind turbine never turned in the second period. It was at 300, its ceiling, after 42 had overflowed."""
    village = in_time(START_MS + 80_000, accounts={"ceiling": 300})
    starts = range(SECOND_MS, THIRD_MS, INTERVAL_MS)
    deltas = [Delta(start, 0, -25, known(village, start, "m-wind")) for start in starts]
    home = balances(village)["home"]
    assert outcome_of(village, a_correction(village, *deltas)) is None
    tell(village, [], START_MS + 85_000)
    assert adjusted(village, SECOND_MS) == [("home", 64, 0, -64), ("wind", 171, 0, -171)]
    assert movements(village, "wind") == [
        (MovementKind.AWARD, 171, 171),
        (MovementKind.AWARD, 171, 342),
        (MovementKind.OVERFLOW, 42, 300),
        (MovementKind.ADJUSTMENT_DOWN, 171, 129),
        (MovementKind.RETURN, 42, 171),
    ]
    assert balances(village)["home"] == home - 64
    assert village.five.payment.totals.reserve == 0
    assert village.five.data.totals.corrections == 1


def test_where_a_meter_is_corrected_its_energy_tells_the_flow_and_not_its_power() -> None:
    """Half of the wind: 12 Wh, 13 Wh taken away. The readings still say 18 kW; the power flow takes 12 Wh."""
    village = in_time(START_MS + 80_000)
    delta = Delta(SECOND_MS, 0, -13, known(village, SECOND_MS, "m-wind"))
    assert outcome_of(village, a_correction(village, delta)) is None
    tell(village, [], START_MS + 85_000)
    (home,) = [leaf for leaf in leaves(village, "restated") if leaf[0] == "home"]
    assert home[5][:4] == [0, -13, 0, 0]  # a quarter of 50 Wh is left, 12 Wh by the largest remainder


def test_a_correction_may_add_without_showing_what_there_is() -> None:
    village = in_time(START_MS + 80_000)
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, 0, 25))) is None
    tell(village, [], START_MS + 85_000)
    (wind,) = [leaf for leaf in leaves(village, "restated") if leaf[0] == "wind"]
    assert [sums[:4] for sums in wind[3:6]] == [[0, 0, 150, 0], [0, 0, 175, 0], [0, 0, 25, 0]]


def test_late_energy_and_its_correction_wait_together() -> None:
    village = the_wind_comes_late(START_MS + 120_000)
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, 0, -25))) is None
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, 0, -1))) is RefusalCode.MORE_THAN_THERE_IS


def test_a_correction_takes_no_more_than_there_is() -> None:
    village = in_time(START_MS + 80_000)
    row = known(village, SECOND_MS, "m-wind")
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, 0, -26, row))) is RefusalCode.MORE_THAN_THERE_IS
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, -1, 0, row))) is RefusalCode.MORE_THAN_THERE_IS
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, 0, -25))) is RefusalCode.MORE_THAN_THERE_IS
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, 0, -25, row))) is None
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, 0, -1, row))) is RefusalCode.MORE_THAN_THERE_IS


def test_a_correction_must_show_the_row_that_the_interval_was_closed_with() -> None:
    village = in_time(START_MS + 80_000)
    row = known(village, SECOND_MS, "m-wind")
    richer = replace(row, energy=replace(row.energy, exported_wh=1000))
    for shown in (richer, replace(row, path=()), known(village, SECOND_MS, "m-gas")):
        data = a_correction(village, Delta(SECOND_MS, 0, -25, shown))
        assert outcome_of(village, data) is RefusalCode.OTHER_PAST
    open_ms = START_MS + 60_000  # closed by nobody yet
    data = a_correction(village, Delta(open_ms - INTERVAL_MS, 0, 1), Delta(open_ms, 0, -25, row))
    assert outcome_of(village, data) in {RefusalCode.BEYOND_HORIZON, RefusalCode.OTHER_PAST}
    assert len(village.five.data.late.waiting) == 0  # and the part of it that fits has not counted either


@pytest.mark.parametrize(
    "start_ms",
    [
        pytest.param(SECOND_MS + 1, id="no interval"),
        pytest.param(START_MS + 10**6, id="not frozen yet"),
        pytest.param(START_MS, id="beyond the horizon"),
    ],
)
def test_a_correction_is_of_an_interval_that_may_be_restated(start_ms: int) -> None:
    village = in_time(START_MS + 115_000)
    assert outcome_of(village, a_correction(village, Delta(start_ms, 0, 1))) is RefusalCode.BEYOND_HORIZON


def test_a_correction_is_of_a_meter_of_the_region() -> None:
    village = in_time(START_MS + 80_000)
    data = a_correction(village, Delta(SECOND_MS, 0, 1), meter="m-nobody")
    assert outcome_of(village, data) is RefusalCode.UNKNOWN_METER


def test_nobody_but_the_regulator_corrects() -> None:
    village = in_time(START_MS + 80_000)
    correction = Correction(village.link("gw-wind"), "m-wind", (Delta(SECOND_MS, 0, 1),), "more, please")
    with pytest.raises(Refused) as refused:
        village.five.ledger.check(village.sign(correction, MessageType.CORRECTION, "gw-wind"))
    assert refused.value.code is RefusalCode.NOT_THEIR_TYPE


# -- compute nodes


def the_record_due(village: Village) -> Record:
    data = village.compute.due_record(village.five)
    assert data is not None
    return village.five.ledger.check(data)


@pytest.fixture
def waiting() -> Village:
    """The interval that begins the second period is due to be restated, by a correction of 25 Wh more."""
    village = in_time(START_MS + 80_000, restate_after_ms=0)
    assert outcome_of(village, a_correction(village, Delta(SECOND_MS, 0, 25))) is None
    return village


def signed(village: Village, message: Restatement | PeriodAdjustment, type_: MessageType) -> bytes:
    return village.sign(replace(message, link=village.link("node")), type_, "node")


def test_a_restatement_on_another_past_is_refused(waiting: Village) -> None:
    honest: Restatement = the_record_due(waiting).message
    poorer = {**honest.former_energies, "m-gas": IntervalEnergy()}
    for lie in (
        replace(honest, former_energies=poorer),
        replace(honest, former_deeds=dict(list(honest.former_deeds.items())[1:])),
        replace(honest, inherited=Known({}, Carried({"tank": Parcel(())}))),
    ):
        assert outcome_of(waiting, signed(waiting, lie, MessageType.RESTATEMENT)) is RefusalCode.OTHER_PAST
    assert outcome_of(waiting, signed(waiting, honest, MessageType.RESTATEMENT)) is None


def test_a_restatement_that_does_not_know_all_that_is_known_is_refused(waiting: Village) -> None:
    honest: Restatement = the_record_due(waiting).message
    assert outcome_of(waiting, a_correction(waiting, Delta(SECOND_MS, 0, 1))) is None
    data = signed(waiting, honest, MessageType.RESTATEMENT)
    assert outcome_of(waiting, data) is RefusalCode.RESULT_DIFFERS
    waiting.close_due()
    assert len(waiting.five.data.late.waiting) == 0


def test_a_lie_about_restated_physics_is_found_out_by_whoever_reckons_again(waiting: Village) -> None:
    record = the_record_due(waiting)
    honest: Restatement = record.message
    home = next(flow for flow in honest.flows.participants if flow.participant == "home")
    greener = replace(home, origin_wh=((Source.WIND, home.imported_wh),))
    participants = tuple(greener if flow is home else flow for flow in honest.flows.participants)
    lie = replace(honest, flows=replace(honest.flows, participants=participants))
    waiting.five.ledger.vet(record)
    with pytest.raises(Refused) as refused:
        waiting.five.ledger.vet(waiting.five.ledger.check(signed(waiting, lie, MessageType.RESTATEMENT)))
    assert refused.value.code is RefusalCode.RESULT_DIFFERS


class NoHistory:
    """The log of a node that came from a snapshot."""

    def bodies_of_block(self, height: int) -> list[bytes]:
        return []


def test_a_node_whose_log_does_not_reach_back_leaves_it_to_another(waiting: Village) -> None:
    newcomer = replace(waiting.compute, history=NoHistory())
    assert newcomer.due_record(waiting.five) is None
    waiting.five.ledger.vet(the_record_due(waiting))  # but it can vet: the record brings the past along


def test_a_restatement_that_is_not_due_is_out_of_turn(waiting: Village) -> None:
    honest: Restatement = the_record_due(waiting).message
    later = replace(honest, start_ms=honest.end_ms, end_ms=honest.end_ms + INTERVAL_MS)
    assert outcome_of(waiting, signed(waiting, later, MessageType.RESTATEMENT)) is RefusalCode.OUT_OF_TURN


def test_an_adjustment_of_tokens_follows_from_the_restated_factors_and_from_nothing_else(waiting: Village) -> None:
    early = PeriodAdjustment(waiting.link("node"), SECOND_MS, THIRD_MS, 1, 0, 0, bytes(32))
    assert outcome_of(waiting, signed(waiting, early, MessageType.ADJUSTMENT)) is RefusalCode.OUT_OF_TURN
    waiting.close([waiting.record(signed(waiting, the_record_due(waiting).message, MessageType.RESTATEMENT))])
    honest: PeriodAdjustment = the_record_due(waiting).message
    generous = replace(honest, minted=honest.minted + 1)
    assert outcome_of(waiting, signed(waiting, generous, MessageType.ADJUSTMENT)) is RefusalCode.RESULT_DIFFERS
    assert outcome_of(waiting, signed(waiting, honest, MessageType.ADJUSTMENT)) is None


def test_restatements_that_keep_coming_do_not_hold_up_the_next_settlement() -> None:
    """The first period is left behind: it is made up for before anything else that is due is restated."""
    village = in_time(START_MS + 105_000, restate_after_ms=0)
    for start in (START_MS, SECOND_MS):
        assert outcome_of(village, a_correction(village, Delta(start, 0, 25))) is None
    village.now_ms += INTERVAL_MS  # the third period is over
    village.close([])
    order = []
    while (data := village.compute.due_record(village.five)) is not None:
        record = village.record(data)
        village.close([record])
        order.append(record.type)
    first = order.index(MessageType.ADJUSTMENT)
    assert order[:first].count(MessageType.RESTATEMENT) == 1
    assert order[first : first + 3] == [MessageType.ADJUSTMENT, MessageType.FACTORS, MessageType.SETTLEMENT]
    assert order[-2:] == [MessageType.RESTATEMENT, MessageType.ADJUSTMENT]
