"""What can go wrong with a meter, at run time and on purpose: on its line, or in its registers.

A fault of the line changes what is said: not at all, late, halved, garbled, by another unit. A fault of the registers
changes what is true for the meter: counters that fall, jump or stand still, another serial number. Each lasts until a
time on the fleet's clock, or until it is lifted. Every byte of it comes from the fleet's seed. Handed its time and the
bytes; sends nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from config.modbus import RTU_UNIT_MAX
from firmware_sim.chance import between
from firmware_sim.meter import ENERGIES, FLOWS, UJ_PER_WH, Measured
from protocol.errors import OperatorError


class Fault(StrEnum):
    """The kinds."""

    DEAD = "dead"
    SLOW = "slow"
    BABBLE = "babble"
    WRONG_UNIT = "wrong_unit"
    HALF_ANSWER = "half_answer"
    EXCEPTION = "exception"
    CRC = "crc"
    ZERO = "zero"
    BACKWARDS = "backwards"
    FREEZE = "freeze"
    JUMP = "jump"
    REPLACE = "replace"
    NAN = "nan"
    BYPASS = "bypass"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fault does, in words, and the number that goes with it."""

    does: str
    unit: str = ""
    """Of its number; empty where it takes none."""
    default: int = 0
    max: int = 0


KINDS: Final[Mapping[Fault, Kind]] = {
    Fault.DEAD: Kind("does not answer"),
    Fault.SLOW: Kind("answers late by so much", "ms", 1_500, 60_000),
    Fault.BABBLE: Kind("answers with garbage that goes on for so long", "ms", 1_000, 60_000),
    Fault.WRONG_UNIT: Kind("answers in the name of its neighbour"),
    Fault.HALF_ANSWER: Kind("stops talking in the middle of an answer"),
    Fault.EXCEPTION: Kind("answers every request with this exception", "code", 4, 11),
    Fault.CRC: Kind("answers with a wrong checksum; over Modbus TCP, where there is none, its gateway drops that"),
    Fault.ZERO: Kind("shows all energy as 0"),
    Fault.BACKWARDS: Kind("shows so much less energy than it had counted", "Wh", 5_000, 10**12),
    Fault.FREEZE: Kind("shows what it showed when the fault began, for ever"),
    Fault.JUMP: Kind("shows so much more energy than it had counted", "Wh", 25_567_000, 10**12),
    Fault.REPLACE: Kind("is another meter: a new serial number, and counters that begin at 0"),
    Fault.NAN: Kind("shows no number in any register"),
    Fault.BYPASS: Kind("shows so much of what really flows, as if a wire led past it", "percent", 40, 100),
}
"""The default of a jump is the one that evcc booked as 25,567 kWh (issue 29286)."""


def faults_in_words() -> str:
    """All faults, one paragraph each, for a help text."""
    lines = []
    for fault, kind in KINDS.items():
        number = f" (--number {kind.default} {kind.unit})" if kind.unit else ""
        lines.append(f"{fault}: {kind.does}{number}.")
    return "\n\n".join(lines)


GARBAGE_BYTES: Final = 32
GARBAGE_EVERY_MS: Final = 10

EXCEPTIONS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 10, 11)
"""The codes that Modbus knows."""

SERIAL_STEP: Final = 50_000_000
"""From a meter's serial number to that of the one that replaces it."""

MBAP_UNIT: Final = 6
"""Where the unit stands in a frame of Modbus TCP. In RTU it stands first."""


@dataclass(frozen=True, slots=True)
class Active:
    """A fault that is in force."""

    fault: Fault
    number: int
    since_ms: int
    until_ms: int | None
    before: Measured
    """What the meter showed when it began."""


class Faults:
    """All faults of a fleet."""

    def __init__(self, seed: int, meters: Collection[str]) -> None:
        self._seed = seed
        self._active: dict[str, dict[Fault, Active]] = {meter: {} for meter in meters}
        self._said = 0

    def knows(self, meter: str) -> bool:
        """Whether there is such a meter."""
        return meter in self._active

    def inject(
        self, meter: str, fault: Fault, *, number: int | None, now_ms: int, for_ms: int | None, before: Measured
    ) -> Active:
        """Begin a fault.

        Raises:
            OperatorError: there is no such meter, or the number means nothing.
        """
        kind = KINDS[fault]
        chosen = kind.default if number is None else number
        if number is not None and not kind.unit:
            raise OperatorError("este-fleet inject", "--number", f"none: {fault} takes no number", str(number))
        if not 0 <= chosen <= kind.max or (fault is Fault.EXCEPTION and chosen not in EXCEPTIONS):
            expected = f"one of {EXCEPTIONS}" if fault is Fault.EXCEPTION else f"0 to {kind.max} {kind.unit}"
            raise OperatorError("este-fleet inject", "--number", expected, str(number))
        until_ms = None if for_ms is None else now_ms + for_ms
        self._of(meter)[fault] = active = Active(fault, chosen, now_ms, until_ms, dict(before))
        return active

    def lift(self, meter: str) -> int:
        """End all faults of a meter.

        Returns:
            How many there were.

        Raises:
            OperatorError: there is no such meter.
        """
        active = self._of(meter)
        count = len(active)
        active.clear()
        return count

    def of(self, meter: str, now_ms: int) -> Mapping[Fault, Active]:
        """What is wrong with a meter now."""
        active = self._active[meter]
        for over in [a.fault for a in active.values() if a.until_ms is not None and a.until_ms <= now_ms]:
            del active[over]
        return active

    def garbage(self, size: int) -> bytes:
        """Bytes without meaning, the same in every run of a seed."""
        self._said += 1
        return bytes(between(0, 255, self._seed, "garbage", self._said, place) for place in range(size))

    def _of(self, meter: str) -> dict[Fault, Active]:
        if meter not in self._active:
            raise OperatorError("este-fleet inject", "METER", "a meter of the running fleet", meter)
        return self._active[meter]


Said = list[tuple[int, bytes]]
"""Bytes to say, each so many milliseconds from now."""


def said(faults: Faults, active: Mapping[Fault, Active], packet: bytes, *, is_rtu: bool) -> Said:
    """What a meter says instead of `packet`."""
    if Fault.DEAD in active or (Fault.CRC in active and not is_rtu):
        return []
    if Fault.BABBLE in active:
        times_ms = range(0, max(1, active[Fault.BABBLE].number), GARBAGE_EVERY_MS)
        return [(at_ms, faults.garbage(GARBAGE_BYTES)) for at_ms in times_ms]
    if Fault.WRONG_UNIT in active:
        packet = _by_neighbour(packet, is_rtu=is_rtu)
    if Fault.CRC in active:
        packet = packet[:-1] + bytes((packet[-1] ^ 0xFF,))
    if Fault.HALF_ANSWER in active:
        packet = packet[: len(packet) // 2]
    delay_ms = active[Fault.SLOW].number if Fault.SLOW in active else 0
    return [(delay_ms, packet)]


def shown(active: Mapping[Fault, Active], measured: Measured) -> Measured:
    """What a meter shows instead of what it measures. A glitch wins over whatever else is wrong with a counter."""
    if Fault.FREEZE in active:
        measured = active[Fault.FREEZE].before
    if Fault.BYPASS in active:
        measured = _beside(active[Fault.BYPASS], measured)
    energy_uj = {key: measured[key] for key in ENERGIES & measured.keys()}
    if Fault.REPLACE in active:
        begun = active[Fault.REPLACE].before
        energy_uj = {key: max(0, value - begun[key]) for key, value in energy_uj.items()}
    more_wh = active[Fault.JUMP].number if Fault.JUMP in active else 0
    less_wh = active[Fault.BACKWARDS].number if Fault.BACKWARDS in active else 0
    energy_uj = {key: max(0, value + UJ_PER_WH * (more_wh - less_wh)) for key, value in energy_uj.items()}
    if Fault.ZERO in active:
        energy_uj = dict.fromkeys(energy_uj, 0)
    return {**measured, **energy_uj}


def _beside(bypass: Active, measured: Measured) -> Measured:
    """What a meter shows that a part of the current leads past: its voltage is true, and nothing else is."""
    seen = {key: value * bypass.number // 100 for key, value in measured.items() if key in FLOWS}
    for key in ENERGIES & measured.keys():
        begun = bypass.before[key]
        seen[key] = begun + (measured[key] - begun) * bypass.number // 100
    return {**measured, **seen}


def serial_of(active: Mapping[Fault, Active], serial: int | None) -> int | None:
    """The serial number that a meter tells."""
    return serial + SERIAL_STEP if serial is not None and Fault.REPLACE in active else serial


def _by_neighbour(packet: bytes, *, is_rtu: bool) -> bytes:
    at = 0 if is_rtu else MBAP_UNIT
    packet = packet[:at] + bytes((packet[at] % RTU_UNIT_MAX + 1,)) + packet[at + 1 :]
    return packet[:-2] + checksum(packet[:-2]) if is_rtu else packet


def checksum(data: bytes) -> bytes:
    """CRC-16/MODBUS, bit by bit, so that it shares nothing with the agent's table."""
    value = 0xFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
    return value.to_bytes(2, "little")
