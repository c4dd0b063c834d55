"""What is in store and on its way goes from interval to interval: heat whose clean share comes from yesterday's wind.

The tank takes heat while the wind blows, and gives it back when only the gas engine runs. What the home takes was sent
an interval before it arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from aggregator.chains.five import wire
from aggregator.chains.intervals.flows import Carried, Flows, Parcel, PipeParcel
from aggregator.chains.intervals.known import Known
from aggregator.chains.intervals.restatement import Restatement
from aggregator.chains.intervals.results import IntervalResult
from aggregator.chains.intervals.stores import PARCELS_MAX, Stores, parcels_max
from aggregator.chains.metering.correction import Correction, Delta
from aggregator.chains.region import RESTATED_ROWS_MAX, Region
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.table import Journal
from config.grid_model import Grid, Source
from protocol.envelope import Envelope
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from protocol.units import Interval, UnixMs
from tests.heat_village import CALM, PUMP, STILL, WARM, WINDY, a_heat_document, a_heat_village, live
from tests.plain_physics import PlainPhysics
from tests.village import INTERVAL_MS, START_MS, Village, a_grid, a_grid_document


def inherited(village: Village) -> Known:
    """What the interval that is closed next inherits."""
    start = village.five.analysis.cursor.next_interval_ms
    return village.five.analysis.known(Interval(start_ms=UnixMs(start), end_ms=UnixMs(start + INTERVAL_MS)))


def results(village: Village) -> list[Flows]:
    """What was stated of every interval, in order."""
    records = [outcome.record for block in village.blocks for outcome in block.outcomes]
    return [record.message.flows for record in records if record.type is MessageType.INTERVAL]


def heat_of_home(flows: Flows) -> dict[Source, int]:
    return next((dict(flow.origin_wh) for flow in flows.participants if flow.participant == "home"), {})


@pytest.fixture
def village() -> Village:
    """Three intervals of wind, one of nothing, and four of calm, the last two of them not closed."""
    village = a_heat_village()
    live(village, 3, WINDY, PUMP)
    live(village, 1, STILL)
    live(village, 4, CALM, WARM)
    return village


def test_heat_from_a_tank_is_as_clean_as_the_wind_that_filled_it_yesterday(village: Village) -> None:
    stated = results(village)
    assert [set(heat_of_home(flows)) for flows in stated] == [
        *[set()] * 3,
        {Source.OTHER},  # nothing had been sent when the first of it arrived
        {Source.WIND},
        {Source.WIND},
    ]
    assert all(flow.origin_wh == () for flow in stated[-1].participants if flow.participant == "gas")
    clean_wh = sum(heat_of_home(flows).get(Source.WIND, 0) for flows in stated)
    row = village.five.analysis.factors["home"]
    assert (row.heat_wh, row.clean_heat_wh) == (clean_wh + heat_of_home(stated[3])[Source.OTHER], clean_wh)
    assert row.factors.demand == Fraction(clean_wh, row.heat_wh), "the term of heat in equation (2)"


def test_it_is_so_with_the_physics_of_a_node_too() -> None:
    village = a_heat_village(IntervalPhysics())
    live(village, 3, WINDY, PUMP)
    live(village, 1, STILL)
    live(village, 5, CALM, WARM)
    stated = results(village)
    content_wh = sum(flows.storages[0].charged_wh - flows.storages[0].discharged_wh for flows in stated)
    assert [set(heat_of_home(flows)) for flows in stated[-2:]] == [{Source.WIND}] * 2
    assert stated[-1].storages[0].content == Parcel(((Source.WIND, content_wh),))
    for block in village.blocks:
        for outcome in block.outcomes:
            assert outcome.refusal is None


def test_what_a_tank_holds_is_state(village: Village) -> None:
    stated, carried = results(village), inherited(village).carried
    tanks = [flows.storages[0] for flows in stated]
    content_wh = sum(tank.charged_wh - tank.discharged_wh for tank in tanks)
    assert carried.storages == {"tank": Parcel(((Source.WIND, content_wh),))} and content_wh > 0
    assert carried.pipes == {"pipe": [(START_MS + 5 * INTERVAL_MS, stated[-1].sent[0])]}


def test_the_state_is_the_same_after_a_restart(village: Village) -> None:
    ledger = village.five.ledger
    again = wire(ledger.region, village.physics)
    assert ledger.head is not None
    again.ledger.restore(ledger.head, ledger.logs, [(row.key, row.value or b"") for row in ledger.rows()])
    start = village.five.analysis.cursor.next_interval_ms
    due = Interval(start_ms=UnixMs(start), end_ms=UnixMs(start + INTERVAL_MS))
    assert again.analysis.known(due) == inherited(village)


@pytest.mark.parametrize(
    ("key", "mend"),
    [
        pytest.param("storages", lambda rows: (replace(rows[0], charged_wh=1),), id="a tank that was charged"),
        pytest.param("storages", lambda rows: (), id="no tank"),
        pytest.param("converters", lambda rows: (replace(rows[0], output_wh=1),), id="a pump that gave something"),
        pytest.param("balances", lambda rows: rows[:1], id="no heat network"),
        pytest.param("balances", lambda rows: (replace(rows[0], rest_wh=5), *rows[1:]), id="a balance that leaks"),
        pytest.param("balances", lambda rows: (*rows, rows[0]), id="a network twice"),
        pytest.param("sent", lambda rows: (*rows, PipeParcel("nowhere", True, Parcel(()))), id="a pipe of nowhere"),
    ],
)
def test_a_result_says_of_energy_what_the_meters_say(
    village: Village, key: str, mend: Callable[[Sequence[Any]], Any]
) -> None:
    _, result = due_result(village)
    rows = getattr(result.flows, key)
    lie = replace(result, flows=replace(result.flows, **{key: mend(rows)}))
    assert refusal_of(village, lie, MessageType.INTERVAL) is RefusalCode.RESULT_DIFFERS
    assert refusal_of(village, result, MessageType.INTERVAL) is None


def test_a_lie_about_a_content_is_found_out_by_whoever_reckons_again(village: Village) -> None:
    _, result = due_result(village)
    (tank,) = result.flows.storages
    gas = replace(tank, content=Parcel(((Source.GAS, tank.content.energy_wh),)))
    assert gas != tank
    lie = replace(result, flows=replace(result.flows, storages=(gas,)))
    data = village.sign(replace(lie, link=village.link("node")), MessageType.INTERVAL, "node")
    with pytest.raises(Refused) as refused:
        village.five.ledger.vet(village.record(data))
    assert (refused.value.code, "tank" in refused.value.detail) == (RefusalCode.RESULT_DIFFERS, True)


def due_result(village: Village) -> tuple[bytes, IntervalResult]:
    """Calm goes on, and an interval is due that the node has not signed yet."""
    idle = dict.fromkeys((*PUMP, *WARM), 0)
    batch = village.a_batch(idle | CALM | WARM)
    village.now_ms += INTERVAL_MS
    village.close([village.record(village.sign(batch, MessageType.BATCH))])
    data = village.compute.due_record(village.five)
    assert data is not None
    return data, IntervalResult.decode(Envelope.parse(data).payload)


def refusal_of(village: Village, message: Any, type_: MessageType) -> RefusalCode | None:
    record = village.record(village.sign(replace(message, link=village.link("node")), type_, "node"))
    return village.close([record]).outcomes[0].refusal


def correct(village: Village, meter: str, start_ms: int, imported_wh: int) -> None:
    correction = Correction(village.link("regulator"), meter, (Delta(start_ms, imported_wh, 0),), "a wrong ratio")
    record = village.record(village.sign(correction, MessageType.CORRECTION, "regulator"))
    assert village.close([record]).outcomes[0].refusal is None


@pytest.fixture
def restating() -> Village:
    """As `village`, but what becomes known late is restated at once, and the period is not over yet."""
    rules = a_heat_document()["rules"]
    rules["time"] |= {"restate_after_ms": 0, "period_ms": 20 * INTERVAL_MS}
    village = a_heat_village(rules=rules)
    live(village, 3, WINDY, PUMP)
    live(village, 1, STILL)
    live(village, 4, CALM, WARM)
    return village


def test_a_restatement_is_reckoned_with_what_the_interval_was_closed_with(restating: Village) -> None:
    """By now the tank holds less, and another parcel is in the pipe."""
    start, before = START_MS + 4 * INTERVAL_MS, inherited(restating).carried
    clean_wh, physics = restating.five.analysis.sums["home"].clean_heat_wh, restating.physics
    assert isinstance(physics, PlainPhysics)
    then = [known.carried for known in physics.seen if START_MS + 3 * INTERVAL_MS in sent_at(known)]
    physics.seen.clear()
    correct(restating, "m-home-heat", start, 10)
    restating.close_due()
    assert then and [known.carried for known in physics.seen] == [then[0]] * len(physics.seen)
    assert restating.five.analysis.totals.restatements == 1
    assert restating.five.analysis.sums["home"].clean_heat_wh == clean_wh + 10
    assert inherited(restating).carried == before, "what it leaves for later intervals does not change any more"


def sent_at(known: Known) -> list[int]:
    return [start_ms for parcels in known.carried.pipes.values() for start_ms, _ in parcels]


def test_a_restatement_may_be_restated(restating: Village) -> None:
    clean_wh = restating.five.analysis.sums["home"].clean_heat_wh
    for _ in range(2):
        correct(restating, "m-home-heat", START_MS + 4 * INTERVAL_MS, 10)
        restating.close_due()
    assert restating.five.analysis.sums["home"].clean_heat_wh == clean_wh + 20


def test_nobody_restates_with_another_past_in_the_tank(restating: Village) -> None:
    correct(restating, "m-home-heat", START_MS + 4 * INTERVAL_MS, 10)
    data = restating.compute.due_record(restating.five)
    assert data is not None
    honest = Restatement.decode(Envelope.parse(data).payload)
    for carried in (Carried(), replace(honest.inherited.carried, storages={"tank": Parcel(((Source.WIND, 1000),))})):
        lie = replace(honest, inherited=Known({}, carried))
        assert refusal_of(restating, lie, MessageType.RESTATEMENT) is RefusalCode.OTHER_PAST
    assert refusal_of(restating, honest, MessageType.RESTATEMENT) is None


# -- Parcels


def pipes_grid(**pipe: int) -> Grid:
    return a_grid(
        nodes=[*a_grid_document()["nodes"], *({"id": name, "carrier": "heat"} for name in ("h0", "h1"))],
        pipes=[{"id": "pipe", "from_node": "h0", "to_node": "h1", "rating_w": 80_000} | pipe],
    )


def an_interval(number: int) -> Interval:
    start = START_MS + number * INTERVAL_MS
    return Interval(start_ms=UnixMs(start), end_ms=UnixMs(start + INTERVAL_MS))


def sent_in(stores: Stores, grid: Grid, number: int) -> list[int]:
    """Numbers of the intervals whose parcels an interval is handed."""
    parcels = stores.carried(grid, an_interval(number)).pipes.get("pipe", ())
    return [(start_ms - START_MS) // INTERVAL_MS for start_ms, _ in parcels]


def test_of_a_pipe_with_a_fixed_delay_an_interval_is_handed_what_can_arrive_in_it() -> None:
    grid, stores = pipes_grid(delay_ms=12_000), Stores(Journal())
    for number in range(6):
        assert sent_in(stores, grid, number) == [n for n in (number - 3, number - 2) if n >= 0]
        sent = PipeParcel("pipe", True, Parcel(((Source.WIND, 10),)))
        stores.close(grid, an_interval(number), Flows((), (), sent=(sent,)))
    (table,) = (table for number, table in stores.tables.items() if len(table))
    assert len(table) == 3, "what has arrived is forgotten"


def test_of_a_pipe_with_a_content_an_interval_is_handed_what_lies_in_it() -> None:
    grid, stores = pipes_grid(content_wh=25), Stores(Journal())
    for number in range(6):
        sent = PipeParcel("pipe", True, Parcel(((Source.WIND, 10),)))
        stores.close(grid, an_interval(number), Flows((), (), sent=(sent,)))
    assert sent_in(stores, grid, 6) == [3, 4, 5], "the last 25 Wh reach back into the third last"
    for number, energy_wh in ((6, 12), (7, 13)):
        back = PipeParcel("pipe", False, Parcel(((Source.GAS, energy_wh),)))
        stores.close(grid, an_interval(number), Flows((), (), sent=(back,)))
        assert sent_in(stores, grid, number + 1) == ([3, 4, 5, 6] if number == 6 else [6, 7])


def test_what_only_moves_to_and_fro_pushes_nothing_out() -> None:
    grid, stores = pipes_grid(content_wh=25), Stores(Journal())
    for number in range(10):
        sent = PipeParcel("pipe", number % 2 == 0, Parcel(((Source.WIND, 20),)))
        stores.close(grid, an_interval(number), Flows((), (), sent=(sent,)))
    assert sent_in(stores, grid, 10) == list(range(10))


def test_nothing_that_stood_still_pushes_out_what_lies_in_a_pipe() -> None:
    grid, stores = pipes_grid(content_wh=25), Stores(Journal())
    stores.close(grid, an_interval(0), Flows((), (), sent=(PipeParcel("pipe", True, Parcel(((Source.WIND, 10),))),)))
    for number in range(1, 100):
        stores.close(grid, an_interval(number), Flows((), ()))
    assert sent_in(stores, grid, 100) == [0]


def test_parcels_of_all_pipes_together_fit_into_a_restatement() -> None:
    """Water that swings to and fro pushes nothing out; else nobody could read the record, nor settle the period."""
    assert parcels_max(pipes_grid(content_wh=25)) == PARCELS_MAX <= RESTATED_ROWS_MAX
    many = pipes_grid(content_wh=25)
    twenty = many.model_copy(update={"pipes": tuple(many.pipes) * 20})
    assert 20 * parcels_max(twenty) == RESTATED_ROWS_MAX


def test_a_pipe_keeps_its_youngest_parcels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aggregator.chains.intervals.stores.PARCELS_MAX", 4)
    grid, stores = pipes_grid(content_wh=25), Stores(Journal())
    for number in range(10):
        sent = PipeParcel("pipe", number % 2 == 0, Parcel(((Source.WIND, 20),)))
        stores.close(grid, an_interval(number), Flows((), (), sent=(sent,)))
    assert sent_in(stores, grid, 10) == [6, 7, 8, 9]


def test_a_region_of_too_many_lines_of_any_kind_restates_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pipes stand in the same list of a record as power lines do."""
    region = Village(grid=pipes_grid(content_wh=25)).five.asset.region
    monkeypatch.setattr("aggregator.chains.region.RESTATED_ROWS_MAX", len(region.grid.meters))
    assert len(region.grid.branches) < len(region.grid.meters) and region.can_restate
    many = region.grid.model_copy(update={"pipes": tuple(region.grid.pipes) * len(region.grid.meters)})
    assert not Region(replace(region.genesis, grid=many)).can_restate
