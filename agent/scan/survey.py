"""Who is on a bus, and which profile fits: asks each unit what only a meter of that profile could answer.

A unit that is silent to two questions, or that its gateway cannot reach, is taken for absent. Of a unit that answers,
every profile's serial number, voltages, frequency and temperatures are asked for. Those that make most sense of the
answers are held to their own self-checks and fixed words, and all that remain are told, the likeliest first. It is a
guess for people to check: meters of one maker often share a map. Given a bus that is open and the profiles; writes
nothing to anybody.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from agent.bus.line_port import BusError
from agent.bus.metering import check_fixed_words, plan_for, serial_of, value_of, words_of
from agent.bus.planner import ReadRequest, serial_request
from agent.library.doctor import Finding, Look, Verdict, judge
from agent.library.sunspec import BASES, MARK
from config.meter_profile import MeterProfile, Table
from config.self_check import LAW_NEEDS, Law
from config.settings.bus import MeterAddress
from protocol.errors import DeviceError
from protocol.units import Quantity

VOLTAGES: Final = (Quantity.VOLTAGE_L1_MV, Quantity.VOLTAGE_L2_MV, Quantity.VOLTAGE_L3_MV)
PLAUSIBLE_MV: Final = range(80_000, 300_001)
"""From phase to neutral, or nearly: everywhere in the world."""

PLAUSIBLE_MHZ: Final = range(45_000, 65_001)

PLAUSIBLE_CENTIC: Final = range(100, 18_001)
"""Of water in a heat network. A meter that shows 0 °C shows nothing."""

PLAUSIBLE: Final[Mapping[Quantity, range]] = {
    **dict.fromkeys(VOLTAGES, PLAUSIBLE_MV),
    Quantity.FREQUENCY_MHZ: PLAUSIBLE_MHZ,
    Quantity.SUPPLY_TEMPERATURE_CENTIC: PLAUSIBLE_CENTIC,
    Quantity.RETURN_TEMPERATURE_CENTIC: PLAUSIBLE_CENTIC,
}
"""By what a profile shows at once whether it is that of the meter."""

PHASE_VALUES: Final = (
    *(Quantity.CURRENT_L1_MA, Quantity.CURRENT_L2_MA, Quantity.CURRENT_L3_MA, Quantity.FREQUENCY_MHZ),
    *(Quantity.ACTIVE_POWER_L1_W, Quantity.ACTIVE_POWER_L2_W, Quantity.ACTIVE_POWER_L3_W),
)
"""What a law is about beyond the least that it needs."""

AT_ONCE: Final = (Law.MAINS, Law.PHASES, Law.APPARENT, Law.HEAT)
"""The laws that one look can tell of."""

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
    values: Mapping[Quantity, int | None]
    findings: tuple[Finding, ...] = ()
    """What became of the profile's self-checks, as far as one look can tell."""

    @property
    def share(self) -> float:
        """How much of what the profile would show at once makes sense: 0 to 1."""
        return self._plausible / max(1, sum(quantity in self.profile.codecs for quantity in PLAUSIBLE))

    @property
    def holding(self) -> tuple[str, ...]:
        """The laws that the meter keeps, if this is its profile."""
        return tuple(finding.check for finding in self.findings if finding.verdict is Verdict.HOLDS)

    @property
    def failing(self) -> tuple[str, ...]:
        """The laws that it breaks."""
        return tuple(finding.check for finding in self.findings if finding.verdict is Verdict.FAILS)

    @property
    def fit(self) -> tuple[float, int, int, int, int, bool]:
        """How well it fits; more is better. What the meter says against it counts more than what it says for it."""
        return (
            self.share,
            -len(self.failing),
            len(self.profile.fixed_words),
            self._plausible,
            len(self.holding),
            self.serial.strip("0") != "",
        )

    @property
    def _plausible(self) -> int:
        told = ((self.values.get(quantity), bounds) for quantity, bounds in PLAUSIBLE.items())
        return sum(value is not None and value in bounds for value, bounds in told)


@dataclass(frozen=True, slots=True)
class Found:
    """A unit that is there."""

    unit: int
    guesses: tuple[Guess, ...]
    """Best first; nothing that the meter tells speaks against any of them."""
    is_everybody: bool = False
    """Whether the same meter answers to every unit."""
    sunspec_at: int | None = None
    """Where a chain of SunSpec models begins, of which no profile was written yet."""
    lines: tuple[str, ...] = ()
    """Speeds and formats of a serial line at which it answers, where several were tried."""

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
        found = await _found(visit, profiles) if await visit.is_there() else None
        if found is None or found.identity is None or (same and same[-1].identity != found.identity):
            same.clear()
        if found is not None and found.identity is not None:
            same.append(found)
        if len(same) == SAME_MAX:
            yield unit, Found(same[0].unit, same[0].guesses, is_everybody=True)
            return
        yield unit, found


async def _found(visit: _Visit, profiles: Mapping[str, MeterProfile]) -> Found:
    guesses = await _guesses(visit, profiles)
    return Found(visit.unit, guesses, sunspec_at=None if guesses else await _sunspec_at(visit))


async def _sunspec_at(visit: _Visit) -> int | None:
    for base in BASES:
        if await visit.ask(ReadRequest(Table.HOLDING, base, len(MARK))) == list(MARK):
            return base
    return None


async def _guesses(visit: _Visit, profiles: Mapping[str, MeterProfile]) -> tuple[Guess, ...]:
    """All profiles that fit, best first."""
    told = [await _guess(visit, profile) for profile in profiles.values() if profile.registers]
    some = [guess for guess in told if guess is not None and guess.share]
    most = max((guess.share for guess in some), default=0.0)
    likely = [await _checked(visit, guess) for guess in some if guess.share == most]
    likely.sort(key=lambda guess: guess.fit, reverse=True)
    return tuple(guess for guess in likely if guess.fit[:3] == likely[0].fit[:3])


async def _guess(visit: _Visit, profile: MeterProfile) -> Guess | None:
    """What a unit says to the questions of one profile; None if it does not answer them all, or not as it has to."""
    values = await _look(visit, profile, PLAUSIBLE)
    if values is None:
        return None
    serial_at = serial_request(profile)
    serial_words = None if serial_at is None else await visit.ask(serial_at)
    return Guess(profile, serial_of(profile, serial_words) if serial_words else "", values)


async def _checked(visit: _Visit, guess: Guess) -> Guess:
    """The guess, with what became of the laws that can be told of at once."""
    laws = [check.law for check in guess.profile.self_checks if check.law in AT_ONCE]
    needed = {quantity for law in laws for quantities in LAW_NEEDS[law] for quantity in quantities}
    values = await _look(visit, guess.profile, needed.union(VOLTAGES, PHASE_VALUES))
    if values is None:
        return guess
    look = Look(0, values)
    findings = (finding for finding in judge(guess.profile, look, look) if finding.check in laws)
    return replace(guess, findings=tuple(findings))


async def _look(visit: _Visit, profile: MeterProfile, wanted: Iterable[Quantity]) -> dict[Quantity, int | None] | None:
    """What of `wanted` the unit shows by a profile; None if it does not answer all of its questions as it has to."""
    address = MeterAddress(id="scan", unit=visit.unit, profile=profile.id)
    meter = plan_for(address, {profile.id: profile}, list(wanted))
    answers: dict[ReadRequest, Sequence[int]] = {}
    for request in meter.requests:
        words = await visit.ask(request)
        if words is None:
            return None
        answers[request] = words
    try:
        check_fixed_words(profile, answers)
        words_at = {quantity: words_of(profile, quantity, answers) for quantity in meter.quantities}
    except DeviceError:
        return None
    return {quantity: value_of(profile, quantity, words) for quantity, words in words_at.items()}
