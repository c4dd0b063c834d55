"""A batch says what a gateway read, in one spelling, within its bounds."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from protocol.batch import (
    BATCH_BYTES_MAX,
    INSTANT_MAX,
    METERS_MAX,
    Batch,
    ClockState,
    Quality,
)
from protocol.canonical import Value, decode
from protocol.errors import EncodingError, OversizedError
from protocol.readings import READINGS_MAX, VALUE_MAX, VALUE_MIN
from protocol.units import Quantity
from tests.builders import (
    a_batch,
    a_clock,
    a_digest,
    a_link,
    a_meter_block,
    a_meter_block_in_parts,
    float_words,
    some_slow_readings,
)
from tests.unit.protocol.mutation import Path, paths_in, with_field, without_field

SPELLED = a_batch().encode()

BLOCK = (7, 0)
CLOCK = (6,)


def test_a_batch_survives_being_written_and_read() -> None:
    batch = a_batch(meters=(a_meter_block(), a_meter_block(meter="m-2", count=60)))
    assert Batch.decode(batch.encode()) == batch
    assert Batch.decode(batch.encode()).encode() == batch.encode()


def test_a_batch_counts_its_readings() -> None:
    assert a_batch(meters=(a_meter_block(count=3), a_meter_block(meter="m-2", count=4))).readings == 7
    assert len(a_meter_block(count=5)) == 5


def test_a_batch_begins_with_its_link() -> None:
    link = a_link(sequence=8, previous=a_digest("record 7"))
    assert Batch.decode(a_batch(link=link).encode()).link == link


def test_columns_are_written_in_the_order_of_their_numbers_whatever_the_order_they_are_handed_in() -> None:
    columns = dict(reversed(a_meter_block().columns.items()))
    assert a_batch(meters=(a_meter_block(columns=columns),)).encode() == a_batch().encode()


def test_a_table_gives_back_its_columns() -> None:
    block = a_meter_block(count=4)
    assert block.starts_ms.tolist() == [0, 1000, 2000, 3000]
    assert block.durations_ms.tolist() == [40] * 4
    assert block.quality.tolist() == [0] * 4
    assert block.columns[Quantity.VOLTAGE_L1_MV].tolist() == [230_000, 230_001, 230_002, 230_003]
    assert block.column(Quantity.ACTIVE_POWER_W) == block.columns[Quantity.ACTIVE_POWER_W]
    assert block.column(Quantity.FREQUENCY_MHZ) is None
    assert block.words_of(Quantity.IMPORTED_WH, 2) == float_words([1.002])


IN_PARTS = a_batch(meters=(a_meter_block_in_parts(),)).encode()
PARTS, SLOW = (*BLOCK, 8), (*BLOCK, 9)


def test_a_reading_of_several_requests_tells_when_each_was_sent_and_answered() -> None:
    """pains.md, row 9: what came with the first request was so before the second was sent."""
    (block,) = Batch.decode(IN_PARTS).meters
    assert [block.brought_by(request) for request in (0, 1)] == [
        (Quantity.ACTIVE_POWER_W, Quantity.VOLTAGE_L1_MV),
        (Quantity.IMPORTED_WH, Quantity.EXPORTED_WH),
    ]
    assert block.spans_ms(2) == [(62_000, 62_015), (62_022, 62_040)]
    assert block.column(Quantity.VOLTAGE_L1_MV) == a_meter_block().column(Quantity.VOLTAGE_L1_MV)


def test_slow_readings_have_instants_of_their_own() -> None:
    (block,) = Batch.decode(IN_PARTS).meters
    assert block.slow is not None and len(block) == 3
    assert block.slow.spans_ms(0) == [(60_500, 60_530), (60_535, 60_570)]
    assert [block.slow.brought_by(request) for request in (0, 1)] == [
        (Quantity.CURRENT_L1_MA,),
        (Quantity.FREQUENCY_MHZ,),
    ]
    assert block.slow.columns == {
        Quantity.FREQUENCY_MHZ: array("i", [50_010]),
        Quantity.CURRENT_L1_MA: array("i", [15_652]),
    }
    assert Batch.decode(IN_PARTS).readings == 3, "what is read more rarely is no reading of its own"


def test_a_reading_of_one_request_says_nothing_of_requests_and_takes_no_byte_for_it() -> None:
    (block,) = Batch.decode(SPELLED).meters
    assert (block.spans_ms(1), block.brought_by(0)) == ([(61_000, 61_040)], block.told)
    fields = decode(SPELLED, size_max=BATCH_BYTES_MAX)[7][0]
    assert list(fields) == [1, 2, 3, 4, 5, 6, 7]
    assert len(fields[6]) == 3 * (3 + 2), "three columns and two quantities for each of three readings"


def gaps(*values: int) -> array[int]:
    """The table of the block in parts with other gaps: answered, and sent, for each of three readings."""
    return array("i", [*a_meter_block().table, *values])


WRONG_IN_PARTS: dict[str, tuple[Path, Value]] = {
    "parts of text": (PARTS, "0011"),
    "parts for too few quantities": (PARTS, bytes((0, 1, 1))),
    "parts for too many quantities": (PARTS, bytes((0, 0, 1, 1, 1))),
    "a single request": (PARTS, bytes(4)),
    "a request that brought nothing": (PARTS, bytes((0, 0, 2, 2))),
    "no first request": (PARTS, bytes((1, 1, 1, 1))),
    "more requests than there are gaps for": (PARTS, bytes((0, 1, 2, 2))),
    "gaps that are missing": ((*BLOCK, 6), a_meter_block().table),
    "an answer before the reading": ((*BLOCK, 6), gaps(15, -1, 15, 22, 22, 22)),
    "a request before the answer to the one before": ((*BLOCK, 6), gaps(15, 15, 15, 22, 14, 22)),
    "a request behind the end of the reading": ((*BLOCK, 6), gaps(15, 15, 15, 22, 22, 41)),
    "slow readings that are no map": (SLOW, []),
    "slow readings of nothing": (SLOW, {1: 60_500, 2: [], 3: array("i", [0, 70, 0])}),
    "no slow reading": (SLOW, {1: 60_500, 2: [6], 3: array("i")}),
    "slow energy": (SLOW, {1: 60_500, 2: [4], 3: array("i", [0, 70, 0, 1])}),
    "a slow quantity that every reading tells": (SLOW, {1: 60_500, 2: [7], 3: array("i", [0, 70, 0, 1])}),
    "a slow reading behind the last reading": (SLOW, {1: 62_001, 2: [6], 3: array("i", [0, 70, 0, 1])}),
    "slow readings beyond all time": ((*SLOW, 1), INSTANT_MAX + 1),
    "slow parts for too many quantities": ((*SLOW, 4), bytes((0, 1, 1))),
    "slow parts of a single request": ((*SLOW, 4), bytes(2)),
}


@pytest.mark.parametrize(("path", "value"), WRONG_IN_PARTS.values(), ids=WRONG_IN_PARTS.keys())
def test_parts_and_slow_readings_out_of_their_bounds_are_refused(path: Path, value: Value) -> None:
    assert Batch.decode(IN_PARTS).encode() == IN_PARTS
    with pytest.raises(EncodingError):
        Batch.decode(with_field(IN_PARTS, path, value))


@pytest.mark.parametrize("path", [path for path in paths_in(IN_PARTS) if path[:3] == SLOW], ids=str)
@pytest.mark.parametrize("other", [None, True, {}, "", b"", -(2**40), array("i", [-5])], ids=repr)
def test_no_field_of_slow_readings_may_be_of_another_type(path: Path, other: Value) -> None:
    with pytest.raises(EncodingError):
        Batch.decode(with_field(IN_PARTS, path, other))


def test_slow_readings_may_be_left_out_and_need_all_of_their_fields() -> None:
    Batch.decode(without_field(IN_PARTS, SLOW))
    for key in (1, 2, 3, 4):  # without its parts, a table of two requests has columns too many
        with pytest.raises(EncodingError):
            Batch.decode(without_field(IN_PARTS, (*SLOW, key)))


def test_a_slow_reading_may_begin_with_the_last_reading() -> None:
    """Clocks tick in milliseconds."""
    block = a_meter_block(slow=some_slow_readings(first_ms=62_000))
    assert Batch.decode(a_batch(meters=(block,)).encode()).meters == (block,)


def test_a_batch_may_hold_as_many_readings_of_a_meter_as_its_bound_says() -> None:
    block = a_meter_block(count=READINGS_MAX)
    assert Batch.decode(a_batch(meters=(block,)).encode()).readings == READINGS_MAX
    with pytest.raises(EncodingError, match=f"from 1 to {READINGS_MAX}"):
        Batch.decode(a_batch(meters=(a_meter_block(count=READINGS_MAX + 1),)).encode())


def test_a_meter_without_a_serial_number_or_without_energy_can_be_told() -> None:
    block = a_meter_block(serial="", columns={Quantity.FREQUENCY_MHZ: [50_000] * 3}, words={})
    assert Batch.decode(a_batch(meters=(block,)).encode()).meters == (block,)


def test_flags_are_read_back() -> None:
    block = a_meter_block(quality=[0, Quality.VALUE_MISSING, Quality.UNEXPLAINED_STEP])
    batch = a_batch(clock=a_clock(state=ClockState.UNSYNCHRONIZED), meters=(block,))
    read = Batch.decode(batch.encode())
    assert Quality(read.meters[0].quality[1]) is Quality.VALUE_MISSING
    assert read.clock.state is ClockState.UNSYNCHRONIZED


TABLE, WORDS = (*BLOCK, 6), (*BLOCK, 7)
STARTS = [0, 1000, 2000]
REST = a_meter_block().table.tolist()[3:]


def table(starts: list[int]) -> array[int]:
    return array("i", [*starts, *REST])


WRONG: dict[str, tuple[Path, Value]] = {
    "a region with a slash": ((1,), "sun/vale"),
    "a gateway without name": ((2,), ""),
    "a negative sequence": ((3,), -1),
    "a sequence beyond 63 bits": ((3,), 2**63),
    "a previous digest of 31 bytes": ((4,), bytes(31)),
    "a boot id of 15 bytes": ((5,), bytes(15)),
    "a boot id of text": ((5,), "b" * 16),
    "a clock of three parts": (CLOCK, [1, 4, "kernel"]),
    "a clock that is no array": (CLOCK, {1: 1}),
    "a clock state that does not exist": ((*CLOCK, 0), 2),
    "a clock state that is true": ((*CLOCK, 0), True),
    "a clock error of more than a day": ((*CLOCK, 1), 86_400_001),
    "a negative clock error": ((*CLOCK, 1), -1),
    "a clock source without end": ((*CLOCK, 2), "k" * 33),
    "a clock before 1970": ((*CLOCK, 3), -1),
    "a clock beyond all time": ((*CLOCK, 3), INSTANT_MAX + 1),
    "no meters": ((7,), []),
    "meters that are no array": ((7,), {}),
    "a meter that is no map": (BLOCK, []),
    "a meter's name with a wildcard": ((*BLOCK, 1), "m+1"),
    "a profile digest of 20 bytes": ((*BLOCK, 2), bytes(20)),
    "a serial number without end": ((*BLOCK, 3), "9" * 33),
    "a serial number in numbers": ((*BLOCK, 3), 17),
    "a negative first instant": ((*BLOCK, 4), -1),
    "a first instant beyond all time": ((*BLOCK, 4), INSTANT_MAX + 1),
    "quantities that are no array": ((*BLOCK, 5), {}),
    "a quantity that does not exist": ((*BLOCK, 5), [1, 99]),
    "a quantity that is energy": ((*BLOCK, 5), [1, 4]),
    "a quantity that stands twice": ((*BLOCK, 5), [1, 1]),
    "quantities that fall": ((*BLOCK, 5), [7, 1]),
    "one quantity too few": ((*BLOCK, 5), [1]),
    "a table that is a plain array": (TABLE, STARTS + REST),
    "no readings": (TABLE, array("i")),
    "starts that do not begin at 0": (TABLE, table([1, 1000, 2000])),
    "starts that stand still": (TABLE, table([0, 1000, 1000])),
    "starts that fall": (TABLE, table([0, 2000, 1000])),
    "starts below 0": (TABLE, table([0, -2, -1])),
    "one value too few": (TABLE, table(STARTS)[:-1]),
    "one value too many": (TABLE, table([*STARTS, 3000])),
    "a negative duration": (TABLE, array("i", [*STARTS, 40, 40, -1, *REST[3:]])),
    "a negative flag": (TABLE, array("i", [*STARTS, *REST[:3], 0, -1, 0, *REST[6:]])),
    "words that are no map": (WORDS, []),
    "words for a register that counts no energy": (WORDS, {1: bytes(12), 4: bytes(12), 5: bytes(12)}),
    "words of text": ((*WORDS, 4), "w" * 12),
    "words of no bytes": ((*WORDS, 4), b""),
    "half a word": ((*WORDS, 4), bytes(9)),
    "words for two readings of three": ((*WORDS, 4), bytes(8)),
    "registers of five words": ((*WORDS, 4), bytes(30)),
}


@pytest.mark.parametrize(("path", "value"), WRONG.values(), ids=WRONG.keys())
def test_a_batch_out_of_its_bounds_is_refused(path: Path, value: Value) -> None:
    with pytest.raises(EncodingError):
        Batch.decode(with_field(SPELLED, path, value))


ENERGY = ((*WORDS, 4), (*WORDS, 5))
SERIAL, SOURCE = (*BLOCK, 3), (*CLOCK, 2)


@pytest.mark.parametrize("path", [path for path in paths_in(SPELLED) if path not in ENERGY], ids=str)
def test_no_field_of_a_batch_may_be_missing_but_an_energy_register(path: Path) -> None:
    with pytest.raises(EncodingError):
        Batch.decode(without_field(SPELLED, path))


@pytest.mark.parametrize("path", paths_in(SPELLED), ids=str)
@pytest.mark.parametrize("other", [None, True, [], {}, "", b"", -(2**40), array("i", [-5])], ids=repr)
def test_no_field_of_a_batch_may_be_of_another_type(path: Path, other: Value) -> None:
    if (path in (SERIAL, SOURCE) and other == "") or (path == WORDS and other == {}):  # none of them has to be told
        Batch.decode(with_field(SPELLED, path, other))
        return
    with pytest.raises(EncodingError):
        Batch.decode(with_field(SPELLED, path, other))


@pytest.mark.parametrize("where", [(), BLOCK], ids=["the batch", "a meter"])
def test_no_field_may_be_added(where: Path) -> None:
    with pytest.raises(EncodingError):
        Batch.decode(with_field(SPELLED, (*where, 10), 0))


@pytest.mark.parametrize("names", [("m-2", "m-1"), ("m-1", "m-1"), ("m-1", "M-2")], ids=str)
def test_meters_stand_once_each_in_the_order_of_their_names(names: tuple[str, str]) -> None:
    blocks = tuple(a_meter_block(meter=name) for name in names)
    with pytest.raises(EncodingError, match="rising order"):
        Batch.decode(a_batch(meters=blocks).encode())


def test_the_number_of_meters_is_bounded() -> None:
    tiny: dict[str, Any] = {"count": 1, "columns": {}, "words": {}}
    blocks = tuple(a_meter_block(meter=f"m{n:05}", **tiny) for n in range(METERS_MAX + 1))
    assert len(Batch.decode(a_batch(meters=blocks[:-1]).encode()).meters) == METERS_MAX
    with pytest.raises(EncodingError, match="meters"):
        Batch.decode(a_batch(meters=blocks).encode())


def test_the_size_of_a_batch_is_bounded() -> None:
    with pytest.raises(OversizedError):
        Batch.decode(bytes(BATCH_BYTES_MAX + 1))


def test_an_instant_of_the_latest_reading_still_fits_64_bits() -> None:
    block = a_meter_block(
        count=2, first_ms=INSTANT_MAX, starts_ms=[0, VALUE_MAX], columns={}, words={Quantity.IMPORTED_WH: bytes(8)}
    )
    batch = Batch.decode(a_batch(clock=a_clock(epoch_ms=INSTANT_MAX), meters=(block,)).encode())
    assert batch.clock.epoch_ms + batch.meters[0].first_ms + batch.meters[0].starts_ms[-1] + VALUE_MAX < 2**63


@pytest.mark.parametrize("value", [VALUE_MAX + 1, VALUE_MIN - 1])
def test_a_value_of_more_than_32_bits_has_no_place_in_a_table(value: int) -> None:
    with pytest.raises(OverflowError):
        a_meter_block(count=1, columns={Quantity.ACTIVE_POWER_W: [value]}, words={})
