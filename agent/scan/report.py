"""What a scan found, as YAML to paste into agent.yaml. What is not certain stands beside it as a comment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from agent.scan.survey import VOLTAGES, Found, Guess
from agent.scan.ways import line_of
from config.meter_profile import MeterProfile
from config.settings.bus import Bus
from protocol.units import Quantity


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

SAME: Final = "the same registers, so no answer tells which it is: look at the meter's label"
PART: Final = "the same registers, but for some that only one of them has: look at the meter's label"
OTHER: Final = "other registers, which make sense as well: compare with the meter's display"


def lines_of(surveys: Sequence[Surveyed]) -> Iterator[str]:
    """The snippet, line by line. A meter that answers at several settings of one line stands in it once."""
    surveys = once(surveys)
    known = [survey for survey in surveys if any(found.guesses for found in survey.found)]
    number = 0
    for survey in surveys:
        for found in survey.found:
            yield f"# {survey.bus.place}, unit {found.unit}: {_in_words(found)}"
            yield from (f"#   {told}" for told in _others_in_words(found))
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
            if found.guesses[1:]:
                yield f"      # or, in order of likelihood, profile: {_ids(found.guesses[1:])}"


def once(surveys: Sequence[Surveyed]) -> list[Surveyed]:
    """The same, with each meter of a serial port at the first setting of the line at which it answered.

    A pseudo-terminal, a serial server and many an adapter take whatever speed and parity they are told.
    """
    places: dict[object, tuple[int, int]] = {}
    kept: list[tuple[Bus, list[Found]]] = []
    for survey in surveys:
        kept.append((survey.bus, []))
        for found in survey.found:
            key = _same_meter(survey.bus, found)
            if survey.bus.serial is None or key not in places:
                places[key] = (len(kept) - 1, len(kept[-1][1]))
                kept[-1][1].append(replace(found, lines=(line_of(survey.bus),) if survey.bus.serial else ()))
            else:
                bus, place = places[key]
                before = kept[bus][1][place]
                kept[bus][1][place] = replace(before, lines=(*before.lines, line_of(survey.bus)))
    return [Surveyed(bus, found) for bus, found in kept]


def _same_meter(bus: Bus, found: Found) -> object:
    return bus.place, found.unit, found.identity or tuple(guess.profile.id for guess in found.guesses[:1])


def progress_of(bus: Bus, unit: int, found: int) -> str:
    """One line to look at meanwhile."""
    speed = f" at {bus.serial.baud} baud, parity {bus.serial.parity}" if bus.serial else ""
    return f"{bus.place}{speed}: unit {unit}, {found} found"


def _in_words(found: Found) -> str:
    told = _guess_in_words(found.guesses[0]) if found.guesses else [_nobody(found)]
    told += ["answers to every unit"] if found.is_everybody else []
    if len(found.lines) > 1:
        told += [f"answers at {', '.join(found.lines)}: its line takes no notice of speed and parity"]
    return ", ".join(told)


def _nobody(found: Found) -> str:
    if found.sunspec_at is not None:
        return f"a SunSpec device, whose chain begins at {found.sunspec_at}: este-agent sunspec writes its profile"
    return "answers, but as no profile says"


def _guess_in_words(best: Guess) -> list[str]:
    told = [f"{best.profile.manufacturer} {best.profile.model}"]
    told += [f"serial number {best.serial}"] if best.serial else []
    voltages = [value for quantity in VOLTAGES if (value := best.values.get(quantity)) is not None]
    told += [" / ".join(f"{value / 1000:.1f}" for value in voltages) + " V"] if voltages else []
    frequency = best.values.get(Quantity.FREQUENCY_MHZ)
    told += [f"{frequency / 1000:.2f} Hz"] if frequency is not None else []
    ends = (Quantity.SUPPLY_TEMPERATURE_CENTIC, Quantity.RETURN_TEMPERATURE_CENTIC)
    water = [value for quantity in ends if (value := best.values.get(quantity)) is not None]
    told += [" to ".join(f"{value / 100:.1f}" for value in water) + " °C"] if water else []
    told += [f"{len(best.profile.fixed_words)} fixed words as they have to be"] if best.profile.fixed_words else []
    told += [f"keeps {_listed(best.holding)}"] if best.holding else []
    told += [f"breaks {_listed(best.failing)}"] if best.failing else []
    return told


def _listed(laws: Sequence[str]) -> str:
    return f"the {'law' if len(laws) == 1 else 'laws'} {', '.join(laws)}"


def _others_in_words(found: Found) -> Iterator[str]:
    """Why more than one profile is left."""
    best, *others = found.guesses or (None,)
    if best is None:
        return
    for why in (SAME, PART, OTHER):
        some = [guess for guess in others if why_both(best.profile, guess.profile) == why]
        if some:
            yield f"or {_ids(some)}: {why}"


def why_both(one: MeterProfile, other: MeterProfile) -> str:
    """What two profiles that both fit have in common."""
    maps = [
        {r.id: (profile.table, profile.word_order, r.address, r.type, r.base_scale) for r in profile.registers}
        for profile in (one, other)
    ]
    if maps[0] == maps[1]:
        return SAME
    common = maps[0].keys() & maps[1].keys()
    return PART if common and all(maps[0][quantity] == maps[1][quantity] for quantity in common) else OTHER


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
