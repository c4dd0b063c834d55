"""However readings come, batches hold each of them once, in order, and every decoder accepts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.bus.reading import Part, Reading, SlowReading
from agent.outbox.batching import Journaled, OpenBatch, lay_out
from agent.outbox.columns import Shape, TableShape
from agent.timekeeping import clock_of_the_past
from config.settings.agent import Batching
from protocol.batch import BATCH_BYTES_MAX, Batch, Clock, ClockState, MeterBlock, Quality
from protocol.readings import Readings
from protocol.units import BootMs, Quantity
from tests.builders import a_digest, a_link
from tests.unit.agent.builders import a_boot

I32 = st.integers(-(2**31), 2**31 - 1)


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """One reading of one of a few meters, whose profile, serial number and columns may change."""
    quantities = draw(st.sampled_from([(Quantity.IMPORTED_WH,), (Quantity.ACTIVE_POWER_W, Quantity.IMPORTED_WH)]))
    return Reading(
        meter=draw(st.sampled_from(["a", "b", "c"])),
        profile=a_digest(draw(st.sampled_from(["p", "p", "p", "q"]))),
        serial=draw(st.sampled_from(["1", "1", "1", "2"])),
        start_ms=BootMs(0),
        end_ms=BootMs(0),
        quality=Quality(draw(st.integers(0, 3))),
        values={quantity: draw(I32) for quantity in quantities if quantity is not Quantity.IMPORTED_WH},
        words={Quantity.IMPORTED_WH: draw(st.binary(min_size=4, max_size=4))},
    )


@st.composite
def parts(draw: st.DrawFn, told: Sequence[Quantity], start_ms: int, end_ms: int) -> tuple[Part, ...]:
    """What came with each of two requests, or nothing where one brought all."""
    if len(told) < 2 or not draw(st.booleans()):
        return ()
    answered_ms, sent_ms = sorted(draw(st.tuples(*[st.integers(start_ms, end_ms)] * 2)))
    first, *rest = told
    return (
        Part(BootMs(start_ms), BootMs(answered_ms), tuple(rest)),
        Part(BootMs(sent_ms), BootMs(end_ms), (first,)),
    )


@st.composite
def slow_readings(draw: st.DrawFn, since_ms: int, until_ms: int) -> SlowReading | None:
    """What may have been read since the reading before."""
    if until_ms - since_ms < 2 or not draw(st.booleans()):
        return None
    start_ms = draw(st.integers(since_ms + 1, until_ms))
    told = draw(st.sampled_from([(Quantity.FREQUENCY_MHZ,), (Quantity.FREQUENCY_MHZ, Quantity.CURRENT_L1_MA)]))
    return SlowReading(
        start_ms=BootMs(start_ms),
        end_ms=BootMs(start_ms + 90),
        quality=Quality(draw(st.integers(0, 1))),
        values={quantity: draw(I32) for quantity in told},
        parts=draw(parts(told, start_ms, start_ms + 90)),
    )


@st.composite
def journals(draw: st.DrawFn) -> list[Reading]:
    """Readings one after another, as a bus brings them."""
    rows, now_ms = [], draw(st.integers(0, 10**9))
    last_ms: dict[str, int] = {}
    for reading in draw(st.lists(readings(), min_size=1, max_size=40)):
        end_ms = now_ms + draw(st.integers(0, 2000))
        told = tuple(sorted({*reading.values, *reading.words}))
        rows.append(
            replace(
                reading,
                start_ms=BootMs(now_ms),
                end_ms=BootMs(end_ms),
                parts=draw(parts(told, now_ms, end_ms)),
                slow=draw(slow_readings(last_ms.get(reading.meter, now_ms), now_ms)),
            )
        )
        last_ms[reading.meter] = now_ms
        now_ms += draw(st.integers(1, 70_000))
    return rows


def readings_in(batch: Batch) -> list[Reading]:
    return [reading for block in batch.meters for reading in _readings_of(block)]


def _readings_of(block: MeterBlock) -> list[Reading]:
    told = [
        Reading(
            meter=block.meter,
            profile=block.profile,
            serial=block.serial,
            start_ms=BootMs(block.first_ms + start),
            end_ms=BootMs(block.first_ms + start + block.durations_ms[n]),
            quality=Quality(block.quality[n]),
            values={quantity: column[n] for quantity, column in block.columns.items()},
            words={quantity: block.words_of(quantity, n) for quantity in block.words},
            parts=_parts_of(block, n),
        )
        for n, start in enumerate(block.starts_ms)
    ]
    return [replace(reading, slow=slow) for reading, slow in zip(told, _slow_of(block, told), strict=True)]


def _slow_of(block: MeterBlock, told: Sequence[Reading]) -> list[SlowReading | None]:
    """Each slow reading with the first reading that began no earlier."""
    slow = block.slow
    by_reading: dict[int, SlowReading] = {}
    for n, start in enumerate(slow.starts_ms if slow else ()):
        assert slow is not None
        start_ms = slow.first_ms + start
        by_reading[next(place for place, reading in enumerate(told) if reading.start_ms >= start_ms)] = SlowReading(
            start_ms=BootMs(start_ms),
            end_ms=BootMs(start_ms + slow.durations_ms[n]),
            quality=Quality(slow.quality[n]),
            values={quantity: column[n] for quantity, column in slow.columns.items()},
            parts=_parts_of(slow, n),
        )
    return [by_reading.get(place) for place in range(len(told))]


def _parts_of(table: Readings, reading: int) -> tuple[Part, ...]:
    if not table.parts:
        return ()
    spans = enumerate(table.spans_ms(reading))
    return tuple(Part(BootMs(start), BootMs(end), table.brought_by(n)) for n, (start, end) in spans)


@given(journals(), st.integers(1, 10))
def test_every_reading_is_in_exactly_one_batch_and_each_meter_s_are_in_order(
    rows: list[Reading], readings_max: int
) -> None:
    left = [Journaled(number, reading) for number, reading in enumerate(rows)]
    told: list[Reading] = []
    while left:
        layout = lay_out(left, readings_max)
        payload = layout.build(a_link(), a_boot()).encode()
        assert len(payload) <= BATCH_BYTES_MAX
        batch = Batch.decode(payload)
        assert 0 < batch.readings == len(layout.rows)
        assert max(map(len, batch.meters)) <= readings_max
        told += readings_in(batch)
        left = [row for row in left if row.row not in set(layout.rows)]
    by_meter = {meter: [r for r in rows if r.meter == meter] for meter in ("a", "b", "c")}
    assert {meter: [r for r in told if r.meter == meter] for meter in by_meter} == by_meter


@given(journals(), st.integers(1, 10), st.integers(100, 60_000))
def test_a_batch_that_is_closed_when_it_is_due_never_leaves_more_than_one_change_behind(
    rows: list[Reading], readings_max: int, age_max_ms: int
) -> None:
    limits = Batching(readings_max=readings_max, age_max_ms=age_max_ms)
    left: list[Journaled] = []
    for number, reading in enumerate(rows):
        left.append(Journaled(number, reading))
        while gathered(left, limits).due(reading.end_ms):
            taken = set(lay_out(left, readings_max).rows)
            left = [row for row in left if row.row not in taken]
        assert len(left) <= 3 * readings_max
        shapes = {(r.reading.meter, Shape.of(r.reading)) for r in left}
        slow_shapes = {(r.reading.meter, TableShape.of(r.reading.slow)) for r in left if r.reading.slow}
        for of_meters in (shapes, slow_shapes):
            assert max(Counter(meter for meter, _ in of_meters).values(), default=1) == 1


def gathered(rows: list[Journaled], limits: Batching) -> OpenBatch:
    batch = OpenBatch(limits)
    for row in rows:
        batch.add(row.reading)
    return batch


clocks = st.builds(
    Clock,
    state=st.sampled_from(ClockState),
    error_ms=st.integers(0, 86_400_000),
    source=st.just("kernel"),
    epoch_ms=st.integers(0, 2**41),
)


@given(clocks, clocks)
def test_a_clock_that_was_synchronized_is_never_replaced_for_the_past(known: Clock, now: Clock) -> None:
    past = clock_of_the_past(known, now)
    assert past in (known, now)
    if known.state is ClockState.SYNCHRONIZED:
        assert past == known


@given(readings())
def test_a_reading_has_one_spelling_in_the_journal(reading: Reading) -> None:
    assert Reading.decode(reading.encode()) == reading
