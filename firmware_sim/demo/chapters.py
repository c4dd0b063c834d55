"""The story's three threads, as the demo hears them: a cable and who relieves it, a tank's wind, a meter that lies.

Pure: handed what the aggregator publishes. What is told is what that found; only where to look is known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from rich.markup import escape

from firmware_sim.demo.story import Act, Bypass, Call, Plot
from protocol.units import PPM

IMPOSSIBLE: Final = "impossible_reading"
"""The finding about a meter that cannot be right."""


@dataclass(frozen=True, slots=True)
class Contradicted:
    """What a meter said, and what all others say; below 0 is used."""

    start_ms: int
    """Of the first interval."""
    said_w: int
    estimated_w: int


@dataclass(slots=True)
class Chapters:
    """What has been heard of each so far."""

    plot: Plot | None = None
    """Where to look; unknown until the region is made."""
    congested: int = 0
    """Intervals with a cable above its rating."""
    called_ms: int | None = None
    """Start of the event for which people were called."""
    has_bypass: bool = False
    """Whether a wire was led past a meter."""
    relieved: set[str] = field(default_factory=set)
    """Participants whose relief of a congested cable was counted."""
    heat_wh: int = 0
    """Used by the houses on the heat network."""
    clean_heat_wh: int = 0
    given_wh: int = 0
    """By the tank."""
    clean_given_wh: int = 0
    drawn: dict[int, int] = field(default_factory=dict)
    """Clean heat that the tank gave, by the start of each interval in which it took none."""
    liars: dict[str, Contradicted] = field(default_factory=dict)
    """Meters that physics contradicted."""
    now: dict[str, Any] | None = None
    """What was published last."""

    def hear(self, summary: dict[str, Any]) -> list[str]:
        """Take in an interval that was published; what is new about it, with markup."""
        before = self.now or summary
        self.now = summary
        return [
            *self._hear_cables(before, summary),
            *self._hear_heat(summary),
            *self._hear_meters(summary),
            *self._hear_relief(before, summary),
        ]

    def _hear_cables(self, before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
        over = [branch for branch, loading_ppm in now["branches"].items() if loading_ppm > PPM]
        self.congested += bool(over)
        for branch in over:
            if before["branches"].get(branch, 0) <= PPM:
                percent = now["branches"][branch] * 100 // PPM
                yield f"cable {escape(branch)} is congested: {percent} % of its rating"

    def _hear_heat(self, now: dict[str, Any]) -> Iterator[str]:
        self.heat_wh += now["heat"]["used_wh"]
        self.clean_heat_wh += now["heat"]["clean_wh"]
        for storage in now["storages"].values():
            clean_wh = storage["discharged_wh"] * storage["clean_wh"] // max(1, storage["energy_wh"])
            if clean_wh and not self.clean_given_wh:
                yield "[green]the houses' heat comes out of the tank, and some of it is wind of the night[/]"
            self.given_wh += storage["discharged_wh"]
            self.clean_given_wh += clean_wh
            if storage["discharged_wh"] and not storage["charged_wh"]:
                self.drawn[now["interval"]["start_ms"]] = clean_wh

    def _hear_meters(self, now: dict[str, Any]) -> Iterator[str]:
        for kind, subject, *amounts in now["findings"]:
            if kind == IMPOSSIBLE and subject not in self.liars:
                said_w, estimated_w, *_ = amounts
                self.liars[subject] = Contradicted(now["interval"]["start_ms"], said_w, estimated_w)
                yield f"[red]{escape(subject)} shows {_kw(said_w)}; physics says {_kw(estimated_w)}[/]"

    def _hear_relief(self, before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
        for name, person in now["participants"].items():
            if person["relief_ppm"] > before["participants"].get(name, person)["relief_ppm"]:
                self.relieved.add(name)
                yield f"[green]{escape(name)} has relieved the cable, and will be paid when the period is settled[/]"

    def see(self, act: Act) -> None:
        """Take in what the operator has decided."""
        match act:
            case Call():
                self.called_ms = act.start_ms
            case Bypass():
                self.has_bypass = True

    def lines(self) -> tuple[str, ...]:
        """One line for each thread, with markup; none before anything was heard."""
        if self.plot is None or self.now is None:
            return ()
        return (
            f"[bold cyan]cable[/]  {self._cable(self.plot, self.now)}",
            f"[bold cyan]heat[/]   {self._heat(self.now)}",
            f"[bold cyan]meter[/]  {self._meter(self.plot)}",
        )

    def _cable(self, plot: Plot, now: dict[str, Any]) -> str:
        loading_ppm = now["branches"].get(plot.branch)
        if loading_ppm is None:
            return f"{escape(plot.branch)}: nothing is known of it yet"
        over = " [red]CONGESTED[/]" if loading_ppm > PPM else ""
        people = escape(" and ".join(sorted(plot.called)))
        said = f"{escape(plot.branch)} at {loading_ppm * 100 // PPM:3d} % of its rating{over}"
        if self.relieved:
            return f"{said} · relieved by {escape(' and '.join(sorted(self.relieved)))}"
        if self.called_ms is None:
            return f"{said} · behind it: {people}"
        return f"{said} · {people} are called to take less this evening"

    def _heat(self, now: dict[str, Any]) -> str:
        held = [f"{escape(name)} holds {one['energy_wh']} Wh, {_share(one['clean_wh'], one['energy_wh'])} clean"
                for name, one in now["storages"].items()]  # fmt: skip
        used = f"the houses' heat: {_share(now['heat']['clean_wh'], now['heat']['used_wh'])} clean"
        return " · ".join([*held, used])

    def _meter(self, plot: Plot) -> str:
        found = self.liars.get(plot.liar)
        if found is None:
            return "no reading contradicts another"
        said = f"{escape(plot.liar)} [red]shows {_kw(found.said_w)}, physics says {_kw(found.estimated_w)}[/]"
        return f"{said}: what it counts earns nothing"


def _kw(power_w: int) -> str:
    return f"{abs(power_w) / 1000:.1f} kW {'used' if power_w < 0 else 'fed in'}"


def _share(part: int, whole: int) -> str:
    return f"{part * 100 // whole} %" if whole else "–"
