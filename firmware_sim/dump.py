"""One meter's registers as rows to lay beside its manual, and the mbpoll command that reads the same by other means."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from firmware_sim.firmware import Area, Firmware, Format, Printed, Span
from firmware_sim.heat_firmware import MODELS
from firmware_sim.meter import Shown
from firmware_sim.modbus_server import from_words, read_words
from firmware_sim.scenario import Connection
from firmware_sim.sunspec import BASES, MARK, METER_MODEL, Plate, chain_words
from firmware_sim.sunspec_models import NUMBER_AND_LENGTH, POINTS, points
from firmware_sim.units import SUNSPEC_WORDS_MAX
from protocol.errors import DeviceError

Found = Mapping[tuple[Area, int], int]
"""Words as read, by table and address."""

_MBPOLL_TABLES: Final = {Area.HOLDING: "4", Area.INPUT: "3"}


@dataclass(frozen=True, slots=True)
class Row:
    """One register: as printed, as on the wire, and what it says."""

    printed: str
    address: str
    words: str
    value: str
    unit: str
    shows: str


async def dump(connection: Connection, host: str) -> tuple[Row, ...]:
    """Read everything that one meter of a running fleet shows.

    Raises:
        LinkError: no fleet answers there.
        DeviceError: another fleet than expected does.
    """
    if (plate := connection.site.sunspec) is not None:
        spans = _chain_spans(plate)
        found = await read_words(host, connection.place.port, connection.place.unit, spans)
        words = [found[Area.HOLDING, span.first + i] for span in spans for i in range(span.count)]
        return tuple(_chain_rows(words, plate))
    firmware = MODELS[connection.site.model]
    found = await read_words(host, connection.place.port, connection.place.unit, firmware.spans())
    rows = tuple(_row(firmware, printed, found) for printed in firmware.registers)
    return rows if firmware.serial is None else (*rows, _serial_row(connection, found))


def mbpoll_command(connection: Connection, host: str) -> str:
    """How to read the meter's active power, or heat, with Debian's mbpoll."""
    words = ["mbpoll", "-m", "tcp", "-p", str(connection.place.port), "-a", str(connection.place.unit)]
    if (plate := connection.site.sunspec) is not None:
        at, form = _power_of(plate)
        return shlex.join([*words, "-t", form, "-0", "-r", str(at), "-1", "-B", host])
    firmware = MODELS[connection.site.model]
    powers = (Shown.ACTIVE_POWER_MW, Shown.HEAT_POWER_MW)
    power = next(printed for printed in firmware.registers if printed.shown in powers)
    form = "float" if power.format is Format.FLOAT32 else "int"
    words += ["-t", f"{_MBPOLL_TABLES[firmware.area]}:{form}", "-0", "-r", str(firmware.address(power.number)), "-1"]
    words += [] if firmware.low_word_first else ["-B"]
    return shlex.join([*words, host])


def _chain_spans(plate: Plate) -> list[Span]:
    """A whole SunSpec device, in requests that it answers."""
    first, count = BASES[plate.chain], len(chain_words(plate, None, 0))
    return [
        Span(Area.HOLDING, first + at, min(SUNSPEC_WORDS_MAX, count - at)) for at in range(0, count, SUNSPEC_WORDS_MAX)
    ]


def _chain_rows(words: list[int], plate: Plate) -> Iterator[Row]:
    """Every point of a SunSpec device as it stands there, powers of ten apart; but for those it has not implemented."""
    at = len(MARK)
    while words[at] in POINTS:
        for point in points(words[at]):
            held = words[at + point.offset : at + point.offset + point.words]
            value = point.read(held)
            if value is not None:
                address = f"{BASES[plate.chain] + at + point.offset}"
                yield Row(f"{words[at]}.{point.name}", address, _hex(held[:4]), value, "", point.form)
        at += NUMBER_AND_LENGTH + words[at + 1]


def _power_of(plate: Plate) -> tuple[int, str]:
    """Where the power of its connection stands, and how mbpoll calls that type."""
    words, number = chain_words(plate, None, 0), METER_MODEL[plate.chain]
    at = len(MARK)
    while words[at] != number:
        at += NUMBER_AND_LENGTH + words[at + 1]
    power = next(point for point in points(number) if point.name == "W")
    return BASES[plate.chain] + at + power.offset, "4:float" if power.form == "f" else "4"


def _row(firmware: Firmware, printed: Printed, found: Found) -> Row:
    first = firmware.address(printed.number)
    words = [found[firmware.area, first + i] for i in range(printed.format.words)]
    number = from_words(words, printed.format, low_word_first=firmware.low_word_first)
    return Row(
        printed=firmware.spell(printed.number),
        address=f"{first:#06x}",
        words=_hex(words),
        value=f"{number / printed.counts_per_unit:.{_digits(printed.format)}g}",
        unit=printed.unit,
        shows=_spoken(printed.shown),
    )


def _serial_row(connection: Connection, found: Found) -> Row:
    """The serial number, which also tells whether this is the fleet that was asked for."""
    span = MODELS[connection.site.model].serial
    assert span is not None, "only called for meters that tell it"
    words = [found[span.area, span.first + i] for i in range(span.count)]
    serial = from_words(words, Format.UINT32)
    if serial != connection.serial:
        raise DeviceError(
            f"{connection.site.meter} tells the serial number {serial}, not {connection.serial}: "
            "another fleet is running there, ask with the --meters and --seed that it was started with",
            retry=False,
        )
    return Row(f"{span.area}", f"{span.first:#06x}", _hex(words), str(serial), "", "serial number")


def _digits(format_: Format) -> int:
    """How many digits mean something."""
    return 7 if format_ is Format.FLOAT32 else 12


def _spoken(shown: Shown) -> str:
    """Its name without the unit, as people say it: "voltage L1"."""
    words = shown.split("_")[:-1]
    return " ".join(word.upper() if word[-1].isdigit() else word for word in words)


def _hex(words: list[int]) -> str:
    return " ".join(f"{word:04x}" for word in words)
