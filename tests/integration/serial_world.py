"""Serial lines without a cable: pseudo-terminals, with a device of the test's own at the other end, or a program."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
import tty
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from agent.bus.frames import with_crc
from agent.bus.modbus_port import ModbusBus
from config.settings.bus import Bus, SerialPort
from config.tasks import end

SLAVE = Path(__file__).with_name("libmodbus_slave.py")

Part = bytes | float
"""Bytes to send, or seconds to wait before the next."""

Answers = Callable[[bytes], Iterable[Part]]
"""What is said when a frame has come."""


class Wire:
    """A serial line of which the agent has one end, and a test the other."""

    def __init__(self, answers: Answers) -> None:
        self.requests: list[bytes] = []
        """Whatever came, as it came."""
        self.asked_s: list[float] = []
        """And when."""
        self.answers = answers
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(self._slave)
        self._talking: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._master, self._take)

    def say(self, data: bytes) -> None:
        """Say something without being asked."""
        with suppress(BlockingIOError):  # where nobody listens, the line is full some day
            os.write(self._master, data)

    def _take(self) -> None:
        request = os.read(self._master, 256)
        self.requests.append(request)
        self.asked_s.append(self._loop.time())
        task = asyncio.create_task(self._talk(self.answers(request)))
        self._talking.add(task)
        task.add_done_callback(self._talking.discard)

    async def _talk(self, parts: Iterable[Part]) -> None:
        for part in parts:
            if isinstance(part, bytes):
                self.say(part)
            else:
                await asyncio.sleep(part)

    async def close(self) -> None:
        self._loop.remove_reader(self._master)
        await end(*self._talking)
        os.close(self._master)
        os.close(self._slave)


@asynccontextmanager
async def a_wire(answers: Answers) -> AsyncIterator[Wire]:
    wire = Wire(answers)
    try:
        yield wire
    finally:
        await wire.close()


@asynccontextmanager
async def a_serial_bus(device: str | Path, *, baud: int = 115_200, **changes: Any) -> AsyncIterator[ModbusBus]:
    port = SerialPort(device=Path(device), baud=baud)  # type: ignore[arg-type]
    bus = ModbusBus(Bus(serial=port, **changes))
    try:
        yield bus
    finally:
        bus.close()


def right(request: bytes, first: int = 1) -> bytes:
    """The answer that was asked for: words `first`, `first` + 1, …"""
    unit, function, _, count = struct.unpack(">BBHH", request[:6])
    if function == 16:
        return with_crc(request[:6])
    words = struct.pack(f">{count}H", *range(first, first + count))
    return with_crc(struct.pack(">BBB", unit, function, 2 * count) + words)


class Cable:
    """Two pseudo-terminals that hear each other: one for the agent, one for another program."""

    def __init__(self) -> None:
        self._ends = [os.openpty(), os.openpty()]
        self.paths = [os.ttyname(slave) for _, slave in self._ends]
        self._loop = asyncio.get_running_loop()
        for (here, slave), (there, _) in zip(self._ends, reversed(self._ends), strict=True):
            tty.setraw(slave)
            self._loop.add_reader(here, self._pass_on, here, there)

    @staticmethod
    def _pass_on(here: int, there: int) -> None:
        os.write(there, os.read(here, 4096))

    def close(self) -> None:
        for master, slave in self._ends:
            self._loop.remove_reader(master)
            os.close(master)
            os.close(slave)


@contextmanager
def a_cable() -> Iterator[Cable]:
    cable = Cable()
    try:
        yield cable
    finally:
        cable.close()


@asynccontextmanager
async def a_libmodbus_slave(device: str, *, baud: int, unit: int) -> AsyncIterator[None]:
    """A slave in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SLAVE), device, str(baud), str(unit)), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.kill()
        await process.communicate()
