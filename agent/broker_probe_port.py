"""What a broker's port speaks, TLS or plain MQTT: asked when nobody answers there as the settings say.

Either side of such a misunderstanding waits for the other, so that all that is ever told is that time ran out. Asks one
question in the other language and listens for the first byte of the answer; says nothing that is secret, and does not
go on. Believes nothing either: it only says what is probably wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Final

from config.settings.broker import Broker

PATIENCE_S: Final = 1.0
"""Silence after which the port is doubted."""

PROBE_S: Final = 1.0
"""For the answer. One that takes longer stays untold, as it was."""

CONNECT: Final = bytes.fromhex("100c 0004 4d515454 04 02 003c 0000")
"""MQTT 3.1.1 §3.1: a clean session, kept alive for a minute, no name, no password."""

CONNACK: Final = 0x20
"""MQTT 3.1.1 §3.2: the answer, whether one may come in or not."""

TLS_ANSWERS: Final = (0x15, 0x16)
"""RFC 8446 §5.1: an alert, or a handshake."""


async def misunderstanding(broker: Broker) -> str | None:
    """What is probably wrong, if the port speaks the language that the settings do not; else None."""
    place = f"{broker.host}:{broker.port}"
    if broker.tls is None:
        if await _first_byte(broker, _client_hello(broker.host)) in TLS_ANSWERS:
            return f"{place} speaks TLS, and the settings have no broker.tls: name the ca_file there, or another port"
    elif await _first_byte(broker, CONNECT) == CONNACK:
        return f"{place} speaks MQTT without TLS, and the settings have broker.tls: the port with TLS is often 8883"
    return None


async def _first_byte(broker: Broker, question: bytes) -> int | None:
    """The first byte that comes back for a question; None if nothing does."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(PROBE_S):
            reader, writer = await asyncio.open_connection(broker.host, broker.port)
            try:
                writer.write(question)
                await writer.drain()
                return next(iter(await reader.read(1)), None)
            finally:
                writer.close()
    return None


def _client_hello(host: str) -> bytes:
    """How a TLS client begins."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    conversation = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=host)
    with contextlib.suppress(ssl.SSLWantReadError):
        conversation.do_handshake()
    return outgoing.read()
