"""Thirty-two meters behind one Modbus TCP server, read once a second: by este-agent, and by what else one would take.

All against the same fleet, one after another: first with every meter alive, then with ten of them dead. The agent does
all that it does (judge, keep on disk, batch, sign, publish); the peers throw their answers away. What is compared is
CPU time, which other programs on the machine hardly change, and how often a healthy meter is read.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from agent.bus.metering import MeterPlan, plan_for
from benchmarks.agent import cpu_seconds_of, peak_rss_mb
from benchmarks.dead_meters import DEAD, METERS, a_fleet, tell
from benchmarks.figure import Figure
from benchmarks.loops import PEERS, Cost, Job, Question
from benchmarks.many_meters import readings_of, write_settings
from config.load import load_profiles
from config.settings.bus import Bus, MeterAddress
from config.settings.fleet import FleetSettings, Transport
from firmware_sim.demo.children import Child, program, start
from firmware_sim.free_port import free_ports
from protocol.units import Quantity

WANTED: Final = (Quantity.ACTIVE_POWER_W, Quantity.REACTIVE_POWER_VAR, Quantity.VOLTAGE_L1_MV)
"""And the energy registers: what an agent reads by default."""

WATCHED_S: Final = 8
"""A loop ends the cycle that it began, however long it waits for the dead."""
AGENT_S: Final = 15
WARM_UP_S: Final = 10
AGENT: Final = "este-agent"

CYCLE_RATIO_MAX: Final = 0.75
"""How near the agent's own cycle comes to the one without the dead, `benchmarks.dead_meters` measures."""

CPU_RATIOS_MAX: Final[Mapping[str, float]] = {
    "libmodbus": 30,
    "pymodbus": 10,
    "mbpoll, its loop": 5,
    "mbpoll -1 a value": 0.2,
}
"""Libraries that move bytes and do nothing else are no match: the agent also judges, keeps, signs and publishes, which
for so few meters is most of its work. What starts a process for each value has to be beaten."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to read them, with all alive and with some dead."""

    alive: Cost
    beside_dead: Cost

    @property
    def cpu_ms(self) -> float:
        """CPU time of a thousand readings, in milliseconds."""
        return 1e6 * self.alive.cpu_s / self.alive.readings

    @property
    def cycles_s(self) -> tuple[float, float]:
        """Mean time from one reading of a healthy meter to its next, in seconds."""
        alive, beside = (cost.readings / cost.span_s for cost in (self.alive, self.beside_dead))
        return METERS / alive, (METERS - DEAD) / beside

    def __str__(self) -> str:
        alone_s, beside_s = self.cycles_s
        rate = self.alive.readings / self.alive.span_s
        memory = "a process for each," if self.alive.rss_mb is None else f"{self.alive.rss_mb:11.1f} MB RSS,"
        return (
            f"{rate:5.1f} readings/s, {self.cpu_ms:6.0f} ms CPU for 1,000, {memory}"
            f" {self.alive.requests:3d} requests; healthy cycle {alone_s:.2f} s, {beside_s:.2f} s beside the dead"
        )


def measure() -> Iterator[Figure]:
    """All of them in one run; those that are not installed are left out."""
    every = plan_for(MeterAddress(id="all", unit=1, profile="eastron_sdm630_full"), load_profiles(), list(Quantity))
    note = f"{len(every.quantities)} with one request a value"
    yield Figure("SDM630, all its values: requests in a cycle", len(every.requests), 3, "", note=note)
    found = asyncio.run(_measure())
    agent, others = found[AGENT], {name: cost for name, cost in found.items() if name != AGENT}
    best_s = min(peer.cycles_s[1] for peer in others.values())
    table = "\n    ".join(f"{name:<18} {measured}" for name, measured in found.items())
    what = f"{DEAD} of {METERS} dead: cycle of the healthy, in the best peer's"
    yield Figure(what, agent.cycles_s[1] / best_s, CYCLE_RATIO_MAX, "×", note=table)
    for name, peer in others.items():
        alone_s, beside_s = peer.cycles_s
        requests = f"requests {agent.alive.requests / peer.alive.requests:.2f} × of its"
        note = f"{requests}; beside the dead its healthy cycle is {beside_s / alone_s:.1f} ×"
        ratio = agent.cpu_ms / peer.cpu_ms
        yield Figure(f"agent, CPU for a reading, in those of {name}", ratio, CPU_RATIOS_MAX[name], "×", note=note)


async def _measure() -> Mapping[str, Measured]:
    async with a_fleet(Transport.TCP) as (settings, bus):
        profiles = load_profiles()
        meters = [plan_for(address, profiles, WANTED) for address in bus.meters]
        dead = meters[-DEAD:]
        costs: dict[str, list[Cost]] = {name: [] for name in (AGENT, *filter(_is_here, PEERS))}
        with tempfile.TemporaryDirectory() as folder:
            await _agent(Path(folder), bus, meters, settings, costs[AGENT])
        for fault in ("none", "dead"):
            await tell(settings, dead, fault)
            for name in filter(_is_here, PEERS):
                costs[name].append(await _peer(name, _job(bus, meters)))
    return {name: Measured(*both) for name, both in costs.items()}


def _is_here(name: str) -> bool:
    """Whether a peer is installed: Debian's mbpoll brings libmodbus."""
    return name == "pymodbus" or shutil.which("mbpoll") is not None


async def _agent(
    folder: Path, bus: Bus, meters: Sequence[MeterPlan], settings: FleetSettings, costs: list[Cost]
) -> None:
    """A real agent with a broker, and no aggregator: what it signs is sent again and again."""
    broker_port = free_ports()
    file = write_settings(folder, (bus,), broker_port)
    commands = {
        "broker": [sys.executable, "-m", "firmware_sim.demo.broker_port", str(broker_port)],
        "agent": [program("este-agent"), "run", f"--settings={file}"],
    }
    children: list[Child] = []
    try:
        for name, command in commands.items():
            children.append(await start(name, command, folder))
            await asyncio.sleep(2)
        pid = children[-1].process.pid
        requests = sum(len(meter.requests) for meter in meters)
        for fault in ("none", "dead"):
            await tell(settings, meters[-DEAD:], fault)
            await asyncio.sleep(WARM_UP_S)
            before, begin_s, cpu_s = await readings_of(file), time.monotonic(), cpu_seconds_of(pid)
            await asyncio.sleep(AGENT_S)
            readings, span_s = await readings_of(file) - before, time.monotonic() - begin_s
            costs.append(Cost(readings, span_s, cpu_seconds_of(pid) - cpu_s, peak_rss_mb(pid), requests))
    finally:
        for child in reversed(children):
            await child.stop(patience_s=20)


async def _peer(name: str, job: Job) -> Cost:
    """Run one loop in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.loops", name]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate(json.dumps(asdict(job)).encode())
    return Cost(**json.loads(told))


def _job(bus: Bus, meters: Sequence[MeterPlan]) -> Job:
    assert bus.host is not None, "only over TCP"
    return Job(
        host=bus.host,
        port=bus.port,
        seconds=WATCHED_S,
        blocks=[
            [Question(meter.unit, request.table.value, request.address, request.words) for request in meter.requests]
            for meter in meters
        ],
        values=[list(_values(meter)) for meter in meters],
    )


def _values(meter: MeterPlan) -> Iterator[Question]:
    for register in meter.profile.registers:
        if register.id in meter.quantities:
            yield Question(meter.unit, meter.profile.table.value, register.address, register.type.words)
