"""The local engine, from a batch that comes in to the block that makes it durable: how many, and how long each waits.

One process does all: it opens envelopes, orders blocks, and writes them with a synchronous commit; the broker between
is left out. Throughput is in CPU time. Latency is on the wall, at a load far below that, with blocks as by default:
after 1,000 records or a second.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles
from typing import Final

from aggregator.service.keeper import begin
from aggregator.service.node import Node
from benchmarks.figure import Figure
from benchmarks.region import BATCH_MS, NODE, NODE_KEY, READINGS, START_MS, a_genesis, batches, gateway_keys
from config.settings.aggregator import Blocks

GATEWAYS: Final = 500
BATCHES: Final = 10
"""Of each gateway; half of them are sent as fast as they are taken, half in the open."""
PER_SECOND: Final = 250
PENDING_MAX: Final = 10_000
RULE: Final = Blocks()


def measure() -> Iterator[Figure]:
    """Found a region, fill it, and then keep it company."""
    keys = gateway_keys(GATEWAYS)
    envelopes = [data for block in batches(keys, BATCHES) for data in block]
    half = len(envelopes) // 2
    with tempfile.TemporaryDirectory() as folder:
        begin(Path(folder), a_genesis(keys), NODE, NODE_KEY)
        node = Node.open(Path(folder), NODE, NODE_KEY, RULE, PENDING_MAX)
        first = node.five.ledger.height
        seconds = _flood(node, envelopes[:half])
        blocks = node.five.ledger.height - first
        waited_ms = _keep_company(node, envelopes[half:])
        node.close()
    readings = half * READINGS / seconds / 1e3
    note = f"{blocks / seconds:.1f} blocks/s of up to {RULE.entries_max}, {readings:.0f}k readings/s"
    yield Figure("local engine: envelopes a second, one core", half / seconds / 1e3, 2, "k/s", True, note)
    percentiles = quantiles(waited_ms, n=100)
    for name, value in (("p50", percentiles[49]), ("p99", percentiles[98])):
        yield Figure(f"local engine: {name} from publish to commit, {PER_SECOND}/s", value, 2 * RULE.age_max_ms, "ms")


def _flood(node: Node, envelopes: list[bytes]) -> float:
    """CPU seconds until all of them are durable."""
    begin = time.process_time()
    for data in envelopes:
        node.submit(node.check(data), START_MS)
        if node.due_in_ms(START_MS + 1) == 0:
            node.close_block(START_MS + BATCHES * BATCH_MS // 2)
    node.close_block(START_MS + BATCHES * BATCH_MS // 2)
    return time.process_time() - begin


def _keep_company(node: Node, envelopes: list[bytes]) -> list[float]:
    """How long each waits, in milliseconds, if they come evenly; time at the door counts."""
    begin = time.monotonic()
    block_ms = (
        START_MS + BATCHES * BATCH_MS - int(begin * 1000)
    )  # the region's clock, so that nothing is from the future
    sent: list[float] = []
    waited: list[float] = []

    def now_ms() -> int:
        return block_ms + int(time.monotonic() * 1000)

    def close() -> None:
        node.close_block(now_ms())
        done = time.monotonic()
        waited.extend(1000 * (done - at) for at in sent[len(waited) :])

    for number, data in enumerate(envelopes):
        comes = begin + number / PER_SECOND
        while (idle_s := comes - time.monotonic()) > 0:
            due_ms = node.due_in_ms(now_ms()) if len(waited) < len(sent) else None
            if due_ms == 0:
                close()
            else:
                time.sleep(min(idle_s, idle_s if due_ms is None else due_ms / 1000))
        node.submit(node.check(data), now_ms())
        sent.append(comes)
    close()
    return waited
