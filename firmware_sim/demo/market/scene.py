"""What the market's story has heard and found so far: its chapters, the last of everything, the news. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from rich.markup import escape

from firmware_sim.demo.market.clues import Try
from firmware_sim.demo.market.found import Chapter, Found, Progress
from firmware_sim.demo.market.screen import MarketScreen

EVENTS_MAX: Final = 12
PRIORITY: Final = "priority_purchase"
"""The right that keeps a heat pump on."""


MARKET, REFUSED, BREACHED, FIRST, BOOKS = range(5)
TITLES: Final = ("The market", "A line says no", "A promise is broken", "Who goes first", "The books")
PREVIEWS: Final = (
    "neighbours quote what they have and need, every quarter of an hour",
    "not all that two people agree on can be: a contract is held against the network",
    "whoever does not deliver pays for it, by what meters say",
    "on a full line whoever owes tokens gives up power, and whoever bought a right keeps it",
    "money adds up to 0, and all of it can be derived again",
)
"""What a chapter is about, before it begins."""


@dataclass(slots=True)
class MarketScene:
    """What there is to show."""

    duration_s: int
    """At most."""
    elapsed_s: float = 0.0
    stage: str = "starting"
    ended_by: int | None = None
    clock_s: float = 0.0
    """Simulated time of day."""
    latest: dict[str, Any] | None = None
    """What the aggregator published last."""
    contracts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By number, as `este-aggregator contracts` showed them last."""
    chapters: tuple[Chapter, ...] = field(default_factory=lambda: tuple(map(Chapter, TITLES, PREVIEWS)))
    found: Found = field(default_factory=Found)
    ever_limited: set[str] = field(default_factory=set)
    """Whose devices a full line has limited, at any time."""
    clues: tuple[Try, ...] = ()
    """Where the story can be followed afterwards."""
    events: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))

    @property
    def clock(self) -> str:
        """Simulated time, for people."""
        minutes = int(self.clock_s) // 60
        return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"

    def draw(self, *, is_whole: bool = False) -> MarketScreen:
        """The screen as it is now, to fit a terminal, or whole."""
        people = (self.latest or {}).get("participants")
        return MarketScreen(
            clock=self.clock,
            stage=self.stage,
            chapters=self.chapters,
            people=people,
            traded={name: self.traded(name) for name in people or {}},
            events=tuple(self.events),
            is_whole=is_whole,
        )

    def hear(self, summary: dict[str, Any]) -> None:
        """Take in what the aggregator published, and note who is limited anew."""
        before, self.latest = self.latest, summary
        self.ever_limited |= {name for name, one in summary["participants"].items() if one["limited"]}
        if before is None:
            return
        for name, now in summary["participants"].items():
            then = before["participants"].get(name, now)
            self.events.extend(f"{self.clock} {event}" for event in _changes(escape(name), then, now))

    def see(self, contracts: Sequence[Mapping[str, Any]]) -> None:
        """Take in every contract as it stands now; one that was there stays, when the chain has forgotten it."""
        self.contracts |= {one["contract"]: dict(one) for one in contracts}

    def tell(self, event: str) -> None:
        """Note something that somebody did."""
        self.events.append(f"{self.clock} {event}")

    def say(self, chapter: int, line: str, progress: Progress = Progress.ON) -> None:
        """Say how a chapter stands."""
        self.chapters[chapter].line = line
        self.chapters[chapter].progress = progress

    def person(self, name: str) -> Mapping[str, Any]:
        """How somebody stands, as it was published last; nothing before that."""
        found: Mapping[str, Any] = (self.latest or {}).get("participants", {}).get(name, {})
        return found

    def balance(self, name: str) -> int:
        """Tokens of somebody."""
        return int(self.person(name).get("balance", 0))

    def holds_now(self, name: str) -> bool:
        """Whether somebody holds the right to go first, now, by the last interval that is known."""
        if self.latest is None:
            return False
        at_ms = self.latest["interval"]["end_ms"]
        rights = self.person(name)["rights"]
        return any(one["kind"] == PRIORITY and one["start_ms"] <= at_ms < one["end_ms"] for one in rights)

    def traded(self, name: str) -> tuple[int, int]:
        """What somebody has sold, and bought, in watt-hours, by contracts that came about."""
        real = [one for one in self.contracts.values() if one["state"] != "rejected"]
        sold_wh = sum(one["quantity_wh"] for one in real if one["seller"] == name)
        return sold_wh, sum(one["quantity_wh"] for one in real if one["buyer"] == name)

    @property
    def at_ms(self) -> int:
        """Start of the interval that was published last; 0 before that."""
        return int(self.latest["interval"]["start_ms"]) if self.latest else 0

    def limited_for(self, branch: str) -> dict[str, int]:
        """Who is limited for a line's sake, and to how many watts."""
        people = (self.latest or {}).get("participants", {})
        return {
            name: int(one["limited"]["power_max_w"])
            for name, one in people.items()
            if one["limited"] and one["limited"]["branch"] == branch
        }

    def loading_ppm(self, branch: str) -> int:
        """How much a line carried of its rating; 0 where nothing is known of it."""
        return int((self.latest or {}).get("branches", {}).get(branch, 0))


def _changes(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    told = []
    if now["restricted"] and not then["restricted"]:
        told.append(f"[red]{name} owes {-now['balance']} tokens[/]")
    if now["limited"] and not then["limited"]:
        told.append(f"[red]{name} is limited to {now['limited']['power_max_w']} W, for {now['limited']['branch']}[/]")
    if then["limited"] and not now["limited"]:
        told.append(f"[green]{name} is limited no more[/]")
    if now["rights"] and not then["rights"]:
        told.append(f"[green]{name} has bought the right to go first[/]")
    return told
