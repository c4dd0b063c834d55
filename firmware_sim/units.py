"""What is behind a unit number on a simulated bus: a meter with a register map, a SunSpec device, or a limiter.

A meter's words are worked out when it is first asked after a step of the fleet, all of them at once, so that one answer
never mixes two moments. A function that a device does not have is exception 1, a wrong length 3. Given a request as it
came, says what is in the words that it asks for; sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from firmware_sim.faults import Active, Fault, Faults, serial_of, shown
from firmware_sim.firmware import Area, Firmware, Format, Span
from firmware_sim.fleet import Fleet
from firmware_sim.heat_firmware import MODELS
from firmware_sim.meter import Measured
from firmware_sim.scenario import Connection
from firmware_sim.sunspec import BASES, Plate, chain_words

READ: Final = {Area.HOLDING: 3, Area.INPUT: 4}
"""The function that reads each table."""
WRITE_REGISTERS: Final = 16

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_VALUE: Final = 3

SUNSPEC_WORDS_MAX: Final = 125
"""Most words in one answer of a SunSpec device: whatever Modbus allows."""

LIMIT_WORDS: Final = 2
LIFTED: Final = 0xFFFF_FFFF
"""What a limiter holds while it does not limit."""
LIFTED_MODULUS: Final = LIFTED + 1
NO_SET_POINT: Final = 0x7FFF_FFFF
"""What a controller's set-point holds while the device runs as it likes."""
CONTROLLER_FIRST: Final = 2
"""Address of a controller's first number."""

Words = list[int]

NO_NUMBER: Final[Mapping[Format, Words]] = {
    Format.INT16: [0x8000],
    Format.UINT16: [0xFFFF],
    Format.INT32: [0x8000, 0],
    Format.UINT32: [0xFFFF, 0xFFFF],
    Format.INT64: [0x8000, 0, 0, 0],
    Format.UINT64: [0xFFFF] * 4,
}
"""What integers of meters show where they have no number."""

Written = list[int] | list[bool] | None
"""What a request wants to write; None where it reads."""


class Spell(Protocol):
    """Turns a number into words."""

    def __call__(self, count: int | float, format_: Format, *, low_word_first: bool = False) -> Words:
        """Spell a number as a device does."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a unit is asked."""

    function: int
    first: int
    """Address of the first word of the table that was handed over, not of the first one that is wanted."""
    count: int
    written: Written
    address: int = 0
    """Of the first word that is wanted."""


class Unit(Protocol):
    """What the server asks of whatever it serves."""

    @property
    def readable(self) -> Sequence[Span]:
        """Where there are words."""

    def answer(self, request: Request, words: Words) -> int | None:
        """Bring `words`, the table that is asked for, up to date; or the code of an exception."""


Piece = tuple[Area, int, Sequence[int]]
"""Words that stand side by side from an address on."""


class Face(Protocol):
    """What a model of meter shows, and where."""

    @property
    def words_max(self) -> int:
        """Most words in one answer."""

    @property
    def readable(self) -> Sequence[Span]:
        """Where there are words."""

    def pieces(self, measured: Measured | None, serial: int | None) -> Iterator[Piece]:
        """Everything that it shows of what it measures; None where it has no number for anything."""


class TableFace:
    """A register map."""

    def __init__(self, firmware: Firmware, spell: Spell) -> None:
        self._firmware = firmware
        self._spell = spell
        self.words_max = firmware.words_max
        blocks = [Span(firmware.area, firmware.address(a), b - a + 1) for a, b in firmware.blocks]
        self.readable = (*blocks, firmware.serial) if firmware.serial else tuple(blocks)

    def pieces(self, measured: Measured | None, serial: int | None) -> Iterator[Piece]:
        """Every register, and the serial number where the model tells one."""
        firmware = self._firmware
        for printed in firmware.registers:
            if measured is not None:
                count = printed.count(measured[printed.shown])
            elif printed.format is Format.FLOAT32:
                count = firmware.no_float
            else:
                yield firmware.area, firmware.address(printed.number), NO_NUMBER[printed.format]
                continue
            spelled = self._spell(count, printed.format, low_word_first=firmware.low_word_first)
            yield firmware.area, firmware.address(printed.number), spelled
        if firmware.serial is not None and serial is not None:
            yield firmware.serial.area, firmware.serial.first, self._spell(serial, Format.UINT32)


class ChainFace:
    """A SunSpec device."""

    words_max = SUNSPEC_WORDS_MAX

    def __init__(self, plate: Plate) -> None:
        self._plate = plate
        self.readable = (Span(Area.HOLDING, BASES[plate.chain], len(chain_words(plate, None, 0))),)

    def pieces(self, measured: Measured | None, serial: int | None) -> Iterator[Piece]:
        """The whole chain."""
        assert serial is not None, "every SunSpec device tells one"
        yield Area.HOLDING, BASES[self._plate.chain], chain_words(self._plate, measured, serial)


class MeterUnit:
    """One meter: shows the fleet's present moment, and lets nobody write."""

    def __init__(self, fleet: Fleet, connection: Connection, faults: Faults, spell: Spell) -> None:
        self._fleet = fleet
        self._faults = faults
        self._meter = connection.site.meter
        self._serial = connection.serial
        plate = connection.site.sunspec
        self._face: Face = ChainFace(plate) if plate else TableFace(MODELS[connection.site.model], spell)
        self._moments: dict[int, object] = {}
        """What each table's words were worked out for, by the function that reads it."""

    @property
    def readable(self) -> Sequence[Span]:
        """Where the model has words."""
        return self._face.readable

    def answer(self, request: Request, words: Words) -> int | None:
        """Show what is measured now, through whatever is wrong with the meter."""
        active = self._faults.of(self._meter, self._fleet.elapsed_ms)
        if Fault.EXCEPTION in active:
            return active[Fault.EXCEPTION].number
        if request.function not in READ.values() or request.written is not None:
            return ILLEGAL_FUNCTION
        if request.count > self._face.words_max:
            return ILLEGAL_VALUE
        moment = (self._fleet.tick, tuple(active.values()))
        if self._moments.get(request.function) != moment:
            self._moments[request.function] = moment
            self._show(request, words, active)
        return None

    def _show(self, request: Request, words: Words, active: Mapping[Fault, Active]) -> None:
        """Bring all words up to the present moment, which lasts until the fleet's next step or fault."""
        measured = None if Fault.NAN in active else shown(active, self._fleet.measured(self._meter))
        for area, address, piece in self._face.pieces(measured, serial_of(active, self._serial)):
            if READ[area] == request.function:
                words[address - request.first : address - request.first + len(piece)] = piece


class LimiterUnit:
    """One limiter: a single number in watts, read with function 3 and written whole with function 16."""

    readable = (Span(Area.HOLDING, 0, LIMIT_WORDS),)

    def __init__(self, fleet: Fleet, limiter: str) -> None:
        self._fleet = fleet
        self._limiter = limiter

    def answer(self, request: Request, words: Words) -> int | None:
        """Tell the limit, or set it."""
        if request.function not in (READ[Area.HOLDING], WRITE_REGISTERS):
            return ILLEGAL_FUNCTION
        if request.written is None:
            limit_w = self._fleet.held(self._limiter).take_w
            words[:LIMIT_WORDS] = _two_words(LIFTED if limit_w is None else limit_w)
            return None
        if request.count != LIMIT_WORDS:
            return ILLEGAL_VALUE
        limit_w = _number(request.written)
        self._fleet.limit(self._limiter, None if limit_w == LIFTED else limit_w)
        return None


class ControllerUnit:
    """One controller: numbers in watts from address 2 on, two words each, written whole with function 16.

    The most that may be taken, the most that may be fed in, and the set-point: to take, or, below 0, to feed in.
    """

    readable = (Span(Area.HOLDING, CONTROLLER_FIRST, 3 * LIMIT_WORDS),)

    def __init__(self, fleet: Fleet, limiter: str) -> None:
        self._fleet = fleet
        self._limiter = limiter

    def answer(self, request: Request, words: Words) -> int | None:
        """Tell what it holds, or set one number of it."""
        if request.function not in (READ[Area.HOLDING], WRITE_REGISTERS):
            return ILLEGAL_FUNCTION
        held = self._fleet.held(self._limiter)
        if request.written is None:
            numbers = [LIFTED if limit_w is None else limit_w for limit_w in (held.take_w, held.feed_in_w)]
            numbers.append(NO_SET_POINT if held.set_w is None else held.set_w % LIFTED_MODULUS)
            words[: 3 * LIMIT_WORDS] = [word for number in numbers for word in _two_words(number)]
            return None
        place, rest = divmod(request.address - CONTROLLER_FIRST, LIMIT_WORDS)
        if request.count != LIMIT_WORDS or rest:
            return ILLEGAL_VALUE
        number = _number(request.written)
        match place:
            case 0:
                held = replace(held, take_w=None if number == LIFTED else number)
            case 1:
                held = replace(held, feed_in_w=None if number == LIFTED else number)
            case _:
                signed = number - LIFTED_MODULUS * (number > NO_SET_POINT)
                held = replace(held, set_w=None if number == NO_SET_POINT else signed)
        self._fleet.hold(self._limiter, held)
        return None


def _two_words(number: int) -> Words:
    return list(divmod(number, 1 << 16))


def _number(written: Sequence[int] | Sequence[bool]) -> int:
    return int(written[0]) << 16 | int(written[1])
