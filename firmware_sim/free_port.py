"""TCP ports of loopback: free ones, and whether one can be had before a server is started that would not say."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Final

from protocol.errors import OperatorError

HOST: Final = "127.0.0.1"
SERVERS_FROM: Final = 10_240
CLIENTS_FROM: Final = 32_768
"""Linux gives ports from here on to connections that go out (ip(7), ip_local_port_range): one that is free now may be
taken before its server starts."""

_SPAN: Final = CLIENTS_FROM - SERVERS_FROM

_next = os.getpid() * 97 % _SPAN
"""Where this process looks next. Others look elsewhere, so that two seldom want the same."""


def free_ports(count: int = 1) -> int:
    """The first of `count` ports in a row that nobody has. No port is handed out twice by one process.

    Raises:
        OperatorError: there are none.
    """
    global _next  # noqa: PLW0603  what was handed out is in use soon, though nothing listens there yet
    for _ in range(_SPAN):
        if _next + count > _SPAN:
            _next = 0
        ports = range(SERVERS_FROM + _next, SERVERS_FROM + _next + count)
        _next += count
        if all(map(is_free, ports)):
            return ports.start
    raise OperatorError(HOST, "", f"{count} free TCP ports in a row below {CLIENTS_FROM}", "none")


def is_free(port: int) -> bool:
    """Whether a server could have the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


async def see_that_free(host: str, port: int) -> None:
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
