"""What may wait for a block, and what is not put into one yet: readings that only seem to come from the future."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aggregator.ledger.record import Record
from aggregator.service.consensus.mempool import AHEAD_MAX, STALE_MS, check_waits, is_ripe
from protocol.batch import Batch
from protocol.messages import MessageType
from protocol.readings import Readings
from protocol.refusals import RefusalCode, Refused
from protocol.units import Quantity
from tests.village import Village


@pytest.fixture
def village() -> Village:
    return Village()


def a_record(village: Village, batch: Batch | None = None) -> Record:
    return village.five.ledger.check(village.sign(batch or village.a_batch(), MessageType.BATCH))


def latest_ms(batch: Batch) -> int:
    """When the last reading of a batch without slow ones was complete, UTC."""
    return batch.clock.epoch_ms + max(block.end_ms for block in batch.meters)


def with_slow(batch: Batch, *, duration_ms: int) -> Batch:
    """The batch, with one slow reading of the first meter that begins with the others and takes so long."""
    first = batch.meters[0]
    slow = Readings.of(
        first_ms=first.first_ms,
        starts_ms=[0],
        durations_ms=[duration_ms],
        quality=[0],
        columns={Quantity.FREQUENCY_MHZ: [50_000]},
    )
    return replace(batch, meters=(replace(first, slow=slow), *batch.meters[1:]))


def test_readings_that_a_stale_block_would_refuse_wait_for_the_next(village: Village) -> None:
    batch = village.a_batch()
    record, future_max_ms = a_record(village, batch), village.grid.rules.time.future_max_ms
    now_ms = latest_ms(batch) + STALE_MS + 1
    just_ms = latest_ms(batch) - future_max_ms
    assert is_ripe(record, village.five, block_ms=just_ms, now_ms=now_ms)
    assert not is_ripe(record, village.five, block_ms=just_ms - 1, now_ms=now_ms)


def test_readings_that_come_from_the_future_by_any_clock_are_refused_on_the_chain(village: Village) -> None:
    batch = village.a_batch()
    now_ms = latest_ms(batch) - village.grid.rules.time.future_max_ms - 1
    assert is_ripe(a_record(village, batch), village.five, block_ms=now_ms - STALE_MS - 1, now_ms=now_ms)


def test_a_slow_reading_that_ends_last_counts_as_it_does_on_the_chain(village: Village) -> None:
    village.now_ms += 3_600_000
    batch = village.a_batch()
    block_ms = latest_ms(batch) - village.grid.rules.time.future_max_ms
    slow = with_slow(batch, duration_ms=60_000)
    record = village.five.ledger.check(village.sign(slow, MessageType.BATCH))
    village.now_ms = block_ms
    assert village.close([record]).outcomes[0].refusal is RefusalCode.FROM_THE_FUTURE
    assert not is_ripe(record, village.five, block_ms=block_ms, now_ms=latest_ms(batch) + 60_000)


def test_whoever_skips_a_few_numbers_may_wait_and_nobody_far_ahead(village: Village) -> None:
    check_waits(a_record(village, replace(village.a_batch(), link=village.link(sequence=AHEAD_MAX))), village.five)
    with pytest.raises(Refused) as no:
        check_waits(
            a_record(village, replace(village.a_batch(), link=village.link(sequence=AHEAD_MAX + 1))), village.five
        )
    assert no.value.code is RefusalCode.SEQUENCE_SKIPPED
