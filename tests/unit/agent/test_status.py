"""What people are told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agent.outbox.books import Totals
from agent.outbox.memory import Aside, DeviceSeen, MeterSeen, Seen
from agent.status import LINK_UP, UNANSWERED_MS, State, halt_text, status_message, to_json, to_text
from protocol.batch import Quality
from protocol.limits import Direction, Limit, Tier, Why
from protocol.messages import Right, RightKind
from protocol.refusals import RefusalCode
from tests.builders import EPOCH_MS, a_refusal, a_standing, a_statement
from tests.unit.agent.builders import a_boot, a_reading, a_slow_reading

TOTALS = Totals(
    readings_read=1200,
    records_signed=21,
    records_received=18,
    records_refused=1,
    statements_verified=4,
    rights_applied=2,
)

SEEN = Seen(
    region="sunvale",
    gateway="gw-1",
    is_running=True,
    unix_ms=EPOCH_MS + 65_000,
    totals=TOTALS,
    bytes_used=4096,
    oldest_waiting_ms=EPOCH_MS + 5_000,
    notes={"link": LINK_UP},
    meters=[
        MeterSeen("house", a_boot(), a_reading(), None),
        MeterSeen("roof", None, None, "no whole answer in time"),
    ],
    devices=[DeviceSeen("heat-pump", 1000, None)],
    asides=[Aside(7, RefusalCode.UNKNOWN_METER, "house")],
    statement=a_statement(),
)

PROMISED = {
    "gateway",
    "region",
    "readings_read",
    "records_waiting",
    "records_signed",
    "records_received",
    "records_refused",
    "statements_verified",
    "rights_applied",
    "halted",
    "meters",
    "standings",
}


def test_a_record_waits_until_it_is_received_or_refused() -> None:
    assert TOTALS.records_waiting == 2


def test_programs_find_every_key_that_they_were_promised() -> None:
    document = to_json(SEEN)
    assert set(document) >= PROMISED
    assert json.loads(json.dumps(document)) == document


def test_a_halt_is_told_with_its_reason() -> None:
    halted = to_json(replace(SEEN, notes={"halted": "somebody else signs"}))
    assert (halted["halted"], halted["halted_because"]) == (True, "somebody else signs")
    assert to_json(SEEN)["halted"] is False
    assert "HALTED: somebody else signs" in list(to_text(halted))


def test_a_meter_is_told_with_the_age_of_its_last_reading() -> None:
    house, roof = to_json(SEEN)["meters"]
    assert (house["read_ms"], house["age_ms"]) == (EPOCH_MS + 60_000, 5_000)
    assert (roof["read_ms"], roof["failing"]) == (None, "no whole answer in time")


def test_what_is_read_more_rarely_is_told_with_its_own_age() -> None:
    """pains.md, row 9: an old value beside a fresh one must not look as fresh."""
    seen = replace(SEEN, meters=[MeterSeen("house", a_boot(), a_reading(), None, a_slow_reading(30_000))])
    (meter,) = to_json(seen)["meters"]
    assert (meter["age_ms"], meter["slow_age_ms"]) == (5_000, 35_000)
    assert meter["slow_values"] == ["current_l1_ma", "frequency_mhz"]
    assert meter["values"]["frequency_mhz"] == 50_000
    (line,) = (line for line in to_text(to_json(seen)) if line.startswith("meter house"))
    assert "35 s ago frequency_mhz 50000, current_l1_ma 15652" in line
    assert line.count("frequency_mhz") == 1


def test_flags_are_told_by_name() -> None:
    flagged = a_reading(quality=Quality.UNEXPLAINED_STEP)
    (meter,) = to_json(replace(SEEN, meters=[MeterSeen("house", a_boot(), flagged, None)]))["meters"]
    assert meter["flags"] == ["unexplained_step"]


def test_people_read_it_line_by_line() -> None:
    lines = list(to_text(to_json(SEEN)))
    assert lines[0] == "gateway gw-1 in sunvale: running, link up"
    assert "record 7 set aside: UNKNOWN_METER house" in lines
    assert "meter roof: cannot be read: no whole answer in time; never read" in lines
    assert "device heat-pump: held to 1000 W" in lines
    assert "participant borja: -7 tokens, restricted, rank 2, supply factor -0.050000, demand factor 0.412000" in lines
    assert "  heat-pump may take or feed in 1000 W at most" in lines
    assert "  holds priority_purchase from 2025-06-15 15:06:40 to 2025-06-15 16:06:40 UTC" in lines


def test_a_limit_with_a_direction_tells_why() -> None:
    why = Why(1_130_000, Tier.PRIORITY, 250_000)
    limits = (
        Limit("heat-pump", 700, "b-2", Direction.TAKE, why),
        Limit("roof", 500, direction=Direction.FEED_IN),
    )
    statement = a_statement(standings=(a_standing(limits=limits),))
    lines = list(to_text(to_json(replace(SEEN, statement=statement))))
    told = "power line b-2 was loaded with 113 %; although they hold priority, left 25 %"
    assert f"  heat-pump may take 700 W at most: {told}" in lines
    assert "  roof may feed in 500 W at most" in lines


DRIVEN = {
    "participant": "borja",
    "contracts": ["5b0e6f1c9a72"],
    "power_w": 6_000,
    "until_ms": EPOCH_MS,
    "devices": {"battery": -5_000},
    "missing_w": 1_000,
    "why": "battery is held to 5000 W",
}


def test_what_contracts_ask_of_which_device_and_what_is_missing_is_told() -> None:
    devices = [DeviceSeen("battery", 5_000, None, -5_000), DeviceSeen("car", None, None, 3_000)]
    notes = {"link": "up", "driven": json.dumps([DRIVEN])}
    lines = list(to_text(to_json(replace(SEEN, devices=devices, notes=notes))))
    assert "device battery: held to 5000 W, set to feed in 5000 W by contract" in lines
    assert "device car: free, set to take 3000 W by contract" in lines
    asked = "contract 5b0e6f1c9a72: borja is to feed in 6000 W until 2025-06-15 15:06:40 UTC"
    missing = "1000 W are left to whatever else runs (battery is held to 5000 W)"
    assert f"{asked}; battery is set to feed in 5000 W; {missing}" in lines


def test_an_agent_that_does_not_run_drives_nothing() -> None:
    document = to_json(replace(SEEN, is_running=False, notes={"driven": json.dumps([DRIVEN])}))
    assert document["contracts_driven"] == []


def test_a_limit_for_a_line_s_sake_and_a_channel_name_the_line() -> None:
    statement = a_statement(
        standings=(
            a_standing(
                limits=(Limit("heat-pump", 700, "b-2"),), rights=(Right(RightKind.CHANNEL_USE, 0, 1000, "b-2", 5_000),)
            ),
        )
    )
    lines = list(to_text(to_json(replace(SEEN, statement=statement))))
    assert "  heat-pump may take or feed in 700 W at most: power line b-2 carries too much" in lines
    assert "  holds channel_use of b-2, 5000 W, from 1970-01-01 00:00:00 to 1970-01-01 00:00:01 UTC" in lines


def test_row_14_a_backlog_is_told_by_number_bytes_and_age() -> None:
    """Pains row 14: a queue that nobody sees."""
    document = to_json(SEEN)
    assert (document["records_waiting"], document["bytes_used"], document["oldest_waiting_age_ms"]) == (2, 4096, 60_000)
    assert "the oldest reading without a receipt is 60 s old" in to_text(document)
    assert to_json(replace(SEEN, oldest_waiting_ms=None))["oldest_waiting_age_ms"] is None


@pytest.mark.parametrize("name", ["paused", "halted", "alarm", "key", "clock", "thinned", "orders", "neighbours"])
def test_every_trouble_is_told_with_its_reason(name: str) -> None:
    state = State().noting({name: "says the test"})
    seen = replace(SEEN, notes={key: text for key, text in state.notes().items() if text})
    assert any("says the test" in line for line in to_text(to_json(seen)))
    assert json.loads(status_message(state, TOTALS, ignored=0))[name]


def test_an_agent_that_does_not_run_has_no_link() -> None:
    assert to_json(replace(SEEN, is_running=False))["link"] == "not running"


def test_the_status_at_the_broker_tells_nothing_about_anybody_s_energy() -> None:
    state = State(link=LINK_UP).with_failing(["roof", "house"], "silent").without_failing(["roof"])
    message = json.loads(status_message(state, TOTALS, ignored=3))
    assert message == {
        "state": "online",
        "paused": None,
        "halted": False,
        "alarm": None,
        "key": None,
        "clock": None,
        "thinned": None,
        "orders": None,
        "neighbours": None,
        "failing": ["house"],
        "messages_ignored": 3,
        "records_waiting": 2,
        "readings_read": 1200,
        "records_signed": 21,
        "records_received": 18,
        "records_refused": 1,
        "statements_verified": 4,
        "rights_applied": 2,
    }


def test_a_halt_says_what_to_do() -> None:
    text = halt_text(a_refusal(sequence=5, code=RefusalCode.SEQUENCE_REPLAYED, expected_sequence=9))
    assert text.startswith("record 5: the aggregator already has another record by this number; it waits for 9;")
    assert "enrol a new key" in text


def test_a_gateway_that_gets_no_receipt_is_told_to_ask_why() -> None:
    """So a revoked key shows, though nobody answers it any more."""
    unanswered = replace(SEEN, oldest_waiting_ms=SEEN.unix_ms - UNANSWERED_MS - 1)
    assert any(line.startswith("NO RECEIPT") for line in to_text(to_json(unanswered)))
    assert not any(line.startswith("NO RECEIPT") for line in to_text(to_json(SEEN)))


def test_people_are_told_of_offers_that_wait_for_them() -> None:
    told = list(to_text(to_json(replace(SEEN, offers_open=2))))
    assert "2 offers wait for a decision: este-agent trade inbox" in told
    assert not any("trade inbox" in line for line in to_text(to_json(SEEN)))
