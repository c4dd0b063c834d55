"""The two doors to a bus: a TCP connection, or a serial port of this machine. Bytes go out, bytes come in.

Opens, sends, hands over what came and when the line was last heard, and says in one sentence why a line cannot be had.
Knows nothing of frames. A serial port is taken for this program alone, set raw, and emptied; Linux' own termios does
that, so that a gateway needs no library for it. What comes in is bounded: whoever babbles fills no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import termios
from typing import Final, Protocol

from config.settings.bus import Parity, SerialPort
from protocol.errors import DeviceError

BUFFER_MAX: Final = 4096
"""Bytes that may wait to be taken: many frames; what comes beyond is lost."""

FAST_BAUD: Final = 19_200
FAST_GAP_S: Final = 0.001_75
"""Above this speed the gap between two frames is a fixed time (Modbus over Serial Line 1.02 §2.5.1.1)."""

GAP_CHARACTERS: Final = 3.5

_REMEDY: Final = {
    errno.ENOENT: "there is no such device: is the adapter plugged in?",
    errno.EACCES: "this user may not open it: add the user to the group that owns it, often dialout",
    errno.EBUSY: "another program has it",
    errno.EAGAIN: "another program has it",
    errno.ENOTTY: "it is no serial port",
    errno.EINVAL: "it does not take this speed, parity or number of stop bits",
}


class BusError(DeviceError):
    """The bus itself cannot be reached, so that none of its meters can."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=True)


class Line(Protocol):
    """What a bus asks of its line."""

    gap_s: float
    """Silence that parts two frames."""

    @property
    def is_open(self) -> bool:
        """Whether there is a line."""

    async def open(self, timeout_s: float) -> None:
        """Have a line."""

    def send(self, data: bytes) -> None:
        """Send, or lose the line."""

    async def wait(self, timeout_s: float) -> None:
        """Wait until there is something to take, or the line is lost, or the time is over."""

    def take(self) -> bytes:
        """All that came and was not taken yet."""

    def wire_s(self, size: int) -> float:
        """How long so many bytes are on the wire."""

    def close(self) -> None:
        """Let go of the line."""


class _Inbox:
    """What came and was not taken yet."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._waiting: asyncio.Future[None] | None = None

    def put(self, data: bytes) -> None:
        """Something came."""
        self._data += data[: BUFFER_MAX - len(self._data)]
        self.wake()

    def wake(self) -> None:
        """End a wait."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def take(self) -> bytes:
        """All that came."""
        data = bytes(self._data)
        self._data.clear()
        return data

    async def wait(self, timeout_s: float) -> None:
        """Wait for something, but not for ever."""
        if self._data or timeout_s <= 0:
            return
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        alarm = loop.call_later(timeout_s, self.wake)
        try:
            await self._waiting
        finally:
            alarm.cancel()
            self._waiting = None


class _TcpProtocol(asyncio.Protocol):
    """Puts what a connection brings into an inbox."""

    def __init__(self, inbox: _Inbox) -> None:
        self._inbox = inbox
        self.is_lost = False

    def data_received(self, data: bytes) -> None:
        self._inbox.put(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.is_lost = True
        self._inbox.wake()


class TcpLine:
    """A TCP connection, to a Modbus TCP server or to a serial server."""

    gap_s = 0.0

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._inbox = _Inbox()
        self._connection: tuple[asyncio.Transport, _TcpProtocol] | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None and not self._connection[1].is_lost

    async def open(self, timeout_s: float) -> None:
        """Have a connection.

        Raises:
            BusError: there is none to be had.
        """
        if self.is_open:
            return
        self.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                self._connection = await loop.create_connection(
                    lambda: _TcpProtocol(self._inbox), self._host, self._port
                )
        except (OSError, UnicodeError) as error:
            place = f"{self._host}:{self._port}"
            raise BusError(
                f"no connection to {place}: it refuses, cannot be reached, or its name is unknown"
            ) from error
        self._inbox.take()
        tcp = self._connection[0].get_extra_info("socket")
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def send(self, data: bytes) -> None:
        """Send; a connection that has ended meanwhile tells so by staying silent and not being open."""
        if self._connection is not None:
            self._connection[0].write(data)

    async def wait(self, timeout_s: float) -> None:
        """Wait until there is something to take, or the connection is lost, or the time is over."""
        if self.is_open:
            await self._inbox.wait(timeout_s)

    def take(self) -> bytes:
        """All that came and was not taken yet."""
        return self._inbox.take()

    def wire_s(self, size: int) -> float:
        """Nobody knows the speed behind a connection: it is part of the timeout."""
        return 0.0

    def close(self) -> None:
        """End the connection, now."""
        if self._connection is not None:
            self._connection[0].abort()
            self._connection = None
        self._inbox.take()


class SerialLine:
    """A serial port, with an RS-485 adapter behind it."""

    def __init__(self, port: SerialPort) -> None:
        self._port = port
        self._inbox = _Inbox()
        self._fd: int | None = None
        bits = 1 + 8 + (port.parity is not Parity.NONE) + port.stop_bits
        self._character_s = bits / port.baud
        self.gap_s = FAST_GAP_S if port.baud > FAST_BAUD else GAP_CHARACTERS * self._character_s

    @property
    def is_open(self) -> bool:
        """Whether the port is taken."""
        return self._fd is not None

    async def open(self, timeout_s: float) -> None:
        """Take the port.

        Raises:
            BusError: it is not there, is somebody else's, or cannot be set as the settings say.
        """
        if self._fd is not None:
            return
        try:
            self._fd = _open_raw(self._port)
        except (OSError, termios.error) as error:
            number = int(error.args[0])
            remedy = _REMEDY.get(number, os.strerror(number))
            raise BusError(f"no serial port {self._port.device}: {remedy}") from error
        self._inbox.take()
        asyncio.get_running_loop().add_reader(self._fd, self._read)

    def send(self, data: bytes) -> None:
        """Send. What the system does not take at once is lost, and the port with it."""
        if self._fd is None:
            return
        try:
            sent = os.write(self._fd, data)
        except OSError:
            sent = 0
        if sent < len(data):
            self.close()

    async def wait(self, timeout_s: float) -> None:
        """Wait until there is something to take, or the port is lost, or the time is over."""
        if self._fd is not None:
            await self._inbox.wait(timeout_s)

    def take(self) -> bytes:
        """All that came and was not taken yet, also what only the system knows of."""
        if self._fd is not None:
            self._read()
        return self._inbox.take()

    def wire_s(self, size: int) -> float:
        """How long so many bytes are on the wire."""
        return size * self._character_s

    def close(self) -> None:
        """Give the port back."""
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None
        self._inbox.take()

    def _read(self) -> None:
        """Read what came, or notice that the adapter was pulled out. Called by the loop, too."""
        assert self._fd is not None, "no reader without a port"
        try:
            data = os.read(self._fd, BUFFER_MAX)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._inbox.put(data)
        else:
            self.close()
            self._inbox.wake()


_FORMAT: Final = termios.CSIZE | termios.PARENB | termios.PARODD | termios.CSTOPB
"""The bits of a terminal's settings that say how a character is built."""


def _open_raw(port: SerialPort) -> int:
    """The file descriptor of a port that is ours alone, raw, at the speed and in the format of the settings."""
    fd = os.open(port.device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _set_raw(fd, port)
        termios.tcflush(fd, termios.TCIOFLUSH)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _set_raw(fd: int, port: SerialPort) -> None:
    """Set speed and format, and look whether they were taken: drivers may ignore what they do not know."""
    parity = {Parity.NONE: 0, Parity.EVEN: termios.PARENB, Parity.ODD: termios.PARENB | termios.PARODD}[port.parity]
    format_ = termios.CS8 | parity | (termios.CSTOPB if port.stop_bits == 2 else 0)
    check = 0 if port.parity is Parity.NONE else termios.INPCK
    speed = getattr(termios, f"B{port.baud}")
    *_, characters = termios.tcgetattr(fd)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    control = format_ | termios.CREAD | termios.CLOCAL
    termios.tcsetattr(fd, termios.TCSANOW, [check, 0, control, 0, speed, speed, characters])
    _, _, taken, _, *speeds, _ = termios.tcgetattr(fd)
    if taken & _FORMAT != format_ or speeds != [speed, speed]:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
