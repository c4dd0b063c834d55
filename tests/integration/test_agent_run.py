"""A whole agent, through its commands: real Modbus, a real broker, and an aggregator that does what a test wants."""

from __future__ import annotations

import asyncio
import resource
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.outbox.books import Books
from agent.outbox.file import OutboxFile
from protocol.batch import Batch
from protocol.limits import Limit
from protocol.messages import MessageType, RightKind
from protocol.purchase import Purchase
from protocol.readings import Readings
from protocol.refusals import RefusalCode
from protocol.topics import Kind
from protocol.units import Quantity
from tests.builders import GATEWAY, REGION, a_key, a_receipt, a_sealed, a_standing
from tests.integration.agent_world import Aggregator, Home, Meters, Mosquitto, eventually
from tests.unit.agent.builders import a_boot, readings

pytestmark = pytest.mark.mosquitto

FREE = [0xFFFF, 0xFFFF]
DEVICE = {"id": "heat-pump", "unit": 101, "profile": "este_power_limiter", "power_min_w": 500, "power_max_w": 9000}


@dataclass
class World:
    """Meters, a broker, and an agent between them."""

    meters: Meters
    broker: Mosquitto
    home: Home

    @asynccontextmanager
    async def aggregator(self, **changes: Any) -> AsyncIterator[Aggregator]:
        async with Aggregator(self.broker.port, **changes).listening() as aggregator:
            yield aggregator

    async def seen(self, **counts: int) -> dict[str, Any]:
        """The agent's status, once it has reached these counts."""

        async def probe() -> dict[str, Any]:
            status = await self.home.status()
            return status if status and all(status[name] >= count for name, count in counts.items()) else {}

        return await eventually(probe, f"a status with {counts}")


@asynccontextmanager
async def a_world(
    folder: Path, broker: Mosquitto, units: int = 1, devices: int = 0, **changes: Any
) -> AsyncIterator[World]:
    """An agent that runs until the block ends, however it ends."""
    async with Meters(units, devices).served() as meters:
        world = World(meters, broker, Home.make(folder, broker.port, meters.port, units=units, **changes))
        world.home.start()
        try:
            yield world
        finally:
            if world.home.process is not None and world.home.process.poll() is None:
                world.home.process.kill()
                world.home.process.wait()


def see_that_every_reading_is_there_once(aggregator: Aggregator, meters: Meters, *, gaps: bool = False) -> None:
    """Readings count up by one; none may come twice, and without `gaps` none may be missing."""
    for meter, values in _by_meter(aggregator).items():
        assert max(Counter(values).values()) == 1, f"{meter} has a reading twice"
        assert values == sorted(values), f"{meter} is out of order"
        assert gaps or values == list(range(values[0], values[0] + len(values))), f"{meter} misses a reading"


def _by_meter(aggregator: Aggregator) -> dict[str, list[int]]:
    of_meter: dict[str, list[int]] = {}
    for meter, value in aggregator.readings:
        of_meter.setdefault(meter, []).append(value)
    return of_meter


class TestReadings:
    """Every reading reaches the chain once, whatever happens on the way."""

    async def test_the_way_of_a_reading(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker, units=3) as world, world.aggregator() as aggregator:
            await world.seen(records_received=5)
            assert await world.home.end(signal.SIGTERM) == 0
            status = await world.home.status()
            assert status["records_waiting"] == 0
            assert status["readings_read"] == len(aggregator.readings)
            assert set(_by_meter(aggregator)) == {"m-1", "m-2", "m-3"}
            see_that_every_reading_is_there_once(aggregator, world.meters)

    async def test_what_is_not_fast_is_read_and_sent_more_rarely(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with (
            a_world(tmp_path, broker, bus={"slow_every_ms": 3000}) as world,
            world.aggregator() as aggregator,
        ):

            def slow() -> list[Readings]:
                return [block.slow for batch in aggregator.batches for block in batch.meters if block.slow]

            await eventually(lambda: sum(map(len, slow())) >= 2, "a second slow reading")
            assert sum(batch.readings for batch in aggregator.batches) > 2 * sum(map(len, slow()))
            assert {table.quantities for table in slow()} == {(Quantity.VOLTAGE_L1_MV,)}
            (meter,) = (await world.home.status())["meters"]
            assert meter["slow_values"] == ["voltage_l1_mv"]
            assert {"voltage_l1_mv", "active_power_w", "imported_wh"} <= meter["values"].keys()

    async def test_a_broker_that_is_taken_away_and_brought_back(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker) as world:
            async with world.aggregator() as aggregator:
                await world.seen(records_received=2)
                chain = aggregator.chain
            broker.stop()
            before = await world.home.status()
            await world.seen(records_waiting=4)
            broker.start()
            async with world.aggregator(chain=chain) as aggregator:
                await world.seen(records_received=before["records_received"] + 6)
                assert await world.home.end(signal.SIGTERM) == 0
                see_that_every_reading_is_there_once(aggregator, world.meters)

    async def test_an_aggregator_that_is_silent_for_a_while(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker) as world, world.aggregator(is_silent=True) as aggregator:
            await world.seen(records_waiting=3)
            await eventually(lambda: Counter(aggregator.arrived)[1] >= 2, "a record that is sent again")
            aggregator.is_silent = False
            await world.seen(records_received=4)
            assert await world.home.end(signal.SIGTERM) == 0
            see_that_every_reading_is_there_once(aggregator, world.meters)

    async def test_no_more_are_under_way_than_allowed(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with (
            a_world(tmp_path, broker, in_flight_max=2) as world,
            world.aggregator(is_silent=True) as aggregator,
        ):
            await world.seen(records_waiting=5)
            assert set(aggregator.arrived) == {1, 2}

    async def test_an_agent_that_is_killed_again_and_again(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker, units=2) as world, world.aggregator() as aggregator:
            for life in range(1, 6):
                await world.seen(records_received=2 * life)
                assert world.home.process is not None
                world.home.process.kill()
                await asyncio.to_thread(world.home.process.wait)
                world.home.start()
            await world.seen(records_received=12)
            assert await world.home.end(signal.SIGTERM) == 0
            status = await world.home.status()
            assert status["readings_read"] == len(aggregator.readings)
            see_that_every_reading_is_there_once(aggregator, world.meters, gaps=True)

    async def test_a_dead_meter_is_told_of_and_the_others_go_on(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker, units=3) as world, world.aggregator():
            world.meters.silent.add(2)
            await world.seen(readings_read=30)
            status = await world.home.status()
            failing = {meter["meter"]: meter["failing"] for meter in status["meters"]}
            assert failing == {"m-1": None, "m-2": "no whole answer in time", "m-3": None}
            world.meters.silent.clear()

            async def is_back() -> bool:
                return not any(meter["failing"] for meter in (await world.home.status())["meters"])

            await eventually(is_back, "the meter's return")
            assert world.home.log.count("event=failing") == 1
            assert world.home.log.count('event="answers again"') == 1


class TestAnswers:
    """What the aggregator says to a record."""

    async def test_a_record_that_is_refused_for_good_is_kept_and_the_next_goes_on(
        self, tmp_path: Path, broker: Mosquitto
    ) -> None:
        def second_only(record: Batch | Purchase) -> RefusalCode | None:
            return RefusalCode.UNKNOWN_METER if record.link.sequence == 2 else None

        async with a_world(tmp_path, broker) as world, world.aggregator(refuses=second_only) as aggregator:
            status = await world.seen(records_received=3, records_refused=1)
            assert status["records_set_aside"] == [{"sequence": 2, "code": "UNKNOWN_METER", "detail": "says the test"}]
            assert len(aggregator.chain) >= 4

    async def test_when_somebody_else_signs_with_its_numbers_it_halts_and_reads_on(
        self, tmp_path: Path, broker: Mosquitto
    ) -> None:
        async with (
            a_world(tmp_path, broker) as world,
            world.aggregator(refuses=lambda record: RefusalCode.BROKEN_LINK) as aggregator,
        ):
            status = await world.seen(records_waiting=3, halted=True)
            assert "enrol a new key" in status["halted_because"]
            arrived = len(aggregator.arrived)
            later = await world.seen(readings_read=status["readings_read"] + 20)
            assert later["records_waiting"] > status["records_waiting"]
            assert len(aggregator.arrived) == arrived
            assert "event=halted" in world.home.log

    async def test_nobody_else_s_word_counts(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker) as world, world.aggregator(is_silent=True) as aggregator:
            await world.seen(records_waiting=1)
            await aggregator.say(Kind.RECEIPT, a_receipt().encode(), key=a_key(7))
            await eventually(lambda: "message ignored" in world.home.log)
            assert (await world.home.status())["records_received"] == 0
            await eventually(lambda: aggregator.status[-1]["messages_ignored"] == 1)


class TestRights:
    """What a statement grants and limits reaches the device."""

    def owing(self, power_max_w: int) -> Any:
        return a_standing(balance=-5, limits=(Limit("heat-pump", power_max_w),), rights=())

    async def test_a_limit_is_written_and_lifted(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with (
            a_world(tmp_path, broker, devices=1, bus={"devices": [DEVICE]}) as world,
            world.aggregator() as aggregator,
        ):
            await world.seen(records_received=1)
            await aggregator.state(self.owing(2000))
            await eventually(lambda: world.meters.devices[101] == [0, 2000], "the limit")
            status = await world.seen(rights_applied=1, statements_verified=1)
            assert status["standings"][0]["restricted"] is True
            await aggregator.state(self.owing(100))
            await eventually(lambda: world.meters.devices[101] == [0, 500], "the limit that the settings allow")
            await aggregator.state(a_standing(balance=0))
            await eventually(lambda: world.meters.devices[101] == FREE, "the end of the limit")
            await world.seen(rights_applied=3, statements_verified=3)

    async def test_a_limit_whose_aggregator_is_silent_is_lifted(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with (
            a_world(tmp_path, broker, devices=1, bus={"devices": [DEVICE]}, statement_age_max_ms=3000) as world,
            world.aggregator() as aggregator,
        ):
            await world.seen(records_received=1)
            await aggregator.state(self.owing(2000))
            await eventually(lambda: world.meters.devices[101] == [0, 2000], "the limit")
            await eventually(lambda: world.meters.devices[101] == FREE, "its end")

    async def test_a_limit_outlives_a_restart_and_is_asserted_again(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with (
            a_world(tmp_path, broker, devices=1, bus={"devices": [DEVICE]}) as world,
            world.aggregator() as aggregator,
        ):
            await world.seen(records_received=1)
            await aggregator.state(self.owing(2000))
            await world.seen(rights_applied=1)
            await world.home.end(signal.SIGTERM)
            broker.stop()
            world.meters.devices[101] = [*FREE]
            world.home.start()
            await eventually(lambda: world.meters.devices[101] == [0, 2000], "the limit")
            assert (await world.home.status())["rights_applied"] == 1

    async def test_a_standing_order_buys_once(self, tmp_path: Path, broker: Mosquitto) -> None:
        order = {"participant": "annia", "right": "priority_purchase", "price_max": 50, "balance_min": 10}
        async with a_world(tmp_path, broker, standing_orders=[order]) as world, world.aggregator() as aggregator:
            await world.seen(records_received=1)
            await aggregator.state(a_standing(balance=60, rights=()))
            await aggregator.state(a_standing(balance=60, rights=()))
            await world.seen(statements_verified=2, records_received=4)
            purchases = [Purchase.decode(e.payload) for e in aggregator.chain if e.type == MessageType.PURCHASE]
            assert [(p.participant, p.right, p.price_max) for p in purchases] == [
                ("annia", RightKind.PRIORITY_PURCHASE, 50)
            ]


class TestStopping:
    """SIGTERM ends it in order, a second signal at once, SIGKILL never surprises."""

    async def test_the_status_at_the_broker_says_so(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker) as world, world.aggregator() as aggregator:
            await world.seen(records_received=1)
            assert await world.home.end(signal.SIGINT) == 0
            await eventually(lambda: aggregator.status[-1] == {"state": "offline"})
            assert aggregator.status[0]["state"] in ("online", "offline")

    async def test_its_last_will_says_so_when_it_cannot(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker) as world, world.aggregator() as aggregator:
            await world.seen(records_received=1)
            await world.home.end(signal.SIGKILL)
            await eventually(lambda: aggregator.status[-1] == {"state": "offline"})

    async def test_a_second_signal_ends_the_wait_for_receipts(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker) as world, world.aggregator(is_silent=True):
            await world.seen(records_waiting=1)
            assert world.home.process is not None
            world.home.process.send_signal(signal.SIGINT)
            await eventually(lambda: "waiting for receipts" in world.home.log)
            assert await world.home.end(signal.SIGINT) == 0
            assert "Traceback" not in world.home.log

    async def test_an_agent_without_meters_says_so_and_runs(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker, units=0) as world:
            await eventually(lambda: "linked to the broker" in world.home.log)
            assert "enter the meters under buses" in world.home.log

    async def test_without_a_link_nobody_waits(self, tmp_path: Path, broker: Mosquitto) -> None:
        broker.stop()
        async with a_world(tmp_path, broker) as world:
            await world.seen(records_waiting=1)
            assert await world.home.end(signal.SIGTERM) == 0
            status = await world.home.status()
            assert status["running"] is False
            assert status["records_waiting"] == status["records_signed"] > 0


class TestStorage:
    """A disk that is full, and an outbox that is."""

    async def test_a_full_disk_pauses_the_reading_until_there_is_room(self, tmp_path: Path, broker: Mosquitto) -> None:
        async with a_world(tmp_path, broker) as world, world.aggregator() as aggregator:
            await world.seen(records_received=1)
            assert world.home.process is not None
            pid = world.home.process.pid
            before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1024, before[1]))
            await eventually(lambda: 'event="reading pauses"' in world.home.log)
            reads = world.meters.reads
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
            await eventually(lambda: 'event="reading goes on"' in world.home.log)
            await eventually(lambda: world.meters.reads > reads)
            assert await world.home.end(signal.SIGTERM) == 0
            status = await world.home.status()
            assert status["readings_read"] == len(aggregator.readings)
            see_that_every_reading_is_there_once(aggregator, world.meters)

    async def test_an_outbox_at_its_bound_pauses_the_reading_until_receipts_come(
        self, tmp_path: Path, broker: Mosquitto
    ) -> None:
        fill(tmp_path / "data", bytes_min=1 << 20)
        async with a_world(tmp_path, broker, outbox_bytes_max=1 << 20) as world:
            status = await eventually(lambda: settled(world), "the pause")
            assert "outbox_bytes_max" in status["paused"]
            assert status["readings_read"] == (await world.home.status())["readings_read"]
            async with world.aggregator():
                await world.seen(records_waiting=0, readings_read=status["readings_read"] + 5)


async def paused(world: World) -> dict[str, Any]:
    """The status, if the agent has paused."""
    status = await world.home.status()
    return status if status and status["paused"] else {}


async def settled(world: World) -> dict[str, Any]:
    """The status, if the agent has paused and what was on its way then has arrived."""
    before, status = await paused(world), await paused(world)
    return status if before and before["readings_read"] == status.get("readings_read") else {}


def fill(folder: Path, bytes_min: int) -> None:
    """An outbox with so many bytes of records."""
    file = OutboxFile.open(folder, region=REGION, gateway=GATEWAY)
    books = Books(file)
    second = 0
    while file.bytes_used() < bytes_min:
        books.journal(readings(3000, meter="m-9", first_ms=1000 * second), a_boot("long ago"))
        second += 3000
        while books.close_batch(4096, a_sealed):
            pass
    file.close()
