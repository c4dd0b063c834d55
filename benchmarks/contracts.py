"""Verdicts on contracts in a large network, and the settlement of very many contracts in one interval."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from aggregator.chains.contracts.closing import Closing
from aggregator.chains.contracts.rows import Contract
from aggregator.economy.contracts.delivery import Amounts
from aggregator.economy.contracts.feasibility import Limits, Plan, Promise, Site
from aggregator.economy.contracts.sensitivity import Line, Sensitivity
from aggregator.economy.contracts.states import State
from benchmarks.figure import Figure, cpu_seconds
from protocol.units import PPM, Interval, UnixMs
from tests.contract_village import PER_WH, Market
from tests.village import INTERVAL_MS

CONTRACTS: Final = 100_000
NODES: Final = 1_000
VERDICTS: Final = 5_000
HOUR_MS: Final = 3_600_000


def measure() -> Iterator[Figure]:
    """Settle, judge, and count blocks."""
    settled_s = cpu_seconds(Settling())
    yield Figure(f"settlement of {CONTRACTS:,} contracts", settled_s, 5, "s")
    plan, promises = _plan()
    taken = 0

    def judge() -> None:
        nonlocal taken
        taken = 0
        for promise in promises:
            if plan.objection(promise) is None:
                plan.take(promise)
                taken += 1

    judged_s = cpu_seconds(judge, rounds=1)
    note = f"a network of {NODES:,} nodes with loops; {taken:,} of {VERDICTS:,} contracts fit beside each other"
    yield Figure("verdicts, on one core", VERDICTS / judged_s, 500, "1/s", at_least=True, note=note)
    market = Market()
    market.live_even(2)
    before = len(market.blocks)
    digest = market.made()
    blocks = len(market.blocks) - before
    assert market.state(digest) is State.CONFIRMED
    yield Figure("from agreement to confirmation", blocks, 2, "blocks")


class Settling:
    """Contracts whose time for disputes ends with this interval."""

    def __init__(self) -> None:
        """Half of them were breached."""
        market = Market()
        rule = market.grid.rules.contracts
        assert rule is not None
        self._rule = rule
        terms = market.terms(price_per_mwh=PER_WH // 3)
        self._interval = Interval(
            start_ms=UnixMs(terms.end_ms + rule.dispute_ms - INTERVAL_MS), end_ms=UnixMs(terms.end_ms + rule.dispute_ms)
        )
        short, whole = Amounts(100, 60, seller_short_wh=40, extra_wh=40), Amounts(100, 100)
        self._contracts = [
            Contract(
                digest=number.to_bytes(32, "big"),
                terms=terms,
                place=number,
                state=(state := State.BREACHED if number % 2 else State.FULFILLED),
                history=(
                    (State.AGREED, 0),
                    (State.VERIFIED, 0),
                    (State.CONFIRMED, 0),
                    (State.DELIVERING, 0),
                    (state, 0),
                ),
                ended_ms=terms.end_ms,
                amounts=short if number % 2 else whole,
            )
            for number in range(CONTRACTS)
        ]

    def __call__(self) -> None:
        """Settle all of them."""
        closing = Closing(lambda _: self._rule, self._interval)
        for contract in self._contracts:
            closing.conclude(contract)
        assert closing.settled == CONTRACTS
        assert sum(closing.owed.values()) == 0


def _plan() -> tuple[Plan, list[Promise]]:
    """A feeder that branches out, with a few loops; everybody may sell and buy."""
    chance = random.Random(1)
    lines = [
        Line(f"l{i}", f"n{chance.randrange(max(0, i - 20), i)}", f"n{i}", chance.randrange(1_000, 100_000))
        for i in range(1, NODES)
    ]
    lines += [Line(f"r{i}", f"n{i * 40}", f"n{i * 40 + 35}", 50_000) for i in range(20)]
    sites = {
        (f"p{i}", "electricity"): Site(20_000, 20_000, 20_000, {f"n{i}": PPM}, {f"n{i}": PPM}) for i in range(NODES)
    }
    plan = Plan(Limits(sites, Sensitivity(lines), {line.name: 400_000 for line in lines}))
    promises = []
    for _ in range(VERDICTS):
        seller, buyer = chance.sample(range(NODES), 2)
        start_ms = chance.randrange(96) * HOUR_MS // 4
        end_ms = start_ms + chance.randrange(1, 8) * HOUR_MS // 4
        power_w = chance.randrange(500, 10_000)
        promises.append(
            Promise(
                seller=f"p{seller}",
                buyer=f"p{buyer}",
                carrier="electricity",
                start_ms=start_ms,
                end_ms=end_ms,
                power_w=power_w,
            )
        )
    return plan, promises
