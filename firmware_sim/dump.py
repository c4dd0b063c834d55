"""One meter's registers as rows to lay beside its manual, and the mbpoll command that reads the same by other means."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from firmware_sim.firmware import FIRMWARE, Area, Firmware, Format, Printed
from firmware_sim.meter import Shown
from firmware_sim.modbus_server import from_words, read_words
from firmware_sim.scenario import Connection
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
    firmware = FIRMWARE[connection.site.model]
    found = await read_words(host, connection.place.port, connection.place.unit, firmware.spans())
    rows = tuple(_row(firmware, printed, found) for printed in firmware.registers)
    return rows if firmware.serial is None else (*rows, _serial_row(connection, found))


def mbpoll_command(connection: Connection, host: str) -> str:
    """How to read the meter's active power with Debian's mbpoll."""
    firmware = FIRMWARE[connection.site.model]
    power = next(printed for printed in firmware.registers if printed.shown is Shown.ACTIVE_POWER_MW)
    form = "float" if power.format is Format.FLOAT32 else "int"
    words = ["mbpoll", "-m", "tcp", "-p", str(connection.place.port), "-a", str(connection.place.unit)]
    words += ["-t", f"{_MBPOLL_TABLES[firmware.area]}:{form}", "-0", "-r", str(firmware.address(power.number)), "-1"]
    words += [] if firmware.low_word_first else ["-B"]
    return shlex.join([*words, host])


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
    span = FIRMWARE[connection.site.model].serial
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
