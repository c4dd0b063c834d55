"""Four validators on this machine, and a load for them: whatever application they run, nothing here knows of it.

Transactions go to one node's CometBFT, and one is committed when that node's application says that it is: what a
gateway's receipt waits for. All processes end with this one, however it ends.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aggregator.engine.cometbft.process_port import find_program
from aggregator.engine.cometbft.rpc_port import Rpc
from aggregator.founding.network import found_network, names_of
from aggregator.founding.region import Plan
from benchmarks.agent import cpu_seconds_of
from config.load import load
from config.settings.aggregator import AggregatorSettings, CometBft
from config.tasks import end
from firmware_sim.demo.children import start
from firmware_sim.free_port import HOST, free_ports

VALIDATORS: Final = 4
LOOK_EVERY_S: Final = 0.01
CHUNKS_PER_SECOND: Final = 20
"""Transactions are handed over so often: fewer, larger calls, as a node's own runner makes them."""
PATIENCE_S: Final = 60
"""What has not happened by then never will."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of one load."""

    waited_ms: Sequence[float]
    """Of each transaction, from when it was to be published until it was committed."""
    blocks: int
    span_s: float
    """From the first publication until the last commit."""
    cpu_s: float
    """Of all processes of all four."""

    @property
    def per_second(self) -> float:
        """Transactions committed a second."""
        return len(self.waited_ms) / self.span_s


Command = Callable[[Path, AggregatorSettings, CometBft], list[str]]
"""How a node is started, by its settings file and what it says."""


@asynccontextmanager
async def four_nodes(folder: Path, region: Plan, command: Command) -> AsyncIterator[FourNodes]:
    """Found a network, start its nodes, and wait until they agree on blocks. In the end, nothing runs."""
    names = names_of(VALIDATORS)
    found_network(folder, region, names, program=find_program(), first_port=free_ports(2 * VALIDATORS))
    async with AsyncExitStack() as stack:
        sessions, ports = set(), []
        for name in names:
            file = folder / name / "aggregator.yaml"
            settings = load(file, AggregatorSettings)
            assert settings.cometbft is not None, "one of several"
            child = await start(name, command(file, settings, settings.cometbft), folder)
            stack.push_async_callback(child.stop, patience_s=20)
            sessions.add(child.process.pid)
            ports.append(settings.cometbft.rpc_port)
        nodes = FourNodes(ports[0], sessions)
        stack.callback(nodes.close)
        watching = asyncio.create_task(nodes.watch())
        stack.push_async_callback(end, watching)
        await nodes.reach(2)
        yield nodes


@dataclass
class FourNodes:
    """A network that runs, seen from one of its nodes."""

    port: int
    sessions: set[int]
    """By the first process of each node."""
    committed_s: list[float] = field(default_factory=list)
    """When each height was, on the monotonic clock, from the first height on."""
    _rpc: Rpc = field(init=False)
    _grown: asyncio.Event = field(default_factory=asyncio.Event)
    _read: int = 0
    """Height of the last block that was looked into."""

    def __post_init__(self) -> None:
        self._rpc = Rpc(self.port, timeout_s=PATIENCE_S)

    def close(self) -> None:
        """Ask nothing more."""
        self._rpc.close()

    async def watch(self) -> None:
        """Note when each height is committed, for ever."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=PATIENCE_S)
        with closing(connection):
            while True:
                height = await asyncio.to_thread(_height_of_application, connection)
                if height > len(self.committed_s):
                    self.committed_s += [time.monotonic()] * (height - len(self.committed_s))
                    self._grown.set()
                    self._grown = asyncio.Event()
                await asyncio.sleep(LOOK_EVERY_S)

    async def reach(self, height: int) -> None:
        """Wait until so many blocks have been committed.

        Raises:
            TimeoutError: they never will.
        """
        async with asyncio.timeout(PATIENCE_S):
            while len(self.committed_s) < height:
                await self._grown.wait()

    async def load(self, txs: Sequence[bytes], per_second: int | None) -> Loaded:
        """Publish transactions evenly, or as fast as they are taken, and wait until all are committed.

        Raises:
            TimeoutError: some never were.
        """
        self._read, cpu_s = len(self.committed_s), self._cpu_s()
        publishing = asyncio.create_task(self._publish(txs, per_second))
        waiting, heights = set(txs), dict[bytes, int]()
        async with asyncio.timeout(PATIENCE_S):
            while waiting:
                await self.reach(self._read + 1)
                found = await self._next_block() & waiting
                heights |= dict.fromkeys(found, self._read)
                waiting -= found
        published_s = await publishing
        done_s = {tx: self.committed_s[height - 1] for tx, height in heights.items()}
        return Loaded(
            waited_ms=[1000 * (done_s[tx] - at_s) for tx, at_s in published_s.items()],
            blocks=len(set(heights.values())),
            span_s=max(done_s.values()) - min(published_s.values()),
            cpu_s=self._cpu_s() - cpu_s,
        )

    async def _publish(self, txs: Sequence[bytes], per_second: int | None) -> Mapping[bytes, float]:
        """When each was to be published; one that is late because the node takes none has waited since then."""
        begin_s, published_s = time.monotonic(), dict[bytes, float]()
        size = len(txs) if per_second is None else per_second // CHUNKS_PER_SECOND
        for first in range(0, len(txs), size):
            at_s = begin_s + (0 if per_second is None else first / per_second)
            await asyncio.sleep(at_s - time.monotonic())
            chunk = txs[first : first + size]
            published_s |= dict.fromkeys(chunk, at_s)
            await self._rpc.broadcast(chunk)
        return published_s

    async def _next_block(self) -> set[bytes]:
        self._read += 1
        block = await self._rpc.block(self._read)
        return set(map(base64.b64decode, block["data"]["txs"]))

    def _cpu_s(self) -> float:
        """CPU seconds of all processes of all nodes so far."""
        return sum(map(cpu_seconds_of, filter(self._is_ours, _pids())))

    def _is_ours(self, pid: int) -> bool:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(after_name[3]) in self.sessions


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _height_of_application(connection: http.client.HTTPConnection) -> int:
    """How far a node's application has come, as it says itself; 0 while it does not answer."""
    try:
        connection.request("GET", "/abci_info")
        told = json.loads(connection.getresponse().read())
        return int(told["result"]["response"].get("last_block_height", 0))
    except (OSError, http.client.HTTPException, ValueError, LookupError):
        connection.close()
        return 0
