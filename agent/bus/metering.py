"""Words from a meter → a reading: checked, in base units, ready to be journaled.

Given what a meter answered and when, says what it showed. A reading is whole or there is none: an energy register
without a value, or an answer with a word too few, is a failed read, never a zero. Only what the settings name leaves
the house, and beside it the energy registers with their raw words. Never asks a meter, reads a clock or guesses.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final

from agent.bus.planner import ReadRequest, plan
from config.meter_profile import MeterProfile, Register
from config.settings.bus import MeterAddress
from protocol.batch import VALUE_MAX, Quality
from protocol.canonical import decode, encode
from protocol.energy_register import EnergyRegister, StepKind, advance, first
from protocol.errors import DeviceError, EncodingError, OperatorError
from protocol.registers import WordOrder
from protocol.units import BootMs, Quantity

ENERGY_MAX: Final = 2**63 - 1
"""Watt-hours that anybody can count. A float register can spell more, and then it holds nonsense."""

SERIAL_MAX: Final = 32
"""Characters of a serial number in a batch."""

READING_BYTES_MAX: Final = 4096
"""A journaled reading is far smaller: sixty quantities and some names."""

Answers = Mapping[ReadRequest, Sequence[int]]
"""The words that came back for each request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterPlan:
    """Everything needed to read one meter of the settings."""

    meter: str
    unit: int
    profile: MeterProfile
    serial: str | None
    """The serial number that it must tell, if the settings name one."""
    quantities: tuple[Quantity, ...]
    """What leaves the house, in the order of the wire format."""
    requests: tuple[ReadRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one meter showed at one time."""

    meter: str
    profile: bytes
    """Digest of the profile that the words were decoded with."""
    serial: str
    start_ms: BootMs
    """When the first request went out."""
    end_ms: BootMs
    """When the last answer was complete."""
    quality: Quality
    values: Mapping[Quantity, int]
    """In base units, in the order of the wire format."""
    words: Mapping[Quantity, bytes]
    """The energy registers as they came."""

    def encode(self) -> bytes:
        """Spell the reading for the journal. This spelling never leaves the gateway."""
        values = [[quantity.value, value] for quantity, value in self.values.items()]
        words = {quantity.value: data for quantity, data in self.words.items()}
        span = [int(self.start_ms), int(self.end_ms)]
        return encode([self.meter, self.profile, self.serial, span, self.quality.value, values, words])

    @classmethod
    def decode(cls, data: bytes) -> Reading:
        """Read what `encode` wrote.

        Raises:
            EncodingError: the journal is damaged.
        """
        meter, profile, serial, (start_ms, end_ms), quality, values, words = decode(data, size_max=READING_BYTES_MAX)
        return cls(
            meter=meter,
            profile=profile,
            serial=serial,
            start_ms=BootMs(start_ms),
            end_ms=BootMs(end_ms),
            quality=Quality(quality),
            values={Quantity(key): value for key, value in values},
            words={Quantity(key): value for key, value in words.items()},
        )


Watch = Mapping[Quantity, EnergyRegister]
"""What is believed about the energy registers of one meter; empty before its first reading."""


def plan_for(address: MeterAddress, profiles: Mapping[str, MeterProfile], wanted: Sequence[Quantity]) -> MeterPlan:
    """How to read the meter at `address`: the `wanted` quantities that it has, and its energy registers.

    Raises:
        OperatorError: there is no such profile, or it is not one of a meter.
    """
    profile = profiles.get(address.profile)
    if profile is None or not profile.registers:
        near = get_close_matches(address.profile, sorted(profiles.keys() - {address.profile}), n=1)
        guess = f" (did you mean {near[0]!r}?)" if near else ""
        expected = f"the profile of a meter, as este-agent profiles list has them{guess}"
        raise OperatorError(f"meter {address.id}", "profile", expected, repr(address.profile))
    quantities = tuple(sorted({*wanted, *profile.always} & profile.codecs.keys()))
    return MeterPlan(
        meter=address.id,
        unit=address.unit,
        profile=profile,
        serial=address.serial,
        quantities=quantities,
        requests=plan(profile, quantities),
    )


def reading_of(meter: MeterPlan, serial: str, start_ms: BootMs, end_ms: BootMs, answers: Answers) -> Reading:
    """What `meter` showed, out of its answers.

    Raises:
        DeviceError: an answer is missing or too short, an energy register has no value, or the meter is not the one
            that the profile was written for.
    """
    check_fixed_words(meter.profile, answers)
    values, words, quality = {}, {}, Quality.NONE
    for quantity in meter.quantities:
        raw = words_of(meter.profile, quantity, answers)
        value = value_of(meter.profile, quantity, raw)
        if quantity in meter.profile.energy_registers:
            if value is None:
                raise DeviceError(f"{quantity.name.lower()} has no value", retry=True)
            words[quantity] = struct.pack(f">{len(raw)}H", *raw)
        if value is None:
            quality |= Quality.VALUE_MISSING
        values[quantity] = value or 0
    return Reading(
        meter=meter.meter,
        profile=meter.profile.digest,
        serial=serial,
        start_ms=start_ms,
        end_ms=end_ms,
        quality=quality,
        values=values,
        words=words,
    )


def watched(watch: Watch, reading: Reading, profile: MeterProfile) -> tuple[Watch, Reading]:
    """The reading, flagged where an energy register did what no counter may do, and what is believed from now on.

    The aggregator runs the same machine on the signed words and decides what is energy: the flag is for people.
    """
    after = {}
    quality = reading.quality
    for quantity in reading.words:
        value = reading.values[quantity]
        if quantity not in watch:
            after[quantity] = first(value, reading.end_ms)
            continue
        limit = profile.register_limit(quantity, profile.power_max_w)
        after[quantity], step = advance(watch[quantity], value, reading.end_ms, limit)
        if step.kind is StepKind.UNEXPLAINED:
            quality |= Quality.UNEXPLAINED_STEP
    return after, reading if quality == reading.quality else replace(reading, quality=quality)


def serial_of(profile: MeterProfile, words: Sequence[int]) -> str:
    """The serial number that a meter told: the words of `planner.serial_request`.

    Raises:
        DeviceError: a wrong number of words.
    """
    number = profile.serial_number
    assert number is not None, "asked for a serial number that the profile does not have"
    if len(words) != number.words:
        raise DeviceError(f"serial number: {len(words)} words where {number.words} were asked for", retry=True)
    ordered = words if profile.word_order is WordOrder.HIGH_FIRST else words[::-1]
    if number.spelling == "digits":
        return "".join(f"{word:04x}" for word in ordered)[:SERIAL_MAX]
    if number.spelling == "number":
        return str(int.from_bytes(struct.pack(f">{len(ordered)}H", *ordered)))[:SERIAL_MAX]
    spelled = struct.pack(f">{len(words)}H", *words).decode("ascii", errors="replace")
    return "".join(c for c in spelled if c.isprintable() and c.isascii()).strip()[:SERIAL_MAX]


def check_fixed_words(profile: MeterProfile, answers: Answers) -> None:
    """See that the meter holds what it held when its profile was written.

    Raises:
        DeviceError: it holds something else, or no answer tells.
    """
    for word in profile.fixed_words:
        told = (request.word_at(word.address, words) for request, words in answers.items())
        held = next((value for value in told if value is not None), None)
        if held != word.value:
            found = "untold" if held is None else f"{held:#06x}"
            raise DeviceError(
                f"{word.meaning} at {word.address:#06x} is {found}, not {word.value:#06x} as the profile says: "
                "the two do not fit, write the profile anew",
                retry=True,
            )


def words_of(profile: MeterProfile, quantity: Quantity, answers: Answers) -> Sequence[int]:
    """The raw words of one quantity.

    Raises:
        DeviceError: no answer holds them, or it has a wrong number of words.
    """
    register = _register(profile, quantity)
    for request, answer in answers.items():
        if request.table is profile.table and request.holds(register):
            if len(answer) != request.words:
                raise DeviceError(f"{len(answer)} words where {request.words} were asked for", retry=True)
            return request.cut(register, answer)
    raise DeviceError(f"{quantity.name.lower()}: no answer holds it", retry=True)


def value_of(profile: MeterProfile, quantity: Quantity, words: Sequence[int]) -> int | None:
    """The value in base units, or None where the meter has none or spells no number."""
    try:
        value = profile.codecs[quantity].decode(words)
    except EncodingError:
        return None
    value_max = ENERGY_MAX if quantity in profile.energy_registers else VALUE_MAX
    return value if value is not None and abs(value) <= value_max else None


def _register(profile: MeterProfile, quantity: Quantity) -> Register:
    return next(register for register in profile.registers if register.id is quantity)
