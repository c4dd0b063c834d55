"""The data chain: what becomes energy, and what never does."""

from __future__ import annotations

from dataclasses import replace

from protocol.batch import Batch
from protocol.messages import MessageType
from protocol.units import Quantity
from tests.village import Village


def imported_wh(village: Village, meter: str) -> int:
    """All energy that is booked for a meter in intervals that are still open."""
    rows = village.five.data.energy.items()
    return sum(row.imported_wh for (_, name), row in rows if name == meter)


def with_serial(batch: Batch, meter: str, serial: str) -> Batch:
    blocks = tuple(replace(block, serial=serial) if block.meter == meter else block for block in batch.meters)
    return replace(batch, meters=blocks)


def take_in(village: Village, batch: Batch) -> None:
    """A block with one batch, in the middle of an interval: nothing is closed."""
    village.close([village.record(village.sign(batch, MessageType.BATCH))])


def test_another_meter_in_the_same_place_counts_from_its_own_first_reading_on() -> None:
    """pains.md, row 1: the meter was replaced, and nobody is billed for what the new one counted elsewhere."""
    village = Village()
    take_in(village, village.a_batch(seconds=2))
    before_wh = imported_wh(village, "m-home")
    village.registers["m-home", Quantity.IMPORTED_WH] = 7.0
    village.now_ms += 2_000
    batch = with_serial(village.a_batch({"m-home": 36_000}, seconds=3), "m-home", "4712")
    take_in(village, batch)
    state = village.five.data.meters["m-home"]
    assert (state.serial, state.unexplained) == ("4712", 1)
    assert imported_wh(village, "m-home") - before_wh == 20  # two steps of 10 Wh; the first reading is nobody's energy


def test_a_gateway_that_keeps_changing_serial_numbers_gains_nothing() -> None:
    village = Village()
    for number in range(4):
        village.registers["m-home", Quantity.IMPORTED_WH] = 1e6 * number
        take_in(village, with_serial(village.a_batch(seconds=1), "m-home", f"forged-{number}"))
        village.now_ms += 1_000
    assert imported_wh(village, "m-home") == 0


def test_a_serial_number_that_could_not_be_read_is_no_other_meter() -> None:
    village = Village()
    take_in(village, village.a_batch(seconds=2))
    village.now_ms += 2_000
    take_in(village, with_serial(village.a_batch(seconds=2), "m-home", ""))
    state = village.five.data.meters["m-home"]
    assert (state.serial, state.unexplained) == ("4711", 0)
