"""A channel: capacity of one power line in a window of time, bought by a participant ahead of it. Format: este.cddl."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.canonical import decode, encode
from protocol.errors import EncodingError
from protocol.fee import fields_and_fee, spell_fee
from protocol.fields import name, uint
from protocol.link import Link
from protocol.messages import MESSAGE_BYTES_MAX

POWER_MAX_W: Final = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPurchase:
    """A participant buys a channel."""

    link: Link
    participant: str
    branch: str
    power_w: int
    """At least 1."""
    start_ms: int
    """Start of an interval that has not begun, UTC."""
    end_ms: int
    """Does not belong to it."""
    price_max: int
    """The most tokens it may cost."""
    fee: int = 0
    """Tokens for the region's reserve, on top: what the participant pays to go first."""

    def encode(self) -> bytes:
        """Spell the purchase."""
        what = {5: self.participant, 6: self.branch, 7: self.power_w}
        when = {9: self.start_ms, 10: self.end_ms, 11: self.price_max}
        return encode(self.link.to_fields() | what | spell_fee(self.fee) | when)

    @classmethod
    def decode(cls, payload: bytes) -> ChannelPurchase:
        """Read the purchase.

        Raises:
            EncodingError: not the one spelling of one, or of no power.
        """
        value = decode(payload, size_max=MESSAGE_BYTES_MAX)
        fields, fee = fields_and_fee(value, (1, 2, 3, 4, 5, 6, 7, 9, 10, 11), "channel")
        power_w = uint(fields[7], "power", POWER_MAX_W)
        if not power_w:
            raise EncodingError("channel: a power of 0 needs no line")
        return cls(
            link=Link.from_fields(fields),
            participant=name(fields[5], "participant"),
            branch=name(fields[6], "branch"),
            power_w=power_w,
            start_ms=uint(fields[9], "start"),
            end_ms=uint(fields[10], "end"),
            price_max=uint(fields[11], "price limit"),
            fee=fee,
        )
