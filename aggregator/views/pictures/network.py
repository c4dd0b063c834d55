"""The network at an interval: how its lines were loaded, and what everybody used there was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle, Wedge

from aggregator.chains.intervals.flows import BranchFlow
from aggregator.chains.region import Region
from aggregator.service.past import StatedInterval
from aggregator.views.pictures.layout import Place, places_of
from aggregator.views.pictures.style import (
    ALARM,
    CARRIER_COLOURS,
    INK,
    PALE,
    colour_of,
    energy,
    hatch_of,
    legend_beside,
    patch_of,
    power,
    sources_in,
)
from aggregator.views.spans import spelled
from aggregator.views.ways import lines_of
from config.carriers import Carrier
from config.grid_model import Grid, Source
from protocol.units import PPM

LOADING: Final[Colormap] = LinearSegmentedColormap.from_list("loading", ["#d4dbe6", "#7d9cc4", "#123a6b"])
"""From pale to dark blue: told apart by brightness alone."""
LABELS_MAX: Final = 60
"""In a larger network only nodes and lines that stand out are named."""
PIE: Final = 0.22
DOT: Final = 0.08
INCH_MAX: Final = 1.2
"""Between two neighbours."""
CONVERTED: Final = "#9a9a9a"
PLATE: Final = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.6}
"""Behind words, so that a line below them does not strike them out."""


def draw_network(region: Region, interval: StatedInterval) -> Figure:
    """Draw the region at one interval."""
    grid, places = region.grid, places_of(region.grid)
    mixes = _mixes(region, interval)
    left, right = min(x for x, _ in places.values()), max(x for x, _ in places.values())
    low, high = min(y for _, y in places.values()), max(y for _, y in places.values())
    width = min(16.0, max(8.5, 1.05 * (right - left) + 3.0))
    inch = min(INCH_MAX, (width - 2.2) / (right - left + 1.2))
    figure = Figure(figsize=(width, min(14.0, inch * (high - low + 1.5) + 1.3)), layout="constrained")
    axes = figure.subplots()
    axes.set_aspect("equal")
    axes.set_xlim(left - 0.6, right + 0.6)
    axes.set_ylim(low - 0.7, high + 0.6)
    axes.set_axis_off()
    figure.suptitle(
        f"{grid.region}, {spelled(interval.start_ms)} to {spelled(interval.end_ms)[11:]} UTC",
        x=0.01,
        ha="left",
        fontsize=13,
    )
    _draw_converters(axes, grid, places)
    flows = {flow.branch: flow for flow in interval.flows.branches}
    names_all = len(grid.nodes) <= LABELS_MAX
    for line in lines_of(grid):
        _draw_line(axes, places[line.from_node], places[line.to_node], line.id, flows.get(line.id), is_named=names_all)
    feeding = _feeding(region)
    for node in grid.nodes:
        _draw_node(axes, places[node.id], mixes.get(node.id, {}), node.carrier, is_large=names_all)
        if names_all or node.id in feeding:
            x, y = places[node.id]
            below = (PIE if node.id in mixes else DOT) + 0.07
            axes.annotate(node.id, (x, y - below), ha="center", va="top", fontsize=7.5, color=INK, bbox=PLATE, zorder=8)
    _draw_marks(axes, region, interval, places, used=frozenset(mixes))
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 100), LOADING), ax=axes, orientation="horizontal", shrink=0.35, aspect=40, pad=0.02
    )
    bar.set_label("loading of a line, % of its rating")
    bar.outline.set_visible(False)
    legend_beside(
        axes, _legend(region, interval, mixes, is_congested=any(flow.is_congested for flow in flows.values()))
    )
    return figure


def _draw_line(axes: Axes, start: Place, end: Place, name: str, flow: BranchFlow | None, *, is_named: bool) -> None:
    """A line by its loading, with an arrow the way that energy flows."""
    if flow is None:
        axes.plot(*zip(start, end, strict=True), color=PALE, linewidth=1.2, linestyle=":", zorder=1)
        return
    share = flow.loading_ppm / PPM
    colour = ALARM if flow.is_congested else LOADING(share)
    axes.plot(*zip(start, end, strict=True), color=colour, linewidth=5.0 if flow.is_congested else 3.0, zorder=2,
              solid_capstyle="round")  # fmt: skip
    (x1, y1), (x2, y2) = (start, end) if flow.flow_w >= 0 else (end, start)
    if flow.flow_w:
        axes.annotate(
            "", xytext=(x1 + 0.42 * (x2 - x1), y1 + 0.42 * (y2 - y1)), xy=(x1 + 0.6 * (x2 - x1), y1 + 0.6 * (y2 - y1)),
            arrowprops={"arrowstyle": "-|>", "color": "white", "linewidth": 0.8, "mutation_scale": 8}, zorder=3,
        )  # fmt: skip
    if is_named or flow.is_congested:
        label = f"{name}\n{power(abs(flow.flow_w))}\n{100 * share:.0f} %"
        is_upright = abs(x2 - x1) < abs(y2 - y1)
        axes.annotate(
            label, ((x1 + x2) / 2, (y1 + y2) / 2), xytext=(8, 0) if is_upright else (0, 6),
            textcoords="offset points", ha="left" if is_upright else "center", va="center" if is_upright else "bottom",
            fontsize=6.5, color=ALARM if flow.is_congested else INK,
            fontweight="bold" if flow.is_congested else "normal",
        )  # fmt: skip


def _draw_node(axes: Axes, place: Place, mix: Mapping[Source, int], carrier: Carrier, *, is_large: bool) -> None:
    """A pie of what was used here; a dot where nothing was."""
    whole = sum(mix.values())
    if not whole:
        axes.add_patch(Circle(place, DOT, facecolor="white", edgecolor=CARRIER_COLOURS[carrier], linewidth=2, zorder=4))
        return
    radius, turned = PIE if is_large else 0.3, 90.0
    axes.add_patch(Circle(place, radius + 0.04, facecolor=CARRIER_COLOURS[carrier], linewidth=0, zorder=4))
    for source in sources_in([mix.items()]):
        step = 360 * mix[source] / whole
        style = {"edgecolor": "white"} | hatch_of(source)
        axes.add_patch(
            Wedge(place, radius, turned - step, turned, facecolor=colour_of(source), linewidth=0.5, zorder=5, **style)
        )
        turned -= step


def _draw_converters(axes: Axes, grid: Grid, places: Mapping[str, Place]) -> None:
    """Which node is turned into which: thin dashed arcs, with the converters' names."""
    node = {meter.id: meter.node for meter in grid.meters}
    arcs: dict[tuple[str, str], list[str]] = {}
    for converter in grid.converters:
        for taken in converter.inputs:
            for output in converter.outputs:
                names = arcs.setdefault((node[taken], node[output.meter]), [])
                names += [converter.id] if converter.id not in names else []
    taken_places = [*places.values()]
    for line in lines_of(grid):
        (x1, y1), (x2, y2) = places[line.from_node], places[line.to_node]
        taken_places.append(((x1 + x2) / 2, (y1 + y2) / 2 + 0.2))
    for storage in grid.storages:
        x, y = places[node[storage.charge_meter]]
        taken_places += [(x + PIE + 0.2, y + 0.36), (x + PIE + 0.2, y + 0.7)]
    for number, ((start, end), names) in enumerate(arcs.items()):
        (x1, y1), (x2, y2) = places[start], places[end]
        if (x1, y1) == (x2, y2):
            continue
        bend = 0.15 + 0.05 * (number % 4)
        axes.annotate(
            "", xy=(x2, y2), xytext=(x1, y1), zorder=0,
            arrowprops={"arrowstyle": "-|>", "linestyle": "--", "color": CONVERTED, "linewidth": 0.9,
                        "connectionstyle": f"arc3,rad={bend}", "shrinkA": 12, "shrinkB": 12},
        )  # fmt: skip
        at = _free_place(places[start], places[end], bend, taken_places)
        taken_places.append(at)
        axes.annotate("\n".join(names), at, ha="center", va="center", fontsize=6.5, color="#6a6a6a", zorder=8,
                      bbox=PLATE)  # fmt: skip


def _free_place(start: Place, end: Place, bend: float, taken: Sequence[Place]) -> Place:
    """A point on an arc for a word, as far from nodes and other words as may be."""
    (x1, y1), (x2, y2) = start, end
    x0, y0 = (x1 + x2) / 2 + bend * (y2 - y1), (y1 + y2) / 2 - bend * (x2 - x1)

    def on_arc(t: float) -> Place:
        return (
            (1 - t) ** 2 * x1 + 2 * t * (1 - t) * x0 + t**2 * x2,
            (1 - t) ** 2 * y1 + 2 * t * (1 - t) * y0 + t**2 * y2,
        )

    candidates = [on_arc(tenth / 10) for tenth in (5, 4, 6, 3, 7)]
    return max(candidates, key=lambda at: min((at[0] - x) ** 2 + (2 * (at[1] - y)) ** 2 for x, y in taken))


def _draw_marks(
    axes: Axes, region: Region, interval: StatedInterval, places: Mapping[str, Place], used: frozenset[str]
) -> None:
    """What feeds in at a node and what is in store there, as short lines of text and a gauge."""
    grid = region.grid
    node = {meter.id: meter.node for meter in grid.meters}
    words: dict[str, list[str]] = {}
    for generator in grid.generators:
        energy_row = (interval.energies or {}).get(generator.meter)
        if energy_row is not None and energy_row.exported_wh:
            hours = (interval.end_ms - interval.start_ms) / 3_600_000
            said = f"{generator.id} {power(energy_row.exported_wh / hours)}"
            words.setdefault(node[generator.meter], []).append(said)
    if sum(map(len, words.values())) <= LABELS_MAX:
        for at, lines in words.items():
            x, y = places[at]
            below = (PIE if at in used else DOT) + 0.24
            shown = lines if len(lines) <= 3 else [*lines[:2], f"and {len(lines) - 2} more"]
            text = "\n".join(f"▸ {one}" for one in shown)
            axes.annotate(text, (x, y - below), ha="center", va="top", fontsize=6, color="#6a6a6a", zorder=8)
    kept = {storage.id: storage for storage in grid.storages}
    beside: dict[str, int] = {}
    for held in interval.flows.storages:
        storage = kept[held.storage]
        at = node[storage.charge_meter]
        place = beside[at] = beside.get(at, -1) + 1
        x, y = places[at]
        content = {source: wh / storage.capacity_wh for source, wh in held.content.mix_wh}
        _draw_gauge(axes, (x + PIE + 0.1 + 0.5 * place, y + 0.16), content)
        label = f"{held.storage}\n{energy(held.content.energy_wh)}"
        axes.annotate(label, (x + PIE + 0.19 + 0.5 * place, y + 0.62), ha="center", va="bottom", fontsize=6, color=INK,
                      bbox=PLATE, zorder=8)  # fmt: skip


def _draw_gauge(axes: Axes, place: Place, content: Mapping[Source, float]) -> None:
    """A vessel, as full as the storage is, with the mix of what it holds."""
    x, y = place
    width, height, level = 0.18, 0.4, 0.0
    for source in sources_in([[(source, 1) for source in content]]):
        part = height * min(1.0, content[source])
        style = {"edgecolor": "none"} | hatch_of(source)
        axes.add_patch(
            Rectangle((x, y + level), width, part, facecolor=colour_of(source), linewidth=0, zorder=6, **style)
        )
        level += part
    axes.add_patch(Rectangle((x, y), width, height, facecolor="none", edgecolor=INK, linewidth=0.8, zorder=7))


def _mixes(region: Region, interval: StatedInterval) -> dict[str, dict[Source, int]]:
    """What was used at each node, by source: everybody's origin, at the nodes where they are metered."""
    nodes: dict[tuple[str, Carrier], dict[str, int]] = {}
    for meter in region.grid.meters:
        if meter.id in region.meters_apart:
            continue
        row = (interval.energies or {}).get(meter.id)
        weight = row.imported_wh if row is not None else 1
        at = nodes.setdefault((meter.participant, region.carriers[meter.node]), {})
        at[meter.node] = at.get(meter.node, 0) + weight
    found: dict[str, dict[Source, int]] = {}
    for flow in interval.flows.participants:
        at = nodes.get((flow.participant, flow.carrier), {})
        whole = sum(at.values())
        for node, weight in at.items():
            for source, wh in flow.origin_wh:
                mix = found.setdefault(node, {})
                mix[source] = mix.get(source, 0) + (wh * weight // whole if whole else 0)
    return found


def _feeding(region: Region) -> frozenset[str]:
    node = {meter.id: meter.node for meter in region.grid.meters}
    return frozenset({region.grid.reference_node, *(node[generator.meter] for generator in region.grid.generators)})


def _legend(
    region: Region, interval: StatedInterval, mixes: Mapping[str, Mapping[Source, int]], *, is_congested: bool
) -> list[object]:
    shown = [*(mix.items() for mix in mixes.values()), *(held.content.mix_wh for held in interval.flows.storages)]
    handles: list[object] = [patch_of(source) for source in sources_in(shown)]
    if is_congested:
        handles.append(Line2D([], [], color=ALARM, linewidth=5, label="above its rating"))
    carriers = [carrier for carrier in Carrier if carrier in {node.carrier for node in region.grid.nodes}]
    if len(carriers) > 1:
        handles += [
            Line2D([], [], marker="o", linestyle="", markersize=8, markerfacecolor="white", markeredgewidth=2,
                   markeredgecolor=CARRIER_COLOURS[carrier], label=f"node of {carrier.value}")
            for carrier in carriers
        ]  # fmt: skip
    if region.grid.converters:
        handles.append(Line2D([], [], color=CONVERTED, linestyle="--", linewidth=0.9, label="converter"))
    return handles
