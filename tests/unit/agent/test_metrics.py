"""What Prometheus is told, read with Prometheus' own reader; pains row 14: a queue that nobody sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.house.metrics import Counts, exposition
from agent.outbox.memory import MeterSeen
from agent.status import TROUBLES
from protocol.batch import Clock, ClockState
from tests.builders import a_clock
from tests.unit.agent.builders import a_boot, a_reading, a_slow_reading
from tests.unit.agent.test_status import SEEN

COUNTS = Counts(readings={"house": 60, 'ro"of\\': 0}, failures={"house": 2, 'ro"of\\': 0})


def samples(seen: object = SEEN, clock: Clock | None = None) -> dict[tuple[str, ...], float]:
    text = exposition(seen, clock or a_clock(), COUNTS)  # type: ignore[arg-type]
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_row_14_the_backlog_is_told_by_number_bytes_and_age() -> None:
    found = samples()
    names = ("este_backlog_records", "este_outbox_bytes", "este_backlog_age_seconds", "este_receipts_total")
    assert [found[name,] for name in names] == [2, 4096, 60, 18]


def test_each_meter_is_told() -> None:
    found = samples()
    assert found["este_meter_readings_total", "house"] == 60
    assert found["este_meter_failures_total", "house"] == 2
    assert found["este_meter_failing", "roof"] == 1
    assert found["este_meter_age_seconds", "house"] == 5
    assert ("este_meter_age_seconds", "roof") not in found


def test_what_is_read_more_rarely_has_an_age_of_its_own() -> None:
    slow = MeterSeen("house", a_boot(), a_reading(), None, a_slow_reading(30_000))
    found = samples(replace(SEEN, meters=[slow, MeterSeen("roof", None, None, None)]))
    assert (found["este_meter_age_seconds", "house"], found["este_meter_slow_age_seconds", "house"]) == (5, 35)
    assert ("este_meter_slow_age_seconds", "roof") not in found


def test_names_survive_the_way_whatever_is_in_them() -> None:
    assert samples()["este_meter_readings_total", 'ro"of\\'] == 0


@pytest.mark.parametrize(
    ("clock", "expected"),
    [(a_clock(), (1, 0.004)), (a_clock(state=ClockState.UNSYNCHRONIZED, error_ms=86_400_000), (0, 86_400))],
)
def test_row_9_the_clock_and_its_error_are_told(clock: Clock, expected: tuple[float, float]) -> None:
    found = samples(clock=clock)
    assert (found["este_clock_synchronized",], found["este_clock_error_seconds",]) == expected


def test_the_link_and_every_trouble_are_told() -> None:
    found = samples(replace(SEEN, notes={"link": "refused", "key": "I2C timeout"}))
    assert found["este_link_up",] == 0
    assert {name: found["este_trouble", name] for name in TROUBLES} == dict.fromkeys(TROUBLES, 0) | {"key": 1}


def test_a_counter_says_that_it_is_one() -> None:
    families = {
        family.name: family.type for family in text_string_to_metric_families(exposition(SEEN, a_clock(), COUNTS))
    }
    assert families["este_readings"] == "counter"
    assert families["este_backlog_records"] == "gauge"
