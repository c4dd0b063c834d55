"""Two participants behind two gateways agree by letters; whoever reads all of the broker's traffic learns no offer.

Through the commands that people use, behind a real Mosquitto with TLS and the access list that este writes.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.tasks import end
from protocol.agreement import Agreement
from protocol.checkpoint import ChainName
from protocol.contract import Terms
from protocol.envelope import Envelope
from protocol.messages import MessageType
from protocol.partners import Delivery
from protocol.sealed import Sealed
from tests.e2e.region import Region, a_region, run, running, wait_until
from tests.e2e.test_the_broker_keeps_gateways_apart import client_of
from tests.e2e.trading import (
    a_network,
    in_inbox,
    offers,
    on_chain,
    published,
    stage,
    trade,
    until_stated,
    wait_for_stage,
    who,
)

pytestmark = pytest.mark.mosquitto


def with_contracts(grid: dict[str, Any]) -> None:
    """The region's rules say how contracts are judged."""
    grid["rules"]["contracts"] = {"imbalance_per_mwh": 300_000, "dispute_ms": 60_000}


def a_region_with_contracts(folder: Path) -> Region:
    """A region whose rules say how contracts are judged, and in which a node may read every topic."""
    region = a_region(folder)
    tls = yaml.safe_load(region.stage.aggregator_settings.read_text())["broker"]["tls"]
    grid = yaml.safe_load(region.stage.grid_file.read_text())
    with_contracts(grid)
    region.stage.grid_file.write_text(yaml.safe_dump(grid))
    shutil.rmtree(region.stage.region)
    keys = [f"--gateway={name}={folder / name / 'gateway.pub.pem'}" for name in region.gateways]
    broker = ["--broker-host=localhost", f"--broker-port={region.port}"]
    run("este-aggregator", "init", str(region.stage.region), f"--grid={region.stage.grid_file}", *keys, *broker)
    settings = yaml.safe_load(region.stage.aggregator_settings.read_text())
    settings["broker"]["tls"] = tls
    settings["blocks"]["age_max_ms"] = 250
    region.stage.aggregator_settings.write_text(yaml.safe_dump(settings))
    acl = region.stage.region / "broker.acl"
    acl.write_text(acl.read_text().replace("user node-1\n", "user node-1\ntopic read #\n"))
    return region


@asynccontextmanager
async def everything(region: Region) -> AsyncIterator[list[tuple[str, bytes]]]:
    """All that goes through the broker, as somebody sees it who may read every topic."""
    heard: list[tuple[str, bytes]] = []
    async with client_of(region, "node-1") as client:
        await client.subscribe("#", qos=1)

        async def listen() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                heard.append((message.topic.value, message.payload))

        listening = asyncio.create_task(listen())
        try:
            yield heard
        finally:
            await end(listening)


@pytest.mark.cometbft
async def test_four_validators_pass_letters_on_and_two_of_them_have_to_say_so(tmp_path: Path) -> None:
    region = await asyncio.to_thread(a_network, tmp_path, laid=with_contracts, speed=1)
    with running(region, "broker", "fleet", *region.nodes, "gw-1", "gw-2"):
        await asyncio.to_thread(until_stated, region)
        region.kill(region.nodes[-1])  # three of four are enough
        await asyncio.to_thread(a_story, region)


def spelled(told: dict[str, Any]) -> bytes:
    """Terms that a gateway tells of, as they are signed."""
    return Terms(**(told | {name: bytes.fromhex(told[name]) for name in ("nonce", "answers")})).encode()


async def test_an_offer_is_countered_accepted_and_reaches_the_chain_and_nobody_has_read_it(tmp_path: Path) -> None:
    region = await asyncio.to_thread(a_region_with_contracts, tmp_path)
    with running(region, "broker", "fleet", "aggregator", "gw-1", "gw-2"):
        await asyncio.to_thread(until_stated, region)
        async with everything(region) as heard:
            await asyncio.to_thread(a_story, region)
    seen = b"".join(payload for _, payload in heard)
    told = offers(region, "gw-1")
    agreed = [spelled(one["terms"]) for one in told if one["stage"] == "recorded"]
    secret = [spelled(one["terms"]) for one in told if one["stage"] != "recorded"]
    assert (len(agreed), len(secret)) == (1, 2)
    assert not any(terms in seen for terms in secret)
    assert agreed[0] in seen  # only what both have signed, on its way to the chain
    letters = [Envelope.parse(payload) for topic, payload in heard if topic.endswith("/sealed")]
    delivered = [Envelope.parse(payload) for topic, payload in heard if topic.endswith("/delivery")]
    assert {envelope.data for envelope in letters} == {Delivery.decode(one.payload).letter for one in delivered}
    assert len({len(Sealed.decode(envelope.payload).box) for envelope in letters}) == 1


def a_story(region: Region) -> None:
    seller, buyer = "wind", min(set(who(region, "gw-2")) - set(who(region, "gw-1")))  # the wind never owes tokens
    assert seller in who(region, "gw-1")
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
    window = [f"--start={begin.isoformat()}", f"--end={(begin + timedelta(minutes=15)).isoformat()}"]
    terms = [f"--seller={seller}", f"--buyer={buyer}", "--wh=100", "--price=250000", *window]
    assert "este-agent trade open" in trade(region, "gw-1", "offer", *terms, status=1)
    for gateway in ("gw-1", "gw-2"):
        assert "the running agent does it now" in trade(region, gateway, "open")
    wait_until("the sealing keys are published", lambda: published(region) == 2, lambda: region.log("gw-1"))

    trade(region, "gw-1", "offer", *terms, "--penalty-ppm=100000")
    first = in_inbox(region, "gw-2")
    assert (first["terms"]["seller"], first["terms"]["quantity_wh"]) == (seller, 100)
    assert first["price_millionths"] == 25_000_000
    wait_for_stage(region, "gw-1", first["number"], "delivered")

    trade(region, "gw-2", "counter", first["number"][:8], "--price=200000")
    second = in_inbox(region, "gw-1")
    assert (second["price_millionths"], second["terms"]["answers"]) == (20_000_000, first["number"])
    assert second["terms"]["penalty_ppm"] == 100_000
    assert {stage(region, gw, first["number"]) for gw in ("gw-1", "gw-2")} == {"countered"}
    assert "one that is countered" in trade(region, "gw-2", "accept", first["number"], status=1)

    trade(region, "gw-1", "accept", second["number"][:8])
    for gateway in ("gw-1", "gw-2"):
        wait_for_stage(region, gateway, second["number"], "recorded")
    assert "one that is" in trade(region, "gw-1", "accept", second["number"], status=1)
    for gateway in ("gw-1", "gw-2"):
        wait_until(
            "the statement tells of the contract",
            lambda gateway=gateway: "; contract confirmed since" in trade(region, gateway, "list"),  # type: ignore[misc]
            lambda gateway=gateway: trade(region, gateway, "list"),  # type: ignore[misc]
        )
    (agreement,) = on_chain(region, ChainName.OPERATION, MessageType.AGREEMENT)
    assert Agreement.decode(agreement.payload).terms.digest.hex() == second["number"]

    trade(region, "gw-2", "offer", *terms, "--clean-only")
    third = in_inbox(region, "gw-1")
    trade(region, "gw-1", "decline", third["number"], "--reason=no sun")
    wait_for_stage(region, "gw-2", third["number"], "declined")
    assert "declined (no sun)" in trade(region, "gw-2", "list")
