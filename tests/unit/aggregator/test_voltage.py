"""What an interval's row tells of voltage: the mean of the phases that a meter shows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from aggregator.chains.metering.voltage import voltage_sums
from protocol.batch import MeterBlock
from protocol.messages import MessageType
from protocol.readings import Readings
from protocol.units import Quantity
from tests.builders import a_meter_block, some_slow_readings
from tests.village import START_MS, Village

L1, L2, L3 = Quantity.VOLTAGE_L1_MV, Quantity.VOLTAGE_L2_MV, Quantity.VOLTAGE_L3_MV
POWER = {Quantity.ACTIVE_POWER_W: [3600] * 3}
MINUTE_MS = 60_000


def sums(columns: dict[Quantity, list[int]], from_ms: int = 0, **changes: Any) -> list[tuple[int, int, int]]:
    """Of a block whose three readings begin at 60, 61 and 62 seconds."""
    return list(voltage_sums(a_meter_block(columns=POWER | columns, **changes), 0, MINUTE_MS, from_ms))


def test_a_reading_has_the_mean_of_its_phases() -> None:
    columns = {L1: [230_000] * 3, L2: [231_000] * 3, L3: [232_000] * 3}
    assert sums(columns) == [(MINUTE_MS, 3 * 231_000, 3)]


def test_a_phase_that_shows_nothing_is_not_connected() -> None:
    assert sums({L1: [230_000] * 3, L2: [0, 0, 0], L3: [0, 0, 0]}) == [(MINUTE_MS, 3 * 230_000, 3)]
    assert sums({L1: [0, 0, 0]}) == []


def test_a_meter_without_voltages_tells_none() -> None:
    assert sums({}) == []


def test_readings_are_cut_at_the_boundaries_of_intervals() -> None:
    block = a_meter_block(first_ms=MINUTE_MS - 1000, columns=POWER | {L1: [229_000, 230_000, 231_000]})
    assert list(voltage_sums(block, 0, MINUTE_MS, 0)) == [(0, 229_000, 1), (MINUTE_MS, 461_000, 2)]


def test_intervals_that_nobody_will_restate_are_left_out() -> None:
    assert sums({L1: [230_000] * 3}, from_ms=61_000) == [(MINUTE_MS, 460_000, 2)]


def test_voltages_may_be_among_the_slow_readings() -> None:
    slow = some_slow_readings(columns={L1: [230_500]})
    assert sums({}, slow=slow) == [(MINUTE_MS, 230_500, 1)]


def test_the_data_chain_keeps_voltage_beside_power() -> None:
    village = Village()
    batch = village.a_batch()
    home = next(block for block in batch.meters if block.meter == "m-home")
    told = Readings.of(
        first_ms=home.first_ms,
        starts_ms=home.starts_ms,
        durations_ms=home.durations_ms,
        quality=home.quality,
        columns={**home.columns, L1: [229_000] * 5, L2: [230_000] * 5, L3: [231_000] * 5},
    )
    block = MeterBlock.around(told, meter=home.meter, profile=home.profile, serial=home.serial, words=home.words)
    batch = replace(batch, meters=tuple(block if block.meter == one.meter else one for one in batch.meters))
    village.now_ms += 5_000
    village.close([village.record(village.sign(batch, MessageType.BATCH))])
    rows = village.five.data.energy_of(START_MS)
    assert (rows["m-home"].voltage_readings, rows["m-home"].voltage_sum_mv) == (5, 5 * 230_000)
    assert rows["m-wind"].voltage_readings == 0
