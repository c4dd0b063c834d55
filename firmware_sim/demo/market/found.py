"""What the market's story has found of each of its chapters, by what chains and gateways say. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


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
    penalty_millionths: int
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
    records: list[str] = field(default_factory=list)
    """Quotes that were signed, as ``gateway/sequence``; not all of them."""
    settled: int = 0
    """Contracts of the market that are settled."""
    refusal: Refusal | None = None
    breach: Breach | None = None
    limited: Limited | None = None
    relieved: bool = False
    """Whether the line carried no more than it may afterwards, with the heat pump on."""

    def trade(self, contracts: Sequence[Mapping[str, Any]]) -> None:
        """Take in all that auctions came to so far, as `este-aggregator contracts` shows it."""
        prices = [one["price_per_mwh"] for one in contracts]
        self.matches, self.traded_wh = len(contracts), sum(one["quantity_wh"] for one in contracts)
        self.low, self.high = min(prices, default=None), max(prices, default=None)
