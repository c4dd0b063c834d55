"""Where a participant's energy came from, interval by interval, and what was in store in its networks meanwhile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from aggregator.chains.intervals.flows import Mix
from aggregator.chains.intervals.origin import clean_wh
from aggregator.chains.region import Region
from aggregator.service.past import StatedInterval
from aggregator.views.pictures.style import (
    INK,
    PALE,
    colour_of,
    energy,
    hatch_of,
    legend_beside,
    patch_of,
    scale_of,
    sources_in,
)
from config.carriers import Carrier
from config.grid_model import Source
from config.time_zone import zone_of
from protocol.energy_register import MS_PER_HOUR

GIVEN: Final = "\\\\\\\\"
"""Hatching of what was fed in; lines, since dots make large files."""
DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class _Row:
    start_ms: int
    end_ms: int
    mix: Mix
    exported_wh: int
    carbon_mg: int


def draw_origin(region: Region, participant: str, intervals: Sequence[StatedInterval]) -> Figure:
    """Draw what a participant used, by source, a panel for each network; below it what was in store."""
    carriers = [carrier for carrier in Carrier if any(_rows(participant, carrier, intervals))]
    stores = {carrier: _stores_of(region, carrier) for carrier in carriers}
    heights = [height for carrier in carriers for height in ([2.6, 1.4] if stores[carrier] else [2.6])] or [2.6]
    figure = Figure(figsize=(8.5, sum(heights) + 0.9), layout="constrained")
    panels = list(figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0])
    zone = zone_of(region.rules.time.time_zone)
    name = next((one.name for one in region.grid.participants if one.id == participant), "") or participant
    figure.suptitle(f"Where the energy of {name} came from", x=0.01, ha="left", fontsize=13)
    if not carriers:
        panels[0].text(0.5, 0.5, "nothing was used or fed in", ha="center", va="center", transform=panels[0].transAxes)
    for carrier in carriers:
        _draw_use(panels.pop(0), region, carrier, _rows(participant, carrier, intervals))
        if stores[carrier]:
            _draw_stores(panels.pop(0), carrier, stores[carrier], intervals)
    axes = figure.axes[-1]
    locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]
    if intervals:
        axes.set_xlim(_moment(intervals[0].start_ms), _moment(intervals[-1].end_ms))
    axes.set_xlabel(f"time of day, {region.rules.time.time_zone}")
    return figure


def _draw_use(axes: Axes, region: Region, carrier: Carrier, rows: Sequence[_Row]) -> None:
    used_wh = sum(wh for row in rows for _, wh in row.mix)
    given_wh = sum(row.exported_wh for row in rows)
    power_w = [_power(row, sum(wh for _, wh in row.mix)) for row in rows] + [
        _power(row, row.exported_wh) for row in rows
    ]
    factor, prefix = scale_of(max(power_w, default=0.0))
    sources = sources_in(row.mix for row in rows)
    _stack(axes, rows, sources, factor)
    handles = [patch_of(source) for source in reversed(sources)]
    if given_wh:
        _draw_given(axes, rows, factor)
        handles.append(Patch(facecolor="white", edgecolor=INK, hatch=GIVEN, label="fed in (below 0)"))
    clean = sum(clean_wh(row.mix, region) for row in rows)
    carbon_g = sum(row.carbon_mg for row in rows) / 1000
    words = [f"{carrier.value}: {energy(used_wh)} used"]
    words += [f"{100 * clean / used_wh:.0f} % clean"] if used_wh else []
    words += [f"{1000 * carbon_g / used_wh:,.0f} g CO₂/kWh"] if used_wh and carbon_g else []
    words += [f"{energy(given_wh)} fed in"] if given_wh else []
    axes.set_title(", ".join(words), fontsize=10)
    axes.set_ylabel(f"mean power, {prefix}W")
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.grid(axis="y", color=PALE, linewidth=0.4)
    axes.set_axisbelow(True)
    legend_beside(axes, handles, "made from")


def _stack(axes: Axes, rows: Sequence[_Row], sources: Iterable[Source], factor: float) -> None:
    bottom = [0.0] * len(rows)
    for source in sources:
        top = [low + _power(row, dict(row.mix).get(source, 0)) / factor for low, row in zip(bottom, rows, strict=True)]
        style = {"linewidth": 0.0} | hatch_of(source)
        axes.stairs(top, _edges(rows), baseline=bottom, fill=True, facecolor=colour_of(source), **style)
        bottom = top


def _draw_given(axes: Axes, rows: Sequence[_Row], factor: float) -> None:
    given = [-_power(row, row.exported_wh) / factor for row in rows]
    axes.stairs(given, _edges(rows), fill=True, facecolor="white", edgecolor=PALE, linewidth=0.4, hatch=GIVEN)


def _draw_stores(axes: Axes, carrier: Carrier, stores: frozenset[str], intervals: Sequence[StatedInterval]) -> None:
    held = [_held(stores, interval) for interval in intervals]
    factor, prefix = scale_of(max((sum(mix.values()) for mix in held), default=0))
    moments = [_moment(interval.end_ms) for interval in intervals]
    sources = sources_in(mix.items() for mix in held)
    bottom = [0.0] * len(held)
    for source in sources:
        top = [low + mix.get(source, 0) / factor for low, mix in zip(bottom, held, strict=True)]
        axes.fill_between(moments, bottom, top, facecolor=colour_of(source), linewidth=0.1, **hatch_of(source))
        bottom = top
    axes.set_title(f"in store meanwhile: {', '.join(sorted(stores))} ({carrier.value})", fontsize=10)
    axes.set_ylabel(f"content, {prefix}Wh")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=PALE, linewidth=0.4)
    axes.set_axisbelow(True)
    legend_beside(axes, [patch_of(source) for source in reversed(sources)], "made from")


def _rows(participant: str, carrier: Carrier, intervals: Iterable[StatedInterval]) -> list[_Row]:
    """One for each interval; none at all where the participant has nothing to do with the network."""
    rows, has_any = [], False
    for interval in intervals:
        flow = next(
            (f for f in interval.flows.participants if (f.participant, f.carrier) == (participant, carrier)), None
        )
        has_any = has_any or flow is not None
        amounts = (flow.origin_wh, flow.exported_wh, flow.carbon_mg) if flow else ((), 0, 0)
        rows.append(_Row(interval.start_ms, interval.end_ms, *amounts))
    return rows if has_any else []


def _stores_of(region: Region, carrier: Carrier) -> frozenset[str]:
    nodes = {meter.id: meter.node for meter in region.grid.meters}
    return frozenset(s.id for s in region.grid.storages if region.carriers[nodes[s.charge_meter]] is carrier)


def _held(stores: frozenset[str], interval: StatedInterval) -> Mapping[Source, int]:
    total: dict[Source, int] = {}
    for storage in interval.flows.storages:
        if storage.storage in stores:
            for source, energy_wh in storage.content.mix_wh:
                total[source] = total.get(source, 0) + energy_wh
    return total


def _power(row: _Row, energy_wh: int) -> float:
    return energy_wh * MS_PER_HOUR / (row.end_ms - row.start_ms)


def _edges(rows: Sequence[_Row]) -> list[float]:
    return [*(_moment(row.start_ms) for row in rows), _moment(rows[-1].end_ms)]


def _moment(at_ms: int) -> float:
    """An instant as axes count them: in days since 1970."""
    return at_ms / DAY_MS
