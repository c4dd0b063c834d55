"""What is in store and on its way between intervals: the contents of storages, and the parcels in delaying pipes.

Part of the state of the analysis chain. Written from the record of every interval that is closed, as it was signed, and
read by the next one; a restatement does not touch it. A parcel is dropped as soon as it cannot be needed any more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aggregator.chains.intervals.flows import Carried, Flows, Parcel, PipeParcel, read_parcel, spell_parcel
from aggregator.chains.region import DELAYED_MAX, RESTATED_ROWS_MAX
from aggregator.ledger.table import Journal, Table
from config.carriers import Pipe
from config.grid_model import Grid
from protocol.canonical import Value
from protocol.units import Interval

STORAGES_TABLE: Final = 37
PARCELS_TABLE: Final = 38

PARCELS_MAX: Final = 10_000
"""Of one pipe with a content: all of them are handed to every interval, and stated with it. What a pipe that hardly
flows, or swings to and fro, would keep beyond is of unknown origin."""


class Stores:
    """Contents and parcels after the last interval that was closed."""

    def __init__(self, journal: Journal) -> None:
        """Every storage holds its initial content, and nothing is on its way."""
        self._storages: Table[str, Parcel] = Table(
            STORAGES_TABLE, journal, spell=spell_parcel, read=lambda value: read_parcel(*value)
        )
        self._parcels: Table[tuple[str, int], PipeParcel] = Table(
            PARCELS_TABLE, journal, spell=_spell_sent, read=_read_sent
        )
        self.tables: Mapping[int, Table[Any, Any]] = {STORAGES_TABLE: self._storages, PARCELS_TABLE: self._parcels}

    def carried(self, grid: Grid, interval: Interval) -> Carried:
        """What an interval inherits, the one behind the last that was closed: only what it can need."""
        pipes = {}
        by_pipe = self._by_pipe()
        for pipe in grid.pipes:
            needed = [
                (start_ms, sent)
                for start_ms, sent in by_pipe.get(pipe.id, ())
                if not pipe.delay_ms or start_ms < interval.end_ms - pipe.delay_ms
            ]
            if needed:
                pipes[pipe.id] = needed
        return Carried(dict(self._storages.items()), pipes)

    def close(self, grid: Grid, interval: Interval, flows: Flows) -> None:
        """Take over what an interval leaves, and forget what no later one can need."""
        for storage in flows.storages:
            self._storages.put(storage.storage, storage.content)
        for sent in flows.sent:
            self._parcels.put((sent.pipe, interval.start_ms), sent)
        by_pipe, most = self._by_pipe(), parcels_max(grid)
        for pipe in grid.pipes:
            parcels = by_pipe.get(pipe.id, [])
            needed = _needed(pipe, parcels, interval)
            for start_ms, _ in parcels[: len(parcels) - (needed if pipe.delay_ms else min(most, needed))]:
                self._parcels.remove((pipe.id, start_ms))

    def _by_pipe(self) -> dict[str, list[tuple[int, PipeParcel]]]:
        """The parcels of every pipe, oldest first."""
        by_pipe: dict[str, list[tuple[int, PipeParcel]]] = {}
        for (pipe, start_ms), sent in self._parcels.items():
            by_pipe.setdefault(pipe, []).append((start_ms, sent))
        return by_pipe


def parcels_max(grid: Grid) -> int:
    """How many parcels of a pipe with a content are kept: those of all pipes have to fit into a restatement."""
    contents = sum(1 for pipe in grid.pipes if pipe.content_wh)
    room = RESTATED_ROWS_MAX - DELAYED_MAX * (len(grid.pipes) - contents)
    return max(1, min(PARCELS_MAX, room // max(1, contents)))


def _needed(pipe: Pipe, parcels: Sequence[tuple[int, PipeParcel]], last: Interval) -> int:
    """How many of a pipe's youngest parcels the intervals behind `last` may still need.

    With a fixed delay, those that were not all sent longer ago than it. With a content, as many as have moved it over
    its whole length, there or back: what was in it before has been pushed out at one end or the other.
    """
    if pipe.delay_ms:
        return sum(1 for start_ms, _ in parcels if start_ms + last.length_ms > last.end_ms - pipe.delay_ms)
    low_wh = high_wh = count = 0
    for _, sent in reversed(parcels):
        if high_wh - low_wh >= pipe.content_wh:
            break
        moved_wh = sent.parcel.energy_wh if sent.is_forward else -sent.parcel.energy_wh
        low_wh, high_wh = min(0, low_wh + moved_wh), max(0, high_wh + moved_wh)
        count += 1
    return count


def _spell_sent(sent: PipeParcel) -> Value:
    return [sent.pipe, sent.is_forward, *spell_parcel(sent.parcel)]


def _read_sent(value: Value) -> PipeParcel:
    pipe, is_forward, *parcel = value
    return PipeParcel(pipe, is_forward, read_parcel(*parcel))
