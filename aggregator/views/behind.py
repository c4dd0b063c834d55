"""What stands behind an interval beside somebody's own meters: others' meters, former days, what a store took.

A store's heat was made before; a baseline was used before; and that a meter lies is known from those around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.intervals.flows import StorageContent
from aggregator.chains.intervals.origin import net_electricity_wh
from aggregator.chains.region import Region
from aggregator.economy.baseline import LIKE_DAYS, slot_of
from aggregator.service.past import Past, Place, StatedInterval
from aggregator.views.charging import turned
from aggregator.views.spans import restatable_ms
from config.grid_model import Grid, Source

CHARGES_MAX: Final = 12
"""Intervals in which a store was charged that are told, the newest."""
LIKE_DAYS_WITHIN: Final = 14
"""Days in which ten workdays lie."""


@dataclass(frozen=True, slots=True)
class Charge:
    """An earlier interval in which a store was charged."""

    storage: str
    start_ms: int
    charged_wh: int
    origin_wh: dict[str, int]
    """What that was made from: what it held more of afterwards, and what it gave."""
    place: Place


@dataclass(frozen=True, slots=True)
class LikeDay:
    """What somebody used in the same interval of an earlier day that a baseline may be the mean of."""

    start_ms: int
    used_wh: int
    place: Place


def before(region: Region, past: Past, start_ms: int, *, days: int) -> list[StatedInterval]:
    """The intervals of so many days before an instant, and the one that begins then.

    Raises:
        NotInTheLogError: the log begins later.
    """
    time = region.rules_at(start_ms).time
    begin_ms = max(region.begin_ms, start_ms - days * time.day_ms)
    return past.intervals(begin_ms, start_ms + time.interval_ms, restatable_ms(region))


def charges(
    region: Region, storages: Iterable[StorageContent], earlier: Sequence[StatedInterval]
) -> tuple[Charge, ...]:
    """When some stores were charged in the day before, oldest first."""
    names = {storage.storage for storage in storages}
    held = {one.id: {Source.OTHER: one.initial_wh} if one.initial_wh else {} for one in region.grid.storages}
    found = []
    for place, stated in enumerate(earlier):
        for row in stated.flows.storages:
            known, held[row.storage] = held[row.storage], dict(row.content.mix_wh)
            is_known = place > 0 or stated.start_ms == region.begin_ms
            if row.storage in names and row.charged_wh and is_known:
                came, _ = turned(row, known)
                origin_wh = {source.value: energy_wh for source, energy_wh in came}
                found.append(Charge(row.storage, stated.start_ms, row.charged_wh, origin_wh, stated.place))
    return tuple(found[-CHARGES_MAX:])


def like_days(region: Region, participant: str, earlier: Sequence[StatedInterval]) -> tuple[LikeDay, ...]:
    """What somebody used on the like days before the last of some intervals, without those with an event."""
    *former, now = earlier
    slot = slot_of(now.start_ms, region.rules_at(now.start_ms).time)
    found = []
    for stated in former:
        is_called = any(response.participant == participant for response in stated.responses)
        is_like = slot_of(stated.start_ms, region.rules_at(stated.start_ms).time) == slot
        if is_called or not is_like or stated.energies is None:
            continue
        used_wh = net_electricity_wh(region, stated.energies).get(participant, 0)
        found.append(LikeDay(stated.start_ms, used_wh, stated.place))
    return tuple(found[-LIKE_DAYS:])


def witnesses(
    grid: Grid,
    storages: Iterable[str],
    converters: Iterable[str],
    findings: Iterable[Finding],
    branches: Iterable[str],
) -> frozenset[str]:
    """Meters of other people that an interval rests on.

    Those of stores and converters; check meters in the branches that were relieved; and where a meter cannot be right,
    the check meters in the lines at its node.
    """
    stores, machines, lines = set(storages), set(converters), set(branches)
    found = {meter for one in grid.storages if one.id in stores for meter in one.meters}
    found |= {meter for one in grid.converters if one.id in machines for meter in one.meters}
    node = {meter.id: meter.node for meter in grid.meters}
    wrong = {finding.subject for finding in findings if finding.kind is FindingKind.IMPOSSIBLE_READING}
    at = {node[meter] for meter in wrong if meter in node}
    lines |= {branch.id for branch in grid.branches if at & {branch.from_node, branch.to_node}}
    return frozenset(found | {meter.id for meter in grid.meters if meter.branch in lines})
