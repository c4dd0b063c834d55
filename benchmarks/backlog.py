"""A gateway that comes back after a month without a link: how long it takes to start, and to get rid of the backlog.

Two meters at the default pace: a record a minute, 43,200 in thirty days. What is timed is what the agent itself does
between opening its outbox and the first page of records on its way, and from a record on disk to its receipt: the link
and the aggregator take no time here. The peer in the same run is an outbox with an hour in it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from agent.bus.reading import Reading
from agent.outbox.batching import Boot
from agent.outbox.books import Books
from agent.outbox.file import OutboxFile
from agent.outbox.queue import Effect, Forget, LinkUp, Outbox, Page, Paged, Publish
from benchmarks.figure import Figure, cpu_seconds
from protocol.batch import Clock, ClockState, Quality
from protocol.crypto import SoftwareKey, digest_of
from protocol.envelope import seal
from protocol.messages import Receipt, Received
from protocol.units import BootMs, Quantity

REGION: Final = "bench"
GATEWAY: Final = "gw-1"
HOUR: Final = 60
MONTH: Final = 30 * 24 * HOUR
"""Records, one a minute."""
READINGS: Final = 60
IN_FLIGHT_MAX: Final = 32
DRAINED: Final = 5_000
"""Records of the month that are sent, answered and forgotten while it is timed."""
STARTS: Final = 20
KEY: Final = SoftwareKey.from_secret(7)


def measure() -> Iterator[Figure]:
    """Time both starts, and the drain."""
    with tempfile.TemporaryDirectory() as folder:
        hour, month = Path(folder) / "hour", Path(folder) / "month"
        for place, records in ((hour, HOUR), (month, MONTH)):
            _fill(place, records)
        hour_s, month_s = (cpu_seconds(partial(_start_often, place), rounds=5) for place in (hour, month))
        size_mb = (month / "outbox.sqlite").stat().st_size / 1e6
        drain_s = _drain(month) / DRAINED
    note = f"{MONTH:,} records, {size_mb:.0f} MB; a start takes {month_s / STARTS * 1e3:.1f} ms"
    yield Figure("backlog of a month: start, in starts with an hour's", month_s / hour_s, 1.2, "×", note=note)
    note = f"{MONTH * drain_s:.0f} s of this core for the month; new records wait behind it (ADR 18)"
    yield Figure("backlog of a month: records sent and forgotten a second", 1 / drain_s, 500, "/s", True, note)


def _fill(folder: Path, records: int) -> None:
    """An outbox with so many records, of which all but a few have the same contents: only their number matters."""
    file = OutboxFile.open(folder, region=REGION, gateway=GATEWAY)
    books = Books(file)
    boot = Boot(id=bytes(16), clock=Clock(ClockState.SYNCHRONIZED, 4, "kernel", 1_790_000_000_000))
    books.journal([_reading(meter, second) for second in range(READINGS) for meter in ("house", "roof")], boot)
    books.close_batch(READINGS, lambda payload: seal(KEY, region=REGION, type_="este.batch", payload=payload))
    envelope = books.envelope(1)
    assert envelope is not None, "the batch was just signed"
    with file.transaction(durable=True):
        for _ in range(records - 1):
            books.append(lambda link: envelope, lambda payload: payload)
    file.close()


def _reading(meter: str, second: int) -> Reading:
    return Reading(
        meter=meter,
        profile=digest_of(b"profile"),
        serial="17041234",
        start_ms=BootMs(1000 * second),
        end_ms=BootMs(1000 * second + 40),
        quality=Quality.NONE,
        values={Quantity.ACTIVE_POWER_W: 3600, Quantity.REACTIVE_POWER_VAR: 10, Quantity.VOLTAGE_L1_MV: 230_000},
        words={Quantity.IMPORTED_WH: second.to_bytes(4), Quantity.EXPORTED_WH: bytes(4)},
    )


def _start_often(folder: Path) -> None:
    for _ in range(STARTS):
        file, books, outbox = _start(folder)
        assert len(_paged(outbox, books, outbox.handle(LinkUp(), 0))) == IN_FLIGHT_MAX
        file.close()


def _start(folder: Path) -> tuple[OutboxFile, Books, Outbox]:
    file = OutboxFile.open(folder, region=REGION, gateway=GATEWAY)
    books = Books(file)
    books.totals()
    return file, books, Outbox(in_flight_max=IN_FLIGHT_MAX, resend_after_ms=10_000, last_signed=books.last_signed())


def _paged(outbox: Outbox, books: Books, effects: list[Effect]) -> list[int]:
    """Look up what the outbox asks for; the numbers of the records that it then wants published."""
    numbers = []
    for effect in effects:
        match effect:
            case Page(after, count):
                numbers += _paged(outbox, books, outbox.handle(Paged(books.page(after, count)), 0))
            case Publish(sequence):
                numbers.append(sequence)
            case _:
                pass
    return numbers


def _drain(folder: Path) -> float:
    """CPU seconds from the link to the receipt of so many records, answered one by one."""
    file, books, outbox = _start(folder)

    def work() -> None:
        waiting = _paged(outbox, books, outbox.handle(LinkUp(), 0))
        for height in range(DRAINED):
            sequence = waiting.pop(0)
            envelope = books.envelope(sequence)
            assert envelope is not None, "it waits until it has its receipt"
            receipt = Receipt(REGION, GATEWAY, height + 1, (Received(sequence, digest_of(envelope), height),))
            effects = outbox.handle(receipt, 0)
            for effect in effects:
                if isinstance(effect, Forget):
                    books.forget(effect.entries)
            waiting += _paged(outbox, books, effects)

    seconds = cpu_seconds(work, rounds=1)
    file.close()
    return seconds
