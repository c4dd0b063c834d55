"""How the command line says where a bus is: a host, or a serial port and its line, spelled as on a meter's label."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from config.load import check
from config.modbus import UNIT_MAX
from config.settings.bus import Bus
from protocol.errors import OperatorError

LINES: Final = ("9600-8N1", "19200-8N1", "9600-8E1", "19200-8E1")
"""What meters come with."""

_PARITIES: Final = {"N": "none", "E": "even", "O": "odd"}
_UNITS: Final = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")

_LINE: Final = re.compile(r"([0-9]{3,6})-8([NEO])([12])")


def bus_at(
    host: str | None, port: int, device: Path | None, *, framing: str = "tcp", line: str = LINES[0], timeout_ms: int
) -> Bus:
    """The bus that the command line means.

    Raises:
        OperatorError: the line is none.
        SettingsError: the rest is none.
    """
    way: dict[str, Any] = {"host": host, "port": port, "framing": framing}
    if device is not None:
        way = {"host": host, "serial": {"device": str(device.absolute()), **serial_line(line)}}
    return check(way | {"timeout_ms": timeout_ms}, Bus, "command line")


def serial_line(text: str) -> dict[str, Any]:
    """Speed and format out of ``9600-8N1``, as settings.

    Raises:
        OperatorError: it is no such thing.
    """
    found = _LINE.fullmatch(text.upper())
    if found is None:
        raise OperatorError("command line", "--line", "speed and format of a serial line, such as 9600-8N1", text)
    return {"baud": int(found[1]), "parity": _PARITIES[found[2]], "stop_bits": int(found[3])}


def line_of(bus: Bus) -> str:
    """Speed and format of a serial bus, as the command line says them."""
    serial = bus.serial
    assert serial is not None, "asked for the line of a bus on a network"
    letters = {parity: letter for letter, parity in _PARITIES.items()}
    return f"{serial.baud}-8{letters[serial.parity.value]}{serial.stop_bits}"


def units_of(text: str) -> list[int]:
    """The units of ``1-16,100``.

    Raises:
        OperatorError: it is no such list.
    """
    units: list[int] = []
    for part in text.split(","):
        found = _UNITS.fullmatch(part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not first <= last <= UNIT_MAX:
            raise OperatorError("command line", "--units", "units such as 1-16,100", text)
        units.extend(range(first, last + 1))
    return list(dict.fromkeys(units))
