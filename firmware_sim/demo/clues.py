"""Where the story can be followed afterwards: the commands that explain each of its threads, and what they found.

Each is tried before it is named, with `--json`: what is shown is what works on the ledger that was left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from firmware_sim.demo.chapters import Chapters
from firmware_sim.demo.story import Plot


@dataclass(frozen=True, slots=True)
class Clue:
    """One thing to look at: arguments of este-aggregator, and what they show."""

    about: str
    arguments: tuple[str, ...]
    participant: str


def clues_of(plot: Plot, chapters: Chapters, houses: tuple[str, ...], settled_until_ms: int) -> list[Clue]:
    """What there is to look at in periods that are settled.

    Args:
        plot: who and what the story is about.
        chapters: what was heard.
        houses: participants with heat.
        settled_until_ms: end of the last settled period.
    """
    clues = []
    if chapters.called_ms is not None and chapters.called_ms < settled_until_ms:
        for name in sorted(plot.called):
            clues.append(_explain(name, chapters.called_ms, f"{name} was called, and relieved {plot.branch}"))
    warm = {at_ms: wh for at_ms, wh in chapters.drawn.items() if wh and at_ms < settled_until_ms}
    if warm and houses:
        best_ms = max(warm, key=lambda at_ms: (warm[at_ms], at_ms))
        clues.append(_explain(houses[0], best_ms, "heat out of the tank, and the wind in it"))
    found = chapters.liars.get(plot.liar)
    if found is not None and found.start_ms < settled_until_ms:
        clues.append(_explain(plot.liar_name, found.start_ms, "a meter that a wire leads past, caught by physics"))
    return clues


def goes_down(explanation: Mapping[str, Any]) -> bool:
    """Whether an explanation of an interval adds up, and leads to readings that somebody signed."""
    meters = [meter for interval in explanation["intervals"] for meter in interval["meters"]]
    return bool(explanation["adds_up"]) and any(meter["batches"] for meter in meters)


def relief_tokens(explanation: Mapping[str, Any]) -> int:
    """What somebody was paid for relief in the period explained."""
    return int(explanation["relief"]["tokens"]) if explanation["relief"] else 0


def _explain(participant: str, at_ms: int, about: str) -> Clue:
    return Clue(about, ("explain", participant, "--interval", iso(at_ms)), participant)


def iso(instant_ms: int) -> str:
    """An instant as commands take it."""
    return datetime.fromtimestamp(instant_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
