"""Every process is killed in turn, and the broker is away for a while: every reading is on the chain exactly once."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.region import Region, a_region, running, wait_until

pytestmark = pytest.mark.mosquitto


def readings_of(region: Region) -> Counter[tuple[str, str, bytes, int]]:
    """How often each reading stands on the chain: by gateway, meter, boot and instant on that boot's clock."""
    found: Counter[tuple[str, str, bytes, int]] = Counter()
    for batch in region.batches():
        for block in batch.meters:
            for start_ms in block.starts_ms:
                found[batch.link.author, block.meter, batch.boot_id, block.first_ms + start_ms] += 1
    return found


def grows(region: Region) -> None:
    """Wait until new readings of every gateway have reached the chain."""
    for gateway in region.gateways:
        outbox = region.stage.folder / gateway / "data" / "outbox.sqlite"
        wait_until(f"{gateway} has an outbox", outbox.is_file, lambda gateway=gateway: region.log(gateway))
    before = {gateway: region.agent(gateway)["records_received"] for gateway in region.gateways}
    for gateway, received in before.items():
        wait_until(
            f"{gateway} gets another receipt",
            lambda gateway=gateway, received=received: region.agent(gateway)["records_received"] > received,
            lambda gateway=gateway: region.log(gateway) + region.log("aggregator"),
        )


def test_no_reading_is_lost_or_doubled_whoever_dies(tmp_path: Path) -> None:
    region = a_region(tmp_path)
    everybody = ("broker", "fleet", "aggregator", *region.gateways)
    with running(region, *everybody):
        grows(region)
        for victim in (*region.gateways, "aggregator", "fleet", "broker"):
            region.kill(victim)
            time.sleep(1.0)
            region.start(victim)
            grows(region)
        region.kill("broker")
        time.sleep(8.0)  # a longer absence: several batches pile up in every outbox
        region.start("broker")
        grows(region)
        for gateway in region.gateways:
            region.stop(gateway)
        region.stop("aggregator")
        agents = {gateway: region.agent(gateway) for gateway in region.gateways}
    on_chain = readings_of(region)
    assert set(on_chain.values()) == {1}, "a reading stands on the chain twice"
    for gateway, agent in agents.items():
        assert not agent["halted"]
        assert agent["records_waiting"] == 0
        assert agent["records_refused"] == 0
        assert agent["readings_read"] == sum(1 for author, *_ in on_chain if author == gateway)
    status = region.ledger()
    assert status["readings_on_chain"] == sum(agent["readings_read"] for agent in agents.values()) > 200
    assert status["batches_refused"] == 0
    assert region.ask("este-aggregator", "audit", f"--data={region.stage.ledger}")["audit"] == "ok"
