"""Runs a node among several: the pair of CometBFT and its application, and the broker beside them.

    broker → ingest (threads) → CometBFT's mempool → consensus → replica (one ledger thread) → broker

CometBFT ends itself when its application goes away, and is started again. A full disk ends the pair, loudly, until
there is room: nothing was committed that was not kept, so the block comes again. Reads the clock and owns tasks and
threads, as `runner` does for a node that is alone.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, TypeVar

import structlog

from aggregator.engine.cometbft.home import NodeConfig, Pacing, Peer, StateSync, write_config
from aggregator.engine.cometbft.process_port import Supervisor, find_program
from aggregator.engine.cometbft.rpc_port import Rpc
from aggregator.engine.cometbft.server_port import Server
from aggregator.ledger.record import Record
from aggregator.service.consensus.replica import Replica
from aggregator.service.consensus.sealing import Sealing
from aggregator.service.consensus.snapshots import Snapshots
from aggregator.service.door import Door
from aggregator.service.ingest import Ingest
from aggregator.service.keeper import Keeper, restore
from aggregator.service.log import configure, tell_loop_errors
from aggregator.service.mqtt_port import BrokerPort, Incoming
from aggregator.service.notify import Outgoing
from aggregator.service.post_desk import PostDesk
from aggregator.service.store import Store
from aggregator.service.stored import StoreError
from config.key_files import load
from config.settings.aggregator import AggregatorSettings, CometBft
from config.tasks import end, wait_for_any
from protocol.errors import LinkError, OperatorError

T = TypeVar("T")

DISK_PAUSE_S: Final = 5.0
IDLE_S: Final = 1.0
SOCKET_NAME: Final = "app.sock"
LOG_NAME: Final = "cometbft.log"
TOLD_MAX: Final = 100_000
LINK_PAUSE_S: Final = 1.0

log = structlog.get_logger("este.node")


def run(settings: AggregatorSettings, cometbft: CometBft) -> None:
    """Run a node among several until SIGTERM or SIGINT.

    Raises:
        EsteError: it cannot start; the operator can mend it.
    """
    configure(settings.log_level)
    program = find_program(cometbft.program)
    key = load(settings.key_file)
    broker = BrokerPort(settings.broker, settings.region, settings.name)
    store = Store.open(settings.data)
    try:
        keeper = Keeper(restore(store, settings.data), store, settings.name, key)
        region = keeper.five.ledger.region
        if region != settings.region:
            raise OperatorError(settings.data, "region", f"the ledger of {settings.region}", f"the one of {region}")
        write_config(cometbft.home, config_of(settings, cometbft))
        supervisor = Supervisor(program, cometbft.home, log_file=cometbft.home / LOG_NAME)
        asyncio.run(_Runner(settings, cometbft, keeper, broker, supervisor).run())
    finally:
        store.close()


def config_of(settings: AggregatorSettings, cometbft: CometBft) -> NodeConfig:
    """What CometBFT is told of a node's settings."""
    sync = cometbft.sync
    return NodeConfig(
        name=settings.name,
        app_socket=cometbft.home.absolute() / SOCKET_NAME,
        rpc_host=cometbft.rpc_host,
        rpc_port=cometbft.rpc_port,
        p2p_host=cometbft.p2p_host,
        p2p_port=cometbft.p2p_port,
        external_address=cometbft.external_address,
        peers=tuple(map(Peer.parse, cometbft.peers)),
        is_on_one_machine=cometbft.is_on_one_machine,
        pacing=Pacing(
            propose_ms=cometbft.propose_ms, commit_ms=cometbft.block_pause_ms, empty_every_ms=cometbft.empty_every_ms
        ),
        txs_max=settings.pending_max,
        sync=None
        if sync is None
        else StateSync(
            rpc_servers=sync.rpc_servers, trust_height=sync.trust_height, trust_hash=sync.trust_hash.upper()
        ),
    )  # fmt: skip


class _Runner:
    """One node among several, its broker, and the tasks between them."""

    def __init__(
        self,
        settings: AggregatorSettings,
        cometbft: CometBft,
        keeper: Keeper,
        broker: BrokerPort,
        supervisor: Supervisor,
    ) -> None:
        self._cometbft = cometbft
        self._keeper = keeper
        self._broker = broker
        self._supervisor = supervisor
        self._door = Door(keeper)
        self._ledger_thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._pool = ThreadPoolExecutor(settings.verify_threads, thread_name_prefix="check")
        self._told: asyncio.Queue[list[Outgoing]] = asyncio.Queue(TOLD_MAX)
        self._stop = asyncio.Event()
        self._replica = Replica(
            keeper,
            now_ms=_now_ms,
            entries_max=settings.blocks.entries_max,
            blocks_kept=cometbft.blocks_kept,
            tell=self._tell,
            snapshots=Snapshots(settings.data / "snapshots", cometbft.snapshot_every, _monotonic_ms),
            waiting_max=settings.pending_max,
        )
        self._ingest = Ingest(self._replica.open, settings.verify_threads, settings.pending_max)
        self._desk = PostDesk(self._ingest.receive, self._pass_on, broker.publish)

    async def run(self) -> None:
        """Run until told to stop."""
        self._loop = asyncio.get_running_loop()
        tell_loop_errors(self._loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop.set)
        log.info("running", height=self._keeper.five.ledger.height, consensus="cometbft")
        rpc = Rpc.where_it_listens(self._cometbft.rpc_host, self._cometbft.rpc_port)
        sealing = Sealing(self._replica, self._keeper.store, rpc, self._in_ledger_thread)
        tasks = [
            asyncio.create_task(self._broker.run(self._on_link, self._desk.receive)),
            asyncio.create_task(self._desk.run()),
            asyncio.create_task(self._take_in(rpc)),
            asyncio.create_task(self._say()),
            asyncio.create_task(self._sum_up()),
            asyncio.create_task(sealing.run()),
            asyncio.create_task(self._keep_pair()),
        ]
        try:
            await wait_for_any([self._stop], tasks=tasks)
        finally:
            await end(*reversed(tasks))
            rpc.close()
            self._ingest.close()
            self._ledger_thread.shutdown(wait=True)
            self._pool.shutdown(wait=True)
        self._door.shut(_now_ms())
        log.info("stopped", height=self._keeper.five.ledger.height)

    async def _keep_pair(self) -> None:
        """Keep CometBFT and its application together; after a full disk, both begin again."""
        while True:
            try:
                async with AsyncExitStack() as pair:
                    path = self._cometbft.home.absolute() / SOCKET_NAME
                    server = Server(self._replica, path, ledger=self._ledger_thread, pool=self._pool)
                    await pair.enter_async_context(server)
                    running = asyncio.create_task(self._supervisor.run())
                    pair.push_async_callback(end, running)
                    broken = asyncio.create_task(server.broken())
                    pair.push_async_callback(end, broken)
                    await wait_for_any([], tasks=[running, broken])
            except StoreError as error:
                log.error("nothing can be stored; the other nodes go on, gateways keep their readings", why=str(error))
                await asyncio.sleep(DISK_PAUSE_S)

    async def _on_link(self) -> None:
        await self._broker.publish(await self._in_ledger_thread(self._keeper.last_statements))

    async def _take_in(self, rpc: Rpc) -> None:
        """Pass on what was verified and may fit; answer what was refused at the door."""
        while True:
            opened = await self._ingest.next_chunk()
            fit = list[bytes]()
            let_in = partial(self._let_in, fit)
            answers, turned_away = await self._in_ledger_thread(partial(self._door.sort, opened, let_in))
            self._door.tell(turned_away, _now_ms())
            await self._broker.publish(answers)
            try:
                await rpc.broadcast(fit)
            except LinkError as error:
                log.warning("consensus takes nothing now; gateways send again", why=str(error), records=len(fit))
                await asyncio.sleep(LINK_PAUSE_S)

    async def _pass_on(self, incoming: Incoming) -> list[Outgoing]:
        return await self._in_ledger_thread(partial(self._keeper.pass_on, incoming, _now_ms()))

    def _let_in(self, fit: list[bytes], record: Record) -> list[Outgoing]:
        """Add a record to those that `fit`, or say at once what there is to tell of it."""
        told = self._keeper.at_door(record)
        if told is None:
            fit.append(record.envelope.data)
        return told or []

    async def _sum_up(self) -> None:
        while True:
            await asyncio.sleep(IDLE_S)
            self._door.sum_up(_now_ms())

    def _tell(self, outgoing: list[Outgoing]) -> None:
        """Take what is to be told, in the ledger's thread."""
        self._loop.call_soon_threadsafe(self._queue, outgoing)

    def _queue(self, outgoing: list[Outgoing]) -> None:
        if not self._told.full():  # else whoever misses an answer asks again
            self._told.put_nowait(outgoing)

    async def _say(self) -> None:
        while True:
            await self._broker.publish(await self._told.get())

    async def _in_ledger_thread(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._ledger_thread, call)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
