"""The door to one Modbus TCP bus: one connection, one request after another.

Translates a `ReadRequest` into words, or says in one sentence why there are none. Only the two answers that a request
can have (the right one, or an exception) come through: same transaction, unit and function, exact length. After a
timeout or anything else than these, the connection is closed, so that a late answer can never pass for the next one.
Never tries again by itself and never interprets a word. The only importer of `pymodbus`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from agent.planner import ReadRequest
from config.meter_profile import Table
from protocol.errors import DeviceError

# What fails is raised from here and told by whoever knows the meter's name; pymodbus would tell it again, in English of
# its own.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL + 1)

WRITE_FUNCTION: Final = 16

EXCEPTIONS: Final = {
    1: "it does not know this function",
    2: "it has no such address",
    3: "it does not allow this many words or this value",
    4: "it failed",
    5: "it needs more time",
    6: "it is busy",
    8: "its memory failed",
    10: "the gateway has no path to it",
    11: "it did not answer the gateway",
}
"""Modbus Application Protocol 1.1b3 §7."""

FINAL_EXCEPTIONS: Final = frozenset((1, 2, 3))
"""The device is there and says that it will never answer this."""


class BusError(DeviceError):
    """The bus itself cannot be reached, so that none of its meters can."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=True)


class ModbusBus:
    """One Modbus TCP server and what is behind it."""

    def __init__(self, host: str, port: int, timeout_ms: int) -> None:
        self.connections = 0
        """How often a connection was made."""
        self._name = f"{host}:{port}"
        self._request = b""
        self._rubbish = b""
        self._client = AsyncModbusTcpClient(
            host,
            port=port,
            timeout=timeout_ms / 1000,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._screen,
        )

    async def connect(self) -> None:
        """Have a connection.

        Raises:
            BusError: there is none to be had.
        """
        if self._client.connected:
            return
        if not await self._client.connect():
            raise BusError(f"no connection to {self._name}: it refuses, cannot be reached, or its name is unknown")
        self.connections += 1

    async def read(self, unit: int, request: ReadRequest, timeout_ms: int) -> list[int]:
        """Ask `unit` for the words of `request`.

        Raises:
            BusError: there is no connection.
            DeviceError: it did not answer in time, answered nonsense, or said no.
        """
        await self.connect()
        holding = request.table is Table.HOLDING
        ask = self._client.read_holding_registers if holding else self._client.read_input_registers
        answer = await self._exchange(ask(request.address, count=request.words, device_id=unit), timeout_ms)
        return list(answer.registers)

    async def write(self, unit: int, address: int, words: Sequence[int], timeout_ms: int) -> None:
        """Write `words` to the holding table of `unit`, with function 16.

        Raises:
            BusError: there is no connection.
            DeviceError: it did not answer in time, answered nonsense, or said no.
        """
        await self.connect()
        await self._exchange(self._client.write_registers(address, list(words), device_id=unit), timeout_ms)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    async def _exchange(self, asked: Awaitable[ModbusPDU], timeout_ms: int) -> ModbusPDU:
        self._rubbish = b""
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                answer = await asked
        except (ModbusException, OSError) as error:
            self.close()
            raise DeviceError(self._reason(), retry=True) from error
        if isinstance(answer, ExceptionResponse):
            code = answer.exception_code
            meaning = EXCEPTIONS.get(code, "a reason of its maker's own")
            raise DeviceError(f"Modbus exception {code}: {meaning}", retry=code not in FINAL_EXCEPTIONS)
        return answer

    def _reason(self) -> str:
        if self._rubbish:
            return f"it answered what fits no answer to the question: {self._rubbish.hex(' ')}"
        return "no whole answer in time"

    def _screen(self, sending: bool, data: bytes) -> bytes:
        """See every packet on its way; hold back what cannot become an answer to the last request."""
        if sending:
            self._request = data
            return data
        if may_become_answer(self._request, data):
            return data
        self._rubbish = data[:16]
        return b""


def may_become_answer(request: bytes, data: bytes) -> bool:
    """Whether `data` is an answer to the request, or the beginning of one; both with their MBAP headers.

    There are two (MBAP: transaction, protocol 0, length, unit): the function and what it brings, or the function with
    its high bit set and an exception code.
    """
    transaction, unit, function = request[:4], request[6:7], request[7]
    if function == WRITE_FUNCTION:
        body, tail_bytes = request[7:12], 0
    else:
        count = int.from_bytes(request[10:12])
        body, tail_bytes = bytes((function, 2 * count)), 2 * count
    exception = bytes((function | 0x80,))
    for start, rest_bytes in ((body, tail_bytes), (exception, 1)):
        length = (1 + len(start) + rest_bytes).to_bytes(2)
        head = transaction + length + unit + start
        if data[: len(head)] == head[: len(data)] and len(data) <= len(head) + rest_bytes:
            return True
    return False
