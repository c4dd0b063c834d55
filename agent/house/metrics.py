"""What Prometheus is told, in its text format (prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4).

Given what the outbox file tells, the clock and the counts of this run, lays out lines. Written by hand, since the
figures are in the outbox file: the usual library would keep them once more, with a server and threads of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.outbox.memory import Seen
from agent.status import LINK_UP, TROUBLES
from protocol.batch import Clock, ClockState

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(slots=True)
class Counts:
    """What happened on the buses since this program started, by meter."""

    readings: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    """How often it began to fail, or failed in another way."""


@dataclass(frozen=True, slots=True)
class _Metric:
    name: str
    kind: str
    help: str

    def lines(self, values: Mapping[str, float | None], label: str = "") -> Iterator[str]:
        """The metric with its values by label; None is left out."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for value_of, value in values.items():
            if value is not None:
                labels = f'{{{label}="{escaped(value_of)}"}}' if label else ""
                yield f"{self.name}{labels} {value:.15g}"


def exposition(seen: Seen, clock: Clock, counts: Counts) -> str:
    """The whole answer to one scrape."""
    lines = [line for part in (_outbox(seen), _program(seen, clock), _meters(seen, counts)) for line in part]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """A label's value as the format spells it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _one(name: str, kind: str, help_: str, value: float | None) -> Iterator[str]:
    yield from _Metric(name, kind, help_).lines({"": value})


def _outbox(seen: Seen) -> Iterator[str]:
    totals, oldest_ms = seen.totals, seen.oldest_waiting_ms
    age_s = 0 if oldest_ms is None else max(0, seen.unix_ms - oldest_ms) / 1000
    yield from _one("este_readings_total", "counter", "Readings kept since the outbox was made.", totals.readings_read)
    yield from _one("este_records_signed_total", "counter", "Records signed.", totals.records_signed)
    yield from _one("este_receipts_total", "counter", "Records that have their receipt.", totals.records_received)
    yield from _one("este_refusals_total", "counter", "Records refused for good.", totals.records_refused)
    yield from _one("este_statements_total", "counter", "Statements verified.", totals.statements_verified)
    yield from _one("este_backlog_records", "gauge", "Records that wait for their receipt.", totals.records_waiting)
    yield from _one("este_backlog_age_seconds", "gauge", "Age of the oldest reading that waits.", age_s)
    yield from _one("este_outbox_bytes", "gauge", "Bytes of the outbox in use.", seen.bytes_used)


def _program(seen: Seen, clock: Clock) -> Iterator[str]:
    is_synchronized = clock.state is ClockState.SYNCHRONIZED
    yield from _one("este_link_up", "gauge", "Whether the broker is there.", seen.notes.get("link") == LINK_UP)
    yield from _one("este_clock_synchronized", "gauge", "Whether the clock may be believed.", is_synchronized)
    yield from _one("este_clock_error_seconds", "gauge", "Bound of the clock's error.", clock.error_ms / 1000)
    trouble = _Metric("este_trouble", "gauge", "Whether something is not as it should be; the status says why.")
    yield from trouble.lines({name: name in seen.notes for name in TROUBLES}, "kind")


def _meters(seen: Seen, counts: Counts) -> Iterator[str]:
    readings = _Metric("este_meter_readings_total", "counter", "Readings of a meter since the program started.")
    yield from readings.lines(counts.readings, "meter")
    failures = _Metric("este_meter_failures_total", "counter", "How often a meter began to fail since then.")
    yield from failures.lines(counts.failures, "meter")
    failing = _Metric("este_meter_failing", "gauge", "Whether a meter cannot be read now.")
    yield from failing.lines({meter.meter: meter.failing is not None for meter in seen.meters}, "meter")
    ages = {meter.meter: _age_s(meter.read_unix_ms, seen.unix_ms) for meter in seen.meters}
    yield from _Metric("este_meter_age_seconds", "gauge", "Age of a meter's last reading.").lines(ages, "meter")
    slow_ages = {meter.meter: _age_s(meter.slow_unix_ms, seen.unix_ms) for meter in seen.meters}
    slow_age = _Metric("este_meter_slow_age_seconds", "gauge", "Age of what is last known of its slow quantities.")
    yield from slow_age.lines(slow_ages, "meter")


def _age_s(since_ms: int | None, unix_ms: int) -> float | None:
    return None if since_ms is None else max(0, unix_ms - since_ms) / 1000
