"""What a scan found, as YAML to paste into agent.yaml. What is not certain stands beside it as a comment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from agent.scan.survey import Found, Guess
from config.settings.bus import Bus


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A bus, and whoever is on it."""

    bus: Bus
    found: Sequence[Found]


class _Quoted(str):
    """Text that YAML must not take for a number, in whatever dialect: a serial number such as 1705E012."""


class _Dumper(yaml.SafeDumper):
    """Spells what is `_Quoted` in quotes."""


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="'")
)


def lines_of(surveys: Sequence[Surveyed]) -> Iterator[str]:
    """The snippet, line by line."""
    known = [survey for survey in surveys if any(found.guesses for found in survey.found)]
    number = 0
    for survey in surveys:
        for found in survey.found:
            yield f"# {survey.bus.place}, unit {found.unit}: {_in_words(found)}"
    if known:
        yield "buses:"
    for survey in known:
        for place, (key, value) in enumerate(_way_to(survey.bus).items()):
            yield f"  {' ' if place else '-'} {key}: {_flow(value)}"
        yield "    meters:"
        for found in survey.found:
            if found.guesses:
                number += 1
                yield f"      - {_flow(_entry(found, number))}"


def progress_of(bus: Bus, unit: int, found: int) -> str:
    """One line to look at meanwhile."""
    speed = f" at {bus.serial.baud} baud, parity {bus.serial.parity}" if bus.serial else ""
    return f"{bus.place}{speed}: unit {unit}, {found} found"


def _in_words(found: Found) -> str:
    if not found.guesses:
        return "answers, but as no profile says"
    best, *others = found.guesses
    told = [f"{best.profile.manufacturer} {best.profile.model}"]
    told += [f"serial number {best.serial}"] if best.serial else []
    told += [" / ".join(f"{value / 1000:.1f}" for value in best.voltages_mv if value is not None) + " V"]
    told += [f"{best.frequency_mhz / 1000:.2f} Hz"] if best.frequency_mhz is not None else []
    told += ["answers to every unit"] if found.is_everybody else []
    told += [f"or {_ids(others)}"] if others else []
    return ", ".join(told)


def _ids(guesses: Sequence[Guess]) -> str:
    return ", ".join(guess.profile.id for guess in guesses)


def _entry(found: Found, number: int) -> dict[str, Any]:
    best = found.guesses[0]
    entry = {"id": f"meter-{number}", "unit": found.unit, "profile": best.profile.id}
    return entry | ({"serial": _Quoted(best.serial)} if best.serial else {})


def _way_to(bus: Bus) -> dict[str, Any]:
    """As much of the bus setting as is not the default; the timeout was the scan's own."""
    said = bus.model_dump(mode="json", exclude_defaults=True, exclude={"meters", "devices", "timeout_ms"})
    return {key: value for key, value in said.items() if not (bus.serial and key == "framing")}


def _flow(value: object) -> str:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip().removesuffix("...").strip()
