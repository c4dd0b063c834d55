"""The door to the broker: MQTT 3.1.1, QoS 1, a session that the broker keeps, TLS where the settings say so.

Keeps one connection as long as it runs, with a bounded wait between attempts; says when the link comes and goes, hands
on what arrives on the gateway's own topics, and publishes in the order in which it is asked. What it could not publish
when the link fell is dropped: whoever asked is told that the link fell, and asks again. Delivery is proven by the
aggregator's receipts and by nothing else. The only importer of `aiomqtt`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Final

import aiomqtt

from agent.broker_probe_port import PATIENCE_S, misunderstanding
from agent.log import Log
from agent.outbox.queue import LinkDown, LinkUp
from agent.session import Arrived
from config import key_files, tls
from config.settings.broker import Broker
from config.tasks import end
from protocol.crypto import digest_of
from protocol.errors import EncodingError, LinkError
from protocol.topics import TO_GATEWAY, Kind, Topic, parse

logging.getLogger("mqtt").setLevel(logging.CRITICAL + 1)

QOS: Final = 1

RECONNECT_MIN_S: Final = 1.0
RECONNECT_MAX_S: Final = 60.0

CONNECT_S: Final = 10.0
"""How long a connection may take to come about."""

FAREWELL_S: Final = 0.5
"""How long the announcer's last word may take on its way."""

log = Log("mqtt")

LETTERS_MAX: Final = 200
"""Letters and questions that may wait to be sent."""

ARRIVED_MAX: Final = 1000
"""Messages that may wait to be taken; what comes beyond is dropped, and the aggregator says it again."""


LinkEvent = LinkUp | LinkDown | Arrived
Deliver = Callable[[LinkEvent], Awaitable[None]]
Fetch = Callable[[int], Awaitable[bytes | None]]
"""Looks up the envelope of a record; None if it is no longer to be sent."""


class MqttPort:
    """The link between one gateway and its broker.

    Raises:
        OperatorError: a file that the settings name is missing or is not what it should be.
    """

    def __init__(self, broker: Broker, *, region: str, gateway: str, last_will: bytes, fetch: Fetch) -> None:
        self._access = BrokerAccess(broker)
        self._gateway = gateway
        self._topics = {kind: str(Topic(region, gateway, kind)) for kind in Kind}
        self._will = aiomqtt.Will(self._topics[Kind.STATUS], last_will, QOS, retain=True)
        self._fetch = fetch
        self._records: set[int] = set()
        """Asked for and not yet sent. The lowest goes first, so that a record never overtakes one before it."""
        self._letters: deque[tuple[Kind, bytes]] = deque(maxlen=LETTERS_MAX)
        """The oldest is dropped where too many wait: whoever wrote it writes again."""
        self._status: bytes | None = None
        self._has_work = asyncio.Event()
        self._is_idle = asyncio.Event()

    def publish_record(self, sequence: int) -> None:
        """Send a record, unless it waits to be sent already."""
        self._records.add(sequence)
        self._wake()

    def publish_status(self, status: bytes) -> None:
        """Leave a status at the broker, in place of the one before."""
        self._status = status
        self._wake()

    def publish_letter(self, kind: Kind, data: bytes) -> None:
        """Send a letter or a question for the nodes, now or when there is a link."""
        self._letters.append((kind, data))
        self._wake()

    async def flush(self) -> None:
        """Wait until all is sent that was asked for; for ever, while there is no link."""
        await self._is_idle.wait()

    async def run(self, deliver: Deliver) -> None:
        """Keep the link up until cancelled."""
        wait_s, told = RECONNECT_MIN_S, ""

        async def tell(reason: str) -> None:
            nonlocal told
            if told != reason:
                told = reason
                await deliver(LinkDown(reason))

        while True:
            doubting = asyncio.create_task(self._access.doubt(tell))
            try:
                async with self._connected() as client:
                    await end(doubting)
                    wait_s, told = RECONNECT_MIN_S, ""
                    self._records.clear()
                    await deliver(LinkUp())
                    await self._converse(client, deliver)
            except aiomqtt.MqttError as error:
                await end(doubting)
                await tell(await self._access.reason_of(error))
            finally:
                await end(doubting)
            await asyncio.sleep(wait_s * _spread(self._gateway))
            wait_s = min(2 * wait_s, RECONNECT_MAX_S)

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[aiomqtt.Client]:
        """A subscribed client; on leaving, a farewell that keeps the broker from publishing the last will."""
        async with self._access.client(self._gateway, self._will, clean_session=False) as client:
            await client.subscribe([(self._topics[kind], QOS) for kind in TO_GATEWAY])
            yield client

    async def _converse(self, client: aiomqtt.Client, deliver: Deliver) -> None:
        """Receive and publish until the link falls."""
        tasks = {asyncio.create_task(self._receive(client, deliver)), asyncio.create_task(self._send(client))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(*tasks)

    async def _receive(self, client: aiomqtt.Client, deliver: Deliver) -> None:
        async for message in client.messages:
            try:
                topic = parse(str(message.topic))
            except EncodingError:
                continue
            if isinstance(message.payload, bytes):
                await deliver(Arrived(topic.kind, message.payload))

    async def _send(self, client: aiomqtt.Client) -> None:
        """Publish one after another. A slow line may take its time: the keep-alive finds a dead one."""
        while True:
            await self._has_work.wait()
            if self._status is not None:
                status, self._status = self._status, None
                await client.publish(self._topics[Kind.STATUS], status, QOS, retain=True, timeout=math.inf)
            elif self._records:
                sequence = min(self._records)
                self._records.remove(sequence)
                envelope = await self._fetch(sequence)
                if envelope is not None:
                    await client.publish(self._topics[Kind.RECORD], envelope, QOS, timeout=math.inf)
            elif self._letters:
                kind, data = self._letters.popleft()
                await client.publish(self._topics[kind], data, QOS, timeout=math.inf)
            else:
                self._has_work.clear()
                self._is_idle.set()

    def _wake(self) -> None:
        self._is_idle.clear()
        self._has_work.set()


async def leave_request(broker: Broker, *, region: str, gateway: str, pem: bytes, wait_s: float) -> bool:
    """Leave a request to be admitted at the broker, beside an agent that may be running.

    Returns:
        Whether the broker keeps it. MQTT 3.1.1 has no word for a refusal, so the request is asked back.

    Raises:
        OperatorError: a file that the settings name is missing or is not what it should be.
        LinkError: the broker is away, or lets nobody in with these settings.
    """
    topic, access = str(Topic(region, gateway, Kind.ENROL)), BrokerAccess(broker)
    try:
        async with access.client(timeout_s=wait_s) as client, asyncio.timeout(2 * wait_s):
            await client.publish(topic, pem, QOS, retain=True)
            await client.subscribe(topic, QOS)
            async with asyncio.timeout(wait_s):
                async for message in client.messages:
                    if message.payload == pem:
                        return True
    except aiomqtt.MqttError as error:
        reason = await access.reason_of(error)
        raise LinkError(f"the broker cannot be reached with these settings: {reason}", retry=True) from error
    except TimeoutError:
        pass
    return False


class Announcer:
    """Keeps retained messages at a broker as they should be: newest wins, and what did not change is not sent again.

    Raises:
        OperatorError: a file that the settings name is missing or is not what it should be.
    """

    def __init__(self, broker: Broker, *, identifier: str, availability: str, words: tuple[bytes, bytes]) -> None:
        """`words` say at `availability` that somebody is here, and that nobody is."""
        self._access = BrokerAccess(broker)
        self._identifier = identifier
        self._availability = availability
        self._here, self._gone = words
        self._wanted: dict[str, bytes] = {}
        self._has_news = asyncio.Event()
        self._client: aiomqtt.Client | None = None
        """While there is a link."""
        self._is_leaving = False

    def put(self, messages: Mapping[str, bytes]) -> None:
        """These should stand at the broker, by topic."""
        self._wanted.update(messages)
        self._has_news.set()

    async def run(self) -> None:
        """Keep the link up until cancelled. Have it `say_goodbye` first: a link that is ended has no last will."""
        wait_s, told = RECONNECT_MIN_S, ""
        will = aiomqtt.Will(self._availability, self._gone, QOS, retain=True)
        while True:
            try:
                async with self._access.client(self._identifier, will, clean_session=True) as client:
                    wait_s, told = RECONNECT_MIN_S, ""
                    await self._announce(client)
            except aiomqtt.MqttError as error:
                reason = await self._access.reason_of(error)
                if told != reason:
                    told = reason
                    log.warning("no link to the house's broker, trying again", reason=told)
            await asyncio.sleep(wait_s * _spread(self._identifier))
            wait_s = min(2 * wait_s, RECONNECT_MAX_S)

    async def _announce(self, client: aiomqtt.Client) -> None:
        """Send everything once, and from then on what changes."""
        sent: dict[str, bytes] = {}
        await client.publish(self._availability, self._gone if self._is_leaving else self._here, QOS, retain=True)
        self._client = client
        try:
            while True:
                self._has_news.clear()
                for topic, payload in list(self._wanted.items()):
                    if sent.get(topic) != payload:
                        await client.publish(topic, payload, QOS, retain=True)
                        sent[topic] = payload
                await self._has_news.wait()
        finally:
            self._client = None

    async def say_goodbye(self) -> None:
        """Leave word that nobody is here any more, if there is a link; once, and before `run` is cancelled."""
        client, was_leaving, self._is_leaving = self._client, self._is_leaving, True
        if client is None or was_leaving:
            return
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await client.publish(self._availability, self._gone, QOS, retain=True)


class BrokerAccess:
    """How a broker is reached."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._tls = None if broker.tls is None else tls.context_of(broker.tls)
        self._password = None if broker.password_file is None else key_files.load_password(broker.password_file)

    def client(
        self,
        identifier: str | None = None,
        will: aiomqtt.Will | None = None,
        *,
        clean_session: bool = True,
        timeout_s: float = CONNECT_S,
    ) -> aiomqtt.Client:
        """A client that is not connected yet; without a name, the broker gives it one."""
        return aiomqtt.Client(
            self._broker.host,
            self._broker.port,
            username=self._broker.username,
            password=self._password,
            identifier=identifier,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=clean_session,
            will=will,
            keepalive=self._broker.keepalive_s,
            max_queued_incoming_messages=ARRIVED_MAX,
            tls_context=self._tls,
            timeout=timeout_s,
        )

    async def doubt(self, tell: Callable[[str], Awaitable[None]]) -> None:
        """While a connection does not come about, tell what is probably wrong with it, if anything is."""
        await asyncio.sleep(PATIENCE_S)
        if (found := await misunderstanding(self._broker)) is not None:
            await tell(found)

    async def reason_of(self, error: aiomqtt.MqttError) -> str:
        """Why there is no connection: as the library says, unless it is one that speaks another language."""
        is_answer = isinstance(error, aiomqtt.MqttCodeError)
        found = None if is_answer else await misunderstanding(self._broker)
        return found or f"{self._broker.host}:{self._broker.port}: {_plainly(str(error))}"


def _plainly(text: str) -> str:
    """What a library says of a broken link, without what is for programmers."""
    text = re.sub(r"^\[Errno -?\d+\] ", "", text)
    return "the connection has ended" if text.startswith("Disconnected during") else text


def _spread(gateway: str) -> float:
    """From 0.5 to 1, by name: so that a broker that restarts is not met by all its gateways at once."""
    return 0.5 + digest_of(gateway.encode())[0] / 512
