"""Letters between gateways, as a node passes them on: it sees for whom, and never what.

A letter is bounded, signed by an admitted gateway on its own topic, sealed to the key that its receiver has published,
not expired, and one of so many in a minute. It is handed over as it came, with its sender's keys as the asset chain has
them, and nothing of it is kept: who wrote it writes again until there is an answer. Whoever asks through whom a
participant is reached gets a card. Any other message is counted and dropped. Belongs to the ledger's thread.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from aggregator.chains.asset import AssetChain
from aggregator.ledger.record import Author, Role
from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Outgoing
from protocol.crypto import SigningKey
from protocol.envelope import Envelope, seal
from protocol.errors import EncodingError, MessageError, SignatureError
from protocol.messages import MessageType, Refusal
from protocol.partners import LETTER_BYTES_MAX, Ask, Card, Delivery, Partner
from protocol.refusals import RefusalCode, Refused
from protocol.sealed import Sealed
from protocol.topics import Kind, Topic

AT_ONCE_MAX: Final = 60
"""Letters and questions that one gateway may send in a row."""

ONE_EVERY_MS: Final = 1000
"""And one more after so long."""


@dataclass(slots=True)
class Allowance:
    """What one gateway may send."""

    left: int = AT_ONCE_MAX
    since_ms: int = 0
    """Up to when what it gets back has been counted."""

    def take(self, now_ms: int) -> bool:
        """Whether one more may pass."""
        back = max(0, now_ms - self.since_ms) // ONE_EVERY_MS
        self.left, self.since_ms = min(AT_ONCE_MAX, self.left + back), self.since_ms + back * ONE_EVERY_MS
        if not self.left:
            return False
        self.left -= 1
        return True


@dataclass(slots=True)
class PostRoom:
    """One node's part in what gateways write to each other."""

    region: str
    key: SigningKey
    dropped: Counter[str] = field(default_factory=Counter)
    """Messages that nobody is told about, by why."""
    _allowances: dict[str, Allowance] = field(default_factory=dict)
    """By gateway: of admitted ones only, so they are no more than those."""

    def take(self, incoming: Incoming, asset: AssetChain, now_ms: int) -> list[Outgoing]:
        """Deal with one message that came on a topic for questions or letters.

        Returns:
            What is to be told, and to whom.
        """
        try:
            envelope = Envelope.parse(incoming.payload, size_max=LETTER_BYTES_MAX)
            author = _author(envelope, incoming, asset)
            envelope.verify(author.key, self.region)
        except MessageError as error:
            self.dropped[type(error).__name__] += 1
            return []
        try:
            if not self._allowances.setdefault(author.name, Allowance(since_ms=now_ms)).take(now_ms):
                raise Refused(RefusalCode.TOO_MANY_LETTERS, f"{AT_ONCE_MAX} at once, and one every {ONE_EVERY_MS} ms")
            if incoming.kind is Kind.ASK:
                return [self._card(envelope, author, asset)]
            return [self._delivery(envelope, author, asset, now_ms)]
        except EncodingError:
            self.dropped["payload"] += 1
            return []
        except Refused as refused:
            return [self._refusal(author.name, envelope, refused)]

    def _card(self, envelope: Envelope, author: Author, asset: AssetChain) -> Outgoing:
        ask = Ask.decode(envelope.payload)
        _see_own_name((ask.region, ask.gateway), (self.region, author.name))
        for gateway in sorted(asset.region.gateways_of.get(ask.participant, ())):
            partner = asset.partner(gateway)
            if partner is not None and partner.sealing_key is not None:
                card = Card(self.region, author.name, ask.participant, partner)
                return self._signed(author.name, Kind.CARD, MessageType.CARD, card.encode())
        raise Refused(RefusalCode.NO_LETTERBOX, f"no gateway of {ask.participant} has published a sealing key")

    def _delivery(self, envelope: Envelope, author: Author, asset: AssetChain, now_ms: int) -> Outgoing:
        letter = Sealed.decode(envelope.payload)
        _see_own_name((letter.region, letter.sender), (self.region, author.name))
        receiver = asset.partner(letter.receiver)
        if receiver is None or receiver.sealing_key is None:
            raise Refused(RefusalCode.NO_LETTERBOX, f"{letter.receiver} takes no letters")
        if receiver.sealing_key.thumbprint != letter.key_id:
            raise Refused(RefusalCode.SEALED_TO_OTHER_KEY, f"{letter.receiver} has published another key: ask again")
        if letter.expires_ms <= now_ms:
            raise Refused(RefusalCode.LETTER_EXPIRED, f"it was good until {letter.expires_ms}, and it is {now_ms}")
        delivery = Delivery(self.region, receiver.gateway, _partner(asset, author.name), envelope.data)
        return self._signed(receiver.gateway, Kind.DELIVERY, MessageType.DELIVERY, delivery.encode())

    def _refusal(self, gateway: str, envelope: Envelope, refused: Refused) -> Outgoing:
        refusal = Refusal(self.region, gateway, envelope.digest, 0, refused.code, 0, refused.detail)
        return self._signed(gateway, Kind.REFUSAL, MessageType.REFUSAL, refusal.encode())

    def _signed(self, gateway: str, kind: Kind, type_: MessageType, payload: bytes) -> Outgoing:
        return Outgoing(
            Topic(self.region, gateway, kind), seal(self.key, region=self.region, type_=type_, payload=payload)
        )


def _author(envelope: Envelope, incoming: Incoming, asset: AssetChain) -> Author:
    """Whose word an envelope claims to be.

    Raises:
        MessageError: no admitted gateway's, another's than whose topic it came on, or of another type than goes there.
    """
    author = asset.author_of(envelope.key_id)
    if author is None or author.role is not Role.GATEWAY or author.name != incoming.gateway:
        raise SignatureError(f"no key of {incoming.gateway}")
    if envelope.type != _TYPES[incoming.kind]:
        raise MessageError(f"a {envelope.type} where a {incoming.kind} is expected")
    return author


_TYPES: Final = {Kind.ASK: MessageType.ASK, Kind.SEALED: MessageType.SEALED}


def _see_own_name(said: tuple[str, str], own: tuple[str, str]) -> None:
    if said != own:
        raise EncodingError(f"{own[1]} in {own[0]} signed as {said[1]} in {said[0]}")


def _partner(asset: AssetChain, gateway: str) -> Partner:
    partner = asset.partner(gateway)
    assert partner is not None, "its key counts"
    return partner
