"""The wire: every meter and limiter of a fleet as a unit on a bus. The only importer of pymodbus.

A bus is a TCP port that speaks Modbus TCP or RTU frames, or a pseudo-terminal that speaks RTU. What a unit answers is
told by `firmware_sim.units`; an address outside its blocks is exception 2. Whoever asks a unit that is not there is
answered with exception 11, as by a gateway whose bus stays silent; on RTU nobody answers. What a meter says goes
through its faults.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerType
from pymodbus.pdu import ModbusPDU
from pymodbus.server import ModbusTcpServer
from pymodbus.server.requesthandler import ServerRequestHandler
from pymodbus.simulator import DataType, SimData, SimDevice

from config.settings.fleet import FleetSettings, Transport
from firmware_sim.faults import Faults, said
from firmware_sim.firmware import Area, Format, Span
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import see_that_free
from firmware_sim.scenario import Connection, serial_device
from firmware_sim.serial_port import SerialBus
from firmware_sim.units import ControllerUnit, LimiterUnit, MeterUnit, Request, Unit, Written
from protocol.errors import DeviceError, LinkError

CLIENT_TIMEOUT_S: Final = 3.0

# What goes wrong is raised to the caller; without a handler, pymodbus would print it to the terminal as well.
logging.getLogger("pymodbus").addHandler(logging.NullHandler())


def to_words(count: int | float, format_: Format, *, low_word_first: bool = False) -> list[int]:
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
            place = connection.place
            devices.append(_device(place.unit, MeterUnit(self._fleet, connection, self._faults, to_words)))
            if limiter := connection.site.limiter:
                unit = ControllerUnit if limiter.can_be_set else LimiterUnit
                devices.append(_device(place.limiter_unit, unit(self._fleet, limiter.name)))
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


def _device(number: int, unit: Unit) -> SimDevice:
    """A unit as pymodbus serves it. It wants all four tables filled: what is missing is one invalid word."""

    async def answer(
        function: int, first: int, address: int, count: int, words: list[int], written: Written
    ) -> ExcCodes | None:
        """Called by pymodbus before it answers from `words`, whose address is `first`, or writes `written` to them."""
        code = unit.answer(Request(function, first, count, written, address), words)
        return None if code is None else ExcCodes(code)

    readable: dict[Area, list[SimData]] = {area: [] for area in Area}
    for span in unit.readable:
        readable[span.area].append(_zeros(span.first, span.count))
    none = [SimData(0, datatype=DataType.INVALID)]
    bits = [SimData(0, values=False, datatype=DataType.BITS)]
    tables = (bits, bits, readable[Area.HOLDING] or none, readable[Area.INPUT] or none)
    return SimDevice(number, simdata=tables, action=answer)


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
