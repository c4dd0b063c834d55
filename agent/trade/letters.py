"""Letters between two gateways, written and read in the order of trust.

What is delivered is the nodes' word for whose letter it is. So a letter is read in this order: its sender signed it,
for this gateway; it opens with this gateway's key; what is inside, the same sender signed; only then is it an offer or
an answer. Touches no disk and reads no clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocol.agreement import read_offer
from protocol.answer import Answer
from protocol.contract import Terms
from protocol.crypto import SigningKey
from protocol.envelope import Envelope, seal
from protocol.errors import MessageError, SignatureError
from protocol.messages import MessageType
from protocol.partners import LETTER_BYTES_MAX, Ask, Delivery, Partner
from protocol.sealed import MESSAGE_BYTES_MAX, Sealed, SealingKey, seal_to


@dataclass(frozen=True, slots=True)
class Proposal:
    """An offer that came in a letter."""

    terms: Terms
    envelope: bytes


Content = Proposal | Answer


@dataclass(frozen=True, slots=True)
class Pen:
    """What one gateway writes and signs with."""

    region: str
    gateway: str
    key: SigningKey

    def write(self, partner: Partner, message: bytes, expires_ms: int) -> bytes:
        """A letter to a partner that takes letters, in our envelope."""
        assert partner.sealing_key is not None, "only who takes letters is written to"
        letter = seal_to(
            partner.sealing_key,
            message,
            region=self.region,
            sender=self.gateway,
            receiver=partner.gateway,
            expires_ms=expires_ms,
        )
        return self._seal(MessageType.SEALED, letter.encode())

    def ask(self, participant: str) -> bytes:
        """The question through whom a participant is reached."""
        return self._seal(MessageType.ASK, Ask(self.region, self.gateway, participant).encode())

    def answer(self, answer: Answer) -> bytes:
        """An answer, signed; to be put into a letter."""
        return self._seal(MessageType.ANSWER, answer.encode())

    def read(self, delivery: Delivery, box: SealingKey) -> Content:
        """What is in a letter that was delivered to this gateway.

        Raises:
            MessageError: it is not what it should be, from its envelope to its content.
        """
        sender = delivery.sender
        outer = Envelope.parse(delivery.letter, size_max=LETTER_BYTES_MAX)
        _see_type(outer, MessageType.SEALED)
        _verify(outer, sender, self.region)
        letter = Sealed.decode(outer.payload)
        if (letter.region, letter.sender, letter.receiver) != (self.region, sender.gateway, self.gateway):
            raise MessageError(f"a letter from {letter.sender} to {letter.receiver} in {letter.region}")
        inner = Envelope.parse(box.open(letter), size_max=MESSAGE_BYTES_MAX)
        _verify(inner, sender, self.region)
        if inner.type == MessageType.OFFER:
            _, terms = read_offer(inner.data)
            if terms.region != self.region:
                raise MessageError(f"an offer for {terms.region}")
            return Proposal(terms, inner.data)
        _see_type(inner, MessageType.ANSWER)
        answer = Answer.decode(inner.payload)
        if (answer.region, answer.gateway) != (self.region, sender.gateway):
            raise MessageError(f"an answer of {answer.gateway} in {answer.region}")
        return answer

    def _seal(self, type_: MessageType, payload: bytes) -> bytes:
        return seal(self.key, region=self.region, type_=type_, payload=payload)


def _see_type(envelope: Envelope, type_: MessageType) -> None:
    if envelope.type != type_:
        raise MessageError(f"a {envelope.type} where a {type_} is expected")


def _verify(envelope: Envelope, sender: Partner, region: str) -> None:
    if envelope.key_id != sender.key.thumbprint:
        raise SignatureError(f"signed with another key than that of {sender.gateway}")
    envelope.verify(sender.key, region)
