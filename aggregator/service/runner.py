"""Runs a node: the only place in this program that reads the clock and owns tasks and threads.

    broker → ingest (threads) → queue → block (one ledger thread) → broker

A full disk stops blocks, not the program: everything waits, loudly, and gateways keep what has no receipt.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import partial
from typing import Final, TypeVar

import structlog

from aggregator.ledger.record import Record
from aggregator.service.door import Door
from aggregator.service.ingest import Ingest
from aggregator.service.log import configure, tell_loop_errors
from aggregator.service.mqtt_port import BrokerPort, Incoming
from aggregator.service.node import Node
from aggregator.service.notify import Outgoing
from aggregator.service.post_desk import PostDesk
from aggregator.service.stored import StoreError
from config.key_files import load
from config.settings.aggregator import AggregatorSettings
from config.tasks import end, wait_for_any
from protocol.errors import OperatorError

T = TypeVar("T")

DISK_PAUSE_S: Final = 1.0
IDLE_S: Final = 1.0

DRAIN_S: Final = 1.5
"""How long the last receipts may take on their way to the broker; who misses one asks again."""

log = structlog.get_logger("este.node")


def run(settings: AggregatorSettings) -> None:
    """Run a node until SIGTERM or SIGINT.

    Raises:
        EsteError: it cannot start; the operator can mend it.
    """
    configure(settings.log_level)
    key = load(settings.key_file)
    broker = BrokerPort(settings.broker, settings.region, settings.name)
    with closing(Node.open(settings.data, settings.name, key, settings.blocks, settings.pending_max)) as node:
        region = node.five.ledger.region
        if region != settings.region:
            raise OperatorError(settings.data, "region", f"the ledger of {settings.region}", f"the one of {region}")
        asyncio.run(_Runner(settings, node, broker).run())


class _Runner:
    """One node, its broker, and the tasks between them."""

    def __init__(self, settings: AggregatorSettings, node: Node, broker: BrokerPort) -> None:
        self._node = node
        self._broker = broker
        self._ingest = Ingest(node.check, settings.verify_threads, settings.pending_max)
        self._ledger_thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._desk = PostDesk(self._ingest.receive, self._pass_on, broker.publish)
        self._door = Door(node)
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until told to stop, then close what waits and say goodbye."""
        loop = asyncio.get_running_loop()
        tell_loop_errors(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hear_signal)
        log.info("running", height=self._node.five.ledger.height)
        linking = asyncio.create_task(self._broker.run(self._on_link, self._desk.receive))
        passing_on = asyncio.create_task(self._desk.run())
        taking = asyncio.create_task(self._take_in())
        closing_blocks = asyncio.create_task(self._close_blocks())
        try:
            await wait_for_any([self._stop], tasks=[linking, passing_on, taking, closing_blocks])
            await end(taking, passing_on)
            await closing_blocks
            await self._say_goodbye()
        finally:
            await end(taking, passing_on, closing_blocks, linking)
            self._ingest.close()
            self._ledger_thread.shutdown(wait=True)

    def _hear_signal(self) -> None:
        self._stop.set()
        self._wake.set()

    async def _on_link(self) -> None:
        await self._broker.publish(await self._in_ledger_thread(self._node.last_statements))

    async def _take_in(self) -> None:
        """Move what was verified into the queue, in order; answer what was refused at the door."""
        while True:
            opened = await self._ingest.next_chunk()
            answers, turned_away = await self._in_ledger_thread(partial(self._door.sort, opened, self._submit))
            self._door.tell(turned_away, _now_ms())
            await self._broker.publish(answers)
            self._wake.set()

    async def _pass_on(self, incoming: Incoming) -> list[Outgoing]:
        return await self._in_ledger_thread(partial(self._node.pass_on, incoming, _now_ms()))

    def _submit(self, record: Record) -> tuple[()]:
        """Queue a record: its block says what there is to tell of it."""
        self._node.submit(record, _now_ms())
        return ()

    async def _close_blocks(self) -> None:
        """Close a block whenever the queue or time alone wants one, until told to stop."""
        while not self._stop.is_set():
            self._wake.clear()
            self._door.sum_up(_now_ms())
            due_ms = self._node.due_in_ms(_now_ms())
            if due_ms is None or due_ms > 0:
                wait_s = IDLE_S if due_ms is None else min(IDLE_S, due_ms / 1000)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
                continue
            await self._close_one_block()

    async def _close_one_block(self) -> None:
        try:
            outgoing = await self._in_ledger_thread(lambda: self._node.close_block(_now_ms(), self._stop.is_set))
        except StoreError as error:
            log.error("nothing can be stored; gateways keep their readings", why=str(error))
            await asyncio.sleep(DISK_PAUSE_S)
            return
        await self._broker.publish(outgoing)

    async def _say_goodbye(self) -> None:
        """Close what waits in the queue, and let the broker have the receipts."""
        await self._close_one_block()
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._broker.drain()
        except TimeoutError:
            log.warning("the broker did not take everything; receipts will be asked for again")
        self._door.shut(_now_ms())
        log.info("stopped", height=self._node.five.ledger.height)

    async def _in_ledger_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._ledger_thread, call)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
