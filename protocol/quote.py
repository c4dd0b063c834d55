"""A quote: what a participant would sell or buy in one interval, and at what price; and its cancellation.

A gateway signs both for a participant behind it. What two quotes come to is a contract by itself: the two signatures
under the quotes stand in for those under an offer and its agreement. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.canonical import Value, decode, encode, fields_of
from protocol.contract import PRICE_MAX, QUANTITY_MAX_WH
from protocol.errors import EncodingError
from protocol.fields import digest, flag, name, optional, uint
from protocol.link import Link

QUOTE_BYTES_MAX: Final = 4096


class Side(IntEnum):
    """Which way the energy goes."""

    SELL = 1
    BUY = 2

    @property
    def other(self) -> Side:
        """Who takes the other side."""
        return Side.BUY if self is Side.SELL else Side.SELL


class TimeInForce(IntEnum):
    """How long a quote stands."""

    GOOD_TILL_CANCELLED = 1
    """Until it is filled, cancelled, or its interval's gate closes."""
    IMMEDIATE_OR_CANCEL = 2
    """What is not filled at once is void."""
    FILL_OR_KILL = 3
    """All of it at once, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """A participant would sell, or buy, through one of their meters."""

    link: Link
    participant: str
    meter: str
    """Where the energy is to be counted; its node says of which carrier it is, and where in the network."""
    side: Side
    start_ms: int
    """Of the interval of delivery."""
    quantity_wh: int
    """The most."""
    price_per_mwh: int
    """The limit, in minor money units per MWh: a seller takes no less, a buyer pays no more."""
    time_in_force: TimeInForce = TimeInForce.GOOD_TILL_CANCELLED
    clean_only: bool = False
    """Of a buyer: only energy from clean sources."""
    is_local: bool = False
    """Only with participants inside the region, not with the network outside."""
    partner: str = ""
    """Only with this participant; empty: with anybody."""

    def encode(self) -> bytes:
        """Spell the quote."""
        fields: dict[int, Value] = {
            5: self.participant,
            6: self.meter,
            7: self.side.value,
            8: self.start_ms,
            9: self.quantity_wh,
            10: self.price_per_mwh,
            11: self.time_in_force.value,
            12: self.clean_only,
            13: self.is_local,
            14: self.partner or None,
        }
        return encode(self.link.to_fields() | fields)

    @classmethod
    def decode(cls, payload: bytes) -> Quote:
        """Read a quote.

        Raises:
            EncodingError: not the one spelling of a quote, one of nothing, or a seller who asks for clean energy.
        """
        fields = fields_of(decode(payload, size_max=QUOTE_BYTES_MAX), tuple(range(1, 15)), "quote")
        try:
            side, time_in_force = Side(uint(fields[7], "side")), TimeInForce(uint(fields[11], "time in force"))
        except ValueError as error:
            raise EncodingError(f"quote: {error}") from error
        quote = cls(
            link=Link.from_fields(fields),
            participant=name(fields[5], "participant"),
            meter=name(fields[6], "meter"),
            side=side,
            start_ms=uint(fields[8], "start"),
            quantity_wh=uint(fields[9], "quantity", QUANTITY_MAX_WH),
            price_per_mwh=uint(fields[10], "price", PRICE_MAX),
            time_in_force=time_in_force,
            clean_only=flag(fields[12], "clean only"),
            is_local=flag(fields[13], "local"),
            partner=optional(fields[14], name, "partner") or "",
        )
        if not quote.quantity_wh:
            raise EncodingError("quote: 0 Wh are nothing to sell or buy")
        if quote.clean_only and side is Side.SELL:
            raise EncodingError("quote: whoever sells has the energy that they have; clean_only is for buyers")
        return quote


@dataclass(frozen=True, slots=True)
class QuoteCancel:
    """What is left of a quote is taken back."""

    link: Link
    quote: bytes
    """Digest of the envelope that it came in."""

    def encode(self) -> bytes:
        """Spell the cancellation."""
        return encode(self.link.to_fields() | {5: self.quote})

    @classmethod
    def decode(cls, payload: bytes) -> QuoteCancel:
        """Read a cancellation.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=QUOTE_BYTES_MAX), (1, 2, 3, 4, 5), "quote cancellation")
        return cls(Link.from_fields(fields), digest(fields[5], "quote"))
