"""A statement says that a contract delivers, and an engine feeds in what it promises: over MQTT, Modbus, and back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.settings.fleet import FleetSettings
from config.tasks import end
from firmware_sim.device import FREE, Held
from firmware_sim.fleet import Fleet
from firmware_sim.free_port import free_ports
from firmware_sim.meter import Shown
from firmware_sim.modbus_server import Buses
from firmware_sim.orders import Orders
from firmware_sim.scenario import compose
from protocol.duty import Duty
from protocol.limits import Direction, Limit
from tests.builders import a_standing
from tests.integration.agent_world import Aggregator, Home, a_broker, eventually

pytestmark = pytest.mark.mosquitto

STEP_S = 0.1


@dataclass
class Valley:
    """A fleet that lives, an agent on its first gateway, and an aggregator that says what a test wants."""

    fleet: Fleet
    home: Home
    aggregator: Aggregator

    def engine_w(self) -> int:
        """What the gas engine feeds in, by its meter."""
        return -self.fleet.measured("m-gas")[Shown.ACTIVE_POWER_MW] // 1_000

    async def engine_at(self, power_w: int) -> None:
        await eventually(lambda: self.engine_w() == power_w, f"an engine that feeds in {power_w} W")

    async def is_set(self, set_w: int) -> bool:
        """Whether the engine has confirmed so much, and nothing else is held."""
        status = await self.home.status()
        confirmed = {"device": "l-gas", "power_max_w": None, "failing": None, "set_w": set_w}
        return bool(status) and confirmed in status["devices"]

    async def status(self, *, devices: dict[str, int] | None) -> dict[str, Any]:
        """The agent's status, once it says that contracts drive these devices; None: that there is no contract."""

        async def probe() -> dict[str, Any]:
            status = await self.home.status()
            driven = status.get("contracts_driven") if status else None
            is_told = driven is not None and (driven[0]["devices"] if driven else None) == devices
            return status if is_told else {}

        return await eventually(probe, f"a status that tells of {devices}")


@asynccontextmanager
async def a_valley(folder: Path, **changes: Any) -> AsyncIterator[Valley]:
    settings = FleetSettings(meters=4, first_port=free_ports())
    scenario = compose(settings)
    fleet = Fleet(scenario)
    buses = Buses(fleet, settings, Orders(fleet).faults)
    (bus,) = scenario.buses(scenario.gateways[0], settings)
    with a_broker(folder) as broker:
        home = Home.make(folder, broker.port, 0, bus=bus.model_dump(mode="json") | {"timeout_ms": 2_000}, **changes)
        await buses.open()
        living = asyncio.create_task(live(fleet))
        try:
            async with Aggregator(broker.port).listening() as aggregator:
                home.start()
                yield Valley(fleet, home, aggregator)
        finally:
            if home.process is not None:
                home.process.kill()
                home.process.wait()
            await end(living)
            await buses.close()


async def live(fleet: Fleet) -> None:
    while True:
        await asyncio.sleep(STEP_S)
        fleet.step(round(1_000 * STEP_S))


def promised(power_w: int, *, for_ms: int = 600_000) -> Any:
    """The gas engine's owner has sold so much, for so long from now on."""
    duty = Duty("electricity", power_w, 0, time.time_ns() // 1_000_000 + for_ms)
    return a_standing(participant="gas", balance=5, limits=(), rights=(), duties=(duty,))


async def test_an_engine_feeds_in_what_was_sold_until_the_contract_is_fulfilled(tmp_path: Path) -> None:
    async with a_valley(tmp_path) as valley:
        assert valley.engine_w() > 25_000
        await valley.aggregator.state(promised(12_345))
        await valley.engine_at(12_345)
        await valley.status(devices={"l-gas": -12_345})
        await eventually(lambda: valley.is_set(-12_345), "a status that tells what the engine confirmed")
        await valley.aggregator.state(a_standing(participant="gas", balance=5))
        await eventually(lambda: valley.fleet.held("l-gas") == FREE, "an engine that runs as it likes")
        await valley.status(devices=None)
        assert valley.engine_w() > 25_000


async def test_a_limit_wins_over_a_contract_and_people_are_told_what_is_missing(tmp_path: Path) -> None:
    async with a_valley(tmp_path) as valley:
        limit = Limit("l-gas", 9_600, direction=Direction.FEED_IN)
        standing = promised(12_345)
        await valley.aggregator.state(a_standing(participant="gas", limits=(limit,), duties=standing.duties))
        await valley.engine_at(9_600)
        await eventually(lambda: valley.fleet.held("l-gas") == Held(feed_in_w=9_600, set_w=-9_600), "both registers")
        status = await valley.status(devices={"l-gas": -9_600})
        (driven,) = status["contracts_driven"]
        assert (driven["missing_w"], driven["why"]) == (2_745, "l-gas is held to 9600 W")


async def test_it_ends_with_the_window_though_nobody_says_a_word_more(tmp_path: Path) -> None:
    async with a_valley(tmp_path) as valley:
        await eventually(lambda: valley.aggregator.chain, "a first record: the agent runs")
        await valley.aggregator.state(promised(12_345, for_ms=12_000))
        await eventually(lambda: "set_w=-12345" in valley.home.log, "a log that tells of the set-point")
        await eventually(lambda: valley.fleet.held("l-gas") == FREE, "an engine that runs as it likes")


async def test_a_silent_aggregator_sets_the_engine_free(tmp_path: Path) -> None:
    async with a_valley(tmp_path, statement_age_max_ms=12_000) as valley:
        await eventually(lambda: valley.aggregator.chain, "a first record: the agent runs")
        await valley.aggregator.state(promised(12_345))
        await eventually(lambda: "set_w=-12345" in valley.home.log, "a log that tells of the set-point")
        await eventually(lambda: valley.fleet.held("l-gas") == FREE, "an engine that runs as it likes")
