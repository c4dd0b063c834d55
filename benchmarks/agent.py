"""A real agent reading 32 simulated meters over Modbus TCP once a second, publishing to a broker, with an aggregator
that answers: what it costs, as Linux counts it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import yaml

from benchmarks.figure import Figure
from config.settings.broker import Broker
from firmware_sim.demo.children import Child, program, start
from firmware_sim.demo.stage import Stage, build
from firmware_sim.free_port import free_ports

METERS: Final = 32
WARM_UP_S: Final = 20
DAY_S: Final = 86_400
WRITTEN_GB_MAX: Final = 5
"""The budget of a memory card: at this rate one that endures 20 TB lasts eleven years."""
WATCHED_S: Final = 60
"""Long enough for a batch of the default age to be closed, signed, sent and answered."""


def measure() -> Iterator[Figure]:
    """Run the region for a while and look at the agent's process."""
    with tempfile.TemporaryDirectory() as folder:
        rss_mb, core, written_gb = asyncio.run(_watch(Path(folder) / "region"))
    yield Figure(f"agent, {METERS} meters at 1 s: resident memory", rss_mb, 60, "MB")
    yield Figure(f"agent, {METERS} meters at 1 s: share of a core", 100 * core, 10, "%")
    note = f"{365 * written_gb / 1000:.1f} TB a year; what the card itself rewrites comes on top"
    yield Figure(f"agent, {METERS} meters at 1 s: written to disk a day", written_gb, WRITTEN_GB_MAX, "GB", note=note)


async def _watch(folder: Path) -> tuple[float, float, float]:
    """Peak resident memory in megabytes, CPU seconds per second, and gigabytes written a day."""
    stage = await build(folder, meters=METERS, seed=1, broker=Broker(host="127.0.0.1", port=free_ports()))
    (gateway,) = stage.scenario.gateways
    _set_default_pace(stage.agent_settings(gateway))
    children: list[Child] = []
    try:
        for name, command in _commands(stage, gateway).items():
            children.append(await start(name, command, stage.logs))
            await asyncio.sleep(1)
        agent = children[-1].process.pid
        await asyncio.sleep(WARM_UP_S)
        before_s, before_bytes = cpu_seconds_of(agent), _written_bytes(agent)
        await asyncio.sleep(WATCHED_S)
        written_gb = (_written_bytes(agent) - before_bytes) * DAY_S / WATCHED_S / 1e9
        return peak_rss_mb(agent), (cpu_seconds_of(agent) - before_s) / WATCHED_S, written_gb
    finally:
        for child in reversed(children):
            await child.stop(patience_s=20)


def _commands(stage: Stage, gateway: str) -> dict[str, list[str]]:
    return {
        "broker": [sys.executable, "-m", "firmware_sim.demo.broker_port", str(stage.broker.port)],
        "fleet": [program("este-fleet"), "run", f"--settings={stage.fleet_settings}"],
        "aggregator": [program("este-aggregator"), "run", f"--settings={stage.aggregator_settings}"],
        gateway: [program("este-agent"), "run", f"--settings={stage.agent_settings(gateway)}"],
    }


def _set_default_pace(settings_file: Path) -> None:
    """The demo hurries; here the agent runs as it does by default."""
    settings = yaml.safe_load(settings_file.read_text())
    for hurried in ("poll_every_ms", "batch", "resend_after_ms", "statement_age_max_ms"):
        del settings[hurried]
    settings_file.write_text(yaml.safe_dump(settings))


def peak_rss_mb(pid: int) -> float:
    """Peak resident set size, in megabytes of 1,000,000 bytes."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmHWM"].split()[0]) * 1024 / 1e6


def _written_bytes(pid: int) -> int:
    """Bytes handed to write(2) and its kin so far (proc(5), ``wchar``): files, since sockets are sent to."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["wchar"])


def cpu_seconds_of(pid: int) -> float:
    """User and system time so far (proc(5), fields 14 and 15)."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
