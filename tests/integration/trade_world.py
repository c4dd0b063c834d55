"""Two gateways that write to each other through a node's post room, and what a hostile one may put in between.

The desks, their files, the post room and the ledger are real; the broker is a list. A test may look at every letter on
its way, lose it, send it again, or put another one in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.inbox import Inbox
from agent.outbox.books import Books
from agent.outbox.file import OutboxFile
from agent.trade import book
from agent.trade.book import Verb, Wish
from agent.trade.desk import TradeDesk
from agent.trade.letters import Pen
from agent.trade.mailbag import Done
from agent.trade.offers import Offer, Step
from aggregator.ledger.record import Record
from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Outgoing
from aggregator.service.post_room import PostRoom
from protocol.contract import ANSWERS_NOTHING, Terms
from protocol.crypto import SigningKey, SoftwareKey
from protocol.envelope import Envelope
from protocol.errors import MessageError
from protocol.messages import MessageType, Refusal
from protocol.partners import Card, Delivery
from protocol.sealed import SealingKey
from protocol.topics import Kind
from tests.contract_village import GATEWAYS, Market
from tests.village import INTERVAL_MS, REGION

HOUR_MS = 3_600_000


@dataclass
class House:
    """One gateway's desk and its file."""

    name: str
    folder: Path
    key: SigningKey
    box: SealingKey
    ours: frozenset[str]
    has_box: bool = True
    inbound: list[Card | Delivery | Refusal] = field(default_factory=list)
    """Everything that came."""
    ignored: list[str] = field(default_factory=list)
    """Why something that came was ignored."""

    def __post_init__(self) -> None:
        """Nothing has happened yet."""
        self.books = Books(OutboxFile.open(self.folder, region=REGION, gateway=self.name))
        self.start()

    def start(self) -> None:
        """Begin to work, as after a restart."""
        pen = Pen(REGION, self.name, self.key)
        self.desk = TradeDesk(self.books, pen, lambda: self.box if self.has_box else None)

    def order(self, verb: Verb, **about: Any) -> None:
        """What a command leaves."""
        book.leave(self.folder, Wish(verb, **about))

    def offer(self, number: bytes) -> Offer:
        """How an offer stands."""
        return next(offer for offer in book.look(self.folder) if offer.number == number)

    def stage(self, number: bytes) -> str:
        """Where an offer stands; `none` where it is unknown."""
        found = [offer.stage.name.lower() for offer in book.look(self.folder) if offer.number == number]
        return found[0] if found else "none"


@dataclass
class World:
    """Two houses and everything between them."""

    market: Market
    wind: House
    home: House
    now_ms: int
    tampered: Callable[[Outgoing], Outgoing | None] = lambda outgoing: outgoing
    """What becomes of a message to a gateway on its way: None loses it."""
    letters: list[Incoming] = field(default_factory=list)
    """Everything that gateways sent for each other."""

    def __post_init__(self) -> None:
        """Both houses take letters."""
        self.room = PostRoom(REGION, self.market.keys["node"])
        for house in (self.wind, self.home):
            house.order(Verb.OPEN)
        self.tick()

    def terms(self, **changes: Any) -> Terms:
        """The wind turbine delivers to the home in a while."""
        start_ms = self.market.now_ms + 20 * INTERVAL_MS
        default = Terms(
            region=REGION,
            seller="wind",
            buyer="home",
            carrier="electricity",
            quantity_wh=50,
            price_per_mwh=250_000,
            start_ms=start_ms,
            end_ms=start_ms + INTERVAL_MS,
            expires_ms=self.now_ms + HOUR_MS,
            nonce=bytes(range(16)),
            answers=ANSWERS_NOTHING,
        )
        return replace(default, **changes)

    def offered(self, **changes: Any) -> bytes:
        """The wind turbine's offer has reached the home."""
        terms = self.terms(**changes)
        self.wind.order(Verb.OFFER, terms=terms, partner="home")
        self.tick()
        return terms.digest

    def tick(self, later_ms: int = 0) -> None:
        """Time passes, and everything reaches its end."""
        self.now_ms += later_ms
        for house in (self.wind, self.home):
            self.deal(house, house.desk.tick(self.now_ms))

    def deal(self, house: House, done: Done) -> None:
        """Pass on what a desk wants sent, and let what it signed onto the chain."""
        for kind, data in done.letters:
            incoming = Incoming(house.name, data, kind)
            self.letters.append(incoming)
            self.pass_on(incoming)
        for entry in done.entries:
            data = house.books.envelope(entry.sequence)
            assert data is not None
            (outcome,) = self.market.close([self.market.record(data)]).outcomes
            step = Step.RECORD if outcome.refusal is None else Step.REJECT
            detail = self.market.five.ledger.height if outcome.refusal is None else outcome.refusal.value
            self.deal(house, house.desk.recorded(entry.sequence, step, detail, outcome.detail, self.now_ms))

    def pass_on(self, incoming: Incoming) -> None:
        """What the nodes make of a message."""
        for outgoing in self.room.take(incoming, self.market.five.asset, self.now_ms):
            if (told := self.tampered(outgoing)) is not None:
                self.hand_over(told)

    def hand_over(self, outgoing: Outgoing) -> None:
        """A message reaches its gateway."""
        house = {self.wind.name: self.wind, self.home.name: self.home}[outgoing.topic.name]
        inbox = Inbox((self.market.keys["node"].public_key,), REGION, house.name)
        word = inbox.open(outgoing.topic.kind, outgoing.payload).message
        assert isinstance(word, Card | Delivery | Refusal)
        house.inbound.append(word)
        try:
            done = house.desk.hear(word, house.ours, self.now_ms)
        except MessageError as error:
            house.ignored.append(str(error))
            return
        self.deal(house, done)

    def records(self, type_: MessageType) -> list[Record]:
        """What of one type is on the chains."""
        outcomes = [outcome for block in self.market.blocks for outcome in block.outcomes]
        return [one.record for one in outcomes if one.record.type is type_ and one.refusal is None]

    def deliveries(self) -> list[Incoming]:
        """The letters among what was sent."""
        return [incoming for incoming in self.letters if incoming.kind is Kind.SEALED]


@contextmanager
def a_trade_world(folder: Path) -> Iterator[World]:
    """Wind and home, behind gateways of their own, both ready to trade."""
    market = Market()
    houses = [
        House(
            GATEWAYS[name],
            folder / name,
            market.keys[GATEWAYS[name]],
            SealingKey(SoftwareKey.from_secret(700 + number)),
            frozenset(market.five.asset.region.participants_of[GATEWAYS[name]]),
        )
        for number, name in enumerate(("wind", "home"))
    ]
    try:
        yield World(market, *houses, now_ms=market.now_ms)
    finally:
        for house in houses:
            house.books.file.close()


def payload_of(incoming: Incoming) -> bytes:
    """What a gateway signed."""
    return Envelope.parse(incoming.payload).payload
