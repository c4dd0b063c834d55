"""What a party's gateway signs for the chain about a contract: that it is agreed, ended early, or disputed.

An offer is terms in an envelope of the proposer's gateway (`seal_offer`); it is no record, and travels as it likes.
An agreement is the acceptor's record around that envelope: so both signatures lie in one record, over one spelling of
the terms. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from protocol.canonical import decode, encode, fields_of
from protocol.contract import TERMS_BYTES_MAX, Terms
from protocol.crypto import SigningKey
from protocol.envelope import Envelope, seal
from protocol.errors import EncodingError
from protocol.fields import digest, name, text
from protocol.link import Link
from protocol.messages import MessageType

OFFER_BYTES_MAX: Final = TERMS_BYTES_MAX + 512
AGREEMENT_BYTES_MAX: Final = OFFER_BYTES_MAX + 512
REASON_MAX: Final = 300


def seal_offer(terms: Terms, key: SigningKey) -> bytes:
    """Sign terms as an offer that is good in their region only.

    Returns:
        The envelope's bytes.
    """
    return seal(key, region=terms.region, type_=MessageType.OFFER, payload=terms.encode())


def read_offer(data: bytes) -> tuple[Envelope, Terms]:
    """Take an offer apart. Its signature is not verified: see `Envelope.verify`.

    Raises:
        EncodingError: not the one spelling of an offer.
    """
    envelope = Envelope.parse(data, size_max=OFFER_BYTES_MAX)
    if envelope.type != MessageType.OFFER:
        raise EncodingError(f"an offer was expected, this is of type {envelope.type!r:.40}")
    return envelope, Terms.decode(envelope.payload)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The other party agrees to an offer."""

    link: Link
    offer: Envelope
    terms: Terms
    """What the offer says."""

    @property
    def fee(self) -> int:
        """Tokens that the buyer pays for the record's place in a block."""
        return self.terms.fee

    @classmethod
    def to(cls, link: Link, offer: bytes) -> Agreement:
        """Agree to an offer as it was received.

        Raises:
            EncodingError: it is none.
        """
        return cls(link, *read_offer(offer))

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(self.link.to_fields() | {5: self.offer.data})

    @classmethod
    def decode(cls, payload: bytes) -> Agreement:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=AGREEMENT_BYTES_MAX), (1, 2, 3, 4, 5), "agreement")
        if type(fields[5]) is not bytes:
            raise EncodingError("agreement: the offer is a byte string")
        return cls.to(Link.from_fields(fields), fields[5])


@dataclass(frozen=True, slots=True)
class _PartysWord:
    """What a party says of a contract. What it means is the type of its envelope."""

    link: Link
    contract: bytes
    """Digest of its terms."""
    participant: str
    """The party."""
    reason: str
    """For people."""

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(self.link.to_fields() | {5: self.contract, 6: self.participant, 7: self.reason})

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        what = cls.__name__.lower()
        fields = fields_of(decode(payload, size_max=AGREEMENT_BYTES_MAX), (1, 2, 3, 4, 5, 6, 7), what)
        return cls(
            link=Link.from_fields(fields),
            contract=digest(fields[5], "contract"),
            participant=name(fields[6], "participant"),
            reason=text(fields[7], "reason", REASON_MAX),
        )


class Termination(_PartysWord):
    """A party ends a contract before its window does, and pays for it; or takes back one that is not approved."""

    __slots__ = ()


class Dispute(_PartysWord):
    """A party does not accept how a contract's delivery was measured: the regulator has to decide."""

    __slots__ = ()
