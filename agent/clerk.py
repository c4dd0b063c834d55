"""The clerk: one pair of hands through which readings, messages and time go, one after another.

Has readings journaled, tells the session what happens and carries out its effects in their order, on disk before on the
wire. When the disk takes nothing more, the clerk holds what it has, has the polling pause, and tries again at every
tick. Decides nothing that a pure room could: batching, session and control do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final, assert_never

from agent import session
from agent.bus.control import DevicePlan, Grant
from agent.bus.helm import Helm, Moment
from agent.clock_port import Clocks
from agent.events import CloseAll, Confirmed, Event, Failing, Read, Recovered, Trouble
from agent.log import Log, Once
from agent.outbox import queue as outbox
from agent.outbox.books import Books
from agent.outbox.capacity import room_for
from agent.outbox.file import StorageError
from agent.outbox.journal import Disk, Journal
from agent.outbox.memory import HeardStatement, Memory
from agent.outbox.queue import LinkDown, LinkUp, Paged, Signed, Tick
from agent.outbox.quotes import Orders
from agent.sender import Sender
from agent.session import Arrived, Bought, NotBought, Session
from agent.status import LINK_UP, State, grant_told, halt_text, status_message, told_of
from agent.trade.trades import Trades
from config.settings.agent import AgentSettings, StandingOrder
from protocol.crypto import SigningKey
from protocol.envelope import seal
from protocol.errors import KeyUnavailable
from protocol.link import Link
from protocol.messages import MessageType
from protocol.purchase import Purchase

EVENTS_MAX: Final = 4096
"""Events that may wait for the clerk; whoever brings more waits too."""

STATUS_EVERY_MS: Final = 10_000

log = Log("clerk")

Task = session.Effect | Confirmed | Failing
"""What has to be done in order, and again if the disk was full."""


class Clerk:
    """Keeps one gateway's outbox and session in step."""

    def __init__(
        self,
        *,
        settings: AgentSettings,
        books: Books,
        conversation: Session,
        key: SigningKey,
        clocks: Clocks,
        devices: Sequence[DevicePlan] = (),
    ) -> None:
        self.state = State()
        """What there is to say about the program. While it is paused, nothing may be read."""
        self.dealt_ms = clocks.now_ms()
        """When a tick was last dealt with: whoever watches over the program can tell that it works."""
        self.drained = asyncio.Event()
        """After `CloseAll`: nothing waits for a receipt any more, or nobody is there to send one."""
        self._settings = settings
        self._helm = Helm(devices, settings.statement_age_max_ms)
        self._books = books
        self._memory = Memory(books)
        self._orders = Orders(books)
        self._session = conversation
        self._key = key
        self._clocks = clocks
        self._disk = Disk()
        self._journal = Journal(
            books=books,
            disk=self._disk,
            limits=settings.batch,
            clocks=clocks,
            seal=partial(self._seal, MessageType.BATCH),
            signed=lambda entry: self._attend(Signed(entry)),
            clock_wait_max_ms=settings.clock_wait_max_ms,
        )
        self._trades = Trades(settings, books, self._disk, key, clocks, self._attend)
        self._events: asyncio.Queue[Event] = asyncio.Queue(EVENTS_MAX)
        self._todo: deque[Task] = deque()
        self._is_stuck = False
        """Whether the disk takes nothing more. Then whatever arrives is dropped: it will be said again."""
        self._is_closing = False
        self._heard_ms, self._is_of_this_boot = self._heard_before(clocks)
        """When the statement in force was heard, and whether since the machine was started."""
        self._told = State()
        self._told_ms = -STATUS_EVERY_MS
        self._once = Once(log)

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be read now."""
        return self.state.paused is not None

    async def hand(self, event: Event) -> None:
        """Give the clerk something to deal with, in its turn."""
        await self._events.put(event)

    async def fetch(self, sequence: int) -> bytes | None:
        """The envelope of a record, if it still waits."""
        try:
            return await self._disk.do(self._books.envelope, sequence)
        except StorageError:
            return None

    def granted(self, device: DevicePlan) -> Grant:
        """What `device` may do and is to do now."""
        return self._helm.granted(device, self._moment)

    @property
    def _moment(self) -> Moment | None:
        """The statement that is believed, and now."""
        believed, now_ms, clock = self._session.believed, self._clocks.now_ms(), self._journal.boot.clock
        return Moment(believed.statement, self._heard_ms, now_ms, clock, self._is_of_this_boot) if believed else None

    async def start(self) -> None:
        """Take up what the last run left, and see whether there is room to read on, before anything is read.

        Raises:
            StorageError: the disk is full, or cannot be read.
        """
        await self._journal.start()
        await self._take_stock()

    async def run(self, sender: Sender) -> None:
        """Deal with events until cancelled."""
        while True:
            events = [await self._events.get()]
            while not self._events.empty():
                events.append(self._events.get_nowait())
            for event in events:
                self._deal(event)
            is_time = any(isinstance(event, Tick | CloseAll) for event in events)
            await self._do_what_can_be_done(sender, keep=is_time or self._journal.is_laden)
            if is_time:
                with contextlib.suppress(StorageError):
                    await self._take_stock()
            await self._tell(sender)

    def close(self) -> None:
        """End the thread that uses the file; the file stays open."""
        self._disk.close()

    def _deal(self, event: Event) -> None:
        """Take one event in; what it asks of the disk and the wire is only noted."""
        match event:
            case Read(reading):
                self._journal.take(reading)
            case Confirmed():
                self._todo.append(event)
            case Failing(what, meters, devices, reason):
                self._todo.append(event)
                self.state = self.state.with_failing([*meters, *devices], reason)
                log.warning("failing", what=what, reason=reason)
            case Recovered(what, names):
                self.state = self.state.without_failing(names)
                log.info("answers again", what=what)
            case LinkUp():
                self.state = replace(self.state, link=LINK_UP)
                self._attend(event)
                log.info("linked to the broker")
            case LinkDown(reason):
                self.state = replace(self.state, link=reason)
                self._attend(event)
                self._todo = deque(task for task in self._todo if not isinstance(task, outbox.Publish))
                log.warning("no link to the broker, trying again", reason=reason)
            case Arrived() | Tick():
                if not self._is_stuck:
                    self._attend(event)
            case Trouble(name, reason):
                self._note(**{name: reason})
            case CloseAll():
                self._is_closing = True
            case _:
                assert_never(event)

    def _heard_before(self, clocks: Clocks) -> tuple[int, bool]:
        """When the statement of the last run was heard; now, if that was in another boot, whose clock is gone."""
        heard = self._memory.statement()
        return (heard.heard_ms, True) if heard and heard.boot_id == clocks.boot_id else (clocks.now_ms(), False)

    def _attend(self, event: session.Event) -> None:
        before, now_ms = self._session.believed, self._clocks.now_ms()
        self._todo.extend(self._session.handle(event, now_ms))
        if self._session.believed is not before:
            self._heard_ms, self._is_of_this_boot = now_ms, True

    async def _do_what_can_be_done(self, sender: Sender, *, keep: bool) -> None:
        """Journal, close, carry out; or find that the disk takes nothing more, and leave it for the next time."""
        try:
            if keep:
                await self._keep()
            while self._todo:
                await self._carry_out(self._todo[0], sender)
                self._todo.popleft()
        except StorageError as error:
            self._is_stuck = True
            self._pause(str(error))
        else:
            self._is_stuck = self._is_stuck and not keep
        self._trades.post(sender)

    async def _keep(self) -> None:
        """Put on disk what was read, sign what is due or ordered; a key that does not sign is asked again at a tick."""
        try:
            await self._journal.keep()
            while (entry := await self._disk.do(self._orders.sign_next, self._seal)) is not None:
                log.info("order signed", sequence=entry.sequence)
                self._attend(Signed(entry))
            await self._trades.tick(self._session.believed)
            if self._is_closing:
                await self._journal.close_all()
        except KeyUnavailable as error:
            self._note(key=str(error))
        else:
            self._note(key=None)

    async def _take_stock(self) -> None:
        """See whether there is room to read on, and after `CloseAll` whether anything still waits."""
        self.dealt_ms = self._clocks.now_ms()
        if self._is_stuck:
            return
        settings, bytes_used = self._settings, await self._disk.do(self._books.file.bytes_used)
        room = room_for(bytes_used, settings.outbox_bytes_max, settings.at_bound)
        self._journal.thin_ms = room.thin_ms
        self._pause(room.paused or (self.state.key if self._journal.is_overladen else None))
        self.state = replace(self.state, driven=self._helm.told(self._moment))
        self._note(thinned=room.thinned, clock=self._journal.clock_text, orders=self._session.idle_orders)
        if self._is_closing:
            totals = await self._disk.do(self._books.totals)
            if not totals.records_waiting or self._session.is_halted or self.state.link != LINK_UP:
                self.drained.set()

    def _pause(self, reason: str | None) -> None:
        if reason and not self.state.paused:
            log.error("reading pauses", reason=reason)
        elif self.state.paused and not reason:
            log.info("reading goes on")
        self.state = replace(self.state, paused=reason)

    def _note(self, **texts: str | None) -> None:
        """Take note of what is not as it should be, and log it when it begins and ends."""
        for name, text in texts.items():
            before = getattr(self.state, name)
            if text is not None and text != before:
                log.warning(name, reason=text)
            elif before is not None and text is None:
                log.info(name, reason="as it should be")
        self.state = self.state.noting(texts)

    # -- Effects.

    async def _carry_out(self, task: Task, sender: Sender) -> None:
        """Do what is asked of the disk and the wire.

        Raises:
            StorageError: the disk takes nothing more; then it has to be done again.
        """
        match task:
            case outbox.Publish(sequence):
                sender.publish_record(sequence)
            case outbox.Page(after, count):
                self._attend(Paged(await self._disk.do(self._books.page, after, count)))
            case outbox.Forget(entries):
                await self._disk.do(self._books.forget, entries)
                await self._trades.answered(task)
            case outbox.SetAside(entry, refusal):
                await self._disk.do(self._books.set_aside, entry, refusal.code, refusal.detail)
                log.error("record refused for good, set aside", **told_of(refusal))
                await self._trades.answered(task)
            case session.Trade(word):
                await self._trades.hear(word, self._session.believed)
            case session.Believe(_, data):
                heard = HeardStatement(data, self._journal.boot.id, self._heard_ms)
                await self._disk.do(self._memory.keep_statement, heard)
            case session.Buy(order):
                await self._buy(order)
            case session.KeepPlaced(placed):
                await self._disk.do(self._memory.keep_placed, placed)
            case Failing(_, meters, devices, reason):
                await self._disk.do(self._memory.keep_failing, meters, devices, reason)
            case Confirmed(device, power_w, set_w):
                if await self._disk.do(self._memory.keep_device, device, power_w, set_w):
                    log.info("device obeys", device=device, **grant_told(power_w, set_w))
            case _:
                self._call_people(task)

    def _call_people(self, task: outbox.Halt | outbox.Tell | session.Alarm | session.Ignored) -> None:
        match task:
            case outbox.Halt(refusal):
                self.state = replace(self.state, halted=halt_text(refusal))
                log.error("halted", reason=self.state.halted)
            case outbox.Tell(about, refusal):
                self._once.warning(about, **told_of(refusal))
            case session.Alarm(text):
                self.state = replace(self.state, alarm=text)
                self._once.warning("alarm", reason=text)
            case session.Ignored(kind, reason):
                self._once.warning("message ignored", kind=kind.value, reason=reason)
            case _:
                assert_never(task)

    async def _buy(self, order: StandingOrder) -> None:
        def payload(link: Link) -> bytes:
            return Purchase(link, order.participant, order.kind, order.price_max, order.fee).encode()

        sign = partial(self._memory.sign_purchase, participant=order.participant, right=order.kind)
        try:
            entry, placed = await self._disk.do(sign, payload, partial(self._seal, MessageType.PURCHASE))
        except KeyUnavailable as error:  # bought after the next statement, then
            self._note(key=str(error))
            self._attend(NotBought(order))
            return
        log.info("purchase signed", participant=order.participant, right=order.right, price_max=order.price_max)
        self._attend(Bought(placed))
        self._attend(Signed(entry))

    def _seal(self, type_: MessageType, payload: bytes) -> bytes:
        return seal(self._key, region=self._settings.region, type_=type_, payload=payload)

    # -- Telling.

    async def _tell(self, sender: Sender) -> None:
        """Leave word of every change of state at once, and of the counts every now and then."""
        now_ms = self._clocks.now_ms()
        if self.state == self._told and now_ms - self._told_ms < STATUS_EVERY_MS:
            return
        with contextlib.suppress(StorageError):
            for name, text in self.state.notes().items():
                if text != self._told.notes()[name]:
                    await self._disk.do(self._memory.keep_note, name, text)
        with contextlib.suppress(StorageError):  # a disk that cannot be read either: told when it can
            totals = await self._disk.do(self._books.totals)
            sender.publish_status(status_message(self.state, totals, ignored=self._session.ignored))
            self._told, self._told_ms = self.state, now_ms
