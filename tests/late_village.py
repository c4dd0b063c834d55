"""The village with a gateway for each meter, some of which are late: what they have to say comes when a plan says so.

Readings are made in advance, ten seconds to a batch, so that two villages can be told the same in another order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregator.chains.periods.carbon import FactorRow
from aggregator.economy.accounts import MovementKind
from config.grid_model import Grid
from config.load import check
from protocol.batch import Batch, Clock, ClockState, MeterBlock
from protocol.canonical import decode
from protocol.messages import MessageType
from protocol.units import Quantity
from tests.village import BOOT, INTERVAL_MS, START_MS, Village, a_grid_document, a_meter_block, some_keys

METERS = ("m-gas", "m-grid", "m-home", "m-wind")
BATCH_MS = 2 * INTERVAL_MS
GRACE_MS = 20_000
"""Long enough for every batch that is sent at once."""
PERIOD_MS = 30_000
RESTATE_AFTER_MS = 5_000


def gateway_of(meter: str) -> str:
    return meter.replace("m-", "gw-")


def a_village(
    accounts: Mapping[str, Any] | None = None, contracts: Mapping[str, Any] | None = None, **time: Any
) -> Village:
    """Four gateways, and rules under which only what is delayed is late."""
    document = a_grid_document()
    for meter in document["meters"]:
        meter["gateway"] = gateway_of(meter["id"])
    document["devices"] = []
    cut = {"interval_ms": INTERVAL_MS, "grace_ms": GRACE_MS, "period_ms": PERIOD_MS}
    document["rules"]["time"] = cut | {"restate_after_ms": RESTATE_AFTER_MS, "restate_periods": 2} | time
    document["rules"]["accounts"] |= accounts or {}
    document["rules"] |= {"contracts": contracts} if contracts else {}
    return Village(grid=check(document, Grid, "grid.yaml"), keys=some_keys(*map(gateway_of, METERS)))


@dataclass(frozen=True)
class Parcel:
    """Ten seconds of one meter."""

    block: MeterBlock
    at_ms: int
    """When the aggregator hears of it."""


def parcels(power_w: Mapping[str, Sequence[int]], delays_ms: Mapping[str, Sequence[int]]) -> list[Parcel]:
    """The readings of meters that run at constant power for ten seconds each, in the order in which they arrive.

    A gateway sends in order: what waits holds up what follows it. Of what is heard at once, the oldest comes first.
    """
    made = []
    for meter, powers in power_w.items():
        energy = dict.fromkeys((Quantity.IMPORTED_WH, Quantity.EXPORTED_WH), 1_000_000.0)
        heard_ms = START_MS
        for n, power in enumerate(powers):
            rows: dict[Quantity, list[int]] = {quantity: [] for quantity in energy}
            for _ in range(BATCH_MS // 1000):
                for quantity, signed_w in ((Quantity.IMPORTED_WH, power), (Quantity.EXPORTED_WH, -power)):
                    energy[quantity] += max(0, signed_w) / 3600
                    rows[quantity].append(int(energy[quantity]))
            delay = delays_ms[meter][n] if meter in delays_ms else 0
            heard_ms = max(heard_ms, START_MS + (n + 1) * BATCH_MS + delay)
            made.append((heard_ms, n, Parcel(a_meter_block(meter, n * BATCH_MS + 1, rows, power), heard_ms)))
    return [parcel for _, _, parcel in sorted(made, key=lambda one: one[:2])]


def tell(village: Village, sent: Sequence[Parcel], until_ms: int) -> Village:
    """Let time pass, five seconds to a block, and let the village hear every parcel in its time."""
    waiting = list(sent)
    while village.now_ms < until_ms:
        village.now_ms += INTERVAL_MS
        records = []
        while waiting and waiting[0].at_ms <= village.now_ms:
            block = waiting.pop(0).block
            gateway = gateway_of(block.meter)
            clock = Clock(ClockState.SYNCHRONIZED, 5, "test", START_MS)
            batch = Batch(village.link(gateway), BOOT, clock, (block,))
            records.append(village.record(village.sign(batch, MessageType.BATCH, gateway)))
        outcomes = village.close(records).outcomes
        assert [outcome.refusal for outcome in outcomes] == [None] * len(records)
        village.close_due()
    return village


def balances(village: Village) -> dict[str, int]:
    return {name: village.five.payment.balance(name) for name in village.five.asset.region.participants}


def factors(village: Village) -> list[FactorRow]:
    """Everybody's factors of every period that may be restated."""
    analysis = village.five.analysis
    return [row for start, _ in analysis.rows.periods.items() for row in analysis.rows.of(start)]


def leaves(village: Village, word: str) -> list[list[Any]]:
    """The leaves of one kind that blocks brought about, without the word."""
    decoded: list[list[Any]] = [
        decode(leaf.body, size_max=1 << 20) for block in village.blocks for leaf in block.leaves
    ]
    return [leaf[1:] for leaf in decoded if leaf[0] == word]


def movements(village: Village, participant: str) -> list[tuple[MovementKind, int, int]]:
    """Kind, amount and balance afterwards of everything that was posted for somebody."""
    return [(MovementKind(leaf[0]), leaf[2], leaf[3]) for leaf in leaves(village, "movement") if leaf[1] == participant]


def known_wh(village: Village) -> int:
    """All energy that the ledger holds of anybody, wherever it stands: stated, open, or waiting."""
    data = village.five.data
    stated: dict[int, int] = {}
    for start, rows in leaves(village, "metered"):
        stated[start] = sum(row[1] + row[2] for row in rows)
    waiting = sum(
        row.imported_wh + row.exported_wh for table in (data.energy, data.late.rows) for _, row in table.items()
    )
    return sum(stated.values()) + waiting
