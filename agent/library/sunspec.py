"""A SunSpec device's chain of models, turned into a meter profile of its own.

Given a way to read words, finds where the chain begins, walks it, and lays out what it found as a profile file:
addresses and powers of ten resolved, the words that they rest on fixed. So a SunSpec device is admitted, read and
audited by its profile's digest as any other meter is; and if its scale factors ever change, it is not read at all,
rather than wrongly. Leaves out what the device says it has not implemented. Never overwrites a file, and
writes none that is not a profile.
"""

from __future__ import annotations

import asyncio
import os
import re
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Final

from agent.bus.modbus_port import ModbusBus
from agent.bus.planner import ReadRequest
from agent.log import tell_loop_errors
from config.load import read_profile
from config.meter_profile import MODBUS_WORDS_MAX, Table
from config.model import spell_decimal
from config.settings.bus import Bus
from config.sunspec_map import SunspecPoint, sunspec_map
from protocol.errors import DeviceError, OperatorError
from protocol.registers import RegisterCodec, WordOrder
from protocol.units import ELECTRICITY_REGISTERS

BASES: Final = (40000, 0, 50000)
"""Where a chain may begin, in the order in which to look."""

MARK: Final = (0x5375, 0x6E53)
""""SunS"."""

COMMON: Final = 1
END: Final = 0xFFFF
MODELS_MAX: Final = 64
"""A chain that is longer has no end."""

STORAGE: Final = 802
"""Of a battery. Where there are several, none of them is the state of charge of the inverter, so it is left out."""

WITH_STORAGE: Final = (101, 102, 103, 111, 112, 113, 701)
"""Models of inverters, which a battery belongs to; a grid meter beside them has none."""

ENERGIES: Final = tuple(quantity.name.lower() for quantity in ELECTRICITY_REGISTERS)

MANUFACTURER, MODEL, SERIAL = (2, 16), (18, 16), (50, 16)
"""Offset and words of three texts in model 1."""

FACTOR_MAX: Final = 10
"""Powers of ten go from -10 to 10; -32768 says that there is none."""

NO_VALUE: Final = {
    "u": (0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF),
    "i": (0x8000, 0x8000_0000, 0x8000_0000_0000_0000),
    "f": (),
}
"""By which a device says that it has not implemented a point."""

POWER_MAX_W: Final = 1_000_000
"""SunSpec's meters do not say what they can measure; the grid file has a limit for each connection."""

WordReader = Callable[[int, int], Awaitable[Sequence[int]]]
"""Brings so many words from an address on."""


@dataclass(frozen=True, slots=True)
class Found:
    """One model of a device's chain, with its words from the number on."""

    number: int
    address: int
    words: Sequence[int]

    def text(self, place: tuple[int, int]) -> str:
        """A text in it, without its padding."""
        words = self.words[place[0] : sum(place)]
        spelled = struct.pack(f">{len(words)}H", *words).split(b"\x00")[0].decode("ascii", errors="replace")
        return "".join(c for c in spelled if c.isprintable() and c.isascii()).strip()


async def walk(read: WordReader) -> tuple[Found, ...]:
    """All models of a device, in the order of its chain.

    Raises:
        DeviceError: it does not answer, has no chain, or one that does not end.
    """
    address = await _begin(read)
    found: list[Found] = []
    while len(found) < MODELS_MAX:
        number, length = await read(address, 2)
        if number == END:
            return tuple(found)
        found.append(Found(number, address, await _words(read, address, 2 + length)))
        address += 2 + length
    raise DeviceError(f"a chain of more than {MODELS_MAX} SunSpec models, without an end", retry=False)


async def _begin(read: WordReader) -> int:
    for base in BASES:
        try:
            mark = await read(base, len(MARK))
        except DeviceError as error:
            if error.retry:
                raise
            continue
        if tuple(mark) == MARK:
            return base + len(MARK)
    raise DeviceError(f'no SunSpec device: "SunS" stands at none of {", ".join(map(str, BASES))}', retry=False)


async def _words(read: WordReader, address: int, count: int) -> list[int]:
    if address + count > 1 << 16:
        raise DeviceError(f"a SunSpec model at {address} that ends behind the last address", retry=False)
    words: list[int] = []
    while len(words) < count:
        words += await read(address + len(words), min(MODBUS_WORDS_MAX, count - len(words)))
    return words


def profiles_of(chain: Sequence[Found], *, energy_only: bool = False) -> Iterator[str]:
    """A profile file for each model that measures energy.

    Args:
        chain: the models of a device.
        energy_only: leave out all else, and with it the powers of ten that a device may change as it goes.

    Raises:
        DeviceError: the chain does not begin with model 1, or a model is shorter than its standard.
    """
    if not chain or chain[0].number != COMMON or len(chain[0].words) < sum(SERIAL):
        raise DeviceError("a SunSpec chain that does not begin with model 1", retry=False)
    storage = _storage_of(chain)
    seen: Counter[int] = Counter()
    for found in chain:
        if not any(point.quantity in ENERGIES for point in _points(found)):
            continue
        seen[found.number] += 1
        parts = [found, *(storage if found.number in WITH_STORAGE and not energy_only else [])]
        points = [(part, point) for part in parts for point in _points(part)]
        if energy_only:
            points = [(part, point) for part, point in points if point.quantity in ENERGIES]
        yield "\n".join(_spelled(chain[0], parts, points, seen[found.number])) + "\n"


def _storage_of(chain: Sequence[Found]) -> list[Found]:
    """The battery that a profile can tell of: the only one."""
    found = [found for found in chain if found.number == STORAGE]
    return found if len(found) == 1 else []


def _points(found: Found) -> list[SunspecPoint]:
    """What a device has implemented of a model, if the model is known."""
    layout = sunspec_map().model_of(found.number)
    if layout is None:
        return []
    if len(found.words) < 2 + layout.length:
        told = f"model {found.number} at {found.address} has {len(found.words) - 2} words"
        raise DeviceError(f"{told} where SunSpec has {layout.length}", retry=False)
    return [point for point in layout.points if _is_there(found, point)]


def _spelled(
    common: Found, parts: Sequence[Found], points: Sequence[tuple[Found, SunspecPoint]], copy: int
) -> Iterator[str]:
    """The lines of one profile file."""
    maker, kind, serial = (common.text(place) for place in (MANUFACTURER, MODEL, SERIAL))
    numbers = ", ".join(str(found.number) for found in parts)
    name = _name(kind or maker, serial, str(parts[0].number), str(copy) if copy > 1 else "")
    yield f"# {_plain(maker)} {_plain(kind)}, serial number {_plain(serial)}, SunSpec model {numbers}."
    yield "# Written by este-agent sunspec."
    yield f"id: {name}"
    yield f"manufacturer: {_quoted(maker or 'unknown')}"
    yield f"model: {_quoted(kind or 'unknown')}"
    yield f"manual: {_quoted(f'SunSpec model {numbers}, as walked on the device; layout by {sunspec_map().source}')}"
    yield "grade: one_source"
    yield "notes: >-"
    yield "  For this one device: addresses and powers of ten are as it had them when this file was written. The fixed"
    yield "  words see to it that it is not read after they change. Set power_max_w to what it can measure."
    yield from ("table: holding", "word_order: high_first", f"words_max: {MODBUS_WORDS_MAX}", "blocks:")
    for found in parts:
        yield f"  - {{first: {found.address}, last: {found.address + len(found.words) - 1}}}"
    unsigned, signed = (", ".join(f"{bits:#x}" for bits in NO_VALUE[sign]) for sign in "ui")
    yield f"not_available: {{unsigned: [{unsigned}], signed: [{signed}]}}"
    place = common.address + SERIAL[0]
    yield f"serial_number: {{table: holding, address: {place}, words: {SERIAL[1]}, spelling: text}}"
    yield from (f"power_max_w: {POWER_MAX_W}", "registers:")
    yield from (_register(found, point) for found, point in points)
    yield "fixed_words:"
    for found in parts:
        yield _fixed(found, 0, "number of the model")
        yield _fixed(found, 1, "length of the model")
    yield from _fixed_factors(points)
    laws = list(_laws({point.quantity for _, point in points}))
    yield f"self_checks:{'' if laws else ' []'}"
    yield from (f"  - {{law: {law}}}" for law in laws)


def _fixed_factors(points: Sequence[tuple[Found, SunspecPoint]]) -> Iterator[str]:
    """Each power of ten once, named after the first point that it is for."""
    told = set()
    for found, point in points:
        if point.factor is not None and found.address + point.factor not in told:
            told.add(found.address + point.factor)
            yield _fixed(found, point.factor, f"power of ten of {point.quantity}")


def _is_there(found: Found, point: SunspecPoint) -> bool:
    """Whether the device says that it has implemented a point, and its power of ten where it needs one."""
    if point.factor is not None and abs(_exponent(found, point)) > FACTOR_MAX:
        return False
    none = frozenset(bits for bits in NO_VALUE[point.type[0]] if bits.bit_length() == 16 * point.type.words)
    codec = RegisterCodec(point.type, WordOrder.HIGH_FIRST, Fraction(1), none)
    return codec.decode(found.words[point.offset : point.offset + point.type.words]) is not None


def _exponent(found: Found, point: SunspecPoint) -> int:
    word = 0 if point.factor is None else found.words[point.factor]
    return word - (word >> 15 << 16)


def _register(found: Found, point: SunspecPoint) -> str:
    scale = spell_decimal(Decimal(point.sign).scaleb(_exponent(found, point)))
    place = f"address: {found.address + point.offset}, type: {point.type.value}, unit: {_quoted(point.unit)}"
    return f"  - {{quantity: {point.quantity}, {place}, scale: {scale}}}"


def _fixed(found: Found, offset: int, meaning: str) -> str:
    return f"  - {{address: {found.address + offset}, value: {found.words[offset]:#06x}, meaning: {meaning}}}"


def _laws(quantities: set[str]) -> Iterator[str]:
    by_phase = {f"active_power_l{n}_w" for n in (1, 2, 3)}
    if quantities & {"voltage_l1_mv", "frequency_mhz"}:
        yield "mains"
    if by_phase | {"active_power_w"} <= quantities:
        yield "phases"
    if {"voltage_l1_mv", "current_l1_ma", "apparent_power_va"} <= quantities:
        yield "apparent"
    if "active_power_w" in quantities:
        yield "slope"


def _name(*parts: str) -> str:
    words = [re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_")[:24] for part in ("sunspec", *parts)]
    return "_".join(word for word in words if word)


def _plain(text: str) -> str:
    return " ".join(text.split()) or "unknown"


def _quoted(text: str) -> str:
    """As a YAML text in quotes, whatever a device says of itself."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


async def survey(settings: Bus, unit: int) -> tuple[Found, ...]:
    """Walk a live device, on a network or on a line.

    Raises:
        DeviceError: the device cannot be reached, or is none of SunSpec's.
    """
    tell_loop_errors(asyncio.get_running_loop())
    bus = ModbusBus(settings)

    async def read(address: int, words: int) -> Sequence[int]:
        return await bus.read(unit, ReadRequest(Table.HOLDING, address, words), settings.timeout_ms)

    try:
        return await walk(read)
    except DeviceError as error:
        raise DeviceError(f"unit {unit} at {settings.place}: {error}", retry=error.retry) from error
    finally:
        bus.close()


def write_profiles(chain: Sequence[Found], folder: Path, *, energy_only: bool = False) -> Iterator[str]:
    """Write a profile for each model of a device that measures energy, and say what was done. Makes the folder.

    Raises:
        DeviceError: the chain is none, or a model in it is shorter than its standard.
        OperatorError: there can be no such folder, or a file of that name says something else.
        SettingsError: what the device says makes no profile.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(folder, "", "a folder to write to", error.strerror or str(error)) from error
    yield f"models {', '.join(str(found.number) for found in chain)}"
    batteries = [found for found in chain if found.number == STORAGE]
    if len(batteries) > 1 and not energy_only:
        yield f"{len(batteries)} batteries (model {STORAGE}): the state of charge of none of them is read"
    texts = {_path_of(text, folder): text for text in profiles_of(chain, energy_only=energy_only)}
    for path, text in texts.items():
        read_profile(text, path)
    if not texts:
        yield "none of them measures energy: nothing written"
    yield from (_keep(text, path) for path, text in texts.items())


def _path_of(text: str, folder: Path) -> Path:
    name = text.partition("\nid: ")[2].partition("\n")[0]
    return folder / f"{name}.yaml"


def _keep(text: str, path: Path) -> str:
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise OperatorError(path, "", "no file, or the same profile", "another one; move it away to write it anew")
        return f"{path} stands already"
    aside = path.with_name(f"{path.name}.new")
    try:
        with aside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        raise OperatorError(path, "", "a file to write to", error.strerror or str(error)) from error
    return f"{path} written: set its power_max_w, let este-agent doctor look at the device, then have it admitted"
