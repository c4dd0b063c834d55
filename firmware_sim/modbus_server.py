"""The wire: every meter and limiter of a fleet as a unit on a Modbus TCP port. The only importer of pymodbus.

A meter's words are worked out when it is first asked after a step of the fleet, all of them at once, so that one answer
never mixes two moments. Whoever asks a unit that is not there is answered with exception 11, as by a gateway whose bus
stays silent. A function that a device does not have is exception 1, an address outside its blocks 2, a wrong length 3.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimAction, SimData, SimDevice

from firmware_sim.firmware import FIRMWARE, Area, Format, Span
from firmware_sim.fleet import Fleet
from firmware_sim.scenario import Connection
from protocol.errors import DeviceError, LinkError, OperatorError

READ: Final = {Area.HOLDING: 3, Area.INPUT: 4}
"""The function that reads each table."""
WRITE_REGISTERS: Final = 16

LIMIT_WORDS: Final = 2
LIFTED: Final = 0xFFFF_FFFF
"""What a limiter holds while it does not limit."""

CLIENT_TIMEOUT_S: Final = 3.0

Words = list[int]
Written = list[int] | list[bool] | None
"""What a request wants to write; None where it reads."""

# What goes wrong is raised to the caller; without a handler, pymodbus would print it to the terminal as well.
logging.getLogger("pymodbus").addHandler(logging.NullHandler())


def to_words(count: int | float, format_: Format, *, low_word_first: bool = False) -> Words:
    """Spell a number as a device does, with pymodbus' own converter."""
    spelling = AsyncModbusTcpClient.DATATYPE[format_]
    return AsyncModbusTcpClient.convert_to_registers(count, spelling, "little" if low_word_first else "big")


def from_words(words: Sequence[int], format_: Format, *, low_word_first: bool = False) -> int | float:
    """Read one number back, with pymodbus' own converter."""
    assert len(words) == format_.words, f"{format_} takes {format_.words} words, not {len(words)}"
    spelling = AsyncModbusTcpClient.DATATYPE[format_]
    number = AsyncModbusTcpClient.convert_from_registers(words, spelling, "little" if low_word_first else "big")
    assert isinstance(number, int | float), f"{format_} is one number"
    return number


class MeterUnit:
    """One meter: shows the fleet's present moment, and lets nobody write."""

    def __init__(self, fleet: Fleet, connection: Connection) -> None:
        self._fleet = fleet
        self._meter = connection.site.meter
        self._firmware = FIRMWARE[connection.site.model]
        self._serial = connection.serial
        self._tick_shown = -1
        self._unit = connection.place.unit

    def device(self) -> SimDevice:
        """The meter as pymodbus serves it."""
        firmware = self._firmware
        readable: dict[Area, list[SimData]] = {area: [] for area in Area}
        for first, last in firmware.blocks:
            readable[firmware.area].append(_zeros(firmware.address(first), last - first + 1))
        if firmware.serial and self._serial is not None:
            readable[firmware.serial.area].append(
                SimData(
                    firmware.serial.first,
                    values=to_words(self._serial, Format.UINT32),
                    datatype=DataType.REGISTERS,
                )
            )
        return _device(self._unit, readable[Area.HOLDING], readable[Area.INPUT], self._answer)

    async def _answer(
        self, function: int, first: int, _address: int, count: int, words: Words, written: Written
    ) -> ExcCodes | None:
        """Called by pymodbus before it answers from `words`, whose address is `first`."""
        if function not in READ.values() or written is not None:
            return ExcCodes.ILLEGAL_FUNCTION
        if count > self._firmware.words_max:
            return ExcCodes.ILLEGAL_VALUE
        if function == READ[self._firmware.area] and self._tick_shown != self._fleet.tick:
            self._show(first, words)
        return None

    def _show(self, first: int, words: Words) -> None:
        """Bring all words up to the present moment. The serial number stays as it is."""
        measured = self._fleet.measured(self._meter)
        for printed in self._firmware.registers:
            count = printed.count(measured[printed.shown])
            at = self._firmware.address(printed.number) - first
            spelled = to_words(count, printed.format, low_word_first=self._firmware.low_word_first)
            words[at : at + printed.format.words] = spelled
        self._tick_shown = self._fleet.tick


class LimiterUnit:
    """One limiter: a single number in watts, read with function 3 and written whole with function 16."""

    def __init__(self, fleet: Fleet, limiter: str, unit: int) -> None:
        self._fleet = fleet
        self._limiter = limiter
        self._unit = unit

    def device(self) -> SimDevice:
        """The limiter as pymodbus serves it."""
        return _device(self._unit, [_zeros(0, LIMIT_WORDS)], [], self._answer)

    async def _answer(
        self, function: int, _first: int, _address: int, count: int, words: Words, written: Written
    ) -> ExcCodes | None:
        """Called by pymodbus before it answers from `words`, or writes `written` to them."""
        if function not in (READ[Area.HOLDING], WRITE_REGISTERS):
            return ExcCodes.ILLEGAL_FUNCTION
        if written is None:
            limit_w = self._fleet.limit_of(self._limiter)
            words[:LIMIT_WORDS] = to_words(LIFTED if limit_w is None else limit_w, Format.UINT32)
            return None
        if count != LIMIT_WORDS:
            return ExcCodes.ILLEGAL_VALUE
        limit_w = int(from_words(written, Format.UINT32))
        self._fleet.limit(self._limiter, None if limit_w == LIFTED else limit_w)
        return None


class Buses:
    """All ports of a fleet."""

    def __init__(self, fleet: Fleet, host: str) -> None:
        self._fleet = fleet
        self._host = host
        self._servers: list[ModbusTcpServer] = []
        self.requests: Counter[int] = Counter()
        """How many requests came to each port, whatever the answer."""

    async def open(self) -> None:
        """Listen on every port of the fleet, or on none.

        Raises:
            OperatorError: a port is taken, or the host is not one of this machine.
        """
        try:
            for port in dict.fromkeys(c.place.port for c in self._fleet.scenario.connections):
                await _see_that_free(self._host, port)
                server = ModbusTcpServer(
                    self._devices_on(port), address=(self._host, port), trace_pdu=self._counter_of(port)
                )
                await server.serve_forever(background=True)
                self._servers.append(server)
        except Exception:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        await asyncio.sleep(0)  # lets the transports tell their protocols that they are closed

    def _devices_on(self, port: int) -> list[SimDevice]:
        devices = [_nobody()]
        for connection in self._fleet.scenario.connections:
            if connection.place.port != port:
                continue
            devices.append(MeterUnit(self._fleet, connection).device())
            if limiter := connection.site.limiter:
                devices.append(LimiterUnit(self._fleet, limiter.name, connection.place.limiter_unit).device())
        return devices

    def _counter_of(self, port: int) -> Callable[[bool, ModbusPDU], ModbusPDU]:
        def count(is_sent: bool, pdu: ModbusPDU) -> ModbusPDU:
            if not is_sent:
                self.requests[port] += 1
            return pdu

        return count


async def read_words(host: str, port: int, unit: int, spans: Sequence[Span]) -> dict[tuple[Area, int], int]:
    """Read words from a running fleet, by table and address.

    Raises:
        LinkError: nobody listens there, or whoever does stays silent.
        DeviceError: the unit answers that it has no such words.
    """
    found: dict[tuple[Area, int], int] = {}
    async with AsyncModbusTcpClient(host, port=port, timeout=CLIENT_TIMEOUT_S, retries=0) as client:
        if not client.connected:
            raise LinkError(f"nobody listens on {host}:{port}", retry=True)
        for span in spans:
            read = client.read_holding_registers if span.area is Area.HOLDING else client.read_input_registers
            try:
                answer = await read(span.first, count=span.count, device_id=unit)
            except ModbusException as error:
                raise LinkError(f"no answer from unit {unit} on {host}:{port}", retry=True) from error
            if answer.isError():
                raise DeviceError(
                    f"unit {unit} on {host}:{port} answers exception {answer.exception_code} for {span.count} "
                    f"{span.area} words from {span.first:#06x}",
                    retry=False,
                )
            found.update({(span.area, span.first + i): word for i, word in enumerate(answer.registers)})
    return found


def _device(unit: int, holding: list[SimData], readable_input: list[SimData], answer: SimAction) -> SimDevice:
    """A device with two word tables. pymodbus wants all four tables filled: what is missing is one invalid word."""
    none = [SimData(0, datatype=DataType.INVALID)]
    bits = [SimData(0, values=False, datatype=DataType.BITS)]
    return SimDevice(unit, simdata=(bits, bits, holding or none, readable_input or none), action=answer)


def _zeros(address: int, count: int) -> SimData:
    return SimData(address, values=[0] * count, datatype=DataType.REGISTERS)


def _nobody() -> SimDevice:
    """Stands for all units that are not there.

    Every address must exist, or pymodbus would answer exception 2 before it asks; as 64-bit numbers they are laid out
    four times as fast as one by one.
    """

    async def answer(*_request: object) -> ExcCodes:
        return ExcCodes.GATEWAY_NO_RESPONSE

    return SimDevice(0, simdata=[SimData(0, values=[0] * (1 << 14), datatype=DataType.UINT64)], action=answer)


async def _see_that_free(host: str, port: int) -> None:
    """Ask the system for the port, and give it back: pymodbus would not say why it did not get it.

    Raises:
        OperatorError: the port is taken, or the host is not one of this machine.
    """
    try:
        probe = await asyncio.get_running_loop().create_server(asyncio.Protocol, host, port)
    except OSError as error:
        reason = (error.strerror or str(error)).rpartition(": ")[2]
        raise OperatorError(
            f"{host}:{port}", "", "a port that is free (choose others with --first-port, --host)", reason
        ) from error
    probe.close()
    await probe.wait_closed()
