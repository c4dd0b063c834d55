"""What the demo shows: a table of everybody, a line of what just happened, and a summary at the end. Pure."""

from __future__ import annotations

import io
import re
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

EVENTS_MAX: Final = 6
BAR_WIDTH: Final = 12
PICTURE_COLUMNS: Final = 118

_WEB_FONTS: Final = re.compile(r"@font-face\s*\{.*?\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Summary:
    """The demo in numbers: what `--json` prints."""

    readings_read: int
    readings_on_chain: int
    readings_lost: int
    batches_refused: int
    intervals_closed: int
    periods_settled: int
    tokens_minted: int
    tokens_charged: int
    rights_bought: int
    statements_verified: int
    rights_applied: int
    audit: str

    @property
    def missing(self) -> list[str]:
        """What should have happened and did not; empty if the loop closed."""
        wants = {
            "readings were read": self.readings_read > 0,
            "every reading is on the chain": self.readings_lost == 0,
            "no batch was refused": self.batches_refused == 0,
            "an interval was closed": self.intervals_closed > 0,
            "a settlement period was settled": self.periods_settled > 0,
            "tokens were minted": self.tokens_minted > 0,
            "tokens were charged": self.tokens_charged > 0,
            "gateways verified statements": self.statements_verified > 0,
            "a right or restriction reached a device": self.rights_applied > 0,
            "the audit re-derived everything": self.audit == "ok",
        }
        return [want for want, came_true in wants.items() if not came_true]


@dataclass(slots=True)
class Scene:
    """What has been heard so far."""

    duration_s: int
    elapsed_s: float = 0.0
    stage: str = "starting"
    ended_by: int | None = None
    """The last signal that came, if one did."""
    latest: dict[str, Any] | None = None
    events: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))

    def hear(self, summary: dict[str, Any]) -> None:
        """Take in what the aggregator published, and note what has changed for somebody."""
        before = self.latest
        self.latest = summary
        if before is None or before["height"] > summary["height"]:
            return
        if summary["periods_settled"] > before["periods_settled"]:
            self.events.append(f"[bold]period {summary['periods_settled']} settled[/]")
        for name, now in summary["participants"].items():
            then = before["participants"].get(name, now)
            self.events.extend(_changes(name, then, now))

    def draw(self) -> RenderableType:
        """The whole screen."""
        return Group(self._head(), self._table(), self._news())

    def _head(self) -> RenderableType:
        line = Table.grid(padding=(0, 2))
        left_s = max(0, round(self.duration_s - self.elapsed_s))
        line.add_row(
            Text("este", style="bold green"),
            ProgressBar(total=self.duration_s, completed=min(self.elapsed_s, self.duration_s), width=30),
            Text(f"{left_s:3d} s left", style="dim"),
            Text(self.stage),
        )
        return line

    def _table(self) -> RenderableType:
        if self.latest is None:
            return Text("\n  meters are being read; the first interval closes in a few seconds …\n", style="dim")
        columns = ("rank", "participant", "power", "clean share", "supply F", "demand F", "tokens", "rights", "")
        table = Table(*columns, box=None, padding=(0, 1), header_style="bold dim")
        at_ms = self.latest["interval"]["end_ms"]
        people = sorted(self.latest["participants"].items(), key=lambda item: (item[1]["rank"], item[0]))
        for name, now in people:
            style = "red" if now["restricted"] else None
            table.add_row(
                str(now["rank"]), name, _power(now["power_w"]), _share(now["clean_ppm"]),
                _factor(now["supply_factor_ppm"]), _factor(now["demand_factor_ppm"]),
                Text(str(now["balance"]), style="red" if now["balance"] < 0 else "green"),
                ", ".join(_right(right, at_ms) for right in now["rights"]),
                "restricted" if now["restricted"] else "", style=style,
            )  # fmt: skip
        return table

    def _news(self) -> RenderableType:
        if self.latest is None:
            return Text("")
        tokens = self.latest["tokens"]
        facts = (
            f"block {self.latest['height']} · {self.latest['readings_on_chain']} readings on the chain · "
            f"{self.latest['intervals_closed']} intervals · {self.latest['periods_settled']} periods · "
            f"tokens: {tokens['minted']} minted, {tokens['burned']} charged · "
            f"losses {self.latest['losses_w']} W"
        )
        return Panel(Text.from_markup("\n".join([facts, *self.events])), border_style="dim")


def summary_table(summary: Summary) -> RenderableType:
    """The end of the demo, for people."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    for key, value in asdict(summary).items():
        table.add_row(key.replace("_", " "), Text(str(value), style="bold"))
    return table


def picture_of(scene: Scene) -> str:
    """The screen as an SVG drawing that needs nothing from the network."""
    console = Console(
        record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(scene.draw())
    return _WEB_FONTS.sub("", console.export_svg(title="este-demo"))


def _changes(name: str, then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    changes = []
    if now["restricted"] and not then["restricted"]:
        changes.append(f"[red]{name} owes {-now['balance']} tokens: its devices are limited[/]")
    if then["restricted"] and not now["restricted"]:
        changes.append(f"[green]{name} is back at {now['balance']} tokens: its limit is lifted[/]")
    bought = [right["kind"].replace("_", " ") for right in now["rights"] if right not in then["rights"]]
    return changes + [f"{name} bought {kind} for the next period" for kind in bought]


def _right(right: dict[str, Any], at_ms: int) -> str:
    """What is held, and whether that is yet to begin."""
    kind: str = right["kind"].removeprefix("priority_")
    return f"next {kind}" if right["start_ms"] > at_ms else kind


def _power(power_w: int) -> Text:
    arrow, style = ("→ uses", "yellow") if power_w > 0 else ("← feeds", "cyan")
    if power_w == 0:
        return Text("–", style="dim")
    return Text(f"{arrow} {abs(power_w) / 1000:6.1f} kW", style=style)


def _share(clean_ppm: int | None) -> Text:
    if clean_ppm is None:
        return Text("–", style="dim")
    filled = round(clean_ppm * BAR_WIDTH / 1_000_000)
    return Text.assemble(("█" * filled, "green"), ("░" * (BAR_WIDTH - filled), "dim"), f" {clean_ppm / 10_000:3.0f} %")


def _factor(ppm: int | None) -> Text:
    if ppm is None:
        return Text("–", style="dim")
    return Text(f"{ppm / 1_000_000:+.2f}", style="red" if ppm < 0 else "")
