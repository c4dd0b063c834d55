"""The clerk's way to the desk where offers are dealt with: waits for the disk, and gathers what is to be sent.

Decides nothing: what is ordered, heard and due goes to `desk`, and what comes of it goes back to the clerk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from agent.clock_port import Clocks
from agent.keys.sealing import open_box
from agent.log import Log, Once
from agent.outbox.books import Books
from agent.outbox.journal import Disk
from agent.outbox.queue import Forget, SetAside, Signed
from agent.standing import Believed
from agent.trade.desk import TradeDesk
from agent.trade.letters import Pen
from agent.trade.mailbag import Done
from agent.trade.offers import Step
from config.settings.agent import AgentSettings
from protocol.crypto import SigningKey
from protocol.errors import KeyUnavailable, MessageError, OperatorError
from protocol.messages import Refusal
from protocol.partners import Card, Delivery
from protocol.sealed import SealingKey
from protocol.topics import Kind

LETTERS_MAX: Final = 200
"""That wait for the link; what comes beyond is sent when it is due again."""


log = Log("trade")


class Post(Protocol):
    """What is asked of the link to the broker."""

    def publish_letter(self, kind: Kind, data: bytes) -> None:
        """Send a letter or a question, when there is a link."""


class Trades:
    """Offers of this gateway's participants and to them, beside its readings."""

    def __init__(
        self,
        settings: AgentSettings,
        books: Books,
        disk: Disk,
        key: SigningKey,
        clocks: Clocks,
        attend: Callable[[Signed], None],
    ) -> None:
        """`attend` is told of records that were signed."""
        self._settings = settings
        self._disk = disk
        self._clocks = clocks
        self._attend = attend
        self._once = Once(log)
        self._desk = TradeDesk(books, Pen(settings.region, settings.gateway, key), self._box)
        self._noted: Believed | None = None
        """The statement of which note was taken."""
        self._letters: list[tuple[Kind, bytes]] = []

    async def tick(self, believed: Believed | None) -> None:
        """Carry out what was ordered, see what is due, and take note of the statement that is believed.

        Raises:
            KeyUnavailable: the key does not sign now.
            StorageError: the disk takes nothing more.
        """
        if believed is not None and believed is not self._noted:
            await self._disk.do(self._desk.stated, believed.statement)
            self._noted = believed
        done = Done()
        try:
            await self._disk.do(self._desk.tick, self._unix_ms(), done)
        finally:
            self._take(done)

    async def hear(self, word: Card | Delivery | Refusal, believed: Believed | None) -> None:
        """Deal with what the nodes say about letters, by the last statement, which tells who is behind this gateway.

        What cannot be dealt with now, whoever wrote it writes again.

        Raises:
            StorageError: the disk takes nothing more.
        """
        standings = believed.statement.standings if believed else None
        ours = None if standings is None else frozenset(one.participant for one in standings)
        try:
            self._take(await self._disk.do(self._desk.hear, word, ours, self._unix_ms()))
        except (MessageError, KeyUnavailable) as error:
            self._once.warning("letter ignored", reason=str(error))

    async def answered(self, effect: Forget | SetAside) -> None:
        """Take note of what has become of records that agree to offers.

        Raises:
            StorageError: the disk takes nothing more.
        """
        match effect:
            case Forget(entries, height):
                for entry in filter(lambda entry: self._desk.awaits(entry.sequence), entries):
                    await self._record(entry.sequence, Step.RECORD, height, "")
            case SetAside(entry, refusal) if self._desk.awaits(entry.sequence):
                await self._record(entry.sequence, Step.REJECT, refusal.code.value, refusal.detail)

    def post(self, link: Post) -> None:
        """Hand over what was gathered."""
        for kind, data in self._letters:
            link.publish_letter(kind, data)
        self._letters.clear()

    async def _record(self, sequence: int, step: Step, detail: int, reason: str) -> None:
        try:
            self._take(await self._disk.do(self._desk.recorded, sequence, step, detail, reason, self._unix_ms()))
        except KeyUnavailable as error:
            self._once.warning("the other party is not told", reason=str(error))

    def _box(self) -> SealingKey | None:
        """What opens letters. A key file that cannot be used keeps nobody from reading meters."""
        try:
            return open_box(self._settings)
        except OperatorError as error:
            self._once.warning("letters cannot be read", reason=str(error))
            return None

    def _take(self, done: Done) -> None:
        self._letters = [*self._letters, *done.letters][:LETTERS_MAX]
        for entry in done.entries:
            self._attend(Signed(entry))

    def _unix_ms(self) -> int:
        """Now, UTC, as this machine knows it: an offer's end is the chain's to judge, here it only saves letters."""
        return self._clocks.clock().epoch_ms + self._clocks.now_ms()
