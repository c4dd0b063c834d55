"""What a storage of electricity was charged with and gave, source by source, and which charging its energy comes from.

The chain holds what is in store after each interval; what came in and went out by source follows from two contents that
follow each other. A discharge uses up the oldest charging of its source, as many parts of it as of what was held: so
losses are spread evenly, and no charging is used up twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from aggregator.chains.intervals.flows import SOURCES, StorageContent
from aggregator.chains.region import Region
from aggregator.service.past import StatedInterval
from config.carriers import Carrier, Storage
from config.grid_model import Source

By = tuple[tuple[Source, int], ...]
"""Watt-hours by source, each above 0."""


@dataclass(frozen=True, slots=True)
class StorageTurn:
    """What a storage took and gave in an interval."""

    storage: str
    taken_wh: By
    given_wh: By
    links: tuple[tuple[Source, tuple[tuple[str, int], ...]], ...]
    """By source that was given: the charge records that it comes from, each with Wh of what was charged then."""


@dataclass(slots=True)
class _Held:
    content: dict[Source, int]
    open: dict[Source, deque[tuple[str, int]]] = field(default_factory=dict)
    """Charge records by source, oldest first, with what of them is not used up."""


class Charging:
    """The storages of electricity of a region, from interval to interval."""

    def __init__(self, region: Region) -> None:
        """Everything holds what it held when the region began: of unknown origin."""
        nodes = {meter.id: meter.node for meter in region.grid.meters}
        self._storages: dict[str, Storage] = {
            storage.id: storage
            for storage in region.grid.storages
            if region.carriers[nodes[storage.charge_meter]] is Carrier.ELECTRICITY
        }
        self._held = {
            name: _Held({Source.OTHER: storage.initial_wh} if storage.initial_wh else {})
            for name, storage in self._storages.items()
        }

    def turn(self, stated: StatedInterval) -> list[StorageTurn]:
        """What every storage did in the interval that comes next."""
        return [
            self._turn(content, stated.start_ms)
            for content in stated.flows.storages
            if content.storage in self._storages
        ]

    def _turn(self, row: StorageContent, start_ms: int) -> StorageTurn:
        held, after = self._held[row.storage], dict(row.content.mix_wh)
        before = held.content
        taken, given = turned(row, before)
        record = f"{row.storage}/{start_ms}"
        for source, energy_wh in taken:
            held.open.setdefault(source, deque()).append((record, energy_wh))
        links = tuple((source, _use_up(held, source, energy_wh)) for source, energy_wh in given)
        held.content = after
        return StorageTurn(row.storage, taken, given, links)


def turned(row: StorageContent, before: dict[Source, int]) -> tuple[By, By]:
    """What a storage took and gave in an interval by source, from what it held before and holds after."""
    after = dict(row.content.mix_wh)
    given = _by_source(row.discharged_wh, before or after)
    came = {
        source: max(0, after.get(source, 0) - before.get(source, 0) + dict(given).get(source, 0)) for source in SOURCES
    }
    return _by_source(row.charged_wh, came), given


def _use_up(held: _Held, source: Source, given_wh: int) -> tuple[tuple[str, int], ...]:
    """Use up charge records for a discharge, oldest first: the part of them that the discharge is of what was held."""
    records, whole_wh = held.open.get(source), held.content.get(source, 0)
    if not records:
        return ()
    charged_wh = sum(energy for _, energy in records)
    wanted = charged_wh if given_wh >= whole_wh else charged_wh * given_wh // whole_wh
    links = []
    while wanted and records:
        record, energy_wh = records.popleft()
        part = min(wanted, energy_wh)
        links.append((record, part))
        wanted -= part
        if energy_wh > part:
            records.appendleft((record, energy_wh - part))
    return tuple(links)


def _by_source(whole_wh: int, weights: dict[Source, int]) -> By:
    """Split energy by source; of unknown origin where nothing is known."""
    if not whole_wh:
        return ()
    known = [source for source in SOURCES if weights.get(source, 0) > 0] or [Source.OTHER]
    parts = shared(whole_wh, [weights.get(source, 0) or 1 for source in known])
    return tuple((source, part) for source, part in zip(known, parts, strict=True) if part)


def shared(whole: int, weights: Sequence[int]) -> list[int]:
    """Split a whole in proportion to weights, by largest remainder; the first goes first among equals.

    No part is above its weight where the whole is not above their sum.
    """
    total = sum(weights)
    if not total:
        return [0] * len(weights)
    parts = [whole * weight // total for weight in weights]
    order = sorted(range(len(weights)), key=lambda place: (-(whole * weights[place] % total), place))
    for place in order[: whole - sum(parts)]:
        parts[place] += 1
    return parts
