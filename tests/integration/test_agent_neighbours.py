"""A whole agent and its neighbours: Home Assistant's view at a real broker, Prometheus' scrape, systemd's socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.service_port import Service
from config.tasks import end
from tests.builders import a_standing
from tests.integration.agent_world import HOST, Home, Mosquitto, a_broker, a_free_port, eventually
from tests.integration.test_agent_run import a_world

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with a_broker(tmp_path) as broker:
        yield broker


class HomeAssistant:
    """As much of it as reads discovery: what it would show, from what stands at its broker."""

    def __init__(self) -> None:
        self.retained: dict[str, str] = {}

    @contextlib.asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[HomeAssistant]:
        async with aiomqtt.Client(HOST, port) as client:
            await client.subscribe(
                [("homeassistant/+/+/config", 0), ("homeassistant/+/+/+/config", 0), ("este-home/#", 0)]
            )
            working = asyncio.create_task(self._hear(client))
            try:
                yield self
            finally:
                await end(working)

    async def _hear(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            self.retained[str(message.topic)] = message.payload.decode()

    def entities(self) -> dict[str, tuple[str, str]]:
        """What people see: by device and name, the value with its unit, or that it is unavailable."""
        shown = {}
        for topic, payload in self.retained.items():
            if not topic.endswith("/config"):
                continue
            config = json.loads(payload)
            here = all(self.retained.get(place["topic"]) == "online" for place in config["availability"])
            value = self.retained.get(config["state_topic"], "unknown") if here else "unavailable"
            shown[f"{config['device']['name']}: {config['name']}"] = (value, config.get("unit_of_measurement", ""))
        return shown


class TestHomeAssistant:
    """It shows meters and participants without being told anything else."""

    async def test_meters_and_participants_appear_with_their_values(self, tmp_path: Path, broker: Mosquitto) -> None:
        house = HomeAssistant()
        settings = {"home_assistant": {"every_ms": 1000}}
        async with (
            house.listening(broker.port),
            a_world(tmp_path, broker, **settings) as world,
            world.aggregator() as aggregator,
        ):
            await world.seen(records_received=1)
            await aggregator.state(a_standing())
            shown = await eventually(lambda: all_there(house.entities()), "all entities")
            assert shown["m-1: Power"] == ("3600", "W")
            assert float(shown["m-1: Energy imported"][0]) > 0
            assert shown["m-1: Energy imported"][1] == "kWh"
            assert world.home.process is not None
            assert await world.home.end(signal.SIGTERM) == 0
            await eventually(lambda: {v for v, _ in house.entities().values()} == {"unavailable"}, "the farewell")

    async def test_an_agent_that_dies_is_shown_as_unavailable(self, tmp_path: Path, broker: Mosquitto) -> None:
        house = HomeAssistant()
        async with house.listening(broker.port), a_world(tmp_path, broker, home_assistant={"every_ms": 1000}) as world:
            await eventually(lambda: house.entities().get("m-1: Power") == ("3600", "W"), "power")
            await world.home.end(signal.SIGKILL)
            await eventually(lambda: house.entities()["m-1: Power"][0] == "unavailable", "the last will")

    async def test_the_house_s_own_broker_hears_it_and_the_region_s_does_not(
        self, tmp_path: Path, broker: Mosquitto
    ) -> None:
        (tmp_path / "house").mkdir()
        with a_broker(tmp_path / "house") as own:
            inside, outside = HomeAssistant(), HomeAssistant()
            settings = {"home_assistant": {"every_ms": 1000, "broker": {"host": HOST, "port": own.port}}}
            async with (
                inside.listening(own.port),
                outside.listening(broker.port),
                a_world(tmp_path, broker, **settings),
            ):
                await eventually(lambda: inside.entities().get("m-1: Power") == ("3600", "W"), "power")
                assert outside.retained == {}

    async def test_a_house_without_its_broker_is_no_trouble_of_the_region_s(
        self, tmp_path: Path, broker: Mosquitto
    ) -> None:
        settings = {"home_assistant": {"broker": {"host": HOST, "port": a_free_port()}}}
        async with a_world(tmp_path, broker, **settings) as world, world.aggregator():
            await world.seen(records_received=2)
            assert "no link to the house's broker" in world.home.log


def all_there(shown: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    names = {"m-1: Power", "m-1: Energy imported"}
    is_complete = names <= shown.keys() and any(name.endswith(": Balance") for name in shown)
    return shown if is_complete and "unavailable" not in {value for value, _ in shown.values()} else {}


class TestPrometheus:
    """A scrape tells how the agent is."""

    async def test_a_scrape_is_read_by_prometheus_own_reader(self, tmp_path: Path, broker: Mosquitto) -> None:
        port = a_free_port()
        async with a_world(tmp_path, broker, metrics={"port": port}) as world, world.aggregator():
            await world.seen(records_received=2)
            status, text = await http(port, "/metrics")
            assert status == "HTTP/1.1 200 OK"
            found = {
                sample.name: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
            assert found["este_receipts_total"] >= 2
            assert found["este_link_up"] == 1
            assert found["este_meter_readings_total"] > 0
            assert found["este_meter_failing"] == 0

    async def test_row_14_a_backlog_is_seen_while_it_grows(self, tmp_path: Path, broker: Mosquitto) -> None:
        """Pains row 14: a queue that nobody sees."""
        port = a_free_port()
        async with a_world(tmp_path, broker, metrics={"port": port}) as world:
            await world.seen(records_signed=3)
            _, text = await http(port, "/metrics")
            found = {
                sample.name: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
            assert found["este_backlog_records"] >= 3
            assert found["este_backlog_age_seconds"] > 0
            assert found["este_outbox_bytes"] > 0

    @pytest.mark.parametrize("request_line", ["GET / HTTP/1.1", "POST /metrics HTTP/1.1", "rubbish"])
    async def test_there_is_nothing_else_to_be_had(self, tmp_path: Path, broker: Mosquitto, request_line: str) -> None:
        port = a_free_port()
        async with a_world(tmp_path, broker, metrics={"port": port}) as world:
            await world.seen(readings_read=1)
            status, _ = await asked(port, f"{request_line}\r\n\r\n".encode())
            assert status.split()[1] in {"404", "405"}

    async def test_a_port_that_is_taken_is_told_in_one_sentence(self, tmp_path: Path, broker: Mosquitto) -> None:
        with socket.socket() as taken:
            taken.bind((HOST, 0))
            taken.listen()
            home = Home.make(tmp_path, broker.port, a_free_port(), metrics={"port": taken.getsockname()[1]})
            process = home.start()
            assert await asyncio.to_thread(process.wait) == 1
            assert "metrics: port: expected a free port" in home.log


async def http(port: int, path: str) -> tuple[str, str]:
    return await asked(port, f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())


async def asked(port: int, request: bytes) -> tuple[str, str]:
    async def connect() -> Any:
        try:
            return await asyncio.open_connection(HOST, port)
        except OSError:
            return None

    reader, writer = await eventually(connect, "the port")
    writer.write(request)
    answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return head.split("\r\n")[0], body


class TestSystemd:
    """The service manager is told when the agent is ready, while it works, and when it ends."""

    async def test_it_is_ready_then_works_then_stops(
        self, tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address = str(tmp_path / "notify")
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.setblocking(False)
            heard: list[str] = []
            async with a_world(tmp_path, broker) as world:
                await eventually(lambda: "READY=1" in hear(manager, heard), "READY")
                await eventually(lambda: any("WATCHDOG=1" in line for line in hear(manager, heard)), "WATCHDOG")
                assert await world.home.end(signal.SIGTERM) == 0
            assert "STOPPING=1" in hear(manager, heard)
            assert heard[0].startswith(("READY", "WATCHDOG"))

    def test_a_name_in_the_abstract_namespace_is_understood(self) -> None:
        name = f"este-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"\0{name}")
            Service(f"@{name}").tell(READY="1", STATUS="two\nlines")
            assert manager.recv(4096) == b"READY=1\nSTATUS=two lines"

    @pytest.mark.parametrize("address", [None, "", "/no/such/socket"])
    def test_where_nobody_listens_nothing_happens(self, address: str | None) -> None:
        Service(address).tell(READY="1")


def hear(manager: socket.socket, heard: list[str]) -> list[str]:
    with contextlib.suppress(BlockingIOError):
        while True:
            heard.append(manager.recv(4096).decode())
    return heard
