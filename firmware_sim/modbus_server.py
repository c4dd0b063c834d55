"""The wire: every meter and limiter of a fleet as a unit on a bus. The only importer of pymodbus.

A bus is a TCP port that speaks Modbus TCP or RTU frames, or a pseudo-terminal that speaks RTU. A meter's words are
worked out when it is first asked after a step of the fleet, all of them at once, so that one answer never mixes two
moments. Whoever asks a unit that is not there is answered with exception 11, as by a gateway whose bus stays silent; on
RTU nobody answers. A function that a device does not have is exception 1, an address outside its blocks 2, a wrong
length 3. What a meter says goes through its faults.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimAction, SimData, SimDevice

from config.settings.fleet import FleetSettings, Transport
from firmware_sim.faults import Active, Fault, Faults, said, serial_of, shown
from firmware_sim.firmware import FIRMWARE, Area, Format, Span
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import see_that_free
from firmware_sim.scenario import Connection, serial_device
from firmware_sim.serial_port import SerialBus
from protocol.errors import DeviceError, LinkError

READ: Final = {Area.HOLDING: 3, Area.INPUT: 4}
"""The function that reads each table."""
WRITE_REGISTERS: Final = 16

LIMIT_WORDS: Final = 2
LIFTED: Final = 0xFFFF_FFFF
"""What a limiter holds while it does not limit."""

CLIENT_TIMEOUT_S: Final = 3.0

Words = list[int]

NO_NUMBER: Final[Mapping[Format, Words]] = {
    Format.FLOAT32: [0x7FC0, 0],
    Format.INT16: [0x8000],
    Format.UINT16: [0xFFFF],
    Format.INT32: [0x8000, 0],
    Format.UINT32: [0xFFFF, 0xFFFF],
    Format.INT64: [0x8000, 0, 0, 0],
    Format.UINT64: [0xFFFF] * 4,
}
"""What meters show where they have no number."""

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

    def __init__(self, fleet: Fleet, connection: Connection, faults: Faults) -> None:
        self._fleet = fleet
        self._faults = faults
        self._meter = connection.site.meter
        self._firmware = FIRMWARE[connection.site.model]
        self._serial = connection.serial
        self._unit = connection.place.unit
        self._moment: object = None
        """What the words were worked out for."""

    def device(self) -> SimDevice:
        """The meter as pymodbus serves it."""
        firmware = self._firmware
        readable: dict[Area, list[SimData]] = {area: [] for area in Area}
        for first, last in firmware.blocks:
            readable[firmware.area].append(_zeros(firmware.address(first), last - first + 1))
        if firmware.serial and self._serial is not None:
            readable[firmware.serial.area].append(_zeros(firmware.serial.first, firmware.serial.count))
        return _device(self._unit, readable[Area.HOLDING], readable[Area.INPUT], self._answer)

    async def _answer(
        self, function: int, first: int, _address: int, count: int, words: Words, written: Written
    ) -> ExcCodes | None:
        """Called by pymodbus before it answers from `words`, whose address is `first`."""
        active = self._faults.of(self._meter, self._fleet.elapsed_ms)
        if Fault.EXCEPTION in active:
            return ExcCodes(active[Fault.EXCEPTION].number)
        if function not in READ.values() or written is not None:
            return ExcCodes.ILLEGAL_FUNCTION
        if count > self._firmware.words_max:
            return ExcCodes.ILLEGAL_VALUE
        serial = self._firmware.serial
        if serial and function == READ[serial.area] and (number := serial_of(active, self._serial)) is not None:
            words[serial.first - first : serial.first - first + serial.count] = to_words(number, Format.UINT32)
        if function == READ[self._firmware.area]:
            self._show(first, words, active)
        return None

    def _show(self, first: int, words: Words, active: Mapping[Fault, Active]) -> None:
        """Bring all words up to the present moment, which lasts until the fleet's next step or fault."""
        moment = (self._fleet.tick, tuple(active.values()))
        if self._moment == moment:
            return
        self._moment = moment
        measured = shown(active, self._fleet.measured(self._meter))
        for printed in self._firmware.registers:
            at = self._firmware.address(printed.number) - first
            if Fault.NAN in active:
                spelled = NO_NUMBER[printed.format]
            else:
                count = printed.count(measured[printed.shown])
                spelled = to_words(count, printed.format, low_word_first=self._firmware.low_word_first)
            words[at : at + printed.format.words] = spelled


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


Door = Callable[[int, bytes], list[tuple[int, bytes]]]
"""What a unit says instead of a packet, and in how many milliseconds."""


class _Conversation(ServerRequestHandler):
    """One connection: says what the units really say, when they say it."""

    def __init__(self, *arguments: Any, door: Door) -> None:
        super().__init__(*arguments)  # type: ignore[no-untyped-call]
        self._door = door

    def server_send(self, pdu: ModbusPDU, addr: tuple[Any, ...] | None) -> None:
        """Called by pymodbus with an answer."""
        packet = self.framer.buildFrame(pdu)
        for delay_ms, data in self._door(pdu.dev_id, packet):
            if delay_ms:
                self.loop.call_later(delay_ms / 1000, self._send_late, data)
            else:
                self.send(data)

    def _send_late(self, data: bytes) -> None:
        if self.transport:
            self.send(data)


class _Server(ModbusTcpServer):
    """A bus. Where it is a serial one, it never listens."""

    def __init__(self, devices: list[SimDevice], door: Door, **arguments: Any) -> None:
        super().__init__(devices, **arguments)
        self._door = door

    def callback_new_connection(self) -> _Conversation:
        """Called by pymodbus for every connection."""
        return _Conversation(self, self.trace_packet, self.trace_pdu, self.trace_connect, door=self._door)


class Buses:
    """All buses of a fleet."""

    def __init__(self, fleet: Fleet, settings: FleetSettings, faults: Faults) -> None:
        self._fleet = fleet
        self._settings = settings
        self._faults = faults
        self._servers: list[_Server] = []
        self.serial: list[SerialBus] = []
        """The serial buses, in the order of the ports that they stand for."""
        self.requests: Counter[int] = Counter()
        """How many requests came to each port, whatever the answer."""

    async def open(self) -> None:
        """Listen on every port of the fleet, or on none.

        Raises:
            OperatorError: a port is taken, the host is not one of this machine, or a serial bus cannot be linked.
        """
        try:
            for port in dict.fromkeys(c.place.port for c in self._fleet.scenario.connections):
                await self._open(port)
        except Exception:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening, and end all connections."""
        for bus in self.serial:
            bus.close()
        for server in self._servers:
            server.close()
        self._servers.clear()
        await asyncio.sleep(0)  # lets the transports tell their protocols that they are closed

    async def _open(self, port: int) -> None:
        transport, host = self._settings.transport, self._settings.host
        server = _Server(
            self._devices_on(port),
            self._door_of(port),
            framer=FramerType.SOCKET if transport is Transport.TCP else FramerType.RTU,
            address=(host, port),
            trace_pdu=self._counter_of(port),
        )
        self._servers.append(server)
        if transport is Transport.SERIAL:
            bus = SerialBus(serial_device(self._settings, port))
            self.serial.append(bus)
            bus.serve(server.callback_new_connection())
        else:
            await see_that_free(host, port)
            await server.serve_forever(background=True)

    def _devices_on(self, port: int) -> list[SimDevice]:
        devices = [_nobody()]
        for connection in self._on(port):
            devices.append(MeterUnit(self._fleet, connection, self._faults).device())
            if limiter := connection.site.limiter:
                devices.append(LimiterUnit(self._fleet, limiter.name, connection.place.limiter_unit).device())
        return devices

    def _on(self, port: int) -> list[Connection]:
        return [c for c in self._fleet.scenario.connections if c.place.port == port]

    def _door_of(self, port: int) -> Door:
        is_rtu = self._settings.transport is not Transport.TCP
        meters = {c.place.unit: c.site.meter for c in self._on(port)}
        limiters = {c.place.limiter_unit for c in self._on(port) if c.site.limiter}

        def door(unit: int, packet: bytes) -> list[tuple[int, bytes]]:
            if unit in meters:
                active = self._faults.of(meters[unit], self._fleet.elapsed_ms)
                return said(self._faults, active, packet, is_rtu=is_rtu) if active else [(0, packet)]
            return [] if is_rtu and unit not in limiters else [(0, packet)]

        return door

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
