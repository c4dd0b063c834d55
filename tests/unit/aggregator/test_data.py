"""The data chain: what becomes energy, and what never does."""

from __future__ import annotations

from dataclasses import replace

from protocol.batch import Batch
from protocol.messages import MessageType
from protocol.readings import Readings
from protocol.refusals import RefusalCode
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


# -- What is read more rarely


def with_slow(village: Village, batch: Batch, first_ms: int, duration_ms: int = 5) -> Batch:
    """The batch with one slow reading of the home, so long after the first reading of the batch."""
    blocks = []
    for block in batch.meters:
        slow = Readings.of(
            first_ms=block.first_ms + first_ms,
            starts_ms=[0],
            durations_ms=[duration_ms],
            quality=[0],
            columns={Quantity.FREQUENCY_MHZ: [50_000]},
        )
        blocks.append(replace(block, slow=slow) if block.meter == "m-home" else block)
    return replace(batch, meters=tuple(blocks))


def refusal_of(village: Village, batch: Batch) -> RefusalCode | None:
    block = village.close([village.record(village.sign(batch, MessageType.BATCH))])
    (outcome,) = block.outcomes
    return outcome.refusal


def test_slow_readings_change_nothing_of_what_is_booked_and_are_not_counted_as_readings() -> None:
    with_some, without = Village(), Village()
    for village in (with_some, without):
        batch = village.a_batch(seconds=3)
        take_in(village, with_slow(village, batch, 500) if village is with_some else batch)
    assert with_some.five.data.meters["m-home"] == without.five.data.meters["m-home"]
    assert dict(with_some.five.data.energy.items()) == dict(without.five.data.energy.items())
    assert with_some.five.data.totals == without.five.data.totals


def test_a_slow_reading_that_ends_in_the_future_is_refused() -> None:
    village = Village()
    assert refusal_of(village, with_slow(village, village.a_batch(), 500, 10**9)) is RefusalCode.FROM_THE_FUTURE


def test_slow_readings_rise_in_time_from_batch_to_batch() -> None:
    """Each lies between the last reading of the batch before and the last of its own."""
    village = Village()
    take_in(village, with_slow(village, village.a_batch(seconds=3), 2_000))
    village.now_ms += 3_000
    assert refusal_of(village, with_slow(village, village.a_batch(seconds=2), -1_001)) is RefusalCode.DISORDERED
    assert refusal_of(village, with_slow(village, village.a_batch(seconds=2), -1_000)) is None


def test_after_a_reboot_slow_readings_begin_anew() -> None:
    village = Village()
    take_in(village, village.a_batch(seconds=3))
    batch = village.a_batch(seconds=2, boot_id=bytes(16))
    assert refusal_of(village, with_slow(village, batch, 0)) is None
