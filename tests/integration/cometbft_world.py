"""A network of real CometBFT nodes on loopback, each with a toy application, for tests that break some of it."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from aggregator.engine.cometbft.application import Application
from aggregator.engine.cometbft.home import (
    GenesisValidator,
    Identity,
    NetworkGenesis,
    NodeConfig,
    Pacing,
    Peer,
    StateSync,
    write_config,
    write_genesis,
)
from aggregator.engine.cometbft.process_port import Patience, Supervisor, find_program, make_keys
from aggregator.engine.cometbft.rpc_port import NodeStatus, Rpc
from aggregator.engine.cometbft.server_port import Server
from config.tasks import end
from firmware_sim.free_port import HOST, free_ports
from protocol.errors import LinkError
from tests.toy_chain import ToyChain

T = TypeVar("T")

BOUND_S = 300.0
"""A condition that has not come true by then never will, on any machine."""

BRISK = Pacing(propose_ms=2000, vote_ms=500, commit_ms=50)
"""For tests: a block follows a block at once."""


async def eventually(probe: Callable[[], T | Awaitable[T]], what: str) -> T:
    """Wait until `probe` says something true, and hand it back."""
    try:
        async with asyncio.timeout(BOUND_S):
            while True:
                told = probe()
                if isinstance(told, Awaitable):
                    told = await told
                if told:
                    return told  # type: ignore[return-value]
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{what} never came true") from None


@dataclass
class Node:
    """One CometBFT and its application."""

    name: str
    folder: Path
    identity: Identity
    config: NodeConfig
    supervisor: Supervisor
    rpc: Rpc
    application: ToyChain = field(default_factory=ToyChain)
    server: Server | None = None
    _running: AsyncExitStack | None = None

    @property
    def is_running(self) -> bool:
        return self._running is not None

    @property
    def peer(self) -> Peer:
        return Peer(self.identity.node_id, HOST, self.config.p2p_port)

    async def start(self, application: ToyChain | None = None) -> None:
        """Start the application and CometBFT."""
        self.application = application or ToyChain(self.folder / "words.json")
        self._running = AsyncExitStack()
        self.server = await self._running.enter_async_context(serving(self.application, self.config.app_socket))
        task = asyncio.create_task(self.supervisor.run())
        self._running.push_async_callback(end, task)

    async def stop(self) -> None:
        """Stop CometBFT, then the application."""
        if self._running is not None:
            running, self._running = self._running, None
            await running.aclose()

    async def status(self) -> NodeStatus | None:
        """How far it is; None while it does not answer."""
        try:
            return await self.rpc.status()
        except LinkError:
            return None

    async def answers(self) -> NodeStatus:
        """Wait until it does."""
        return await eventually(self.status, f"{self.name} answers")

    async def sends(self, *txs: bytes) -> None:
        """Hand transactions over."""
        await self.answers()
        sent = await self.rpc.broadcast_checked(txs)
        assert all(one.is_taken for one in sent), sent

    async def knows(self, key: str, value: str) -> None:
        """Wait until the application has committed a word."""
        await eventually(lambda: self.application.words.get(key) == value, f"{self.name} knows that {key} is {value}")

    def tell(self, **changes: object) -> None:
        """Write its settings anew."""
        self.config = replace(self.config, **changes)  # type: ignore[arg-type]
        write_config(self.folder, self.config)


@asynccontextmanager
async def serving(application: Application, path: Path) -> AsyncIterator[Server]:
    """An application on its socket, with threads of its own."""
    with ThreadPoolExecutor(1) as ledger, ThreadPoolExecutor(2) as pool:
        async with Server(application, path, ledger=ledger, pool=pool) as server:
            yield server


async def host(folder: Path) -> None:
    """Be a node whose folder is ready, until killed."""
    async with serving(ToyChain(folder / "words.json"), folder / "app.sock"):
        await Supervisor(find_program(), folder, log_file=folder / "cometbft.log").run()


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="este-") as folder:
        yield Path(folder)


@dataclass
class Network:
    """Nodes that know one another."""

    folder: Path
    nodes: list[Node]
    genesis: NetworkGenesis

    def make(self, name: str) -> Node:
        """Another node, which dials those that are there."""
        node = make_node(self.folder / name, name)
        self.nodes.append(node)
        write_genesis(node.folder, self.genesis)
        node.tell(peers=tuple(other.peer for other in self.nodes if other is not node))
        return node

    async def all_know(self, key: str, value: str) -> None:
        """Wait until every node that runs has committed a word."""
        for node in self.nodes:
            if node.is_running:
                await node.knows(key, value)


def make_node(folder: Path, name: str) -> Node:
    """A node with keys and ports, and without peers."""
    program, ports = find_program(), free_ports(2)
    identity = make_keys(program, folder)
    config = NodeConfig(
        name=name,
        app_socket=folder / "app.sock",
        rpc_port=ports,
        p2p_host=HOST,
        p2p_port=ports + 1,
        is_on_one_machine=True,
        pacing=BRISK,
    )
    patience = Patience(restart_min_s=0.1, restart_max_s=1.0)
    supervisor = Supervisor(program, folder, log_file=folder / "cometbft.log", patience=patience)
    return Node(name, folder, identity, config, supervisor, Rpc(ports, timeout_s=BOUND_S))


@asynccontextmanager
async def network(folder: Path, validators: int, *, pacing: Pacing = BRISK) -> AsyncIterator[Network]:
    """Validators that all know one another; nothing runs yet. In the end, nothing does."""
    nodes = [make_node(folder / f"n{number}", f"n{number}") for number in range(validators)]
    genesis = NetworkGenesis(
        chain_id="dorf",
        time_ms=time.time_ns() // 1_000_000,
        validators=tuple(GenesisValidator(node.name, node.identity.validator_key, 10) for node in nodes),
        app_state={"begin": "1"},
    )
    net = Network(folder, nodes, genesis)
    for node in nodes:
        write_genesis(node.folder, genesis)
        node.tell(peers=tuple(other.peer for other in nodes if other is not node), pacing=pacing)
    try:
        yield net
    finally:
        for node in net.nodes:
            await node.stop()
            node.rpc.close()


async def trust(node: Node, others: tuple[Node, ...]) -> StateSync:
    """What a newcomer is told by somebody it trusts: a header's hash, and whom to ask."""
    height = (await node.answers()).height
    commit = await node.rpc.commit(height)
    return StateSync(
        rpc_servers=tuple(f"{HOST}:{other.config.rpc_port}" for other in others),
        trust_height=height,
        trust_hash=commit["commit"]["block_id"]["hash"],
        discovery_s=5,
    )
