"""A whole agent and its neighbours: Home Assistant's view at a real broker, Prometheus' scrape, systemd's socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.bus.control import FREE, DevicePlan, Grant
from agent.events import Event, Read, Trouble
from agent.house import neighbours
from agent.mqtt_port import Announcer
from agent.outbox.file import OutboxFile
from agent.service_port import Service
from config.settings.broker import Broker
from config.tasks import end
from firmware_sim.free_port import free_ports
from protocol.units import Quantity
from tests.builders import METER, a_standing
from tests.integration.agent_world import HOST, Mosquitto, a_broker, eventually
from tests.integration.test_agent_run import a_world
from tests.unit.agent.builders import FakeClocks, a_profile, a_reading, a_settings

pytestmark = pytest.mark.mosquitto


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
        settings = {"home_assistant": {"broker": {"host": HOST, "port": free_ports()}}}
        async with a_world(tmp_path, broker, **settings) as world, world.aggregator():
            await world.seen(records_received=2)
            assert "no link to the house's broker" in world.home.log

    async def test_goodbye_is_said_before_the_link_is_ended(self, broker: Mosquitto) -> None:
        """A link that is ended in order has no last will, and ending it leaves no time for a last word."""
        house = HomeAssistant()
        settings = Broker(host=HOST, port=broker.port)
        announcer = Announcer(settings, identifier="gw-home", availability="este-home/x", words=(b"online", b"offline"))
        async with house.listening(broker.port):
            running = asyncio.create_task(announcer.run())
            await eventually(lambda: house.retained.get("este-home/x") == "online", "a link")
            await announcer.say_goodbye()
            await eventually(lambda: house.retained["este-home/x"] == "offline", "the farewell")
            assert not running.done()
            await end(running)

    async def test_row_1_a_restart_goes_on_from_the_energy_that_was_told(self, tmp_path: Path) -> None:
        house = {"broker": {"host": HOST, "port": free_ports()}, "every_ms": 1000}
        settings = a_settings(tmp_path / "agent.yaml", data=str(tmp_path), home_assistant=house)
        OutboxFile.open(settings.data, region=settings.region, gateway=settings.gateway).close()
        clocks, told = FakeClocks(), []
        for shown in ([1000, 1001], range(25_568_000, 25_568_020), [25_568_021]):
            run = neighbours.Neighbours(settings, {METER: a_profile()}, ADesk([]), clocks)
            running = asyncio.create_task(run.run())
            await eventually(lambda run=run: run._announcer, "the announcer")
            for value in shown:
                clocks.ms += 1000
                at, words = clocks.now_ms(), {Quantity.IMPORTED_WH: b""}
                values = {Quantity.IMPORTED_WH: value}
                await run.desk.hand(Read(a_reading(start_ms=at, end_ms=at, values=values, words=words)))
                told.append(run.desk.energy.told()[METER][Quantity.IMPORTED_WH])
            await end(running)
        assert told == sorted(told)
        assert 1001 < told[-1] < 1030


def all_there(shown: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    names = {"m-1: Power", "m-1: Energy imported"}
    is_complete = names <= shown.keys() and any(name.endswith(": Balance") for name in shown)
    return shown if is_complete and "unavailable" not in {value for value, _ in shown.values()} else {}


class TestPrometheus:
    """A scrape tells how the agent is."""

    async def test_a_scrape_is_read_by_prometheus_own_reader(self, tmp_path: Path, broker: Mosquitto) -> None:
        port = free_ports()
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
        port = free_ports()
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
        port = free_ports()
        async with a_world(tmp_path, broker, metrics={"port": port}) as world:
            await world.seen(readings_read=1)
            status, _ = await asked(port, f"{request_line}\r\n\r\n".encode())
            assert status.split()[1] in {"404", "405"}

    async def test_a_port_that_is_taken_is_told_and_hinders_nobody(self, tmp_path: Path, broker: Mosquitto) -> None:
        with socket.socket() as taken:
            taken.bind((HOST, 0))
            taken.listen()
            async with a_world(tmp_path, broker, metrics={"port": taken.getsockname()[1]}) as world, world.aggregator():
                await world.seen(records_received=2)
                assert "metrics: port: expected a free port" in (await world.home.status())["neighbours"]
                assert "metrics: port: expected a free port" in world.home.log

    async def test_a_port_that_is_free_again_is_served(
        self, tmp_path: Path, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(neighbours, "AGAIN_S", 0.05)
        heard: list[Event] = []
        with socket.socket() as taken:
            taken.bind((HOST, 0))
            taken.listen()
            port = taken.getsockname()[1]
            settings = a_settings(tmp_path / "agent.yaml", metrics={"port": port})
            told = neighbours.Neighbours(settings, {}, ADesk(heard), FakeClocks())
            running = asyncio.create_task(told.run())
            await eventually(lambda: bool(heard), "the trouble")
            assert isinstance(heard[0], Trouble)
            assert "Prometheus: metrics: port: expected a free port" in (heard[0].reason or "")
        await eventually(lambda: heard[-1] == Trouble("neighbours", None), "the end of the trouble")
        assert len(heard) == 2
        await end(running)


class ADesk:
    """A desk that keeps what it is handed."""

    is_paused = False

    def __init__(self, heard: list[Event]) -> None:
        self._heard = heard

    async def hand(self, event: Event) -> None:
        self._heard.append(event)

    def granted(self, device: DevicePlan) -> Grant:
        return FREE


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
