"""Which hosts of a network have a Modbus TCP server: one connection to each, few at a time, closed at once.

For the operator's own network: private addresses only, and not more than a thousand.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from typing import Final

from config.tasks import end
from protocol.errors import OperatorError

HOSTS_MAX: Final = 1024
AT_ONCE: Final = 32
CONNECT_S: Final = 1.0


def hosts_of(network: str) -> list[str]:
    """The addresses of a network in CIDR spelling.

    Raises:
        OperatorError: it is none, it is too large, or it is not private.
    """
    try:
        block = ipaddress.ip_network(network, strict=False)
    except ValueError as error:
        raise OperatorError("command line", "--network", "a network such as 192.168.1.0/24", network) from error
    if block.num_addresses > HOSTS_MAX:
        told = f"{block.num_addresses} addresses"
        raise OperatorError("command line", "--network", f"at most {HOSTS_MAX} addresses at once", told)
    if not block.is_private:
        raise OperatorError("command line", "--network", "a network of your own, with private addresses", network)
    return [str(host) for host in block.hosts()]


async def open_hosts(hosts: list[str], port: int) -> AsyncIterator[tuple[int, str | None]]:
    """How many hosts were tried so far, each time with the address of one that listens, or None."""
    waiting = iter(hosts)
    trying: set[asyncio.Task[str | None]] = set()
    tried = 0
    try:
        while True:
            for host in waiting:
                trying.add(asyncio.create_task(_try(host, port)))
                if len(trying) == AT_ONCE:
                    break
            if not trying:
                return
            done, trying = await asyncio.wait(trying, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                tried += 1
                yield tried, task.result()
    finally:
        await end(*trying)


async def _try(host: str, port: int) -> str | None:
    try:
        async with asyncio.timeout(CONNECT_S):
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
    except OSError:
        return None
    transport.abort()
    return host
