"""Voltage per interval, from the readings of one batch: what the state estimation knows beside power."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from protocol.batch import MeterBlock
from protocol.readings import Readings
from protocol.units import Quantity

PHASES: Final = (Quantity.VOLTAGE_L1_MV, Quantity.VOLTAGE_L2_MV, Quantity.VOLTAGE_L3_MV)


def voltage_sums(block: MeterBlock, epoch_ms: int, interval_ms: int, from_ms: int) -> Iterator[tuple[int, int, int]]:
    """Sum voltage by interval: of each reading, the mean of the phases that the meter shows, rounded down.

    A phase that shows no voltage anywhere in the batch is not connected, or broken, and is left out.

    Args:
        epoch_ms: UTC at the zero of the boot's clock.

    Yields:
        (start of interval, sum in mV, readings), for each from `from_ms` on with a voltage.
    """
    readings: Readings | None = block
    if PHASES[0] not in block.quantities:
        readings = block.slow
    if readings is None or PHASES[0] not in readings.quantities:
        return
    shown = [column for phase in PHASES if (column := readings.column(phase)) is not None and min(column) > 0]
    if not shown:
        return
    instants = [epoch_ms + readings.first_ms + start for start in readings.starts_ms]
    begin = bisect_left(instants, from_ms)
    while begin < len(instants):
        start = instants[begin] - instants[begin] % interval_ms
        end = bisect_left(instants, start + interval_ms, begin)
        yield start, sum(sum(phase[begin:end]) for phase in shown) // len(shown), end - begin
        begin = end
