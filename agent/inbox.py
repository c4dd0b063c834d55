"""The aggregator's signed word: opened in the order of trust of `protocol.envelope`, or refused.

Given the bytes of a message and the topic it came on, hands back a receipt, a refusal, a statement, a card or a letter
that the key of an aggregator signed for this region, this gateway and this type of message. The broker in between may
delay or drop, and that is all it can do. Believes nothing else, and never says more than why not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from protocol.crypto import PublicKey
from protocol.envelope import Envelope
from protocol.errors import MessageError, SignatureError
from protocol.messages import MessageType, Receipt, Refusal, Statement
from protocol.partners import Card, Delivery
from protocol.topics import Kind

Message = Receipt | Refusal | Statement | Card | Delivery
"""What the aggregator may say to a gateway."""

_READERS: Final[Mapping[Kind, tuple[MessageType, Callable[[bytes], Message]]]] = {
    Kind.RECEIPT: (MessageType.RECEIPT, Receipt.decode),
    Kind.REFUSAL: (MessageType.REFUSAL, Refusal.decode),
    Kind.STATEMENT: (MessageType.STATEMENT, Statement.decode),
    Kind.CARD: (MessageType.CARD, Card.decode),
    Kind.DELIVERY: (MessageType.DELIVERY, Delivery.decode),
}


@dataclass(frozen=True, slots=True)
class Heard:
    """A verified message."""

    envelope: Envelope
    message: Message


@dataclass(frozen=True, slots=True)
class Inbox:
    """Who is believed, and for whom the message must be."""

    aggregators: tuple[PublicKey, ...]
    """The keys of the nodes that keep the chains."""
    region: str
    gateway: str

    def open(self, kind: Kind, data: bytes) -> Heard:
        """Verify one message that came on a topic of `kind`.

        Raises:
            MessageError: it is not the aggregator's word to this gateway.
        """
        if kind not in _READERS:
            raise MessageError(f"nothing of kind {kind} is meant for a gateway")
        type_, read = _READERS[kind]
        envelope = Envelope.parse(data)
        if envelope.type != type_:
            raise MessageError(f"a {envelope.type} on the topic of a {type_}")
        key = next((key for key in self.aggregators if key.thumbprint == envelope.key_id), None)
        if key is None:
            raise SignatureError("signed by another key than the aggregator's")
        envelope.verify(key, self.region)
        message = read(envelope.payload)
        if (message.region, message.gateway) != (self.region, self.gateway):
            raise MessageError(f"meant for {message.gateway} in {message.region}")
        return Heard(envelope, message)
