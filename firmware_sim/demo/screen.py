"""The demo's screen: who uses and feeds what, who is limited, what just happened. Pure.

It fits the terminal that it is drawn on, each time anew. A participant is one line; where there is no room, bars go
first, then words become short, then factors go; then participants at the end are counted instead of shown. Who is
limited or owes comes first, and the box with the news is always there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from config.tables import GAP, Cell, Column, Table

EVENTS_MAX: Final = 6
BAR_WIDTH: Final = 12
PROGRESS_WIDTH_MAX: Final = 30
PROGRESS_WIDTH_MIN: Final = 6
BESIDE_EVENTS: Final = 14
"""Lines of a low terminal that are not for events."""

NEWS_FRAME: Final = 3
"""Lines of the news that are no events: two of its box, one of numbers."""

SHORT_RIGHTS: Final = {"priority_generation": "gen", "priority_purchase": "buy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is shown of a participant."""

    has_bars: bool = False
    has_factors: bool = False
    is_short: bool = False
    has_flow: bool = True


LAYOUTS: Final = (
    Layout(has_bars=True, has_factors=True),
    Layout(has_bars=True, has_factors=True, is_short=True),
    Layout(has_factors=True, is_short=True),
    Layout(is_short=True),
    Layout(is_short=True, has_flow=False),
)
"""The first that fits is taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """What there is to show at one moment."""

    duration_s: int
    elapsed_s: float
    stage: str
    latest: dict[str, Any] | None
    """What the aggregator last published, if it has."""
    events: tuple[str, ...]
    story: tuple[str, ...] = ()
    """What stands above them: a line for each thread of the story, with markup."""
    is_whole: bool = False
    """Everything is shown, however high it is."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide and as high as it may be."""
        width, height = options.max_width, None if self.is_whole else options.height or options.max_height
        told = len(self.story)
        events_max = EVENTS_MAX if height is None else min(EVENTS_MAX, max(1, height - BESIDE_EVENTS - told))
        people_max = None if height is None else max(1, height - 2 - NEWS_FRAME - told - events_max)
        everything = Group(
            self._head(width),
            *self._people(width, people_max),
            self._news(width, events_max, is_steady=height is not None),
        )
        yield from console.render(everything, options.reset_height())

    def _head(self, width: int) -> RenderableType:
        left = f"{max(0, round(self.duration_s - self.elapsed_s)):3d} s left"
        room = width - len("".join(("este", GAP, GAP, left, GAP, self.stage)))
        line = Grid.grid(padding=(0, len(GAP), 0, 0))
        bar = ProgressBar(
            total=self.duration_s, completed=min(self.elapsed_s, self.duration_s), width=min(PROGRESS_WIDTH_MAX, room)
        )
        cells: list[RenderableType] = [Text("este", style="bold green"), *([bar] if room >= PROGRESS_WIDTH_MIN else [])]
        line.add_row(*cells, Text(left, style="dim", no_wrap=True), Text(self.stage, no_wrap=True, overflow="ellipsis"))
        return line

    def _people(self, width: int, rows_max: int | None) -> list[Text]:
        if self.latest is None:
            waiting = "  meters are being read; the first interval closes in a few seconds …"
            return [Text(), Text(waiting, style="dim", no_wrap=True, overflow="ellipsis"), Text()]
        at_ms = self.latest["interval"]["end_ms"]
        people = sorted(self.latest["participants"].items(), key=_urgency)
        tables = (_table(people, at_ms, layout) for layout in LAYOUTS)
        table = next((table for table in tables if table.width <= width), None) or _table(people, at_ms, LAYOUTS[-1])
        heading, *lines = table.lines()
        for line, (_, now) in zip(lines, people, strict=True):
            if now["restricted"]:
                line.stylize("red")
        if rows_max is not None and len(lines) > rows_max:
            hidden = len(lines) - rows_max + 1
            lines[rows_max - 1 :] = [Text(f"+{hidden} more", style="dim")]
        return [heading, *lines]

    def _news(self, width: int, events_max: int, *, is_steady: bool) -> RenderableType:
        if self.latest is None:
            return Text()
        inner = width - 4
        shown = (*self.story, *self.events[-events_max:])
        texts = [Text(_facts(self.latest, inner)), *map(Text.from_markup, shown)]
        if is_steady:
            texts += [Text()] * (1 + len(self.story) + events_max - len(texts))
        for text in texts:
            text.no_wrap, text.overflow = True, "ellipsis"
        return Panel(Group(*texts), border_style="dim")


def _urgency(item: tuple[str, dict[str, Any]]) -> tuple[bool, bool, bool, int, str]:
    """Who is limited comes first, then who owes, then who is about to, then all others by their rank."""
    name, now = item
    factors = (now["supply_factor_ppm"] or 0, now["demand_factor_ppm"] or 0)
    return not now["restricted"], now["balance"] >= 0, min(factors) >= 0, now["rank"], name


def _table(people: list[tuple[str, dict[str, Any]]], at_ms: int, layout: Layout) -> Table:
    columns = [Column(heading="rank", is_right=True), Column(heading="participant")]
    if layout.has_flow:
        columns += [Column(heading="power"), Column(heading="clean" if layout.is_short else "clean share")]
    if layout.has_factors:
        for side in ("supply", "demand"):
            columns.append(Column(heading=side if layout.is_short else f"{side} F", is_right=True, width_min=6))
    columns.append(Column(heading="tokens", is_right=True, width_min=6))
    columns.append(
        Column(heading="rights", width_min=len("gen, gen+1" if layout.is_short else "limited, next generation"))
    )
    return Table(columns, [_row(name, now, at_ms, layout) for name, now in people])


def _row(name: str, now: dict[str, Any], at_ms: int, layout: Layout) -> list[Cell]:
    row: list[Cell] = [str(now["rank"]), name]
    if layout.has_flow:
        power = _power(now["power_w"], is_short=layout.is_short)
        row += [power, _share(now["clean_ppm"], has_bar=layout.has_bars)]
    if layout.has_factors:
        row += [_factor(now["supply_factor_ppm"]), _factor(now["demand_factor_ppm"])]
    row.append(Text(str(now["balance"]), style="red" if now["balance"] < 0 else "green"))
    rights = ["limited"] if now["restricted"] else []
    rights += [_right(right, at_ms, is_short=layout.is_short) for right in now["rights"]]
    return [*row, ", ".join(rights)]


def _facts(latest: dict[str, Any], width: int) -> str:
    """The region in one line, in as many words as there is room for."""
    tokens, height, readings = latest["tokens"], latest["height"], latest["readings_on_chain"]
    intervals, periods, losses = latest["intervals_closed"], latest["periods_settled"], f"losses {latest['losses_w']} W"
    minted, charged = tokens["minted"], tokens["burned"]
    short = f"{readings} readings · {periods} periods · {minted} minted, {charged} charged"
    middle = f"{readings} readings · {intervals} intervals · {periods} periods · {minted} minted, {charged} charged"
    return next(
        (line for line in (
            f"block {height} · {readings} readings on the chain · {intervals} intervals · {periods} periods · "
            f"tokens: {minted} minted, {charged} charged · {losses}",
            f"block {height} · {middle} · {losses}",
            f"block {height} · {middle}",
            middle,
        ) if len(line) <= width),
        short,
    )  # fmt: skip


def _right(right: dict[str, Any], at_ms: int, *, is_short: bool) -> str:
    """What is held, and whether that is yet to begin."""
    is_next, kind = right["start_ms"] > at_ms, str(right["kind"])
    if is_short:
        return SHORT_RIGHTS.get(kind, kind) + ("+1" if is_next else "")
    return ("next " if is_next else "") + kind.removeprefix("priority_")


def _power(power_w: int, *, is_short: bool) -> Text:
    arrow, word, style = ("→", "uses ", "yellow") if power_w > 0 else ("←", "feeds", "cyan")
    if power_w == 0:
        return Text("–", style="dim")
    return Text(f"{arrow} {'' if is_short else word}{abs(power_w) / 1000:6.1f} kW", style=style)


def _share(clean_ppm: int | None, *, has_bar: bool) -> Text:
    if clean_ppm is None:
        return Text("–", style="dim")
    filled = round(clean_ppm * BAR_WIDTH / 1_000_000) if has_bar else 0
    bar = (("█" * filled, "green"), ("░" * (BAR_WIDTH - filled), "dim"), " ") if has_bar else ()
    return Text.assemble(*bar, f"{clean_ppm / 10_000:3.0f} %")


def _factor(ppm: int | None) -> Text:
    if ppm is None:
        return Text("–", style="dim")
    return Text(f"{ppm / 1_000_000:+.2f}", style="red" if ppm < 0 else "")
