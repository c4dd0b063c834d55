"""Who may be called for what, and when: the rules of events on the operation chain."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains import operation
from aggregator.chains.congestion.events import Cancellation, ResponseEvent
from aggregator.chains.operation import Event
from config.grid_model import Grid
from config.load import check
from protocol.canonical import decode, encode
from protocol.errors import EncodingError
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused
from tests.village import INTERVAL_MS, START_MS, Village, a_grid_document

DAY_MS = 4 * INTERVAL_MS
SOON_MS = START_MS + 2 * INTERVAL_MS


@pytest.fixture
def village() -> Village:
    """A day has four intervals; home and wind take part in demand response."""
    document = a_grid_document()
    document["rules"]["time"]["day_ms"] = DAY_MS
    for participant in document["participants"]:
        participant["responds"] = participant["id"] in ("home", "wind")
    return Village(grid=check(document, Grid, "grid.yaml"))


def call(village: Village, author: str = "regulator", **changes: Any) -> RefusalCode | None:
    """Call an event, valid by default, and say what became of the record."""
    window = {"start_ms": SOON_MS, "end_ms": SOON_MS + INTERVAL_MS} | changes
    message = ResponseEvent(village.link(author), **{"branch": "b1"} | window)
    record = village.record(village.sign(message, MessageType.EVENT, author))
    return village.close([record]).outcomes[0].refusal


def cancel(village: Village, event: int) -> RefusalCode | None:
    message = Cancellation(village.link("regulator"), event, "no cloud came")
    record = village.record(village.sign(message, MessageType.CANCELLATION, "regulator"))
    return village.close([record]).outcomes[0].refusal


@pytest.mark.parametrize("author", ["regulator", "node"])
def test_the_regulator_and_an_aggregator_may_call(village: Village, author: str) -> None:
    assert call(village, author) is None
    assert dict(village.five.operation.events.items()) == {1: Event(SOON_MS, SOON_MS + INTERVAL_MS, "b1", ())}


def test_a_gateway_may_not_call(village: Village) -> None:
    with pytest.raises(Refused) as refused:
        call(village, "gw")
    assert refused.value.code is RefusalCode.NOT_THEIR_TYPE


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"start_ms": START_MS - INTERVAL_MS}, RefusalCode.NOT_AHEAD, id="of yesterday"),
        pytest.param({"start_ms": SOON_MS + 1}, RefusalCode.NO_SUCH_WINDOW, id="from within an interval"),
        pytest.param({"end_ms": SOON_MS + 1}, RefusalCode.NO_SUCH_WINDOW, id="until within an interval"),
        pytest.param({"end_ms": SOON_MS}, RefusalCode.NO_SUCH_WINDOW, id="of no time"),
        pytest.param({"end_ms": SOON_MS + DAY_MS + INTERVAL_MS}, RefusalCode.NO_SUCH_WINDOW, id="longer than a day"),
        pytest.param({"branch": "b2"}, RefusalCode.UNKNOWN_BRANCH, id="for a line that is not there"),
        pytest.param({"participants": ("gas",)}, RefusalCode.NOT_RESPONDING, id="of somebody who does not respond"),
        pytest.param({"participants": ("who",)}, RefusalCode.NOT_RESPONDING, id="of nobody"),
    ],
)
def test_an_event_that_cannot_be_is_refused(village: Village, changes: dict[str, Any], code: RefusalCode) -> None:
    assert call(village, **changes) is code
    assert len(village.five.operation.events) == village.five.operation.totals.called == 0


def test_an_event_may_begin_at_once_and_last_a_day(village: Village) -> None:
    assert call(village, start_ms=START_MS, end_ms=START_MS + DAY_MS) is None


def test_no_more_are_called_at_a_time_than_a_record_has_room_for(
    village: Village, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operation, "CALLED_MAX", 3)
    assert call(village) is None  # both
    assert call(village) is RefusalCode.TOO_MANY_CALLED
    assert call(village, participants=("home",)) is None
    assert call(village, start_ms=SOON_MS + INTERVAL_MS, end_ms=SOON_MS + 2 * INTERVAL_MS) is None  # at another time


def test_so_many_events_wait_and_no_more(village: Village, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may name thousands, and all stand in the state: also those of next year."""
    monkeypatch.setattr(operation, "EVENTS_MAX", 2)
    later = [SOON_MS + n * INTERVAL_MS for n in range(3)]
    codes = [call(village, start_ms=start_ms, end_ms=start_ms + INTERVAL_MS) for start_ms in later]
    assert codes == [None, None, RefusalCode.TOO_MANY_CALLED]


def test_an_event_is_cancelled_ahead_or_not_at_all(village: Village) -> None:
    call(village)
    assert cancel(village, 2) is RefusalCode.NO_SUCH_EVENT
    assert cancel(village, 1) is None
    assert cancel(village, 1) is RefusalCode.NO_SUCH_EVENT
    call(village)
    village.live(15)
    assert cancel(village, 2) is RefusalCode.NOT_AHEAD
    assert (village.five.operation.totals.called, village.five.operation.totals.cancelled) == (2, 1)


def test_an_event_is_forgotten_once_its_last_interval_is_closed(village: Village) -> None:
    call(village)
    village.live(20)
    assert village.five.analysis.cursor.next_interval_ms == SOON_MS + INTERVAL_MS
    assert len(village.five.operation.events) == 0
    assert cancel(village, 1) is RefusalCode.NO_SUCH_EVENT


@pytest.mark.parametrize("called", [["wind", "home"], ["home", "home"], ["-"], None])
def test_whom_an_event_calls_has_one_spelling(village: Village, called: Any) -> None:
    message = ResponseEvent(village.link("regulator"), SOON_MS, SOON_MS + INTERVAL_MS, "", ("home", "wind"))
    assert ResponseEvent.decode(message.encode()) == message
    fields = decode(message.encode(), size_max=1 << 10)
    with pytest.raises(EncodingError):
        ResponseEvent.decode(encode({**fields, 8: called}))
