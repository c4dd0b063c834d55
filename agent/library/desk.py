"""What an operator wants to know of meter profiles: which there are, and what is wrong with one of their own.

Given profile files, hands back lines to print. A mistake is told with its place, what was expected, what stands there,
and what to do about it; beside mistakes there is advice, which stops nothing. Reads no meter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from config.load import SettingsError, load_profile
from config.meter_profile import Grade, MeterProfile
from protocol.errors import OperatorError

REMEDIES: Final[Mapping[str, str]] = {
    "id": "give the file the name of its id, with .yaml behind it",
    "manual": "write title, version and page of the document that the map is from; without one, the address of the map",
    "grade": "one public map is one_source, two that agree are two_sources; vendor_manual is for who has seen the page",
    "table": "function 3 reads holding, function 4 reads input; many meters answer to both",
    "word_order": "read a voltage: 230 V as a float is 4366 0000 with the high word first, 0000 4366 with the low one",
    "words_max": "take the manual's limit for one request; if it names none, try 20",
    "blocks": "list the ranges that the meter answers as a whole; where you do not know, one block per register",
    "first": "count from 0, as on the wire",
    "last": "it is the last address of the range, and belongs to it",
    "address": "count from 0, as on the wire: a manual that starts at 1, 30001 or 40001 is so much too high",
    "quantity": "take a name out of docs/reference/meter-profile.md; what is not there cannot be sent",
    "type": "u unsigned, i signed, f float, then the bits: two words are 32",
    "unit": "take the unit that the manual prints; a resolution such as 0.01 kWh goes into scale",
    "scale": "units per count: 0.01 where the manual says 0.01 kWh; -1 turns the sign of a power",
    "spelling": "number for an unsigned integer, digits for one digit in each half byte, text for letters",
    "unsigned": "write the bits, such as 0xFFFFFFFF",
    "signed": "write the bits, such as 0x80000000 or 0x7FFFFFFF",
    "floats": "write the bits of the float, such as 0x497423F0 for 999999",
    "law": "take one out of docs/reference/meter-profile.md",
    "power_max_w": "phases times volts times amperes of the meter's plate; for a current transformer, of its primary",
}
"""Last key of a place in a profile → what to do there."""

ANY_REMEDY: Final = "see docs/reference/meter-profile.md"


def listed(profiles: Mapping[str, MeterProfile]) -> Iterator[str]:
    """One line for each profile: how far it may be trusted, and what it is for."""
    width = max(map(len, profiles), default=0)
    for name in sorted(profiles):
        profile = profiles[name]
        yield f"{name:<{width}}  {profile.grade.value:<13}  {profile.manufacturer} {profile.model}"


def checked(path: Path) -> Iterator[str]:
    """What can be said of a good profile.

    Raises:
        SettingsError: it is not one; `explained` says why.
    """
    profile = load_profile(path)
    requests = f"{len(profile.registers)} registers, {len(profile.self_checks)} self-checks"
    yield f"{path}: {profile.manufacturer} {profile.model}, {requests}"
    yield f"digest {profile.digest.hex()}"
    for advice in _advice(profile):
        yield f"advice: {advice}"


def explained(error: SettingsError) -> Iterator[str]:
    """Every mistake of a profile, with what to do about it."""
    for mistake in error.mistakes:
        yield f"{mistake.where}: {mistake.key_path or 'the file'}"
        yield f"  expected: {mistake.expected}"
        yield f"  got:      {mistake.got}"
        yield f"  remedy:   {_remedy(mistake)}"
    yield f"{len(error.mistakes)} mistake{'s' if len(error.mistakes) > 1 else ''}"


def _remedy(mistake: OperatorError) -> str:
    """What stands for the deepest key of a place that anything is known about."""
    for key in reversed(mistake.key_path.split(".")):
        if key in REMEDIES:
            return REMEDIES[key]
    return ANY_REMEDY


def _advice(profile: MeterProfile) -> Iterator[str]:
    if profile.serial_number is None:
        yield "no serial_number: nobody would notice if this meter were exchanged for another"
    if not profile.self_checks:
        yield "no self_checks: a wrong sign or scale would not be found by este-agent doctor"
    if profile.grade is Grade.ONE_SOURCE:
        yield "one source only: let este-agent doctor look at the meter before its energy is settled"
    if profile.registers and len(profile.always) == 1 and "exported_wh" not in [r.quantity for r in profile.registers]:
        yield "no exported_wh: not for a site that feeds in"
