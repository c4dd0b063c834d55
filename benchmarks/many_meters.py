"""One agent that reads 1,000 simulated meters once a second, beside plain pymodbus clients that only read them.

The agent does all that it does: plan, read, judge, keep on disk, batch, sign, publish. No aggregator answers here, so
records are sent again and again, and stay in the outbox: more work than on a good day. The plain clients send the
same number of requests and throw the answers away.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml
from pymodbus.client import AsyncModbusTcpClient

from agent.bus.metering import plan_for
from benchmarks import plain
from benchmarks.agent import cpu_seconds_of
from benchmarks.figure import Figure
from config.key_files import create, write_new
from config.load import load_profiles
from config.settings.agent import AgentSettings
from config.settings.broker import Broker
from config.settings.bus import Bus
from config.settings.fleet import FleetSettings
from firmware_sim.demo.children import Child, output_of, program, start
from firmware_sim.free_port import free_ports
from firmware_sim.scenario import REGION, Scenario, compose
from protocol.units import Quantity

METERS: Final = 1000
WARM_UP_S: Final = 30
WATCHED_S: Final = 60
PLAIN_S: Final = 15
SERVED_MAX_S: Final = 60
PORTS: Final = METERS // 50
"""More than the fleet's buses, each of which is a port; they follow each other."""
GATEWAY: Final = "gw-1"


def measure() -> Iterator[Figure]:
    """Run both, one after the other, against the same fleet."""
    with tempfile.TemporaryDirectory() as folder:
        rate, core, plain_rate, plain_core = asyncio.run(_watch(Path(folder)))
    note = f"plain pymodbus: {plain_rate:.0f} readings/s for {100 * plain_core:.0f} % of a core, and nothing kept"
    yield Figure(f"agent, {METERS} meters at 1 s: readings a second", rate, 0.99 * METERS, "/s", at_least=True)
    yield Figure(f"agent, {METERS} meters at 1 s: share of a core", 100 * core, 100, "%", note=note)


async def _watch(folder: Path) -> tuple[float, float, float, float]:
    fleet = FleetSettings(meters=METERS, first_port=free_ports(PORTS))
    scenario = compose(fleet)
    broker_port = free_ports()
    settings_file = write_settings(folder, _buses(scenario, fleet), broker_port)
    commands = {
        "broker": [sys.executable, "-m", "firmware_sim.demo.broker_port", str(broker_port)],
        "fleet": [program("este-fleet"), "run", f"--meters={METERS}", f"--first-port={fleet.first_port}"],
    }
    children: list[Child] = []
    try:
        for name, command in commands.items():
            children.append(await start(name, command, folder))
        await _until_served(_buses(scenario, fleet))
        plain_rate, plain_core = await _plainly(_buses(scenario, fleet))
        children.append(await start("agent", [program("este-agent"), "run", f"--settings={settings_file}"], folder))
        rate, core = await _agent_at_work(children[-1].process.pid, settings_file)
        return rate, core, plain_rate, plain_core
    finally:
        for child in reversed(children):
            await child.stop(patience_s=30)


async def _until_served(buses: tuple[Bus, ...]) -> None:
    """Wait for every bus of the fleet: how long a thousand meters take to come depends on the machine."""
    async with asyncio.timeout(SERVED_MAX_S):
        for bus in buses:
            while True:
                try:
                    _, writer = await asyncio.open_connection(bus.host, bus.port)
                except OSError:
                    await asyncio.sleep(0.1)
                else:
                    writer.close()
                    break


async def _agent_at_work(pid: int, settings_file: Path) -> tuple[float, float]:
    """Readings a second, and CPU seconds a second."""
    await asyncio.sleep(WARM_UP_S)
    before, begin_s, cpu_s = await readings_of(settings_file), time.monotonic(), cpu_seconds_of(pid)
    await asyncio.sleep(WATCHED_S)
    after, span_s = await readings_of(settings_file), time.monotonic() - begin_s
    return (after - before) / span_s, (cpu_seconds_of(pid) - cpu_s) / span_s


async def readings_of(settings_file: Path) -> int:
    """How many readings an agent has kept so far."""
    told = await output_of([program("este-agent"), "status", f"--settings={settings_file}", "--json"])
    return int(json.loads(told)["readings_read"])


async def _plainly(buses: tuple[Bus, ...]) -> tuple[float, float]:
    """What a script does: a client per bus that reads one meter after another, once a second."""
    profiles = load_profiles()
    answered = 0

    async def read(bus: Bus) -> None:
        nonlocal answered
        assert bus.host is not None, "the fleet serves Modbus TCP"
        client = AsyncModbusTcpClient(bus.host, port=bus.port)
        await client.connect()
        plans = [plan_for(meter, profiles, (Quantity.ACTIVE_POWER_W,)) for meter in bus.meters]
        next_s = time.monotonic()
        while next_s < end_s:
            for plan in plans:
                for request in plan.requests:
                    await plain.ask(client, plan, request)
                answered += 1
            next_s += 1.0
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))
        client.close()

    begin_s, cpu_s = time.monotonic(), time.process_time()
    end_s = begin_s + PLAIN_S
    await asyncio.gather(*map(read, buses))
    span_s = time.monotonic() - begin_s
    return answered / span_s, (time.process_time() - cpu_s) / span_s


def _buses(scenario: Scenario, fleet: FleetSettings) -> tuple[Bus, ...]:
    return tuple(bus for gateway in scenario.gateways for bus in scenario.buses(gateway, fleet))


def write_settings(folder: Path, buses: tuple[Bus, ...], broker_port: int) -> Path:
    """The settings and keys of an agent that nobody knows, and where they are."""
    create(folder / "gateway.key")
    write_new(folder / "aggregator.pub.pem", create(folder / "aggregator.key").public_key.to_pem().encode())
    settings = AgentSettings(
        region=REGION,
        gateway=GATEWAY,
        data=Path("data"),
        key_file=Path("gateway.key"),
        aggregator_key_file=Path("aggregator.pub.pem"),
        broker=Broker(host="127.0.0.1", port=broker_port),
        buses=buses,
    )
    path = folder / "agent.yaml"
    write_new(path, yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True)).encode())
    return path
