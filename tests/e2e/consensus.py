"""A region of four validators in child processes, without a broker: records go straight to CometBFT's mempool.

The village's grid, whose gateway is played by the test. Each node can be killed, cut off, wiped or started as a liar.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aggregator.engine.cometbft.process_port import find_program
from aggregator.engine.cometbft.rpc_port import Rpc, Sent
from aggregator.founding.network import found_network, names_of
from aggregator.founding.region import plan
from aggregator.service.audit import audit
from aggregator.service.query import LedgerFile
from aggregator.service.store import Store
from firmware_sim.free_port import free_ports
from protocol.batch import Batch, Clock, ClockState
from protocol.checkpoint import BlockHead
from protocol.crypto import SoftwareKey, digest_of
from protocol.envelope import seal
from protocol.errors import LinkError
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType
from protocol.units import Quantity
from tests.village import BOOT, REGION, a_grid_document, a_meter_block

PATIENCE_S = 240.0
"""Generous: a condition that has not come true by then never will."""

GATEWAY = "gw"
POWER_W = {"m-gas": -40_000, "m-grid": 0, "m-home": 30_000, "m-wind": -10_000}
EPOCH_BEFORE_MS = 60_000
"""The gateway booted a minute before the region was founded."""


@dataclass
class Gateway:
    """Signs batches of the village's meters as time goes by."""

    key: SoftwareKey
    epoch_ms: int
    sequence: int = 0
    previous: bytes = NO_RECORD
    energy_wh: int = 1_000_000
    sent: list[bytes] = field(default_factory=list)

    def batch(self) -> bytes:
        """The next batch: one reading of each meter, now."""
        now_ms = time.time_ns() // 1_000_000 - self.epoch_ms
        self.energy_wh += 1
        blocks = tuple(a_meter_block(meter, now_ms, self._rows(power), power) for meter, power in POWER_W.items())
        link = Link(REGION, GATEWAY, self.sequence + 1, self.previous)
        batch = Batch(link, BOOT, Clock(ClockState.SYNCHRONIZED, 5, "test", self.epoch_ms), blocks)
        data = seal(self.key, region=REGION, type_=MessageType.BATCH, payload=batch.encode())
        self.sequence, self.previous = self.sequence + 1, digest_of(data)
        self.sent.append(data)
        return data

    def _rows(self, power_w: int) -> dict[Quantity, list[int]]:
        rises = Quantity.IMPORTED_WH if power_w >= 0 else Quantity.EXPORTED_WH
        return {
            quantity: [self.energy_wh if quantity is rises else 1_000_000]
            for quantity in (Quantity.IMPORTED_WH, Quantity.EXPORTED_WH)
        }


@dataclass
class Consensus:
    """Four nodes, and the gateway that they hear."""

    folder: Path
    gateway: Gateway
    names: list[str]
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    lies: dict[str, list[str]] = field(default_factory=dict)
    """By node: what `tests.e2e.bad_node` is told to do instead of an honest one."""
    inside: dict[str, list[str]] = field(default_factory=dict)
    """By node: what its command begins with, for a network namespace."""
    hosts: dict[str, str] = field(default_factory=dict)
    """By node: where its RPC is reached, if not on loopback."""

    def home(self, name: str) -> Path:
        return self.folder / name

    def change(self, name: str, **settings: Any) -> None:
        """Change settings of a node's part about consensus."""
        file = self.home(name) / "aggregator.yaml"
        document = yaml.safe_load(file.read_text())
        document["cometbft"] |= settings
        file.write_text(yaml.safe_dump(document))

    def settings(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = yaml.safe_load((self.home(name) / "aggregator.yaml").read_text())
        return document

    def start(self, *names: str) -> None:
        for name in names or self.names:
            if name in self.processes:
                continue
            program = [sys.executable, "-c", "from aggregator.cli import main; main()"]
            if name in self.lies:
                program = [sys.executable, "-m", "tests.e2e.bad_node", *self.lies[name]]
            settings = f"--settings={self.home(name) / 'aggregator.yaml'}"
            command = [*self.inside.get(name, []), *program, "run", settings]
            with (self.home(name) / "log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )

    def kill(self, name: str) -> None:
        """Kill a node without a word of warning; its CometBFT dies with it."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self, *names: str) -> None:
        """Ask nodes to stop."""
        going = [self.processes.pop(name) for name in names or list(self.processes)]
        for process in going:
            process.send_signal(signal.SIGTERM)
        for process in going:
            assert process.wait(timeout=PATIENCE_S) == 0

    def died(self, name: str) -> bool:
        """Whether a node has ended by itself; it can be started again then."""
        if name in self.processes and self.processes[name].poll() is not None:
            del self.processes[name]
        return name not in self.processes

    def log(self, name: str) -> str:
        return (self.home(name) / "log").read_text()

    # -- What goes in

    def send(self, *to: str, batches: int = 1) -> None:
        """Let the gateway sign batches, and hand them to nodes."""
        for _ in range(batches):
            self.broadcast([self.gateway.batch()], *to)

    def broadcast(self, txs: Sequence[bytes], *to: str) -> list[Sent]:
        """Hand bytes to the mempools of nodes; of those that run, unless some are named."""
        sent: list[Sent] = []
        for name in to or list(self.processes):
            sent += asyncio.run(self._broadcast(name, txs))
        return sent

    def broadcast_blindly(self, txs: Sequence[bytes], name: str) -> None:
        """Hand bytes to a node's mempool without waiting for a word about them."""

        async def send() -> None:
            rpc = self.rpc(name)
            try:
                await rpc.broadcast(txs)
            finally:
                rpc.close()

        asyncio.run(send())

    def rpc(self, name: str) -> Rpc:
        """A node's CometBFT, for questions; close it."""
        return Rpc(self.settings(name)["cometbft"]["rpc_port"], host=self.hosts.get(name, "127.0.0.1"))

    async def _broadcast(self, name: str, txs: Sequence[bytes]) -> list[Sent]:
        rpc = self.rpc(name)
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    try:
                        return await rpc.broadcast_checked(txs)
                    except LinkError:
                        assert self.processes[name].poll() is None, f"{name} ended: {self.log(name)[-2000:]}"
                        await asyncio.sleep(0.2)  # it is starting
        finally:
            rpc.close()

    # -- What comes out

    def height(self, name: str) -> int:
        return len(self.heads(name))

    def decided(self, name: str) -> int:
        """How many blocks of consensus a node has lived through, those that changed nothing too."""
        with closing(Store.open_read_only(self.home(name) / "data")) as store:
            return store.engine_height()

    def intervals(self, name: str) -> int:
        """How many intervals a node's ledger has closed."""
        with closing(LedgerFile(self.home(name) / "data")) as ledger:
            return ledger.status().intervals_closed

    def with_an_account(self, name: str) -> list[str]:
        """Participants for whom tokens have moved."""
        with closing(LedgerFile(self.home(name) / "data")) as ledger:
            return sorted(ledger.five.payment.accounts)

    def heads(self, name: str) -> list[BlockHead]:
        """The heads of all blocks in a node's ledger file, oldest first."""
        with closing(Store.open_read_only(self.home(name) / "data")) as store:
            last = store.last_block()
            assert last is not None
            found = [store.block(height) for height in range(1, last.height + 1)]
        return [BlockHead.decode(block[0]) for block in found if block is not None]

    def received(self, name: str) -> int:
        """How many of the gateway's records are on a node's chain, each once and unrefused."""
        with closing(Store.open_read_only(self.home(name) / "data")) as store:
            entries = list(store.entries_of(GATEWAY))
        assert not any(entry.code for entry in entries)
        by_sequence = {entry.sequence: entry.envelope for entry in entries}
        assert len(by_sequence) == len(entries)
        assert all(by_sequence[number] == self.gateway.sent[number - 1] for number in by_sequence)
        return len(entries)

    def last_of_gateway(self, name: str) -> int:
        """The number of the gateway's last record on a node's chain, also where it begins with a snapshot."""
        with closing(LedgerFile(self.home(name) / "data")) as ledger:
            return ledger.five.ledger.last_record(GATEWAY).sequence

    def wait(self, what: str, is_true: Callable[[], bool]) -> None:
        """Wait for a condition while everybody who was started lives."""
        end = time.monotonic() + PATIENCE_S
        while not is_true():
            for name, process in self.processes.items():
                assert process.poll() is None, f"{name} ended: {self.log(name)[-2000:]}"
            assert time.monotonic() < end, f"never came true: {what}\n{self._last_words()}"
            time.sleep(0.1)

    def _last_words(self) -> str:
        """The end of every running node's log: what somebody needs who sees a test fail on a machine that is gone."""
        return "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.processes)

    def all_have_all(self, *names: str) -> None:
        """Wait until nodes have everything that the gateway sent, and see that they agree block for block."""
        everybody = names or tuple(self.processes)
        self.wait(
            f"{', '.join(everybody)} have {len(self.gateway.sent)} records",
            lambda: all(self.received(name) == len(self.gateway.sent) for name in everybody),
        )
        self.agree(*everybody)

    def agree(self, *names: str) -> None:
        """No two of these nodes have another head at one height."""
        by_height: dict[int, bytes] = {}
        for name in names or self.names:
            for head in self.heads(name):
                assert by_height.setdefault(head.height, head.digest) == head.digest, f"{name} differs"

    def audit(self, *names: str) -> None:
        """Every node's ledger follows from its records."""
        for name in names or self.names:
            with closing(Store.open_read_only(self.home(name) / "data")) as store, store.frozen():
                audit(store)


@contextmanager
def consensus(folder: Path, *, quick: bool = True) -> Iterator[Consensus]:
    """Four validators, founded and not yet started; whatever runs at the end is killed."""
    now_ms = time.time_ns() // 1_000_000
    (folder / "grid.yaml").write_text(yaml.safe_dump(a_grid_document()))
    key = SoftwareKey.generate()
    region = plan(
        folder / "grid.yaml",
        names=names_of(4),
        gateways={GATEWAY: key.public_key},
        profile_folders=(),
        broker=("127.0.0.1", free_ports()),
        time_ms=now_ms,
    )
    names = names_of(4)
    found_network(folder / "region", region, names, program=find_program(), first_port=free_ports(8))
    made = Consensus(folder / "region", Gateway(key, now_ms - EPOCH_BEFORE_MS), names)
    for name in names if quick else ():
        made.change(name, block_pause_ms=100, empty_every_ms=1000, propose_ms=1000)
    try:
        yield made
    finally:
        for process in made.processes.values():
            process.kill()
            process.wait()
