"""The broker, as the node sees it: records in, answers out. Translates and waits; decides nothing.

The only importer of aiomqtt in this program. MQTT 3.1.1, QoS 1, a session that outlives the connection. The broker's
acknowledgement proves nothing to a gateway: only a receipt does, and that is sent when a block is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiomqtt
import structlog

from aggregator.service.notify import Outgoing
from config.key_files import load_password
from config.settings.broker import Broker
from config.tasks import end, wait_for_any
from config.tls import context_of
from protocol.envelope import ENVELOPE_BYTES_MAX
from protocol.errors import EncodingError, LinkError
from protocol.topics import Kind, Topic, everybody, parse

RECONNECT_FIRST_S: Final = 0.5
RECONNECT_MAX_S: Final = 30.0
OUTGOING_MAX: Final = 100_000
IN_FLIGHT_MAX: Final = 1000

TAKEN: Final = (Kind.RECORD, Kind.ASK, Kind.SEALED)
"""What a node listens to."""

RETAINED_MAX: Final = 10_000
"""Names whose kept messages a short call takes: with requests of 8 KiB, 80 MiB in the worst case."""

logging.getLogger("mqtt").setLevel(logging.CRITICAL + 1)  # aiomqtt's own log repeats what is raised

log = structlog.get_logger("este.broker")


@dataclass(frozen=True, slots=True)
class Incoming:
    """Bytes that somebody put on a topic of a gateway. Nothing about them is trusted."""

    gateway: str
    payload: bytes
    kind: Kind = Kind.RECORD


class BrokerAccess:
    """How the broker is reached, as the settings say.

    Raises:
        OperatorError: a file that the settings name is missing or is not what it should be.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._password = load_password(broker.password_file) if broker.password_file else None
        self._tls = context_of(broker.tls) if broker.tls else None

    def client(self, identifier: str | None = None, *, is_kept: bool = False) -> aiomqtt.Client:
        """A client that is not connected yet; `is_kept` if the broker is to keep its session beyond the connection."""
        return aiomqtt.Client(
            self._broker.host,
            port=self._broker.port,
            identifier=identifier,
            username=self._broker.username,
            password=self._password,
            clean_session=not is_kept,
            protocol=aiomqtt.ProtocolVersion.V311,
            keepalive=self._broker.keepalive_s,
            tls_context=self._tls,
            max_inflight_messages=IN_FLIGHT_MAX,
        )


class BrokerPort:
    """One connection that is renewed for as long as the program runs."""

    def __init__(self, broker: Broker, region: str, name: str) -> None:
        """Nothing is connected yet.

        Raises:
            OperatorError: a file that the settings name is missing or is not what it should be.
        """
        self._broker = broker
        self._access = BrokerAccess(broker)
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
                async with self._access.client(self._client_id, is_kept=True) as client:
                    await client.subscribe([(everybody(self._region, kind), 1) for kind in TAKEN])
                    log.info("connected", host=self._broker.host, port=self._broker.port)
                    pause = RECONNECT_FIRST_S
                    await self._serve(client, on_link, receive)
            except aiomqtt.MqttError as error:
                log.warning("broker away", why=str(error), again_in_s=pause)
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
        tasks = [asyncio.create_task(self._send(client)), asyncio.create_task(_receive(client, on_link, receive))]
        try:
            await wait_for_any([], tasks=tasks)
        finally:
            self._is_up = False
            await end(*tasks)
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


class Visit:
    """A short call at the broker, for commands: with the node's settings, and with a session that nobody keeps."""

    def __init__(self, broker: Broker, region: str) -> None:
        """Nothing is connected yet.

        Raises:
            OperatorError: a file that the settings name is missing or is not what it should be.
        """
        self._broker = broker
        self._region = region
        self._access = BrokerAccess(broker)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Hand one message to the broker.

        Raises:
            LinkError: the broker is away, or lets nobody in with these settings.
        """
        with self._link_errors():
            async with self._access.client() as client:
                await client.publish(topic, payload, qos=1, retain=retain)

    async def retained(
        self, kind: Kind, listen_s: float, *, bytes_max: int, name: str | None = None
    ) -> dict[str, bytes]:
        """What the broker keeps of one kind, by name: whatever comes within `listen_s` seconds, or the one of `name`.

        At most `RETAINED_MAX` of them, the first that come. What is longer than `bytes_max` is left out.

        Raises:
            LinkError: the broker is away, or lets nobody in with these settings.
        """
        found: dict[str, bytes] = {}
        wanted = everybody(self._region, kind) if name is None else str(Topic(self._region, name, kind))
        with self._link_errors(), suppress(TimeoutError):
            async with self._access.client() as client, asyncio.timeout(listen_s):
                await client.subscribe(wanted, qos=1)
                async for incoming in _messages(client, (kind,), bytes_max):
                    found[incoming.gateway] = incoming.payload
                    if len(found) >= (RETAINED_MAX if name is None else 1):
                        break
        return {name: payload for name, payload in found.items() if payload}

    @contextmanager
    def _link_errors(self) -> Iterator[None]:
        try:
            yield
        except aiomqtt.MqttError as error:
            place = f"{self._broker.host}:{self._broker.port}"
            raise LinkError(
                f"the broker at {place} cannot be reached with these settings: {error}", retry=True
            ) from error


async def _receive(
    client: aiomqtt.Client, on_link: Callable[[], Awaitable[None]], receive: Callable[[Incoming], None]
) -> None:
    await on_link()
    async for incoming in _messages(client, TAKEN, ENVELOPE_BYTES_MAX):
        receive(incoming)


async def _messages(client: aiomqtt.Client, kinds: Collection[Kind], bytes_max: int) -> AsyncIterator[Incoming]:
    """What stands on topics of some kinds: a broker may deliver more than was subscribed to."""
    async for message in client.messages:
        payload = message.payload
        if not isinstance(payload, bytes) or len(payload) > bytes_max:
            continue
        try:
            topic = parse(message.topic.value)
        except EncodingError:
            continue
        if topic.kind in kinds:
            yield Incoming(topic.name, payload, topic.kind)
