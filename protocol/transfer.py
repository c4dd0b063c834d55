"""A transfer: a participant gives tokens to another one, in a record that their gateway signs. Format: este.cddl."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.canonical import decode, encode
from protocol.errors import EncodingError
from protocol.fee import fields_and_fee, spell_fee
from protocol.fields import name, uint
from protocol.link import Link
from protocol.messages import MESSAGE_BYTES_MAX


@dataclass(frozen=True, slots=True)
class Transfer:
    """Tokens of one participant for another."""

    link: Link
    sender: str
    receiver: str
    amount: int
    """Tokens, at least 1."""
    fee: int = 0
    """Tokens for the region's reserve, on top: what the sender pays to go first."""

    def encode(self) -> bytes:
        """Spell the transfer."""
        fields = {5: self.sender, 6: self.receiver, 7: self.amount}
        return encode(self.link.to_fields() | fields | spell_fee(self.fee))

    @classmethod
    def decode(cls, payload: bytes) -> Transfer:
        """Read a transfer.

        Raises:
            EncodingError: not the one spelling of a transfer, or one of nothing.
        """
        value = decode(payload, size_max=MESSAGE_BYTES_MAX)
        fields, fee = fields_and_fee(value, (1, 2, 3, 4, 5, 6, 7), "transfer")
        amount = uint(fields[7], "amount")
        if not amount:
            raise EncodingError("transfer: an amount of 0 moves nothing")
        return cls(
            link=Link.from_fields(fields),
            sender=name(fields[5], "sender"),
            receiver=name(fields[6], "receiver"),
            amount=amount,
            fee=fee,
        )
