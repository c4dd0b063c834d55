"""What a long ledger costs: growing its logs, proving from them, auditing it, starting with it, remembering it.

The audit replays an export of signed batches. Start and memory are measured on a ledger of a million batches, made by
the ledger's own rules and store, but of envelopes that are filler: signing them would take longer than all the rest,
and neither a start nor the store opens an envelope. ``ESTE_BENCH_BATCHES`` chooses another length.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import Final

from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.five import Five, wire
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.record import Author, Record, Role
from aggregator.service.audit import audit_file
from aggregator.service.compute import ComputeNode
from aggregator.service.node import Node
from aggregator.service.portable import export
from aggregator.service.store import Store
from aggregator.service.store_history import StoreHistory
from benchmarks.figure import ROUNDS, Figure, cpu_seconds
from benchmarks.region import (
    BATCH_MS,
    NODE,
    NODE_KEY,
    REGION,
    START_MS,
    a_batch,
    a_genesis,
    batches,
    gateway_keys,
)
from config.settings.aggregator import Blocks
from protocol.checkpoint import ChainName
from protocol.crypto import digest_of
from protocol.envelope import Envelope, seal
from protocol.link import NO_RECORD, Link
from protocol.merkle import NodeSource, Range, inclusion_proof, leaf_hash
from protocol.messages import MessageType

APPENDED: Final = 200_000
PROVEN: Final = 20_000
PROVEN_FROM_FILE: Final = 20_000
"""In each round, of other leaves than in the last: what is kept in memory are the upper levels of the tree."""
AUDITED_GATEWAYS: Final = 250
AUDITED_BATCHES: Final = 80
"""Of each gateway."""
BLOCK_RECORDS: Final = 1000
LONG: Final = int(os.environ.get("ESTE_BENCH_BATCHES", "1000000"))
FILLER: Final = bytes(400)


class Kept:
    """A region's ledger, growing on disk."""

    def __init__(self, folder: Path, gateways: int) -> None:
        self.keys = gateway_keys(gateways)
        self.five: Five = wire(REGION, IntervalPhysics())
        self.store = Store.create(folder)
        self._compute = ComputeNode(NODE, NODE_KEY, IntervalPhysics(), self.store)
        self.close(START_MS, [open_genesis(a_genesis(self.keys))])

    def close(self, time_ms: int, records: list[Record]) -> None:
        """Close a block, and then those that are due because of it."""
        while records:
            block = self.five.ledger.finalize(time_ms, records)
            checkpoint = seal(NODE_KEY, region=REGION, type_=MessageType.CHECKPOINT, payload=block.head.encode())
            self.store.write(block, checkpoint, [])
            self.five.ledger.commit()
            due = self._compute.due_record(self.five)
            records = [self.five.ledger.check(due)] if due else []


def measure() -> Iterator[Figure]:
    """Logs, audit, and a long ledger."""
    yield from _logs()
    with tempfile.TemporaryDirectory() as folder:
        yield _audit(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        yield from _a_long_ledger(Path(folder))


def _logs() -> Iterator[Figure]:
    leaves = [number.to_bytes(100) for number in range(APPENDED)]
    nodes: dict[tuple[int, int], bytes] = {}

    def grow(into: dict[tuple[int, int], bytes] | None = None) -> None:
        log = Range()
        for leaf in leaves:
            made = log.append(leaf_hash(leaf))
            if into is not None:
                into.update(((level, position), hash_) for level, position, hash_ in made)

    grow(nodes)
    yield Figure("Merkle append, leaves a second, one core", APPENDED / cpu_seconds(grow) / 1e3, 500, "k/s", True)
    prove = partial(_prove, lambda level, position: nodes[level, position], APPENDED, range(PROVEN))
    yield Figure("inclusion proofs a second, from memory", PROVEN / cpu_seconds(prove) / 1e3, 20, "k/s", True)


def _prove(source: NodeSource, size: int, numbers: Iterable[int]) -> None:
    for number in numbers:
        inclusion_proof(source, number * 7919 % size, size)


def _audit(folder: Path) -> Figure:
    kept, waiting = Kept(folder, AUDITED_GATEWAYS), []
    for number, block in enumerate(batches(kept.keys, AUDITED_BATCHES), start=1):
        waiting += [kept.five.ledger.check(data) for data in block]
        if len(waiting) >= BLOCK_RECORDS:
            kept.close(START_MS + number * BATCH_MS, waiting)
            waiting = []
    file = folder / "ledger.este"
    export(file, StoreHistory(kept.store))
    kept.store.close()
    audited = AUDITED_GATEWAYS * AUDITED_BATCHES
    beside_s = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = cpu_seconds(lambda: audit_file(file))
    children_s = resource.getrusage(resource.RUSAGE_CHILDREN)
    verifying_s = (children_s.ru_utime + children_s.ru_stime - beside_s.ru_utime - beside_s.ru_stime) / ROUNDS
    note = (
        f"{audited:,} batches of 60 readings, {file.stat().st_size / 1e6:.0f} MB; CPU time {seconds:.1f} s,"
        f" and beside it {verifying_s:.1f} s of the process that verifies ahead"
    )
    busier_s = max(seconds, verifying_s)
    return Figure("audit of an export, batches a second, two cores", audited / busier_s / 1e3, 5, "k/s", True, note)


def _a_long_ledger(folder: Path) -> Iterator[Figure]:
    kept = Kept(folder, BLOCK_RECORDS)
    rss_mb: list[float] = []
    for number, block in enumerate(_filler(kept), start=1):
        kept.close(START_MS + number * BATCH_MS, block)
        if number * BLOCK_RECORDS in {LONG // 10, LONG}:
            rss_mb.append(_rss_mb())
    size = kept.five.ledger.logs[ChainName.DATA].size
    source, numbers = kept.store.node_source(ChainName.DATA), count()
    proving_s = cpu_seconds(lambda: _prove(source, size, islice(numbers, PROVEN_FROM_FILE)))
    size_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    kept.store.close()
    start_s = cpu_seconds(partial(_start, folder))
    note = f"{rss_mb[0]:.0f} MB at {LONG // 10:,} batches, {rss_mb[-1]:.0f} MB at {LONG:,}"
    yield Figure("memory of a node, in that of a tenth of the chain", rss_mb[-1] / rss_mb[0], 1.1, "×", note=note)
    yield Figure(f"start with {LONG:,} batches", start_s, 5, "s", note=f"{size_mb:.0f} MB on disk")
    yield Figure("inclusion proofs a second, from that file", PROVEN_FROM_FILE / proving_s / 1e3, 20, "k/s", True)


def _filler(kept: Kept) -> Iterator[list[Record]]:
    """Blocks of one batch of every gateway, of two readings, in envelopes that nobody signed."""
    authors = [Author(f"gw{n}", Role.GATEWAY, key.public_key) for n, key in enumerate(kept.keys)]
    last = [NO_RECORD] * len(authors)
    model = a_batch(Link(REGION, "gw0", 1, NO_RECORD), "m0", 0, 0, readings=2)
    for sequence in range(1, LONG // BLOCK_RECORDS + 1):
        block = []
        for number, author in enumerate(authors):
            (meter,) = model.meters
            link = Link(REGION, author.name, sequence, last[number])
            meter = replace(meter, meter=f"m{number}", first_ms=1 + (sequence - 1) * BATCH_MS)
            data = number.to_bytes(4) + sequence.to_bytes(4) + FILLER
            envelope = Envelope(data, b"", author.key.thumbprint, MessageType.BATCH, b"", b"")
            last[number] = digest_of(data)
            block.append(Record(envelope, MessageType.BATCH, author, link, replace(model, link=link, meters=(meter,))))
        yield block


def _start(folder: Path) -> None:
    Node.open(folder, NODE, NODE_KEY, Blocks(), 1).close()


def _rss_mb() -> float:
    """Resident set size of this process, in megabytes of 1,000,000 bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) * 1024 / 1e6
