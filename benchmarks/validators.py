"""Four validators on one machine, and beside them CometBFT's own kvstore under the same load, in the same run.

The same settings of CometBFT, as many transactions of the same length, sent to one node by the same path. The kvstore
keeps words in memory inside CometBFT's process: it verifies no signature, decodes nothing and writes nothing to disk,
so it is what consensus alone costs. All eight processes of este's side, and this one, share the machine's cores.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Final

from aggregator.engine.cometbft.home import write_config
from aggregator.engine.cometbft.process_port import find_program
from aggregator.founding.region import Plan
from aggregator.service.consensus.runner import config_of
from benchmarks.figure import Figure
from benchmarks.four_nodes import Command, Loaded, four_nodes
from benchmarks.region import BATCH_MS, PROFILE, READINGS, a_grid, batches, gateway_keys
from config.settings.aggregator import AggregatorSettings, CometBft
from firmware_sim.demo.children import program
from firmware_sim.free_port import HOST, free_ports

GATEWAYS: Final = 500
STEADY: Final = 4
BURST: Final = 4
"""Batches of each gateway, in the open and then as fast as they are taken."""
PER_SECOND: Final = 100
RATIO_MAX: Final = 1.5


@dataclass(frozen=True, slots=True)
class Measured:
    """One application under both loads."""

    steady: Loaded
    burst: Loaded

    @property
    def p50_ms(self) -> float:
        """Half of the transactions wait no longer, from publish to commit."""
        return quantiles(self.steady.waited_ms, n=100)[49]

    @property
    def p99_ms(self) -> float:
        """All but one in a hundred wait no longer."""
        return quantiles(self.steady.waited_ms, n=100)[98]

    def __str__(self) -> str:
        steady, burst = self.steady, self.burst
        return (
            f"{self.p50_ms:5.0f} ms p50, {self.p99_ms:5.0f} ms p99, {steady.blocks} blocks,"
            f" {1e3 * steady.cpu_s / len(steady.waited_ms):.1f} ms CPU each; burst {burst.per_second:5.0f} envelopes/s,"
            f" {burst.per_second * READINGS / 1e3:.0f}k readings/s, {burst.blocks} blocks,"
            f" {1e3 * burst.cpu_s / len(burst.waited_ms):.1f} ms CPU each"
        )


def measure() -> Iterator[Figure]:
    """Both, one after the other."""
    keys = gateway_keys(GATEWAYS)
    start_ms = time.time_ns() // 1_000_000 - (STEADY + BURST + 1) * BATCH_MS
    gateways = {f"gw{number}": key.public_key for number, key in enumerate(keys)}
    region = Plan(a_grid(GATEWAYS), (PROFILE,), gateways, (HOST, free_ports()), start_ms)
    txs = [data for block in batches(keys, STEADY + BURST, start_ms) for data in block]
    words = [_word(number, len(tx)) for number, tx in enumerate(txs)]
    with tempfile.TemporaryDirectory(prefix="este-") as folder:
        plain = asyncio.run(_measure(Path(folder) / "kv", region, _kvstore, words))
        ours = asyncio.run(_measure(Path(folder) / "este", region, _este, txs))
    table = f"este    {ours}\n    kvstore {plain}"
    what = f"four validators, {PER_SECOND}/s:"
    yield Figure(f"{what} p50 to commit, in kvstore's", ours.p50_ms / plain.p50_ms, RATIO_MAX, "×", note=table)
    yield Figure(f"{what} p99 to commit, in kvstore's", ours.p99_ms / plain.p99_ms, RATIO_MAX, "×")
    what = f"four validators, {len(ours.burst.waited_ms):,} at once:"
    yield Figure(f"{what} time, in kvstore's", ours.burst.span_s / plain.burst.span_s, RATIO_MAX, "×")


async def _measure(folder: Path, region: Plan, command: Command, txs: Sequence[bytes]) -> Measured:
    async with four_nodes(folder, region, command) as nodes:
        steady = await nodes.load(txs[: STEADY * GATEWAYS], PER_SECOND)
        return Measured(steady, await nodes.load(txs[STEADY * GATEWAYS :], None))


def _este(file: Path, _: AggregatorSettings, __: CometBft) -> list[str]:
    return [program("este-aggregator"), "run", f"--settings={file}"]


def _kvstore(_: Path, settings: AggregatorSettings, cometbft: CometBft) -> list[str]:
    """With the settings that este would have written for its own."""
    write_config(cometbft.home, config_of(settings, cometbft))
    return [str(find_program()), "node", f"--home={cometbft.home}", "--proxy_app=kvstore"]


def _word(number: int, length: int) -> bytes:
    """A transaction as the kvstore takes it: KEY=VALUE, every key another one."""
    return f"k{number}=".encode().ljust(length, b"v")
