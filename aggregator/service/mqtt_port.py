"""The broker, as the node sees it: records in, answers out. Translates and waits; decides nothing.

The only importer of aiomqtt in this program. MQTT 3.1.1, QoS 1, a session that outlives the connection. The broker's
acknowledgement proves nothing to a gateway: only a receipt does, and that is sent when a block is durable.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import aiomqtt
import structlog

from aggregator.service.notify import Outgoing
from config.key_files import load_password
from config.settings import Broker
from protocol.envelope import ENVELOPE_BYTES_MAX
from protocol.errors import EncodingError
from protocol.topics import Kind, everybody, parse

RECONNECT_FIRST_S: Final = 0.5
RECONNECT_MAX_S: Final = 30.0
OUTGOING_MAX: Final = 100_000
IN_FLIGHT_MAX: Final = 1000

log = structlog.get_logger("este.broker")


@dataclass(frozen=True, slots=True)
class Incoming:
    """Bytes that somebody put on a gateway's record topic. Nothing about them is trusted."""

    gateway: str
    payload: bytes


class BrokerPort:
    """One connection that is renewed for as long as the program runs."""

    def __init__(self, broker: Broker, region: str, name: str) -> None:
        """Nothing is connected yet."""
        self._broker = broker
        self._region = region
        self._client_id = f"este-{region}-{name}"
        self._outgoing: asyncio.Queue[Outgoing] = asyncio.Queue(maxsize=OUTGOING_MAX)
        self._is_up = False

    async def publish(self, messages: list[Outgoing]) -> None:
        """Queue messages for the broker.

        While it is away they are dropped: receipts are asked for again, and statements are sent again on every link-up.
        """
        for message in messages:
            if self._is_up:
                await self._outgoing.put(message)

    async def run(self, on_link: Callable[[], Awaitable[None]], receive: Callable[[Incoming], None]) -> None:
        """Stay connected. Hands over what arrives, and calls `on_link` whenever the link comes up."""
        pause = RECONNECT_FIRST_S
        while True:
            try:
                async with self._client() as client:
                    await client.subscribe(everybody(self._region, Kind.RECORD), qos=1)
                    log.info("connected", host=self._broker.host, port=self._broker.port)
                    pause = RECONNECT_FIRST_S
                    await self._serve(client, on_link, receive)
            except* aiomqtt.MqttError as errors:
                log.warning("broker away", why=str(errors.exceptions[0]), again_in_s=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECONNECT_MAX_S)

    async def drain(self) -> None:
        """Wait until everything queued has gone to the broker."""
        await self._outgoing.join()

    async def _serve(
        self, client: aiomqtt.Client, on_link: Callable[[], Awaitable[None]], receive: Callable[[Incoming], None]
    ) -> None:
        """Move messages both ways until the link breaks."""
        self._is_up = True
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(client))
                await on_link()
                async for incoming in _messages(client):
                    receive(incoming)
        finally:
            self._is_up = False
            self._forget_outgoing()

    def _forget_outgoing(self) -> None:
        while not self._outgoing.empty():
            self._outgoing.get_nowait()
            self._outgoing.task_done()

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            message = await self._outgoing.get()
            try:
                await client.publish(str(message.topic), message.payload, qos=1, retain=message.retain)
            finally:
                self._outgoing.task_done()

    def _client(self) -> aiomqtt.Client:
        broker = self._broker
        password = load_password(broker.password_file) if broker.password_file else None
        return aiomqtt.Client(
            broker.host,
            port=broker.port,
            identifier=self._client_id,
            username=broker.username,
            password=password,
            clean_session=False,
            protocol=aiomqtt.ProtocolVersion.V311,
            keepalive=broker.keepalive_s,
            tls_context=_tls_context(broker),
            max_inflight_messages=IN_FLIGHT_MAX,
        )


async def _messages(client: aiomqtt.Client) -> AsyncIterator[Incoming]:
    async for message in client.messages:
        payload = message.payload
        if not isinstance(payload, bytes) or len(payload) > ENVELOPE_BYTES_MAX:
            continue
        try:
            topic = parse(message.topic.value)
        except EncodingError:
            continue
        yield Incoming(topic.name, payload)


def _tls_context(broker: Broker) -> ssl.SSLContext | None:
    if broker.tls is None:
        return None
    context = ssl.create_default_context(cafile=str(broker.tls.ca_file))
    if broker.tls.certificate_file and broker.tls.key_file:
        context.load_cert_chain(str(broker.tls.certificate_file), str(broker.tls.key_file))
    return context
