"""The door to systemd, where it started this program: says that it is ready, that it works, and that it ends.

Speaks sd_notify(3): a datagram to the socket that ``NOTIFY_SOCKET`` names. Without it, says nothing to nobody. It is
the one environment variable that the agent reads, and it changes nothing in what the agent does.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

SOCKET_VARIABLE: Final = "NOTIFY_SOCKET"


class Service:
    """Whoever started this program and watches over it."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    @classmethod
    def from_environment(cls) -> Service:
        """systemd, or nobody."""
        return cls(os.environ.get(SOCKET_VARIABLE))

    def tell(self, **what: str) -> None:
        """Say something: ``READY``, ``WATCHDOG``, ``STATUS``, ``STOPPING``. Never fails, since nobody waits for it."""
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join(f"{name}={' '.join(value.split())}" for name, value in what.items())
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
            door.setblocking(False)
            door.sendto(message.encode(), address)
