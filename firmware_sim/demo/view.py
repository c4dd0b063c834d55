"""What the demo has heard and counted: the scene while it runs, and the summary at its end. Pure."""

from __future__ import annotations

import io
import re
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from firmware_sim.demo.chapters import Chapters
from firmware_sim.demo.clues import Clue
from firmware_sim.demo.screen import EVENTS_MAX, Screen
from protocol.messages import RightKind

PICTURE_COLUMNS: Final = 118
EXPLAINED_MIN: Final = 3
"""Somebody's relief, heat out of the tank, and the meter that lied."""
NAMES_MAX: Final = 2
"""How many who did the same are named; the others are counted."""

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
    intervals_congested: int = 0
    """With a cable above its rating, of those that were heard of."""
    relief_paid_to: tuple[str, ...] = ()
    """Participants who were paid for relieving a congested cable when they were called."""
    relief_tokens: int = 0
    """What they were paid."""
    heat_clean_percent: int = 0
    """Of the heat that the houses used."""
    tank_clean_percent: int = 0
    """Of the heat that the tank gave: its wind is of an earlier time."""
    meters_contradicted: tuple[str, ...] = ()
    """By physics."""
    meter_bypassed: str = ""
    """The one that a wire was led past."""
    explanations: int = 0
    """Of these, tried afterwards, that go down to readings and add up."""
    is_whole_story: bool = False
    """Whether the demo ran for as long as all of that takes."""

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
        if self.is_whole_story:
            wants |= {
                "a cable was congested": self.intervals_congested > 0,
                "somebody was paid for relieving it": self.relief_tokens > 0,
                "the houses' heat had a clean share": self.heat_clean_percent > 0,
                "the tank gave clean heat": self.tank_clean_percent > 0,
                "the meter that a wire was led past was found": self.meter_bypassed in self.meters_contradicted,
                "no honest meter was accused": set(self.meters_contradicted) <= {self.meter_bypassed},
                "each of it is explained down to its readings": self.explanations >= EXPLAINED_MIN,
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
    chapters: Chapters = field(default_factory=Chapters)
    clues: tuple[Clue, ...] = ()
    """Where the story can be followed afterwards."""
    events: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))

    def hear(self, summary: dict[str, Any]) -> None:
        """Take in what the aggregator published, and note what has changed for somebody."""
        before = self.latest
        self.latest = summary
        physics = [] if before and before["interval"] == summary["interval"] else self.chapters.hear(summary)
        if before is None or before["height"] > summary["height"]:
            return
        if summary["periods_settled"] > before["periods_settled"]:
            self.events.append(f"[bold]period {summary['periods_settled']} settled[/]")
        self.events.extend(physics)
        changes, buyers = [], dict[str, list[str]]()
        for name, now in summary["participants"].items():
            then = before["participants"].get(name, now)
            changes += _changes(name, then, now)
            for kind in dict.fromkeys(right["kind"] for right in now["rights"] if right not in then["rights"]):
                buyers.setdefault(kind.replace("_", " "), []).append(name)
        self.events.extend(f"{_some(names)} bought {kind} for the next period" for kind, names in buyers.items())
        self.events.extend(changes)  # last, where a low terminal shows them

    def tell(self, event: str) -> None:
        """Note something that somebody did."""
        self.events.append(f"[cyan]{escape(event)}[/]")

    def finish(self, ledger: dict[str, Any], standings: list[dict[str, Any]]) -> None:
        """Take in how it ended, as the ledger has it: more than was published when the gateways were stopped.

        Args:
            ledger: what `este-aggregator status --json` prints.
            standings: and `este-aggregator balances --json`.
        """
        self.elapsed_s = max(self.elapsed_s, self.duration_s)
        if self.latest is None:
            return
        people = dict(self.latest["participants"])
        for standing in standings:
            name = standing["participant"]
            rights = [right | {"kind": RightKind(right["kind"]).name.lower()} for right in standing["rights"]]
            same = {key: standing[key] for key in ("balance", "rank", "supply_factor_ppm", "demand_factor_ppm")}
            people[name] = people[name] | same | {"restricted": standing["balance"] < 0, "rights": rights}
        same = {key: ledger[key] for key in ("height", "readings_on_chain", "intervals_closed", "periods_settled")}
        tokens = self.latest["tokens"] | {"minted": ledger["tokens_minted"], "burned": ledger["tokens_charged"]}
        self.hear(self.latest | same | {"tokens": tokens, "participants": people})

    def draw(self, *, is_whole: bool = False) -> Screen:
        """The screen as it is now, to fit a terminal, or whole."""
        return Screen(
            duration_s=self.duration_s,
            elapsed_s=self.elapsed_s,
            stage=self.stage,
            latest=self.latest,
            events=tuple(self.events),
            story=self.chapters.lines(),
            is_whole=is_whole,
        )


def summary_table(summary: Summary, *, pairs: int = 1) -> RenderableType:
    """The end of the demo, for people: so many numbers beside each other."""
    table = Table(box=None, show_header=False, padding=(0, 2))
    told = {key: value for key, value in asdict(summary).items() if key != "is_whole_story"}
    facts = [(key.replace("_", " "), Text(_fact(value), style="bold")) for key, value in told.items()]
    height = -(-len(facts) // pairs)
    for place in range(height):
        table.add_row(*(cell for fact in facts[place::height] for cell in fact))
    return table


def _fact(value: object) -> str:
    return (", ".join(value) or "nobody") if isinstance(value, tuple) else str(value)


class Drawn(Protocol):
    """A scene."""

    def draw(self, *, is_whole: bool = False) -> RenderableType:
        """The screen as it is now, to fit a terminal, or whole."""


def picture_of(scene: Drawn) -> str:
    """The screen as an SVG drawing that needs nothing from the network."""
    console = Console(
        record=True, width=PICTURE_COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(scene.draw(is_whole=True))
    return _WEB_FONTS.sub("", console.export_svg(title="este-demo"))


def _changes(name: str, then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    if now["restricted"] and not then["restricted"]:
        return [f"[red]{escape(name)} owes {-now['balance']} tokens: its devices are limited[/]"]
    if then["restricted"] and not now["restricted"]:
        return [f"[green]{escape(name)} is back at {now['balance']} tokens: its limit is lifted[/]"]
    return []


def _some(names: list[str]) -> str:
    """The first few names, and how many there are besides."""
    told = escape(", ".join(names[:NAMES_MAX]))
    return told if len(names) <= NAMES_MAX else f"{told} +{len(names) - NAMES_MAX} more"
