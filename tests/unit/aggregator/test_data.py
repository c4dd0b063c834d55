"""The data chain: what becomes energy, and what never does."""

from __future__ import annotations

from dataclasses import replace

from protocol.batch import Batch
from protocol.messages import MessageType
from protocol.units import Quantity
from tests.village import Village


def imported_wh(village: Village, meter: str) -> int:
    """All energy that is known of a meter in intervals that are not closed, in time or late."""
    data = village.five.data
    rows = [*data.energy.items(), *data.late.rows.items()]
    return sum(row.imported_wh for (_, name), row in rows if name == meter)


def with_serial(batch: Batch, meter: str, serial: str) -> Batch:
    blocks = tuple(replace(block, serial=serial) if block.meter == meter else block for block in batch.meters)
    return replace(batch, meters=blocks)


def take_in(village: Village, batch: Batch) -> None:
    """A block with one batch, in the middle of an interval: nothing is closed."""
    block = village.close([village.record(village.sign(batch, MessageType.BATCH))])
    assert [outcome.refusal for outcome in block.outcomes] == [None]


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


def test_readings_that_are_sent_again_under_new_numbers_are_no_energy() -> None:
    """A gateway on a restored memory card signs its past once more, behind what it has sent since."""
    village = Village()
    idle = {"m-home": 200, "m-gas": -200, "m-grid": 0, "m-wind": 0}
    sent = []
    for boot in (bytes(16), bytes([1]) * 16):
        for _ in range(3):
            batch = village.a_batch(idle, boot_id=boot, seconds=600)
            village.now_ms += 600_000
            take_in(village, batch)
            sent.append(batch)
    before_wh = imported_wh(village, "m-home")
    for batch in sent[:3]:
        take_in(village, replace(batch, link=village.link()))
    assert imported_wh(village, "m-home") == before_wh
    village.now_ms += 60_000
    batch = village.a_batch(idle, boot_id=bytes([2]) * 16, seconds=600)
    village.now_ms += 600_000
    take_in(village, batch)
    true_wh = village.registers["m-home", Quantity.IMPORTED_WH] - 1_000_000
    assert true_wh - 2 <= imported_wh(village, "m-home") <= true_wh  # and what flowed since is all there


def test_a_serial_number_that_could_not_be_read_is_no_other_meter() -> None:
    village = Village()
    take_in(village, village.a_batch(seconds=2))
    village.now_ms += 2_000
    take_in(village, with_serial(village.a_batch(seconds=2), "m-home", ""))
    state = village.five.data.meters["m-home"]
    assert (state.serial, state.unexplained) == ("4711", 0)
