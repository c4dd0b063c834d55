"""One event after another; what the disk does not take now is done later, in the same order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.bus.control import FREE, DevicePlan, Grant, device_plan_for
from agent.clerk import STATUS_EVERY_MS, Clerk
from agent.events import CloseAll, Confirmed, Event, Failing, Read, Recovered
from agent.inbox import Inbox
from agent.keys.sealing import file_of
from agent.outbox.books import Books
from agent.outbox.file import OutboxFile, StorageError
from agent.outbox.memory import HeardStatement, Memory
from agent.outbox.queue import LinkDown, LinkUp, Outbox, Tick
from agent.session import Arrived, Session
from agent.standing import Believed
from agent.trade import book
from config.settings.bus import DeviceAddress
from config.tasks import end, wait_for_any
from protocol.batch import ClockState
from protocol.envelope import Envelope
from protocol.errors import KeyUnavailable
from protocol.messages import MessageType, Receipt, Received, Refusal, Statement
from protocol.partners import Card, Partner
from protocol.refusals import RefusalCode
from protocol.topics import Kind
from tests.builders import (
    EPOCH_MS,
    GATEWAY,
    REGION,
    a_clock,
    a_digest,
    a_key,
    a_receipt,
    a_refusal,
    a_sealed,
    a_statement,
)
from tests.unit.agent.builders import FakeClocks, a_boot, a_profile, a_settings, readings
from tests.unit.agent.test_helm import a_device, a_moment
from tests.unit.agent.test_offers import some_terms

AGGREGATOR = 99


METER_SILENT = Failing("m-1", ("m-1",), (), "silent")
DEVICE_DEAF = Failing("heat-pump", (), ("heat-pump",), "does not obey")


class FakeSender:
    """A broker that only notes what it is given."""

    def __init__(self) -> None:
        self.records: list[int] = []
        self.status: list[dict[str, Any]] = []
        self.letters: list[tuple[Kind, Envelope]] = []
        self.told = asyncio.Event()

    def publish_record(self, sequence: int) -> None:
        self.records.append(sequence)

    def publish_letter(self, kind: Kind, data: bytes) -> None:
        self.letters.append((kind, Envelope.parse(data)))

    def publish_status(self, message: bytes) -> None:
        self.status.append(json.loads(message))
        self.told.set()


class World:
    """A clerk at work."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        batch = {"readings_max": 1, "age_max_ms": 1000}
        self.settings = a_settings(folder / "agent.yaml", batch=batch, **settings)
        self.books = Books(OutboxFile.open(folder, region=REGION, gateway=GATEWAY))
        self.clocks = FakeClocks()
        self.sender = FakeSender()
        self.clerk = self.hire()

    def hire(self, *devices: DevicePlan) -> Clerk:
        """As after a start of the program."""
        kept = Memory(self.books).statement()
        envelope = Envelope.parse(kept.envelope) if kept else None
        conversation = Session(
            inbox=Inbox((a_key(AGGREGATOR).public_key,), REGION, GATEWAY),
            records=Outbox(in_flight_max=8, resend_after_ms=1000, last_signed=self.books.last_signed()),
            orders=self.settings.standing_orders,
            believed=Believed.of(envelope, Statement.decode(envelope.payload)) if envelope else None,
        )
        return Clerk(
            settings=self.settings,
            books=self.books,
            conversation=conversation,
            key=a_key(),
            clocks=self.clocks,
            devices=devices,
        )

    async def deal(self, *events: Event) -> None:
        """Have the clerk deal with events and a tick after them, and wait until it is done with them."""
        for event in (*events, Tick()):
            await self.clerk.hand(event)
        self.clocks.ms += STATUS_EVERY_MS
        self.sender.told.clear()
        working = asyncio.create_task(self.clerk.run(self.sender))
        await self.sender.told.wait()
        await end(working)

    def receipt(self, sequence: int) -> Arrived:
        (entry,) = self.books.page(sequence - 1, 1)
        word = a_receipt(records=(Received(sequence, entry.digest, 0),))
        return arrived(word)


def arrived(word: Receipt | Refusal | Statement | Card) -> Arrived:
    kind, type_ = {
        Card: (Kind.CARD, MessageType.CARD),
        Receipt: (Kind.RECEIPT, MessageType.RECEIPT),
        Refusal: (Kind.REFUSAL, MessageType.REFUSAL),
        Statement: (Kind.STATEMENT, MessageType.STATEMENT),
    }[type(word)]
    return Arrived(kind, a_sealed(word.encode(), key=AGGREGATOR, type_=type_))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.clerk.start()
    yield world
    world.clerk.close()
    world.books.file.close()


def read(second: int) -> Read:
    return Read(readings(1, first_ms=60_000 + 1000 * second)[0])


class TestRecords:
    """On disk before on the wire."""

    async def test_a_reading_becomes_a_record_and_goes_out(self, world: World) -> None:
        await world.deal(LinkUp(), read(0))
        assert world.sender.records == [1]
        assert await world.clerk.fetch(1) is not None

    async def test_a_receipt_ends_it(self, world: World) -> None:
        await world.deal(LinkUp(), read(0))
        await world.deal(world.receipt(1))
        assert world.books.totals().records_waiting == 0
        assert await world.clerk.fetch(1) is None

    async def test_a_final_refusal_sets_it_aside(self, world: World) -> None:
        await world.deal(LinkUp(), read(0))
        (entry,) = world.books.page(0, 1)
        await world.deal(arrived(a_refusal(digest=entry.digest, sequence=1, code=RefusalCode.UNKNOWN_METER)))
        (aside,) = Memory(world.books).set_aside(10)
        assert (aside.sequence, aside.code) == (1, RefusalCode.UNKNOWN_METER)

    async def test_a_halt_is_told_at_the_broker_and_in_the_file(self, world: World) -> None:
        await world.deal(LinkUp(), read(0))
        (entry,) = world.books.page(0, 1)
        await world.deal(arrived(a_refusal(digest=entry.digest, sequence=1, code=RefusalCode.BROKEN_LINK)))
        assert world.sender.status[-1]["halted"] is True
        assert "halted" in Memory(world.books).notes()


class TestFullDisk:
    """What cannot be kept is held; nothing that was counted is lost, and all goes on in order."""

    @pytest.fixture
    def full(self, world: World, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
        """The disk takes nothing, until `undo`."""

        def refuse(*_: object, **__: object) -> None:
            raise StorageError("database or disk is full")

        monkeypatch.setattr(world.books.file, "transaction", refuse)
        return monkeypatch

    async def test_reading_pauses_and_goes_on_by_itself(self, world: World, full: pytest.MonkeyPatch) -> None:
        await world.deal(LinkUp(), read(0), read(1))
        assert world.clerk.is_paused
        assert "disk is full" in world.sender.status[-1]["paused"]
        full.undo()
        await world.deal()
        assert not world.clerk.is_paused
        assert world.books.totals().readings_read == 2
        assert set(world.sender.records) == {1, 2}

    async def test_a_disk_that_cannot_be_read_either_ends_nothing(self, world: World, full: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise StorageError("disk I/O error")

        full.setattr(world.books.file, "rows", refuse)
        working = asyncio.create_task(world.clerk.run(world.sender))
        for event in (LinkUp(), read(0), Tick(), Tick()):
            world.clocks.ms += STATUS_EVERY_MS
            await world.clerk.hand(event)
            while world.clerk.dealt_ms < world.clocks.ms and isinstance(event, Tick):
                await wait_for_any([], tasks=[working], timeout_s=0.01)
        assert world.clerk.is_paused
        await end(working)
        full.undo()
        await world.deal()
        assert world.books.totals().readings_read == 1

    async def test_a_confirmation_is_counted_when_there_is_room(self, world: World, full: pytest.MonkeyPatch) -> None:
        await world.deal(Confirmed("heat-pump", 1000), Confirmed("heat-pump", None))
        full.undo()
        await world.deal()
        assert world.books.totals().rights_applied == 2

    async def test_what_is_said_meanwhile_is_not_listened_to(self, world: World, full: pytest.MonkeyPatch) -> None:
        await world.deal(read(0))
        await world.deal(arrived(a_statement()))
        full.undo()
        await world.deal()
        assert world.books.totals().statements_verified == 0
        await world.deal(arrived(a_statement()))
        assert world.books.totals().statements_verified == 1

    async def test_what_was_to_be_published_is_forgotten_when_the_link_falls(
        self, world: World, full: pytest.MonkeyPatch
    ) -> None:
        await world.deal(METER_SILENT, *[LinkUp(), LinkDown("gone")] * 50)
        full.undo()
        await world.deal(read(0), LinkUp())
        assert world.sender.records == [1]


class TestPeople:
    """What people see of it."""

    async def test_failing_meters_and_devices_are_told_and_kept(self, world: World) -> None:
        await world.deal(METER_SILENT, DEVICE_DEAF)
        assert world.sender.status[-1]["failing"] == ["heat-pump", "m-1"]
        memory = Memory(world.books)
        assert (memory.meters()[0].failing, memory.devices()[0].failing) == ("silent", "does not obey")

    async def test_and_are_healthy_when_they_answer(self, world: World) -> None:
        await world.deal(METER_SILENT, DEVICE_DEAF)
        await world.deal(Recovered("m-1", ("m-1",)), Recovered("heat-pump", ("heat-pump",)))
        await world.deal(read(0), Confirmed("heat-pump", None))
        assert world.sender.status[-1]["failing"] == []
        memory = Memory(world.books)
        assert (memory.meters()[0].failing, memory.devices()[0].failing) == (None, None)

    async def test_two_histories_raise_an_alarm(self, world: World) -> None:
        await world.deal(arrived(a_statement()))
        await world.deal(arrived(a_statement(number=2, previous=a_digest("another"), height=9)))
        assert "two histories" in world.sender.status[-1]["alarm"]
        assert "two histories" in Memory(world.books).notes()["alarm"]

    async def test_a_message_that_is_not_the_aggregator_s_is_counted(self, world: World) -> None:
        await world.deal(Arrived(Kind.RECEIPT, b"rubbish"))
        assert world.sender.status[-1]["messages_ignored"] == 1


class TestGranted:
    """The statement in force, while it is fresh."""

    @pytest.fixture
    def heat_pump(self) -> Any:
        limiter = a_profile("este_power_limiter")
        address = DeviceAddress(id="heat-pump", unit=9, profile=limiter.id, power_min_w=500, power_max_w=9000)
        return device_plan_for(address, {limiter.id: limiter})

    def fresh(self, world: World) -> Statement:
        return a_statement(time_ms=EPOCH_MS + world.clocks.ms)

    async def test_before_any_statement_a_device_is_free(self, world: World, heat_pump: Any) -> None:
        assert world.clerk.granted(heat_pump) == FREE

    async def test_a_statement_is_in_force_at_once(self, world: World, heat_pump: Any) -> None:
        await world.deal(arrived(self.fresh(world)))
        assert world.clerk.granted(heat_pump) == Grant(1000, 1000)

    async def test_until_it_is_too_old(self, world: World, heat_pump: Any) -> None:
        await world.deal(arrived(self.fresh(world)))
        world.clocks.ms += world.settings.statement_age_max_ms
        assert world.clerk.granted(heat_pump) == FREE

    async def test_a_restart_does_not_make_it_younger(self, world: World, heat_pump: Any) -> None:
        statement = arrived(self.fresh(world))
        Memory(world.books).keep_statement(HeardStatement(statement.data, world.clocks.boot_id, world.clocks.ms))
        world.clocks.ms += world.settings.statement_age_max_ms
        world.clerk.close()
        world.clerk = world.hire()
        assert world.clerk.granted(heat_pump) == Grant(1000, 1000)
        world.clocks.ms += 1
        assert world.clerk.granted(heat_pump) == FREE

    @pytest.mark.parametrize(("state", "told"), [(ClockState.SYNCHRONIZED, -3000), (ClockState.UNSYNCHRONIZED, None)])
    async def test_what_another_boot_heard_sets_a_device_only_by_a_sure_clock(
        self, world: World, state: ClockState, told: int | None
    ) -> None:
        statement = arrived(a_moment().statement)
        Memory(world.books).keep_statement(HeardStatement(statement.data, a_digest("earlier")[:16], world.clocks.ms))
        world.clocks.utc = a_clock(state=state)
        world.clerk.close()
        world.clerk = world.hire(battery := a_device())
        assert world.clerk.granted(battery).set_w == told


class TestBound:
    """An outbox that holds as much as it may."""

    async def test_reading_pauses_at_the_bound(self, tmp_path: Path) -> None:
        world = World(tmp_path / "bound", outbox_bytes_max=1 << 20)
        with world.books.file.transaction():
            for _ in range(10):
                world.books.append(lambda link: bytes(120_000), lambda payload: payload)
        await world.clerk.start()
        await world.deal()
        assert "1048576 bytes wait for receipts" in world.sender.status[-1]["paused"]
        world.books.forget(world.books.page(0, 100))
        await world.deal()
        assert world.sender.status[-1]["paused"] is None
        world.clerk.close()
        world.books.file.close()


class TestEnd:
    """When nothing more will be read."""

    async def test_everything_is_signed_and_waited_for(self, world: World) -> None:
        world.settings = a_settings(batch={"readings_max": 100, "age_max_ms": 60_000})
        world.clerk.close()
        world.clerk = world.hire()
        await world.clerk.start()
        await world.deal(LinkUp(), read(0), CloseAll())
        assert not world.clerk.drained.is_set()
        await world.deal(world.receipt(1))
        assert world.clerk.drained.is_set()

    async def test_without_a_link_nobody_waits(self, world: World) -> None:
        await world.deal(read(0), CloseAll())
        assert world.clerk.drained.is_set()
        assert world.books.totals().records_waiting == 1

    async def test_what_an_earlier_boot_left_is_signed_at_the_start(self, world: World) -> None:
        world.books.journal(readings(1), a_boot("earlier"))
        world.clerk.close()
        world.clerk = world.hire()
        await world.clerk.start()
        await world.deal(LinkUp())
        assert world.sender.records == [1]


class TestLetters:
    """Offers go out beside readings, and trouble with them keeps nobody from reading meters."""

    PARTNER = Partner("gw-2", a_key(2).public_key, a_key(52).public_key, ("carla",))

    def order(self, world: World) -> None:
        terms = some_terms(seller="annia", buyer="carla", expires_ms=EPOCH_MS + 10**9)
        book.leave(world.settings.data.parent, book.Wish(book.Verb.OFFER, terms=terms, partner="carla"))

    async def test_an_offer_goes_to_whom_the_nodes_name(self, world: World) -> None:
        self.order(world)
        await world.deal(LinkUp(), arrived(a_statement()))
        await world.deal(arrived(Card(REGION, GATEWAY, "carla", self.PARTNER)))
        assert [kind for kind, _ in world.sender.letters] == [Kind.ASK, Kind.SEALED]
        (offer,) = book.look(world.settings.data.parent)
        assert (offer.stage.name, offer.gateway) == ("SENT", "gw-2")

    async def test_a_card_that_nobody_asked_for_changes_nothing(self, world: World) -> None:
        await world.deal(LinkUp(), arrived(Card(REGION, GATEWAY, "carla", self.PARTNER)))
        own = Card(REGION, GATEWAY, "carla", replace(self.PARTNER, gateway=GATEWAY))
        await world.deal(arrived(own))
        assert world.sender.letters == []

    async def test_a_sealing_key_that_others_can_read_is_not_used_and_readings_go_on(self, world: World) -> None:
        path = file_of(world.settings)
        path.write_bytes(a_key(51).to_pem())
        path.chmod(0o644)
        book.leave(world.settings.data.parent, book.Wish(book.Verb.OPEN))
        await world.deal(LinkUp(), read(0))
        assert world.sender.records == [1]
        path.chmod(0o600)
        book.leave(world.settings.data.parent, book.Wish(book.Verb.OPEN))
        await world.deal()
        assert set(world.sender.records) == {1, 2}

    async def test_a_key_that_does_not_sign_keeps_an_order_waiting(self, world: World) -> None:
        self.order(world)
        world.clerk._trades._desk._pen = replace(world.clerk._trades._desk._pen, key=_Broken())
        await world.deal(LinkUp())
        assert world.clerk.state.key == "the chip does not answer"
        assert world.sender.letters == []
        world.clerk.close()
        world.clerk = world.hire()
        await world.clerk.start()
        await world.deal(LinkUp())
        assert [kind for kind, _ in world.sender.letters] == [Kind.ASK]


class _Broken:
    public_key = a_key().public_key

    def sign(self, message: bytes) -> bytes:
        raise KeyUnavailable("the chip does not answer")
