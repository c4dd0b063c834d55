"""How long a branch was loaded how much: its duration curve, with its rating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aggregator.service.past import StatedInterval
from aggregator.views.pictures.style import ALARM, INK, PALE, legend_beside, power
from protocol.units import PPM

BLUE = "#0072b2"
UNITS: Final = (("hours", 3_600_000), ("minutes", 60_000), ("seconds", 1_000))
"""In which a span of time is told, the first that is not longer than it."""


def draw_branch(branch: str, intervals: Sequence[StatedInterval]) -> Figure:
    """Draw for how long a branch was loaded at least so much."""
    length_ms = sum(interval.end_ms - interval.start_ms for interval in intervals)
    unit, unit_ms = next(((name, ms) for name, ms in UNITS if length_ms >= ms), UNITS[-1])
    flows = [
        ((interval.end_ms - interval.start_ms) / unit_ms, flow)
        for interval in intervals
        for flow in interval.flows.branches
        if flow.branch == branch
    ]
    flows.sort(key=lambda part: -part[1].loading_ppm)
    lengths, loading = [0.0], [100 * flow.loading_ppm / PPM for _, flow in flows[:1]] or [0.0]
    for length, flow in flows:
        loading.append(100 * flow.loading_ppm / PPM)
        lengths.append(lengths[-1] + length)
    above = sum(length for length, flow in flows if flow.is_congested)
    figure = Figure(figsize=(8.5, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.step(lengths, loading, where="pre", color=BLUE, linewidth=1.8)
    axes.fill_between(lengths, loading, step="pre", color=BLUE, alpha=0.15, linewidth=0)
    if above:
        axes.fill_between(
            lengths, loading, 100, where=[one > 100 for one in loading], step="pre", color=ALARM, alpha=0.7, linewidth=0
        )
    axes.axhline(100, color=INK, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, lengths[-1] or 1)
    axes.set_ylim(0, max(110.0, 1.08 * max(loading)))
    axes.set_xlabel(f"{unit} in which it was loaded at least so much")
    axes.set_ylabel("loading, % of its rating")
    axes.grid(color=PALE, linewidth=0.4)
    axes.set_axisbelow(True)
    whole = _long(lengths[-1] * unit_ms)
    said = (
        f"above its rating for {_long(above * unit_ms)} of {whole}" if above else f"never above its rating in {whole}"
    )
    figure.suptitle(f"{branch}: {said if flows else 'no flow is known'}", x=0.01, ha="left", fontsize=13)
    if flows:
        forth = max(flow.flow_w for _, flow in flows)
        back = -min(flow.flow_w for _, flow in flows)
        there = [f"most forward {power(forth)}"] if forth > 0 else []
        there += [f"most backward {power(back)}"] if back > 0 else []
        axes.set_title(", ".join(there) or "nothing flowed", fontsize=10)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=BLUE, linewidth=1.8, label="loading"),
        Line2D([], [], color=INK, linewidth=1.2, linestyle="--", label="rating"),
    ]
    handles += [Patch(facecolor=ALARM, alpha=0.7, label="congested")] if above else []
    legend_beside(axes, handles)
    return figure


def _long(length_ms: float) -> str:
    for unit, unit_ms in (("h", 3_600_000), ("min", 60_000)):
        if length_ms >= unit_ms:
            return f"{length_ms / unit_ms:,.2f}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{length_ms / 1000:.3g} s"
