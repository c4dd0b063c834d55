"""Whether a TCP port can be had: asked before a server is started that would not say why it did not get it."""

from __future__ import annotations

import asyncio

from protocol.errors import OperatorError


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
