"""Who is on a bus, and which profile fits: asks each unit what only a meter of that profile could answer.

A unit that is silent to two questions, or that its gateway cannot reach, is taken for absent. Of a unit that answers,
every profile's serial number, voltages and frequency are asked for; the profile that makes most sense of the answers is
the likely one. It is a guess for people to check: meters of one maker often share a map. Given a bus that is open and
the profiles; writes nothing to anybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.bus.line_port import BusError
from agent.bus.metering import MeterPlan, plan_for, serial_of, value_of, words_of
from agent.bus.planner import ReadRequest, serial_request
from config.meter_profile import MeterProfile, Table
from config.settings.bus import MeterAddress
from protocol.errors import DeviceError
from protocol.units import Quantity

VOLTAGES: Final = (Quantity.VOLTAGE_L1_MV, Quantity.VOLTAGE_L2_MV, Quantity.VOLTAGE_L3_MV)
PLAUSIBLE_MV: Final = range(80_000, 300_001)
"""From phase to neutral, or nearly: everywhere in the world."""

PLAUSIBLE_MHZ: Final = range(45_000, 65_001)

KNOCKS: Final = (ReadRequest(Table.INPUT, 0, 2), ReadRequest(Table.HOLDING, 0, 2))
"""Whoever is there says something to one of these, if only no."""

UNREACHABLE: Final = ("Modbus exception 10:", "Modbus exception 11:")
"""What a gateway says in the name of a unit that is not there."""

SILENCES_MAX: Final = 6
"""Questions that a unit which is there may leave unanswered, before the rest is not asked."""

SAME_MAX: Final = 3
"""Units in a row that are one and the same meter: it answers to every number."""


class Port(Protocol):
    """What a survey asks of a bus."""

    async def read(self, unit: int, request: ReadRequest, timeout_ms: int) -> list[int]:
        """Ask for words."""


@dataclass(frozen=True, slots=True)
class Guess:
    """A profile, and what its registers say of a meter."""

    profile: MeterProfile
    serial: str
    voltages_mv: tuple[int | None, ...]
    frequency_mhz: int | None

    @property
    def fit(self) -> tuple[float, int, bool]:
        """How well it fits; more is better: share and number of plausible values, and a serial number."""
        told = [value is not None and value in PLAUSIBLE_MV for value in self.voltages_mv]
        if Quantity.FREQUENCY_MHZ in self.profile.codecs:
            told.append(self.frequency_mhz is not None and self.frequency_mhz in PLAUSIBLE_MHZ)
        return sum(told) / max(1, len(told)), sum(told), self.serial.strip("0") != ""


@dataclass(frozen=True, slots=True)
class Found:
    """A unit that is there."""

    unit: int
    guesses: tuple[Guess, ...]
    """Best first; those behind it fit as well, or nearly."""
    is_everybody: bool = False
    """Whether the same meter answers to every unit."""

    @property
    def identity(self) -> tuple[str, str] | None:
        """Profile and serial number, where it tells one."""
        best = self.guesses[0] if self.guesses else None
        return (best.profile.id, best.serial) if best is not None and best.serial else None


@dataclass
class _Visit:
    """One unit, and what it has answered so far."""

    port: Port
    unit: int
    timeout_ms: int
    silences: int = 0
    answers: dict[ReadRequest, list[int] | None] = field(default_factory=dict)

    async def is_there(self) -> bool:
        """Whether anybody is."""
        for knock in KNOCKS:
            try:
                self.answers[knock] = await self.port.read(self.unit, knock, self.timeout_ms)
            except BusError:
                raise
            except DeviceError as error:
                self.answers[knock] = None
                if str(error).startswith(UNREACHABLE):
                    return False
                if not str(error).startswith("Modbus exception"):
                    continue
            return True
        return False

    async def ask(self, request: ReadRequest) -> list[int] | None:
        """The words that it answers, if any; nothing is asked twice."""
        if request not in self.answers and self.silences < SILENCES_MAX:
            try:
                self.answers[request] = await self.port.read(self.unit, request, self.timeout_ms)
            except BusError:
                raise
            except DeviceError as error:
                self.answers[request] = None
                self.silences += error.retry
        return self.answers.get(request)


async def survey(
    port: Port, profiles: Mapping[str, MeterProfile], units: Iterable[int], timeout_ms: int
) -> AsyncIterator[tuple[int, Found | None]]:
    """Each unit in turn, and what was found there.

    Raises:
        BusError: the bus cannot be reached.
    """
    same: list[Found] = []
    for unit in units:
        visit = _Visit(port, unit, timeout_ms)
        found = Found(unit, await _guesses(visit, profiles)) if await visit.is_there() else None
        if found is None or found.identity is None or (same and same[-1].identity != found.identity):
            same.clear()
        if found is not None and found.identity is not None:
            same.append(found)
        if len(same) == SAME_MAX:
            yield unit, Found(same[0].unit, same[0].guesses, is_everybody=True)
            return
        yield unit, found


async def _guesses(visit: _Visit, profiles: Mapping[str, MeterProfile]) -> tuple[Guess, ...]:
    guesses = [await _guess(visit, profile) for profile in profiles.values() if profile.registers]
    likely = sorted((g for g in guesses if g is not None and g.fit[1]), key=lambda guess: guess.fit, reverse=True)
    return tuple(guess for guess in likely if guess.fit[:1] == likely[0].fit[:1])


async def _guess(visit: _Visit, profile: MeterProfile) -> Guess | None:
    """What a unit says to the questions of one profile; None if it does not answer them all."""
    address = MeterAddress(id="scan", unit=visit.unit, profile=profile.id)
    meter = plan_for(address, {profile.id: profile}, [*VOLTAGES, Quantity.FREQUENCY_MHZ])
    answers: dict[ReadRequest, Sequence[int]] = {}
    for request in meter.requests:
        words = await visit.ask(request)
        if words is None:
            return None
        answers[request] = words
    serial_at = serial_request(profile)
    serial_words = None if serial_at is None else await visit.ask(serial_at)
    serial = serial_of(profile, serial_words) if serial_words else ""
    voltages = tuple(_value(meter, quantity, answers) for quantity in VOLTAGES if quantity in profile.codecs)
    return Guess(profile, serial, voltages, _value(meter, Quantity.FREQUENCY_MHZ, answers))


def _value(meter: MeterPlan, quantity: Quantity, answers: Mapping[ReadRequest, Sequence[int]]) -> int | None:
    if quantity not in meter.profile.codecs:
        return None
    return value_of(meter.profile, quantity, words_of(meter.profile, quantity, answers))
