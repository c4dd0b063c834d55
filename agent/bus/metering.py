"""Words from a meter → a reading: checked, in base units, ready to be journaled.

Given what a meter answered and when, says what it showed. A reading is whole or there is none: an energy register
without a value, or an answer with a word too few, is a failed read, never a zero. Only what the settings name leaves
the house, and beside it the energy registers with their raw words. What is read more rarely is a slow reading, and
travels with the reading after it. Never asks a meter, reads a clock or guesses.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from agent.bus.planner import Groups, ReadRequest, plan, plan_groups
from agent.bus.reading import Part, Reading, SlowReading
from config.meter_profile import MeterProfile, Register, Table
from config.model import guess
from config.settings.bus import MeterAddress
from protocol.batch import Quality
from protocol.energy_register import EnergyRegister, StepKind, advance, first
from protocol.errors import DeviceError, EncodingError, OperatorError
from protocol.readings import VALUE_MAX
from protocol.registers import WordOrder
from protocol.units import BootMs, Quantity

ENERGY_MAX: Final = 2**63 - 1
"""Watt-hours that anybody can count. A float register can spell more, and then it holds nonsense."""

SERIAL_MAX: Final = 32
"""Characters of a serial number in a batch."""

Answers = Mapping[ReadRequest, Sequence[int]]
"""The words that came back for each request."""


@dataclass(frozen=True, slots=True)
class Block:
    """The words of one answer, and the instants between which they were so."""

    words: Sequence[int]
    start_ms: BootMs
    """Before the request went out."""
    end_ms: BootMs
    """When the answer was complete."""


Blocks = Mapping[ReadRequest, Block]
"""What came back for each request, in the order in which they were asked."""

Brought = Mapping[ReadRequest, tuple[Quantity, ...]]
"""What comes with each request, in the order of the wire format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterPlan:
    """Everything needed to read one meter of the settings."""

    meter: str
    unit: int
    profile: MeterProfile
    serial: str | None
    """The serial number that it must tell, if the settings name one."""
    quantities: tuple[Quantity, ...]
    """What leaves the house in every reading, in the order of the wire format."""
    requests: tuple[ReadRequest, ...]
    slow_quantities: tuple[Quantity, ...] = ()
    """What leaves the house more rarely."""
    slow_requests: tuple[ReadRequest, ...] = ()
    brought: Brought
    """What comes with each request; one that brings only fixed words is left out."""


Watch = Mapping[Quantity, EnergyRegister]
"""What is believed about the energy registers of one meter; empty before its first reading."""


def plan_for(
    address: MeterAddress,
    profiles: Mapping[str, MeterProfile],
    wanted: Sequence[Quantity],
    *,
    is_split: bool = False,
) -> MeterPlan:
    """How to read the meter at `address`: the `wanted` quantities that it has, and its energy registers.

    Args:
        is_split: what the profile does not call fast may come more rarely.

    Raises:
        OperatorError: there is no such profile, or it is not one of a meter.
    """
    profile = profiles.get(address.profile)
    if profile is None or not profile.registers:
        near = guess(address.profile, profiles.keys() - {address.profile})
        expected = f"the profile of a meter, as este-agent profiles list has them{near}"
        raise OperatorError(f"meter {address.id}", "profile", expected, repr(address.profile))
    quantities = tuple(sorted({*wanted, *profile.always} & profile.codecs.keys()))
    groups = plan_groups(profile, quantities) if is_split else Groups(plan(profile, quantities))
    brought = _brought(profile, (*groups.fast, *groups.slow), quantities)
    slow = {quantity for request in groups.slow for quantity in brought[request]}
    return MeterPlan(
        meter=address.id,
        unit=address.unit,
        profile=profile,
        serial=address.serial,
        quantities=tuple(quantity for quantity in quantities if quantity not in slow),
        requests=groups.fast,
        slow_quantities=tuple(quantity for quantity in quantities if quantity in slow),
        slow_requests=groups.slow,
        brought=brought,
    )


def see_that_none_counts_twice(meters: Iterable[MeterPlan]) -> None:
    """See that no counter of one bus would be signed for two meters: somebody would be paid for both.

    One unit may hold several, as a SunSpec inverter does that has a grid meter: then their registers are others.

    Raises:
        OperatorError: two meters would show one and the same register.
    """
    owners: dict[tuple[int, Table, int], str] = {}
    for meter in meters:
        for quantity in meter.profile.always:
            place = (meter.unit, meter.profile.table, _register(meter.profile, quantity).address)
            owner = owners.setdefault(place, meter.meter)
            if owner != meter.meter:
                expected = f"another unit than that of {owner}, whose {quantity.name.lower()} would be counted twice"
                raise OperatorError(f"meter {meter.meter}", "unit", expected, str(meter.unit))


def _brought(profile: MeterProfile, requests: Sequence[ReadRequest], quantities: Sequence[Quantity]) -> Brought:
    """Each of the quantities with the first request that holds it."""
    brought: dict[ReadRequest, list[Quantity]] = {request: [] for request in requests}
    for quantity in quantities:
        register = _register(profile, quantity)
        brought[next(request for request in requests if request.holds(register))].append(quantity)
    return {request: tuple(told) for request, told in brought.items() if told}


def reading_of(meter: MeterPlan, serial: str, blocks: Blocks, slow: SlowReading | None = None) -> Reading:
    """What `meter` showed, out of its answers, and the slow reading that was taken before.

    Raises:
        DeviceError: an answer is missing or too short, an energy register has no value, or the meter is not the one
            that the profile was written for.
    """
    answers = {request: block.words for request, block in blocks.items()}
    check_fixed_words(meter.profile, answers)
    values, words, quality = _values_of(meter.profile, meter.quantities, answers)
    parts = _parts_of(blocks, meter.brought)
    return Reading(
        meter=meter.meter,
        profile=meter.profile.digest,
        serial=serial,
        start_ms=parts[0].start_ms,
        end_ms=parts[-1].end_ms,
        quality=quality,
        values=values,
        words=words,
        parts=parts if len(parts) > 1 else (),
        slow=slow,
    )


def slow_reading_of(meter: MeterPlan, blocks: Blocks) -> SlowReading:
    """What `meter` showed of what is read more rarely.

    Raises:
        DeviceError: an answer is missing or too short.
    """
    answers = {request: block.words for request, block in blocks.items()}
    values, _, quality = _values_of(meter.profile, meter.slow_quantities, answers)
    parts = _parts_of(blocks, meter.brought)
    return SlowReading(
        start_ms=parts[0].start_ms,
        end_ms=parts[-1].end_ms,
        quality=quality,
        values=values,
        parts=parts if len(parts) > 1 else (),
    )


def watched(watch: Watch, reading: Reading, profile: MeterProfile) -> tuple[Watch, Reading]:
    """The reading, flagged where an energy register did what no counter may do, and what is believed from now on.

    The aggregator runs the same machine on the signed words and decides what is energy: the flag is for people.
    Cooling is watched alike, though nothing settles it.
    """
    after = dict(watch)
    quality = reading.quality
    for quantity in (*reading.words, *_told_cooling(reading)):
        value = reading.values[quantity]
        if quantity not in watch:
            after[quantity] = first(value, reading.end_ms)
            continue
        limit = profile.register_limit(quantity, profile.power_max_w)
        after[quantity], step = advance(watch[quantity], value, reading.end_ms, limit)
        if step.kind is StepKind.UNEXPLAINED:
            quality |= Quality.UNEXPLAINED_STEP
    return after, reading if quality == reading.quality else replace(reading, quality=quality)


def _told_cooling(reading: Reading) -> Iterator[Quantity]:
    """The register of cooling, if a reading has it. Where a value is missing, 0 may stand for it."""
    if Quality.VALUE_MISSING not in reading.quality and Quantity.COOLING_WH in reading.values:
        yield Quantity.COOLING_WH


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


def _values_of(
    profile: MeterProfile, quantities: Sequence[Quantity], answers: Answers
) -> tuple[dict[Quantity, int], dict[Quantity, bytes], Quality]:
    """Values in base units, the energy registers among them as they came, and whether any value is missing."""
    values, words, quality = {}, {}, Quality.NONE
    for quantity in quantities:
        raw = words_of(profile, quantity, answers)
        value = value_of(profile, quantity, raw)
        if quantity in profile.energy_registers:
            if value is None:
                raise DeviceError(f"{quantity.name.lower()} has no value", retry=True)
            words[quantity] = struct.pack(f">{len(raw)}H", *raw)
        if value is None:
            quality |= Quality.VALUE_MISSING
        values[quantity] = value or 0
    return values, words, quality


def _parts_of(blocks: Blocks, brought: Brought) -> tuple[Part, ...]:
    """When each request brought what. One that brought only fixed words counts for nothing."""
    told = ((block, brought[request]) for request, block in blocks.items() if request in brought)
    return tuple(Part(block.start_ms, block.end_ms, quantities) for block, quantities in told)


def _register(profile: MeterProfile, quantity: Quantity) -> Register:
    return next(register for register in profile.registers if register.id is quantity)
