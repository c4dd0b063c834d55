"""The screen of the market's story: its chapters, the people in it, what just happened. Pure.

It fits the terminal that it is drawn on, each time anew. Chapters are always whole: beside their titles where there is
room, else below them. People give way where there is too little, those who have a part in the story last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.text import Text

from config.tables import GAP, Cell, Column, Table
from firmware_sim.demo.market.found import Chapter, Progress
from firmware_sim.lane import VILLA, WEIR, WORKSHOP

CAST: Final = (VILLA, WORKSHOP, WEIR, "wind")
"""Who has a part of their own: they stand first."""
BESIDE: Final = 110
"""Columns from which on a chapter stands beside its title."""
TITLE_WIDTH: Final = 22
NEWS_FRAME: Final = 2
NEWS_MIN: Final = 3
NEWS_MAX: Final = 8
PEOPLE_MIN: Final = 3

STYLES: Final = {Progress.WAITING: "dim", Progress.ON: "bold yellow", Progress.DONE: "green"}

COLUMNS: Final = (
    Column(heading="participant", width_min=len("grid-operator")),
    Column(heading="power", width_min=len("→ uses   12.3 kW")),
    Column(heading="sold", is_right=True, width_min=len("123 Wh")),
    Column(heading="bought", is_right=True, width_min=len("123 Wh")),
    Column(heading="tokens", is_right=True, width_min=6),
    Column(heading="", width_min=len("goes first")),
)

OPENING: Final = "meters are being read; the first interval closes in a few seconds …"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketScreen:
    """What there is to show at one moment."""

    clock: str
    """Simulated time of day."""
    stage: str
    chapters: Sequence[Chapter]
    people: Mapping[str, Mapping[str, Any]] | None
    """How everybody stands, as the aggregator published it last, if it has."""
    traded: Mapping[str, tuple[int, int]]
    """What everybody has sold and bought, in watt-hours."""
    events: tuple[str, ...]
    """What just happened, with markup."""
    is_whole: bool = False
    """Everything is shown, however high it is."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide and as high as it may be."""
        width, height = options.max_width, None if self.is_whole else options.height or options.max_height
        head = [self._head(), Text(), *self._chapters(width), Text()]
        people = self._people()
        room = None if height is None else height - len(head) - NEWS_FRAME
        news_min = NEWS_MIN if room is None else max(1, min(NEWS_MIN, room - PEOPLE_MIN))
        news_max = NEWS_MAX if room is None else max(news_min, min(NEWS_MAX, room - len(people)))
        people_max = None if room is None else max(PEOPLE_MIN, room - news_max)
        if people_max is not None and len(people) > people_max:
            hidden = len(people) - people_max + 1
            people[people_max - 1 :] = [Text(f"+{hidden} more", style="dim")]
        for line in (*head, *people):
            line.no_wrap, line.overflow = True, "ellipsis"
        yield from console.render(Group(*head, *people, self._news(news_max)), options.reset_height())

    def _head(self) -> Text:
        line = Text.assemble(("este", "bold green"), GAP, (self.clock, "bold"), GAP)
        line.append("an hour goes by in 20 s", style="dim")
        return line.append(f"{GAP}{self.stage}")

    def _chapters(self, width: int) -> Iterator[Text]:
        for number, chapter in enumerate(self.chapters, start=1):
            style = STYLES[chapter.progress]
            title = Text.assemble((f" {chapter.progress.value} {number}  {chapter.title}", style))
            said = Text.from_markup(chapter.line, style="dim" if chapter.progress is Progress.WAITING else "")
            if width >= BESIDE:
                title.pad_right(TITLE_WIDTH + 6 - title.cell_len)
                yield title.append(GAP).append_text(said)
                continue
            yield title
            yield Text("      ").append_text(said)

    def _people(self) -> list[Text]:
        if self.people is None:
            return [Text(f"  {OPENING}", style="dim")]
        people, traded = self.people, self.traded
        names = sorted(people, key=lambda name: _place(name, sum(traded[name])))
        heading, *lines = Table(COLUMNS, [_row(name, people[name], *traded[name]) for name in names]).lines()
        for name, line in zip(names, lines, strict=True):
            if people[name]["restricted"]:
                line.stylize("red")
        return [heading, *lines]

    def _news(self, count: int) -> RenderableType:
        texts = [Text.from_markup(event) for event in self.events[-count:]]
        texts += [Text()] * (count - len(texts))
        for text in texts:
            text.no_wrap, text.overflow = True, "ellipsis"
        return Panel(Group(*texts), border_style="dim")


def _place(name: str, traded_wh: int) -> tuple[int, int, str]:
    """The cast first, then whoever has traded most."""
    return CAST.index(name) if name in CAST else len(CAST), -traded_wh, name


def _row(name: str, now: Mapping[str, Any], sold_wh: int, bought_wh: int) -> list[Cell]:
    notes = ["owes"] if now["restricted"] else []
    notes += ["goes first"] if now["rights"] else []
    notes += [f"held to {now['limited']['power_max_w'] / 1000:.1f} kW"] if now["limited"] else []
    balance = Text(str(now["balance"]), style="red" if now["balance"] < 0 else "green")
    return [name, _power(now["power_w"]), _wh(sold_wh), _wh(bought_wh), balance, ", ".join(notes)]


def _wh(energy_wh: int) -> str:
    return f"{energy_wh} Wh" if energy_wh else ""


def _power(power_w: int) -> Text:
    if power_w == 0:
        return Text("–", style="dim")
    arrow, word, style = ("→", "uses ", "yellow") if power_w > 0 else ("←", "feeds", "cyan")
    return Text(f"{arrow} {word} {abs(power_w) / 1000:5.1f} kW", style=style)
