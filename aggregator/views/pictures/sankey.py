"""The energy of a region over a time: from what it was made, through networks, converters and storage, to its use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path as Outline

from aggregator.chains.region import Region
from aggregator.service.past import StatedInterval
from aggregator.views.pictures.style import (
    CARRIER_COLOURS,
    INK,
    PALE,
    colour_of,
    energy,
    hatch_of,
    legend_beside,
    name_of,
    patch_of,
    sources_in,
)
from aggregator.views.spans import spelled
from config.carriers import Carrier
from config.grid_model import Source

BAR: Final = 0.13
"""Width of a block."""
GAP: Final = 0.045
"""Between blocks of a column, as part of the picture's height."""
_COLUMN: Final[Mapping[str, int]] = {
    "source": 0,
    "gas": 1,
    "electricity": 1,
    "converter": 2,
    "hydrogen": 3,
    "heat": 3,
    "use": 4,
}
SWEEPS: Final = 4
"""How often the blocks of each column are put in the order of what they are joined to."""
PASSING: Final = "\0"
LAST: Final = ("losses", "seen by no meter")
FEED: Final = "#dadada"


@dataclass(frozen=True, slots=True)
class Ribbon:
    """Energy on its way from one block to another."""

    from_block: str
    to_block: str
    energy_wh: int
    colour: str
    source: Source | None = None
    """What it was made from, where that is known."""


@dataclass(slots=True)
class Sankey:
    """Blocks in columns, and what flows between them."""

    columns: dict[str, int] = field(default_factory=dict)
    colours: dict[str, str] = field(default_factory=dict)
    ribbons: list[Ribbon] = field(default_factory=list)

    def add(self, ribbon: Ribbon, columns: tuple[int, int], colours: tuple[str, str]) -> None:
        """Add a ribbon, and the blocks at its ends; one without energy is left out."""
        if ribbon.energy_wh <= 0:
            return
        for block, column, colour in zip((ribbon.from_block, ribbon.to_block), columns, colours, strict=True):
            self.columns.setdefault(block, column)
            self.colours.setdefault(block, colour)
        self.ribbons.append(ribbon)

    def size(self, block: str) -> int:
        """Energy that goes through a block: in or out, whichever is more."""
        into = sum(ribbon.energy_wh for ribbon in self.ribbons if ribbon.to_block == block)
        out = sum(ribbon.energy_wh for ribbon in self.ribbons if ribbon.from_block == block)
        return max(into, out)


def flows_of(region: Region, intervals: Sequence[StatedInterval]) -> Sankey:
    """What flowed through a region in some intervals."""
    sankey = Sankey()
    counted = _counted(intervals)
    _add_sources(sankey, region, counted)
    _add_converters(sankey, region, counted)
    _add_storages(sankey, region, counted)
    _add_uses(sankey, region, intervals)
    _add_losses(sankey, intervals)
    return sankey


def draw_sankey(region: Region, intervals: Sequence[StatedInterval]) -> Figure:
    """Draw where a region's energy came from and where it went."""
    sankey = flows_of(region, intervals)
    figure = Figure(figsize=(11.0, 6.2), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    span = f"{spelled(intervals[0].start_ms)} to {spelled(intervals[-1].end_ms)} UTC" if intervals else ""
    figure.suptitle(f"Energy of {region.grid.region}, {span}", x=0.01, ha="left", fontsize=13)
    if not sankey.ribbons:
        axes.text(0.5, 0.5, "nothing flowed", ha="center", transform=axes.transAxes)
        return figure
    _draw(axes, sankey)
    sources = sources_in([[(ribbon.source, 1)] for ribbon in sankey.ribbons if ribbon.source])
    legend_beside(axes, [patch_of(source) for source in sources], "made from")
    return figure


def _counted(intervals: Iterable[StatedInterval]) -> dict[str, tuple[int, int]]:
    """What each meter imported and exported in all."""
    sums: dict[str, tuple[int, int]] = {}
    for interval in intervals:
        for meter, row in (interval.energies or {}).items():
            imported, exported = sums.get(meter, (0, 0))
            sums[meter] = (imported + row.imported_wh, exported + row.exported_wh)
    return sums


def _add_sources(sankey: Sankey, region: Region, counted: Mapping[str, tuple[int, int]]) -> None:
    for meter, (_, exported_wh) in counted.items():
        if meter in region.meters_apart:
            continue
        asset = region.meters[meter]
        source = asset.generator.source if asset.generator else Source.OTHER
        carrier = region.carriers[asset.meter.node]
        title = f"{name_of(source)} ({carrier.value})" if carrier is not Carrier.ELECTRICITY else name_of(source)
        found = [r for r in sankey.ribbons if (r.from_block, r.to_block) == (title, carrier.value)]
        for ribbon in found:
            sankey.ribbons.remove(ribbon)
        whole_wh = exported_wh + sum(ribbon.energy_wh for ribbon in found)
        ribbon = Ribbon(title, carrier.value, whole_wh, colour_of(source), source)
        sankey.add(ribbon, (0, _COLUMN[carrier.value]), (colour_of(source), CARRIER_COLOURS[carrier]))


def _add_converters(sankey: Sankey, region: Region, counted: Mapping[str, tuple[int, int]]) -> None:
    nodes = {meter.id: meter.node for meter in region.grid.meters}
    for converter in region.grid.converters:
        column, taken_wh, given_wh = _COLUMN["converter"], 0, 0
        for meter in converter.inputs:
            carrier, energy_wh = region.carriers[nodes[meter]], counted.get(meter, (0, 0))[0]
            taken_wh += energy_wh
            colour = CARRIER_COLOURS[carrier]
            sankey.add(
                Ribbon(carrier.value, converter.id, energy_wh, colour), (_COLUMN[carrier.value], column), (colour, FEED)
            )
        for output in converter.outputs:
            carrier, energy_wh = region.carriers[nodes[output.meter]], counted.get(output.meter, (0, 0))[1]
            given_wh += energy_wh
            colour = CARRIER_COLOURS[carrier]
            sankey.add(
                Ribbon(converter.id, carrier.value, energy_wh, colour), (column, _COLUMN[carrier.value]), (FEED, colour)
            )
        if given_wh > taken_wh:
            ribbon = Ribbon("surroundings", converter.id, given_wh - taken_wh, "#cfe3d4")
            sankey.add(ribbon, (_COLUMN["electricity"], column), ("#cfe3d4", FEED))
        else:
            lost = Ribbon(converter.id, "losses", taken_wh - given_wh, PALE)
            sankey.add(lost, (column, _COLUMN["use"]), (FEED, PALE))


def _add_storages(sankey: Sankey, region: Region, counted: Mapping[str, tuple[int, int]]) -> None:
    """What was put in stands on the side of use, what was taken out on the side of sources."""
    nodes = {meter.id: meter.node for meter in region.grid.meters}
    for storage in region.grid.storages:
        carrier = region.carriers[nodes[storage.charge_meter]]
        colour, column = CARRIER_COLOURS[carrier], _COLUMN[carrier.value]
        charged_wh, discharged_wh = counted.get(storage.charge_meter, (0, 0))[0], 0
        discharged_wh = counted.get(storage.discharge_meter, (0, 0))[1]
        sankey.add(
            Ribbon(f"out of {storage.id}", carrier.value, discharged_wh, colour), (column - 1, column), (FEED, colour)
        )
        sankey.add(
            Ribbon(carrier.value, f"into {storage.id}", charged_wh, colour), (column, _COLUMN["use"]), (colour, FEED)
        )


def _add_uses(sankey: Sankey, region: Region, intervals: Iterable[StatedInterval]) -> None:
    sums: dict[tuple[Carrier, bool, Source], int] = {}
    for interval in intervals:
        for flow in interval.flows.participants:
            for source, energy_wh in flow.origin_wh:
                key = (flow.carrier, flow.participant in region.outside, source)
                sums[key] = sums.get(key, 0) + energy_wh
    for (carrier, is_outside, source), energy_wh in sorted(sums.items(), key=_in_order):
        use = "to the grid outside" if is_outside else f"{carrier.value} used"
        ribbon = Ribbon(carrier.value, use, energy_wh, colour_of(source), source)
        sankey.add(
            ribbon, (_COLUMN[carrier.value], _COLUMN["use"]), (CARRIER_COLOURS[carrier], CARRIER_COLOURS[carrier])
        )


def _add_losses(sankey: Sankey, intervals: Iterable[StatedInterval]) -> None:
    lost: dict[Carrier, int] = {}
    unseen: dict[Carrier, int] = {}
    for interval in intervals:
        for balance in interval.flows.balances:
            lost[balance.carrier] = lost.get(balance.carrier, 0) + balance.losses_wh
            unseen[balance.carrier] = unseen.get(balance.carrier, 0) + balance.rest_wh
    for carrier, lost_wh in lost.items():
        name, colour = carrier.value, CARRIER_COLOURS[carrier]
        column, last = _COLUMN[name], _COLUMN["use"]
        sankey.add(Ribbon(name, "losses", lost_wh, PALE), (column, last), (colour, PALE))
        sankey.add(Ribbon(name, "seen by no meter", unseen[carrier], PALE), (column, last), (colour, PALE))
        sankey.add(Ribbon("seen by no meter ", name, -unseen[carrier], PALE), (0, column), (PALE, colour))


def _in_order(part: tuple[tuple[Carrier, bool, Source], int]) -> tuple[int, bool, int]:
    (carrier, is_outside, source), _ = part
    return list(Carrier).index(carrier), is_outside, list(Source).index(source)


def _draw(axes: Axes, sankey: Sankey) -> None:
    """Blocks, ribbons, and a word beside each block."""
    sankey = _routed(sankey)
    places = _places(sankey)
    used = sorted(set(sankey.columns.values()))
    x_of = {column: place / max(1, len(used) - 1) for place, column in enumerate(used)}
    whole = _whole(sankey)
    bar = BAR / max(3, len(used))
    left = {block: low + height for block, (low, height) in places.items()}
    right = dict(left)
    for ribbon in sorted(sankey.ribbons, key=lambda one: (-places[one.from_block][0], -places[one.to_block][0])):
        thick = ribbon.energy_wh / whole
        start = (x_of[sankey.columns[ribbon.from_block]] + bar * _is_shown(ribbon.from_block), right[ribbon.from_block])
        end = (x_of[sankey.columns[ribbon.to_block]], left[ribbon.to_block])
        right[ribbon.from_block] -= thick
        left[ribbon.to_block] -= thick
        _draw_ribbon(axes, start, end, thick, ribbon)
    for block, (low, height) in places.items():
        if not _is_shown(block):
            continue
        x = x_of[sankey.columns[block]]
        axes.add_patch(Rectangle((x, low), bar, height, facecolor=sankey.colours[block], edgecolor=INK, linewidth=0.6,
                                 zorder=3))  # fmt: skip
        is_last = sankey.columns[block] == used[-1]
        axes.annotate(
            f"{block.strip()}\n{energy(sankey.size(block))}", (x + (bar if is_last else 0), low + height / 2),
            xytext=(5 if is_last else -5, 0), textcoords="offset points", ha="left" if is_last else "right",
            va="center", fontsize=8, color=INK, zorder=4,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
    axes.set_xlim(-0.16, 1.18)
    axes.set_ylim(min(low for low, _ in places.values()) - 0.02, 1.02)


def _draw_ribbon(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], thick: float, ribbon: Ribbon
) -> None:
    (x1, y1), (x2, y2) = start, end
    bend = max(0.08, abs(x2 - x1) / 2)
    corners = [
        (x1, y1), (x1 + bend, y1), (x2 - bend, y2), (x2, y2),
        (x2, y2 - thick), (x2 - bend, y2 - thick), (x1 + bend, y1 - thick), (x1, y1 - thick), (x1, y1),
    ]  # fmt: skip
    curve = [Outline.CURVE4] * 3
    codes = [Outline.MOVETO, *curve, Outline.LINETO, *curve, Outline.CLOSEPOLY]
    style = {"linewidth": 0} | (hatch_of(ribbon.source) if ribbon.source else {})
    axes.add_patch(PathPatch(Outline(corners, codes), facecolor=ribbon.colour, alpha=0.75, zorder=1, **style))


def _routed(sankey: Sankey) -> Sankey:
    """With a place kept free in every column that a ribbon passes, so that it passes no block."""
    routed = Sankey(dict(sankey.columns), dict(sankey.colours))
    for ribbon in sankey.ribbons:
        first, last = sankey.columns[ribbon.from_block], sankey.columns[ribbon.to_block]
        way = [ribbon.from_block]
        for column in range(first + 1, last):
            if column in sankey.columns.values():
                way.append(f"{PASSING}{ribbon.from_block}{PASSING}{ribbon.to_block}{PASSING}{column}")
                routed.columns[way[-1]] = column
        way.append(ribbon.to_block)
        routed.ribbons += [replace(ribbon, from_block=a, to_block=b) for a, b in pairwise(way)]
    return routed


def _is_shown(block: str) -> bool:
    """Whether it is a block, and no place kept free for ribbons that pass."""
    return not block.startswith(PASSING)


def _whole(sankey: Sankey) -> float:
    """Energy that the height of the picture stands for: so much that the fullest column just fits."""
    tallest = 1.0
    for column in set(sankey.columns.values()):
        blocks = [block for block, place in sankey.columns.items() if place == column]
        room = 1 - GAP * (len(blocks) - 1)
        tallest = max(tallest, sum(map(sankey.size, blocks)) / max(0.2, room))
    return tallest


def _places(sankey: Sankey) -> dict[str, tuple[float, float]]:
    """Lower edge and height of every block; those of a column stand in the middle of it, largest share above."""
    whole, places = _whole(sankey), dict[str, tuple[float, float]]()
    for blocks in _ordered(sankey):
        heights = {block: sankey.size(block) / whole for block in blocks}
        slack = 1 - sum(heights.values()) - GAP * (len(blocks) - 1)
        top = 1 - slack / 2
        for block in blocks:
            places[block] = (top - heights[block], heights[block])
            top -= heights[block] + GAP
    return places


def _ordered(sankey: Sankey) -> list[list[str]]:
    """The blocks of each column from above, so that few ribbons cross; what is lost or unseen stands below all."""
    columns = [
        [block for block, place in sankey.columns.items() if place == column]
        for column in sorted(set(sankey.columns.values()))
    ]
    height = {block: place / max(1, len(blocks) - 1) for blocks in columns for place, block in enumerate(blocks)}
    for _ in range(SWEEPS):
        for blocks in columns:
            wanted = {block: _pull(sankey, block, height) for block in blocks}
            blocks.sort(key=lambda block: (block.strip() in LAST, wanted[block], block))
            height |= {block: place / max(1, len(blocks) - 1) for place, block in enumerate(blocks)}
    return columns


def _pull(sankey: Sankey, block: str, height: Mapping[str, float]) -> float:
    """Where a block would stand if it stood beside what it is joined to."""
    joined = [(r.to_block if r.from_block == block else r.from_block, r.energy_wh) for r in sankey.ribbons
              if block in {r.from_block, r.to_block}]  # fmt: skip
    return sum(height[other] * energy_wh for other, energy_wh in joined) / sum(energy_wh for _, energy_wh in joined)
