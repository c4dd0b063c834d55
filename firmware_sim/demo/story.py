"""What the demo's operator does beside watching: calls people to relieve a cable, and a wire is led past a meter.

The operator looks at what the aggregator publishes, as a real one would: a cable that is overloaded at the same time of
the day on as many days as a baseline needs will be so again, and whoever lives behind it is called for then. Pure:
handed the scene's news and its time; says what is to be done and when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from protocol.units import PPM

DAYS_MIN: Final = 3
"""Before an event is called: a baseline is the mean of so many like days."""
AHEAD_MS: Final = 8_000
"""Between a call and its event, at the least: it has to be in a block before, and people have to hear of it."""
SAVE_AHEAD_MS: Final = 5_000
"""People begin some time before they have to: a command takes a moment, on a machine that is busy a long one."""
BYPASS_FROM_SHARE: Final = 0.3
"""Of the demo's duration, when the wire is led past the meter."""
BYPASS_S: Final = 3_600
"""It stays there for longer than anybody watches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """Who and what the story is about."""

    branch: str
    """The cable that is too thin."""
    called: Mapping[str, str]
    """Participants behind it, and their meters."""
    liar: str
    """The meter that a wire is led past."""
    liar_name: str
    """Whose meter that is."""
    interval_ms: int
    day_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """People are called for a time to come."""

    branch: str
    participants: tuple[str, ...]
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """The people behind a meter do what they were called for."""

    meter: str
    at_ms: int
    for_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bypass:
    """A wire is led past a meter."""

    meter: str
    for_s: float


Act = Call | Save | Bypass


@dataclass(slots=True)
class Operator:
    """Looks on, and acts once of each."""

    plot: Plot
    loadings_ppm: dict[int, int] = field(default_factory=dict)
    """Of the cable, by the start of each interval."""
    has_called: bool = False
    has_tampered: bool = False

    def hear(self, summary: Mapping[str, Any]) -> None:
        """Take in an interval that was published."""
        loading_ppm = summary["branches"].get(self.plot.branch)
        if loading_ppm is not None:
            self.loadings_ppm[summary["interval"]["start_ms"]] = loading_ppm

    def acts(self, now_ms: int, share: float) -> list[Act]:
        """What is to be done now.

        Args:
            now_ms: UTC.
            share: of the demo's duration that is over.
        """
        acts: list[Act] = []
        if not self.has_tampered and share >= BYPASS_FROM_SHARE:
            self.has_tampered = True
            acts.append(Bypass(meter=self.plot.liar, for_s=BYPASS_S))
        if not self.has_called and (start_ms := self._expected(now_ms)) is not None:
            self.has_called = True
            span_ms = self.plot.interval_ms
            people = tuple(sorted(self.plot.called))
            acts.append(
                Call(branch=self.plot.branch, participants=people, start_ms=start_ms, end_ms=start_ms + span_ms)
            )
            meters = sorted(self.plot.called.values())
            begin_ms, for_s = start_ms - SAVE_AHEAD_MS, (span_ms + SAVE_AHEAD_MS) / 1000
            acts += [Save(meter=meter, at_ms=begin_ms, for_s=for_s) for meter in meters]
        return acts

    def _expected(self, now_ms: int) -> int | None:
        """Start of the next interval like the worst of the day, if enough is known of that and it was overloaded."""
        day_ms = self.plot.day_ms
        seen: dict[int, list[int]] = {}
        for start_ms, loading_ppm in self.loadings_ppm.items():
            seen.setdefault(start_ms % day_ms, []).append(loading_ppm)
        means = {slot: sum(some) // len(some) for slot, some in seen.items() if len(some) >= DAYS_MIN - 1}
        worst = max(means, key=lambda slot: (means[slot], slot), default=None)
        if worst is None or len(seen[worst]) < DAYS_MIN or means[worst] <= PPM:
            return None
        earliest_ms = now_ms + AHEAD_MS
        return earliest_ms + (worst - earliest_ms) % day_ms
