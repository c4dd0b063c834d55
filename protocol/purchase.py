"""A purchase: a participant buys a right, in a record that their gateway signs. Format: docs/spec/este.cddl."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.canonical import decode, encode
from protocol.fee import fields_and_fee, spell_fee
from protocol.fields import name, uint
from protocol.link import Link
from protocol.messages import MESSAGE_BYTES_MAX, RightKind, read_right_kind


@dataclass(frozen=True, slots=True)
class Purchase:
    """A participant buys a right for the settlement period after the current one."""

    link: Link
    participant: str
    right: RightKind
    price_max: int
    """The most tokens it may cost."""
    fee: int = 0
    """Tokens for the region's reserve, on top: what the participant pays to go first."""

    def encode(self) -> bytes:
        """Spell the purchase."""
        fields = {5: self.participant, 6: self.right.value, 7: self.price_max}
        return encode(self.link.to_fields() | fields | spell_fee(self.fee))

    @classmethod
    def decode(cls, payload: bytes) -> Purchase:
        """Read a purchase.

        Raises:
            EncodingError: not the one spelling of a purchase.
        """
        value = decode(payload, size_max=MESSAGE_BYTES_MAX)
        fields, fee = fields_and_fee(value, (1, 2, 3, 4, 5, 6, 7), "purchase")
        return cls(
            link=Link.from_fields(fields),
            participant=name(fields[5], "participant"),
            right=read_right_kind(fields[6]),
            price_max=uint(fields[7], "price limit"),
            fee=fee,
        )
