"""What an agent has around it: a broker, meters, and an aggregator that a test can make say anything."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiomqtt
import yaml

from agent.outbox.books import Books
from agent.outbox.file import OutboxFile
from config.load import load_profiles
from config.meter_profile import MeterProfile, Table
from config.tasks import end
from firmware_sim.free_port import free_ports
from protocol.batch import Batch
from protocol.channel import ChannelPurchase
from protocol.crypto import SoftwareKey, digest_of
from protocol.envelope import Envelope, seal
from protocol.exchange import Exchange
from protocol.messages import MessageType, Receipt, Received, Refusal, Statement
from protocol.purchase import Purchase
from protocol.quote import Quote, QuoteCancel
from protocol.refusals import RefusalCode
from protocol.topics import Kind, Topic
from protocol.transfer import Transfer
from protocol.units import Quantity
from tests.builders import GATEWAY, REGION, a_key
from tests.unit.agent.builders import settings_document

T = TypeVar("T")

HOST = "127.0.0.1"
BOUND_S = 60.0
"""A condition that has not come true by then never will."""
COMMAND = str(Path(sys.executable).with_name("este-agent"))
AGGREGATOR_KEY = a_key(99)
PROFILE = "eastron_sdm630"
CODEC = load_profiles()[PROFILE].codecs[Quantity.IMPORTED_WH]


async def eventually(probe: Callable[[], T | Awaitable[T]], what: str = "a condition") -> T:
    """Wait until `probe` says something true, and hand it back."""
    loop = asyncio.get_running_loop()
    end = loop.time() + BOUND_S
    while loop.time() < end:
        told = probe()
        if isinstance(told, Awaitable):
            told = await told
        if told:
            return told  # type: ignore[return-value]
        await asyncio.sleep(0.02)
    raise AssertionError(f"{what} never came true")


@dataclass
class Mosquitto:
    """A real broker that can be taken away and brought back."""

    folder: Path
    options: tuple[str, ...] = ("allow_anonymous true",)
    port: int = field(default_factory=free_ports)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self.folder / "mosquitto.conf"
        # Whoever starts it as root: it must still be able to read the test's files.
        lines = [f"listener {self.port} {HOST}", "user root", "persistence false", *self.options]
        config.write_text("\n".join(lines) + "\n")
        self.process = subprocess.Popen(["mosquitto", "-c", str(config)], stderr=subprocess.DEVNULL)
        end = time.monotonic() + BOUND_S
        while time.monotonic() < end:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
            except OSError:
                assert self.process.poll() is None, "mosquitto did not start"
                time.sleep(0.02)
            else:
                return
        raise AssertionError("mosquitto never listened")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None


def open_in(folder: Path) -> Books:
    """The books in an agent's folder."""
    return Books(OutboxFile.open(folder, region=REGION, gateway=GATEWAY))


@contextmanager
def a_broker(folder: Path, *options: str) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder, options or ("allow_anonymous true",))
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


class Meters:
    """A Modbus TCP server with meters of one profile, and devices that hold a power limit.

    A meter's imported energy rises by a watt-hour with every read, so that no two readings are equal.
    """

    def __init__(self, units: int = 1, devices: int = 0) -> None:
        self.profile: MeterProfile = load_profiles()[PROFILE]
        self.values = {unit: {Quantity.ACTIVE_POWER_W: 3600, Quantity.IMPORTED_WH: 0} for unit in range(1, units + 1)}
        self.devices = {unit: [0xFFFF, 0xFFFF] for unit in range(101, 101 + devices)}
        self.silent: set[int] = set()
        self.asked = 0
        """Requests that came, answered or not."""
        self.reads = 0
        self.port = 0

    @asynccontextmanager
    async def served(self, port: int = 0) -> AsyncIterator[Meters]:
        serving: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            serving.add(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(accept, HOST, port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()
            await end(*serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while request := await reader.read(260):
                self.asked += 1
                if request[6] not in self.silent:
                    writer.write(request[:4] + self._answer(request[6], request[7], request[8:]))
                    await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def _answer(self, unit: int, function: int, body: bytes) -> bytes:
        address, count = struct.unpack(">HH", body[:4])
        if function == 16:
            self.devices[unit][address : address + count] = struct.unpack(f">{count}H", body[5 : 5 + 2 * count])
            return struct.pack(">HBBHH", 6, unit, function, address, count)
        words = self._words(unit, Table.HOLDING if function == 3 else Table.INPUT, address, count)
        return struct.pack(f">HBBB{count}H", 3 + 2 * count, unit, function, 2 * count, *words)

    def _words(self, unit: int, table: Table, address: int, count: int) -> list[int]:
        if unit in self.devices:
            return self.devices[unit][address : address + count]
        if table is Table.HOLDING:
            return [unit] * count
        self.reads += 1
        self.values[unit][Quantity.IMPORTED_WH] += 1
        words = [0] * count
        for register in self.profile.registers:
            at = register.address - address
            if at >= 0 and at + register.type.words <= count and register.id in self.values[unit]:
                spelled = self.profile.codecs[register.id].encode(self.values[unit][register.id])
                words[at : at + register.type.words] = spelled
        return words


READERS: dict[str, Callable[[bytes], Any]] = {
    MessageType.BATCH: Batch.decode,
    MessageType.PURCHASE: Purchase.decode,
    MessageType.TRANSFER: Transfer.decode,
    MessageType.CHANNEL: ChannelPurchase.decode,
    MessageType.EXCHANGE: Exchange.decode,
    MessageType.QUOTE: Quote.decode,
    MessageType.QUOTE_CANCEL: QuoteCancel.decode,
}


@dataclass
class Aggregator:
    """Takes records in order and answers them, unless a test has other plans."""

    port: int
    refuses: Callable[[Batch | Purchase], RefusalCode | None] = lambda record: None
    is_silent: bool = False
    tls: Any = None
    login: dict[str, str] = field(default_factory=dict)
    arrived: list[int] = field(default_factory=list)
    """Numbers of all records that came, in the order in which they came."""
    chain: list[Envelope] = field(default_factory=list)
    status: list[dict[str, Any]] = field(default_factory=list)
    height: int = 1
    last_statement: Envelope | None = None
    statements: int = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Aggregator]:
        """At work, until the block ends or the broker does."""
        async with aiomqtt.Client(HOST, self.port, tls_context=self.tls, **self.login) as self._client:
            await self._client.subscribe([(f"este/1/{REGION}/+/{kind}", 1) for kind in (Kind.RECORD, Kind.STATUS)])
            working = asyncio.create_task(self._work())
            try:
                yield self
            finally:
                await end(working)

    async def _work(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            if message.topic.value.endswith("status"):
                self.status.append(json.loads(message.payload))
            else:
                await self._record(Envelope.parse(message.payload))

    async def _record(self, envelope: Envelope) -> None:
        envelope.verify(a_key().public_key, REGION)
        record = READERS[envelope.type](envelope.payload)
        link = record.link
        self.arrived.append(link.sequence)
        if self.is_silent:
            return
        expected = len(self.chain) + 1
        code = RefusalCode.SEQUENCE_SKIPPED if link.sequence > expected else None
        if link.sequence == expected:
            assert link.previous == (self.chain[-1].digest if self.chain else bytes(32))
            code = self.refuses(record)
            if code is None or code.is_final:
                self.chain.append(envelope)
        if code is not None:
            await self.refuse(envelope, link.sequence, code)
            return
        assert self.chain[link.sequence - 1].digest == envelope.digest, "one number, two records"
        self.height += 1
        received = Received(link.sequence, envelope.digest, link.sequence - 1)
        await self.say(Kind.RECEIPT, Receipt(REGION, GATEWAY, self.height, (received,)).encode())

    async def refuse(self, envelope: Envelope, sequence: int, code: RefusalCode) -> None:
        refusal = Refusal(REGION, GATEWAY, envelope.digest, sequence, code, len(self.chain) + 1, "says the test")
        await self.say(Kind.REFUSAL, refusal.encode())

    async def state(self, *standings: Any, **changes: Any) -> None:
        """The next statement."""
        self.statements += 1
        self.height += 1
        statement = Statement(
            region=REGION,
            gateway=GATEWAY,
            number=self.statements,
            previous=digest_of(self.last_statement.payload) if self.last_statement else bytes(32),
            height=self.height,
            time_ms=changes.get("time_ms", time.time_ns() // 1_000_000),
            standings=standings,
        )
        data = await self.say(Kind.STATEMENT, statement.encode(), retain=True)
        self.last_statement = Envelope.parse(data)

    async def say(
        self, kind: Kind, payload: bytes, *, key: SoftwareKey = AGGREGATOR_KEY, retain: bool = False
    ) -> bytes:
        """Sign something for the gateway and send it."""
        data = seal(key, region=REGION, type_=kind.value, payload=payload)
        await self._client.publish(str(Topic(REGION, GATEWAY, kind)), data, qos=1, retain=retain)
        return data

    @property
    def batches(self) -> list[Batch]:
        return [Batch.decode(e.payload) for e in self.chain if e.type == MessageType.BATCH]

    @property
    def readings(self) -> list[tuple[str, int]]:
        """Meter and imported energy of every reading on the chain: no two are equal."""
        return [
            (block.meter, value)
            for batch in self.batches
            for block in batch.meters
            for value in CODEC.decode_column(block.words[Quantity.IMPORTED_WH])
        ]


@dataclass
class Home:
    """An agent's folder, and its commands."""

    folder: Path
    process: subprocess.Popen[str] | None = None

    @classmethod
    def make(cls, folder: Path, broker_port: int, meters_port: int, *, units: int = 1, **changes: Any) -> Home:
        """Settings for quick tests, with keys that the tests know."""
        key = folder / "gateway.key.pem"
        key.write_bytes(a_key().to_pem())
        key.chmod(0o600)
        (folder / "aggregator.pub.pem").write_text(AGGREGATOR_KEY.public_key.to_pem())
        meters = [{"id": f"m-{unit}", "unit": unit, "profile": PROFILE} for unit in range(1, units + 1)]
        bus = {"host": HOST, "port": meters_port, "timeout_ms": 300, "meters": meters}
        bus |= changes.pop("bus", {})
        document = settings_document(
            broker={"host": HOST, "port": broker_port, "keepalive_s": 5} | changes.pop("broker", {}),
            poll_every_ms=100,
            batch={"readings_max": 5, "age_max_ms": 500},
            resend_after_ms=1000,
            clock_wait_max_ms=0,
            buses=[bus],
            **changes,
        )
        home = cls(folder)
        home.settings.write_text(yaml.safe_dump(document))
        return home

    @property
    def settings(self) -> Path:
        return self.folder / "agent.yaml"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self, *options: str) -> subprocess.Popen[str]:
        """Run the agent."""
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(
                [COMMAND, "run", "--settings", str(self.settings), *options], stderr=log, text=True
            )
        return self.process

    async def end(self, number: int) -> int:
        """Send a signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait)

    async def status(self) -> dict[str, Any]:
        """What `este-agent status --json` says."""
        command = [COMMAND, "status", "--settings", str(self.settings), "--json"]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}
