"""The link to a real Mosquitto: up, down, and up again; with a password, with certificates, with neither."""

from __future__ import annotations

import asyncio
import gc
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import trustme

from agent.broker_probe_port import misunderstanding
from agent.mqtt_port import LinkEvent, MqttPort
from agent.outbox.queue import LinkDown, LinkUp
from agent.session import Arrived
from config.settings.broker import Broker, Tls
from config.tasks import end
from firmware_sim.free_port import free_ports
from protocol.errors import OperatorError
from protocol.topics import Kind, Topic
from tests.builders import GATEWAY, REGION
from tests.integration.agent_world import HOST, Mosquitto, a_broker, eventually

pytestmark = pytest.mark.mosquitto

OFFLINE = b"offline"


class Gateway:
    """A link, and what it tells."""

    def __init__(self, broker: Broker) -> None:
        self.events: list[LinkEvent] = []
        self.records = {number: b"record %d" % number for number in range(1, 1000)}
        self.port = MqttPort(broker, region=REGION, gateway=GATEWAY, last_will=OFFLINE, fetch=self._fetch)

    async def _fetch(self, sequence: int) -> bytes | None:
        return self.records.get(sequence)

    async def _deliver(self, event: LinkEvent) -> None:
        self.events.append(event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        task = asyncio.create_task(self.port.run(self._deliver))
        try:
            yield self
        finally:
            await end(task)

    def count(self, kind: type) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    async def up(self, times: int = 1) -> None:
        await eventually(lambda: self.count(LinkUp) >= times, "the link")


@asynccontextmanager
async def a_listener(port: int, **changes: Any) -> AsyncIterator[list[tuple[str, bytes]]]:
    """Everything that is published, as (last part of the topic, payload)."""
    heard: list[tuple[str, bytes]] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            heard.append((message.topic.value.rsplit("/", 1)[1], message.payload))

    async with aiomqtt.Client(HOST, port, **changes) as client:
        await client.subscribe("este/#", qos=1)
        task = asyncio.create_task(listen(client))
        try:
            yield heard
        finally:
            await end(task)


async def say(port: int, kind: Kind, payload: bytes, gateway: str = GATEWAY, **changes: Any) -> None:
    async with aiomqtt.Client(HOST, port) as client:
        await client.publish(str(Topic(REGION, gateway, kind)), payload, qos=1, **changes)


def a_gateway(broker: Mosquitto, **changes: Any) -> Gateway:
    return Gateway(Broker(host=HOST, port=broker.port, keepalive_s=5, **changes))


class TestPublishing:
    """What is asked for goes out, in order."""

    async def test_records_go_out_by_their_numbers_however_they_are_asked_for(self, broker: Mosquitto) -> None:
        async with a_listener(broker.port) as heard, a_gateway(broker).running() as gateway:
            await gateway.up()
            for sequence in (3, 1, 2, 2):
                gateway.port.publish_record(sequence)
            await gateway.port.flush()
            await eventually(lambda: len(heard) == 3)
            assert heard == [("record", b"record 1"), ("record", b"record 2"), ("record", b"record 3")]

    async def test_one_that_is_forgotten_meanwhile_is_left_out(self, broker: Mosquitto) -> None:
        async with a_listener(broker.port) as heard, a_gateway(broker).running() as gateway:
            await gateway.up()
            del gateway.records[1]
            gateway.port.publish_record(1)
            gateway.port.publish_record(2)
            await gateway.port.flush()
            await eventually(lambda: heard == [("record", b"record 2")])

    async def test_the_last_status_stays_at_the_broker(self, broker: Mosquitto) -> None:
        async with a_gateway(broker).running() as gateway:
            gateway.port.publish_status(b"first")
            gateway.port.publish_status(b"second")
            await gateway.up()
            await gateway.port.flush()
        async with a_listener(broker.port) as heard:
            await eventually(lambda: heard == [("status", b"second")])

    async def test_a_record_of_a_quarter_mebibyte_goes_out(self, broker: Mosquitto) -> None:
        async with a_listener(broker.port) as heard, a_gateway(broker).running() as gateway:
            gateway.records[1] = bytes(256 * 1024)
            await gateway.up()
            gateway.port.publish_record(1)
            await eventually(lambda: [len(payload) for _, payload in heard] == [256 * 1024])


class TestReceiving:
    """What is meant for this gateway arrives."""

    async def test_what_comes_on_its_own_topics(self, broker: Mosquitto) -> None:
        async with a_gateway(broker).running() as gateway:
            await gateway.up()
            for kind in (Kind.RECEIPT, Kind.REFUSAL, Kind.STATEMENT):
                await say(broker.port, kind, kind.encode())
            await eventually(lambda: gateway.count(Arrived) == 3)
            arrived = [event for event in gateway.events if isinstance(event, Arrived)]
            assert arrived == [Arrived(kind, kind.encode()) for kind in (Kind.RECEIPT, Kind.REFUSAL, Kind.STATEMENT)]

    async def test_nothing_of_others(self, broker: Mosquitto) -> None:
        async with a_gateway(broker).running() as gateway:
            await gateway.up()
            await say(broker.port, Kind.RECEIPT, b"for another", gateway="gw-2")
            await say(broker.port, Kind.RECEIPT, b"for us")
            await eventually(lambda: gateway.count(Arrived))
            assert [event.data for event in gateway.events if isinstance(event, Arrived)] == [b"for us"]

    async def test_a_receipt_that_came_while_it_was_away_is_kept_by_the_broker(self, broker: Mosquitto) -> None:
        async with a_gateway(broker).running() as gateway:
            await gateway.up()
        await say(broker.port, Kind.RECEIPT, b"meanwhile")
        async with a_gateway(broker).running() as gateway:
            await eventually(lambda: Arrived(Kind.RECEIPT, b"meanwhile") in gateway.events)


class TestTheLink:
    """Gone, and back."""

    async def test_it_comes_up_when_the_broker_does(self, tmp_path: Path) -> None:
        broker = Mosquitto(tmp_path)
        async with a_gateway(broker).running() as gateway:
            await eventually(lambda: gateway.count(LinkDown))
            broker.start()
            try:
                await gateway.up()
            finally:
                broker.stop()

    async def test_a_broker_that_is_taken_away_and_brought_back(self, broker: Mosquitto) -> None:
        async with a_gateway(broker).running() as gateway:
            await gateway.up()
            broker.stop()
            await eventually(lambda: gateway.count(LinkDown))
            broker.start()
            await gateway.up(times=2)
            async with a_listener(broker.port) as heard:
                gateway.port.publish_record(7)
                await eventually(lambda: ("record", b"record 7") in heard)

    async def test_what_was_asked_for_before_the_link_fell_is_not_sent_after_it_came_back(
        self, broker: Mosquitto
    ) -> None:
        async with a_gateway(broker).running() as gateway:
            await gateway.up()
            broker.stop()
            await eventually(lambda: gateway.count(LinkDown))
            gateway.port.publish_record(1)
            broker.start()
            async with a_listener(broker.port) as heard:
                await gateway.up(times=2)
                gateway.port.publish_record(2)
                await eventually(lambda: heard)
                assert heard == [("record", b"record 2")]

    async def test_the_reason_names_the_broker_and_nothing_that_is_for_programmers(self, broker: Mosquitto) -> None:
        async with a_gateway(broker).running() as gateway:
            await gateway.up()
            broker.stop()
            await eventually(lambda: gateway.count(LinkDown) == 2)
            reasons = [event.reason for event in gateway.events if isinstance(event, LinkDown)]
            place = f"{HOST}:{broker.port}"
            assert reasons == [f"{place}: the connection has ended", f"{place}: Connection refused"]

    async def test_one_reason_is_told_once(self) -> None:
        async with Gateway(Broker(host=HOST, port=free_ports())).running() as gateway:
            await eventually(lambda: gateway.count(LinkDown))
            await asyncio.sleep(2.5)
            assert gateway.count(LinkDown) == 1


class TestPassword:
    """A user name, and a password in a file of its own."""

    @pytest.fixture
    def guarded(self, tmp_path: Path) -> Iterator[Mosquitto]:
        users = tmp_path / "users"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), GATEWAY, "s3cret"], check=True)
        with a_broker(tmp_path, "allow_anonymous false", f"password_file {users}") as broker:
            yield broker

    def with_password(self, folder: Path, password: str) -> dict[str, Any]:
        (folder / "password").write_text(password + "\n")
        return {"username": GATEWAY, "password_file": folder / "password"}

    async def test_the_right_one_opens(self, guarded: Mosquitto, tmp_path: Path) -> None:
        async with a_gateway(guarded, **self.with_password(tmp_path, "s3cret")).running() as gateway:
            await gateway.up()

    async def test_a_wrong_one_is_a_link_that_does_not_come_and_is_never_told(
        self, guarded: Mosquitto, tmp_path: Path
    ) -> None:
        async with a_gateway(guarded, **self.with_password(tmp_path, "wr0ng")).running() as gateway:
            await eventually(lambda: gateway.count(LinkDown))
            assert "not authori" in repr(gateway.events).lower()
            assert "wr0ng" not in repr(gateway.events)

    async def test_a_password_file_that_is_missing_is_told_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(OperatorError, match="a file that holds the broker's password"):
            Gateway(Broker(host=HOST, username=GATEWAY, password_file=tmp_path / "nothing"))


class TestTls:
    """Both sides show certificates."""

    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def secured(self, tmp_path: Path, authority: trustme.CA) -> Iterator[Mosquitto]:
        certificate = authority.issue_cert(HOST)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        certificate.private_key_pem.write_to_path(str(tmp_path / "server.key"))
        certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "server.pem"))
        options = (
            f"cafile {tmp_path / 'ca.pem'}",
            f"certfile {tmp_path / 'server.pem'}",
            f"keyfile {tmp_path / 'server.key'}",
            "require_certificate true",
            "use_identity_as_username true",
        )
        with a_broker(tmp_path, *options) as broker:
            yield broker

    async def test_an_agent_without_tls_is_told_that_the_port_speaks_it(self, secured: Mosquitto) -> None:
        """The broker waits for a handshake and says nothing, so this is told before the library's time is up."""
        async with a_gateway(secured).running() as gateway:
            await eventually(lambda: gateway.events, "what is wrong")
        assert isinstance(down := gateway.events[0], LinkDown)
        assert f"{HOST}:{secured.port} speaks TLS, and the settings have no broker.tls" in down.reason

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho forgets a broken TLS socket
    async def test_an_agent_with_tls_is_told_that_the_port_does_not_speak_it(
        self, broker: Mosquitto, authority: trustme.CA, tmp_path: Path
    ) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        tls = self.client_files(tmp_path, authority)
        async with a_gateway(broker, tls=tls).running() as gateway:
            await eventually(lambda: gateway.events, "what is wrong")
        assert isinstance(down := gateway.events[0], LinkDown)
        assert f"{HOST}:{broker.port} speaks MQTT without TLS, and the settings have broker.tls" in down.reason
        gc.collect()

    @pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request"], ids=["hangs up", "another protocol"])
    async def test_a_port_that_speaks_neither_is_not_explained(
        self, answer: bytes, authority: trustme.CA, tmp_path: Path
    ) -> None:
        def say_something_else(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            writer.close()

        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        port = free_ports()
        async with await asyncio.start_server(say_something_else, HOST, port):
            for tls in (None, Tls(ca_file=tmp_path / "ca.pem")):
                assert await misunderstanding(Broker(host=HOST, port=port, tls=tls)) is None
        assert await misunderstanding(Broker(host=HOST, port=port)) is None, "nobody is there at all"

    def client_files(self, folder: Path, authority: trustme.CA) -> Tls:
        certificate = authority.issue_cert(common_name=GATEWAY)
        certificate.private_key_pem.write_to_path(str(folder / "client.key"))
        certificate.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
        return Tls(
            ca_file=folder / "ca.pem",
            certificate_file=folder / "client.pem",
            key_file=folder / "client.key",
        )

    async def test_records_go_out_over_tls(self, secured: Mosquitto, authority: trustme.CA, tmp_path: Path) -> None:
        tls = self.client_files(tmp_path, authority)
        context = ssl.create_default_context(cafile=tls.ca_file)
        context.load_cert_chain(str(tls.certificate_file), str(tls.key_file))
        async with (
            a_listener(secured.port, tls_context=context) as heard,
            a_gateway(secured, tls=tls).running() as gateway,
        ):
            await gateway.up()
            gateway.port.publish_record(1)
            await eventually(lambda: heard == [("record", b"record 1")])

    # paho leaves the socket of a failed handshake to the garbage collector, which says so.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    async def test_a_broker_of_another_authority_is_not_believed(
        self, secured: Mosquitto, authority: trustme.CA, tmp_path: Path
    ) -> None:
        tls = self.client_files(tmp_path, authority)
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
        other = tls.model_copy(update={"ca_file": tmp_path / "other.pem"})
        async with a_gateway(secured, tls=other).running() as gateway:
            await eventually(lambda: gateway.count(LinkDown))
            assert "certificate verify failed" in repr(gateway.events)

    async def test_a_gateway_without_a_certificate_is_not_let_in(self, secured: Mosquitto, tmp_path: Path) -> None:
        async with a_gateway(secured, tls=Tls(ca_file=tmp_path / "ca.pem")).running() as gateway:
            await eventually(lambda: gateway.count(LinkDown))
            assert gateway.count(LinkUp) == 0

    @pytest.mark.parametrize("missing", ["ca_file", "certificate_file"])
    def test_a_missing_file_is_told_at_once(self, tmp_path: Path, authority: trustme.CA, missing: str) -> None:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        files = self.client_files(tmp_path, authority).model_copy(update={missing: tmp_path / "nothing"})
        with pytest.raises(OperatorError, match="nothing"):
            Gateway(Broker(host=HOST, tls=files))

    def test_an_encrypted_key_is_told_at_once_and_not_asked_for(self, tmp_path: Path, authority: trustme.CA) -> None:
        from cryptography.hazmat.primitives import serialization

        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        tls = self.client_files(tmp_path, authority)
        assert tls.key_file is not None
        key = serialization.load_pem_private_key(tls.key_file.read_bytes(), None)
        tls.key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"passphrase"),
            )
        )
        with pytest.raises(OperatorError, match="a certificate in PEM, and its key"):
            Gateway(Broker(host=HOST, tls=tls))
