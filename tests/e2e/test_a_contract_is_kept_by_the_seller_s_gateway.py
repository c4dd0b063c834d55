"""A contract's window begins, and the seller's engine feeds in what it promises: nobody gives a command for it.

Through the commands that people use, behind a real Mosquitto with TLS. The engine stands on the control port of the
simulated fleet; the gateway sets it by the signed statement, and sets it free when the window is over.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from firmware_sim.demo.stage import TIME
from protocol.units import Quantity
from tests.e2e.region import Region, a_region, running, wait_until
from tests.e2e.test_two_gateways_trade import in_inbox, published, trade, until_stated, wait_for_stage, who

pytestmark = pytest.mark.mosquitto

SELLER = "gas"
LENGTH_MS = 48_000
QUANTITY_WH = 80
PROMISED_W = 6_000
"""80 Wh in 48 s. Left alone, the engine feeds in some 30 kW."""
AHEAD_S = 60


def with_contracts(grid: dict[str, Any]) -> None:
    """The region's rules allow contracts, and the engine may emit what it does, so that it owes nothing."""
    grid["rules"]["contracts"] = {"imbalance_per_mwh": 300_000, "dispute_ms": 4_000}
    for permit in grid["permits"]:
        permit["grams"] *= 100 if permit["participant"] == SELLER else 1


def engine(region: Region) -> dict[str, Any]:
    """What the seller's gateway says of the engine."""
    found: dict[str, Any] = next(one for one in region.agent("gw-1")["devices"] if one["device"] == "l-gas")
    return found


def fed_in_w(region: Region) -> list[int]:
    """What the engine fed in, by the signed readings that are on the chain."""
    blocks = [block for batch in region.batches() for block in batch.meters if block.meter == "m-gas"]
    return [-power_w for block in blocks for power_w in block.column(Quantity.ACTIVE_POWER_W) or ()]


def test_the_engine_feeds_in_what_was_sold_as_long_as_the_window_lasts(tmp_path: Path) -> None:
    region = a_region(tmp_path, laid=with_contracts)
    log = lambda: region.log("gw-1") + region.log("aggregator")  # noqa: E731  said once, for every wait below
    with running(region, "broker", "fleet", "aggregator", "gw-1", "gw-2"):
        until_stated(region)
        buyer = min(set(who(region, "gw-2")) - set(who(region, "gw-1")))
        for gateway in ("gw-1", "gw-2"):
            trade(region, gateway, "open")
        wait_until("the sealing keys are published", lambda: published(region) == 2, log)
        start_ms = (time.time_ns() // 1_000_000 // TIME.interval_ms + 1) * TIME.interval_ms + 1_000 * AHEAD_S
        instants = [datetime.fromtimestamp(ms / 1_000, UTC).isoformat() for ms in (start_ms, start_ms + LENGTH_MS)]
        window = [f"--start={instants[0]}", f"--end={instants[1]}"]
        terms = [f"--seller={SELLER}", f"--buyer={buyer}", f"--wh={QUANTITY_WH}", "--price=250000", *window]
        trade(region, "gw-1", "offer", *terms, "--valid-s=50")
        offer = in_inbox(region, "gw-2")
        trade(region, "gw-2", "accept", offer["number"])
        wait_for_stage(region, "gw-1", offer["number"], "recorded")
        assert engine(region)["set_w"] is None, "its window is yet to come"
        wait_until("the window is near", lambda: time.time_ns() // 1_000_000 > start_ms - 5_000)
        wait_until("the engine is set", lambda: engine(region)["set_w"] == -PROMISED_W, log)
        (driven,) = region.agent("gw-1")["contracts_driven"]
        assert (driven["power_w"], driven["devices"], driven["missing_w"]) == (PROMISED_W, {"l-gas": -PROMISED_W}, 0)
        wait_until("signed readings show it", lambda: PROMISED_W in fed_in_w(region), log)
        wait_until("the window is over, and the engine free", lambda: engine(region)["set_w"] is None, log)
        wait_until("it feeds in what it likes", lambda: fed_in_w(region)[-1] > 4 * PROMISED_W, log)
        region.stop("aggregator")
    assert region.ask("este-aggregator", "audit", f"--data={region.stage.ledger}")["audit"] == "ok"
