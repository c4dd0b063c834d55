"""The other end of a serial bus: a pseudo-terminal, linked under a name that stays, with a Modbus server behind it.

Looks like a connection to the server, and like a serial port to whoever opens the link. Nobody on this line knows of
parity or speed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from pathlib import Path
from typing import Protocol

from protocol.errors import OperatorError

READ_MAX = 4096


class Hears(Protocol):
    """What a Modbus server is to a line: of asyncio's protocols, as much as it needs."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """There is a line."""

    def data_received(self, data: bytes) -> None:
        """Something came."""


class SerialBus(asyncio.Transport):
    """A pseudo-terminal as a transport of asyncio's."""

    def __init__(self, link: Path) -> None:
        """Open it, and link it at `link`.

        Raises:
            OperatorError: there is something else at `link`, or its folder cannot be written.
        """
        super().__init__()
        self._master, self._slave = os.openpty()
        self._link = link
        self._is_open = True
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.device = os.ttyname(self._slave)
        """The name that the system gave it."""
        try:
            if link.is_symlink():
                link.unlink()
            link.symlink_to(self.device)
        except OSError as error:
            self.close()
            expected = "a name for a serial bus in a folder that can be written"
            raise OperatorError(link, "run_folder", expected, error.strerror or str(error)) from error

    def serve(self, protocol: Hears) -> None:
        """Have `protocol` hear and answer what comes."""
        protocol.connection_made(self)
        asyncio.get_running_loop().add_reader(self._master, self._read, protocol)

    def _read(self, protocol: Hears) -> None:
        with contextlib.suppress(BlockingIOError):
            protocol.data_received(os.read(self._master, READ_MAX))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Say something. Where nobody listens, the line is full some day, and the rest is lost."""
        if self._is_open:
            with contextlib.suppress(BlockingIOError):
                os.write(self._master, data)

    def is_closing(self) -> bool:
        """Whether nothing more can be said."""
        return not self._is_open

    def close(self) -> None:
        """End the line, and take its link away."""
        if not self._is_open:
            return
        self._is_open = False
        asyncio.get_running_loop().remove_reader(self._master)
        if self._link.is_symlink() and str(self._link.readlink()) == self.device:
            self._link.unlink()
        os.close(self._master)
        os.close(self._slave)
