"""How long a branch was loaded how much: its duration curve, with its rating."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from aggregator.service.past import StatedInterval
from aggregator.views.pictures.style import ALARM, INK, PALE, legend_beside, power
from protocol.units import PPM

BLUE = "#0072b2"
BRIEF_H = 1 / 30
"""Less than that is told in seconds."""


def draw_branch(branch: str, intervals: Sequence[StatedInterval]) -> Figure:
    """Draw how many hours a branch was loaded at least so much."""
    flows = [
        ((interval.end_ms - interval.start_ms) / 3_600_000, flow)
        for interval in intervals
        for flow in interval.flows.branches
        if flow.branch == branch
    ]
    flows.sort(key=lambda part: -part[1].loading_ppm)
    hours, loading = [0.0], [100 * flow.loading_ppm / PPM for _, flow in flows[:1]] or [0.0]
    for length, flow in flows:
        loading.append(100 * flow.loading_ppm / PPM)
        hours.append(hours[-1] + length)
    above = sum(length for length, flow in flows if flow.is_congested)
    figure = Figure(figsize=(8.5, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.step(hours, loading, where="pre", color=BLUE, linewidth=1.8)
    axes.fill_between(hours, loading, step="pre", color=BLUE, alpha=0.15, linewidth=0)
    if above:
        axes.fill_between(
            hours, loading, 100, where=[one > 100 for one in loading], step="pre", color=ALARM, alpha=0.7, linewidth=0
        )
    axes.axhline(100, color=INK, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, hours[-1] or 1)
    axes.set_ylim(0, max(110.0, 1.08 * max(loading)))
    if 0 < hours[-1] < BRIEF_H:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda hours, _: f"{3600 * hours:g}"))
        axes.xaxis.set_major_locator(MultipleLocator(max(1, round(450 * hours[-1])) / 3600))
    unit = "seconds" if 0 < hours[-1] < BRIEF_H else "hours"
    axes.set_xlabel(f"{unit} in which it was loaded at least so much")
    axes.set_ylabel("loading, % of its rating")
    axes.grid(color=PALE, linewidth=0.4)
    axes.set_axisbelow(True)
    said = f"above its rating for {_hours(above)}" if above else "never above its rating"
    figure.suptitle(f"{branch}: {said} of {_hours(hours[-1])}", x=0.01, ha="left", fontsize=13)
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


def _hours(hours: float) -> str:
    if hours >= 1:
        return f"{hours:,.2f}".rstrip("0").rstrip(".") + " h"
    return f"{60 * hours:.3g} min" if hours >= BRIEF_H or not hours else f"{3600 * hours:.3g} s"
