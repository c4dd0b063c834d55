"""How one gateway finds another, and how letters reach it, so that participants can agree without being overheard.

A gateway publishes its *sealing key* as a record on the asset chain, where nobody can put another one in its place. Who
wants to write to a participant *asks* the nodes, and gets a *card*: through which gateway, with which keys. A letter
goes to the nodes, who see for whom it is and nothing else, and who *deliver* it with its sender's keys. Cards and
deliveries say the same whichever node signs them, so that a gateway can wait until enough have said so. Format:
docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.canonical import Value, decode, encode, fields_of
from protocol.crypto import PUBLIC_KEY_BYTES, PublicKey
from protocol.envelope import Envelope
from protocol.errors import EncodingError
from protocol.fields import items, name, optional
from protocol.link import Link
from protocol.messages import MESSAGE_BYTES_MAX, PARTICIPANTS_PER_GATEWAY_MAX
from protocol.rotation import read_key
from protocol.sealed import SEALED_BYTES_MAX

ASK_BYTES_MAX: Final = 1024
LETTER_BYTES_MAX: Final = SEALED_BYTES_MAX + 512
"""Of a letter in the envelope of its sender."""


@dataclass(frozen=True, slots=True)
class SealingKeyRecord:
    """From the next block on, letters to this gateway are sealed to another key."""

    link: Link
    key: PublicKey

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(self.link.to_fields() | {5: self.key.point})

    @classmethod
    def decode(cls, payload: bytes) -> SealingKeyRecord:
        """Read the record.

        Raises:
            EncodingError: not its one spelling, or what it names is no key.
        """
        fields = fields_of(decode(payload, size_max=ASK_BYTES_MAX), (1, 2, 3, 4, 5), "sealing key")
        return cls(Link.from_fields(fields), read_key(fields[5]))


@dataclass(frozen=True, slots=True)
class Partner:
    """A gateway, as the asset chain has it."""

    gateway: str
    key: PublicKey
    """What it signs with."""
    sealing_key: PublicKey | None
    """What letters to it are sealed to; none where it has published none."""
    participants: tuple[str, ...]
    """For whom it speaks, in the order of their names."""

    def encode(self) -> bytes:
        """Spell the partner, for whoever keeps it."""
        return encode(_spell_partner(self))

    @classmethod
    def decode(cls, data: bytes) -> Partner:
        """Read a partner.

        Raises:
            EncodingError: not the one spelling of a partner.
        """
        return _read_partner(decode(data, size_max=MESSAGE_BYTES_MAX))


@dataclass(frozen=True, slots=True)
class Ask:
    """A gateway wants to write to a participant."""

    region: str
    gateway: str
    """Who asks."""
    participant: str

    def encode(self) -> bytes:
        """Spell the question."""
        return encode({1: self.region, 2: self.gateway, 3: self.participant})

    @classmethod
    def decode(cls, payload: bytes) -> Ask:
        """Read a question.

        Raises:
            EncodingError: not the one spelling of a question.
        """
        fields = fields_of(decode(payload, size_max=ASK_BYTES_MAX), (1, 2, 3), "question")
        return cls(name(fields[1], "region"), name(fields[2], "gateway"), name(fields[3], "participant"))


@dataclass(frozen=True, slots=True)
class Card:
    """A node's answer: through whom the participant that a gateway asked for is reached."""

    region: str
    gateway: str
    """Who asked."""
    participant: str
    partner: Partner

    def encode(self) -> bytes:
        """Spell the card."""
        return encode({1: self.region, 2: self.gateway, 3: self.participant, 4: _spell_partner(self.partner)})

    @classmethod
    def decode(cls, payload: bytes) -> Card:
        """Read a card.

        Raises:
            EncodingError: not the one spelling of a card, or that of a gateway that takes no letters for whom was
                asked for.
        """
        fields = fields_of(decode(payload, size_max=MESSAGE_BYTES_MAX), (1, 2, 3, 4), "card")
        card = cls(
            region=name(fields[1], "region"),
            gateway=name(fields[2], "gateway"),
            participant=name(fields[3], "participant"),
            partner=_read_partner(fields[4]),
        )
        if card.partner.sealing_key is None or card.participant not in card.partner.participants:
            raise EncodingError("card: of a gateway that takes no letters for this participant")
        return card


@dataclass(frozen=True, slots=True)
class Delivery:
    """A node hands over a letter, and says whose it is."""

    region: str
    gateway: str
    """Who gets it."""
    sender: Partner
    letter: bytes
    """Envelope of a `protocol.sealed.Sealed`, as its sender signed it."""

    def encode(self) -> bytes:
        """Spell the delivery."""
        return encode({1: self.region, 2: self.gateway, 3: _spell_partner(self.sender), 4: self.letter})

    @classmethod
    def decode(cls, payload: bytes) -> Delivery:
        """Read a delivery.

        Raises:
            EncodingError: not the one spelling of a delivery.
        """
        fields = fields_of(decode(payload, size_max=MESSAGE_BYTES_MAX), (1, 2, 3, 4), "delivery")
        letter = fields[4]
        if type(letter) is not bytes:
            raise EncodingError("delivery: a letter is a byte string")
        return cls(
            region=name(fields[1], "region"),
            gateway=name(fields[2], "gateway"),
            sender=_read_partner(fields[3]),
            letter=Envelope.parse(letter, size_max=LETTER_BYTES_MAX).data,
        )


def _spell_partner(partner: Partner) -> Value:
    sealing = None if partner.sealing_key is None else partner.sealing_key.point
    return {1: partner.gateway, 2: partner.key.point, 3: sealing, 4: list(partner.participants)}


def _read_partner(value: Value) -> Partner:
    fields = fields_of(value, (1, 2, 3, 4), "partner")
    participants = tuple(
        name(one, "participant") for one in items(fields[4], "participants", PARTICIPANTS_PER_GATEWAY_MAX)
    )
    if list(participants) != sorted(set(participants)):
        raise EncodingError("partner: participants rise by name, each once")
    return Partner(
        gateway=name(fields[1], "gateway"),
        key=read_key(fields[2]),
        sealing_key=optional(fields[3], lambda value, _: read_key(value), "sealing key"),
        participants=participants,
    )


assert PUBLIC_KEY_BYTES * 2 + PARTICIPANTS_PER_GATEWAY_MAX * 66 + LETTER_BYTES_MAX < MESSAGE_BYTES_MAX
