"""What the market's story has heard and found so far: its chapters, the last of everything, the news. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from rich.markup import escape

EVENTS_MAX: Final = 12
PRIORITY: Final = "priority_purchase"
"""The right that keeps a heat pump on."""


class Progress(Enum):
    """How far a chapter is."""

    WAITING = "·"
    ON = "▸"
    DONE = "✓"


@dataclass(slots=True)
class Chapter:
    """One part of the story."""

    title: str
    line: str = ""
    """What is to be said of it, in one sentence, with markup."""
    progress: Progress = Progress.WAITING


@dataclass(frozen=True, slots=True)
class Refusal:
    """A contract that cannot be."""

    number: str
    rule: str
    branch: str
    by_w: int


@dataclass(frozen=True, slots=True)
class Breach:
    """A contract that was not kept."""

    number: str
    seller: str
    missing_wh: int
    penalty: int
    """As the books have it, in millionths of a minor unit."""


@dataclass(frozen=True, slots=True)
class Limited:
    """Who was limited first, and who was not."""

    participant: str
    power_max_w: int
    at_ms: int
    """Start of the interval that showed it."""
    kept_on: str
    """Whose heat pump went on."""
    kept_w: int
    """What they took meanwhile."""


@dataclass(slots=True)
class Found:
    """What has really happened of each chapter, by what the chains say."""

    quotes: int = 0
    matches: int = 0
    traded_wh: int = 0
    low: int | None = None
    """Lowest price of all, in minor units per MWh."""
    high: int | None = None
    settled: int = 0
    """Contracts of the market that are settled."""
    refusal: Refusal | None = None
    breach: Breach | None = None
    limited: Limited | None = None
    relieved: bool = False
    """Whether the line carried no more than it may afterwards, with the heat pump on."""

    def trade(self, price: Mapping[str, Any]) -> None:
        """Take in what was traded for an interval, as `este-aggregator market prices` shows it."""
        self.matches += price["matches"]
        self.traded_wh += price["quantity_wh"]
        self.low = min(self.low if self.low is not None else price["low"], price["low"])
        self.high = max(self.high or 0, price["high"])


MARKET, REFUSED, BREACHED, FIRST, BOOKS = range(5)
TITLES: Final = ("The market", "A line says no", "A promise is broken", "Who goes first", "The books")


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
    money: dict[str, int] = field(default_factory=dict)
    """What everybody is owed."""
    chapters: tuple[Chapter, ...] = field(default_factory=lambda: tuple(Chapter(title) for title in TITLES))
    found: Found = field(default_factory=Found)
    events: deque[str] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))

    @property
    def clock(self) -> str:
        """Simulated time, for people."""
        minutes = int(self.clock_s) // 60
        return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"

    def hear(self, summary: dict[str, Any]) -> None:
        """Take in what the aggregator published, and note who is limited anew."""
        before, self.latest = self.latest, summary
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
        return (self.latest or {}).get("participants", {}).get(name, {})

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
    if any(right not in then["rights"] for right in now["rights"]):
        told.append(f"[green]{name} has bought the right to go first[/]")
    return told
