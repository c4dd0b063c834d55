"""The terms of a contract: who delivers how much energy to whom, when, at what price, and what it costs not to.

One party's gateway signs them as an offer, the other's as an agreement to that offer; the digest of their one
spelling is the contract's number everywhere. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.canonical import decode, encode, fields_of
from protocol.crypto import digest_of
from protocol.errors import EncodingError
from protocol.fields import digest, flag, name, octets, uint
from protocol.units import PPM

CARRIERS: Final = ("electricity", "heat", "gas", "hydrogen")
"""What may be delivered. Numbered on the wire in this order."""

QUANTITY_MAX_WH: Final = 10**11
"""100 GWh, within a day at most: more than 4 GW."""
PRICE_MAX: Final = 10**7
"""Minor money units per MWh: 100,000 euros. The most energy at the highest price still fits 63 bits (`price_of`)."""
WINDOW_MAX_MS: Final = 86_400_000
"""Nothing is delivered for longer than a day: a longer delivery is several contracts."""
NONCE_BYTES: Final = 16
TERMS_BYTES_MAX: Final = 1024
ANSWERS_NOTHING: Final = bytes(32)
"""What terms answer that begin a negotiation."""


def price_of(energy_wh: int, price_per_mwh: int) -> int:
    """What energy costs, in millionths of a minor money unit: exactly, however it is sliced.

    There are as many watt-hours in a MWh as millionths in a unit, so nothing is rounded. The one function for that: the
    market forms prices by it, contracts are settled by it. `QUANTITY_MAX_WH` at `PRICE_MAX` is 10^18, below 2^63.
    """
    return energy_wh * price_per_mwh


def rounded(dividend: int, divisor: int) -> int:
    """A quotient as the nearest integer, a half as the even one. `divisor` is above 0."""
    whole, rest = divmod(dividend, divisor)
    return whole + (2 * rest > divisor or (2 * rest == divisor and whole % 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """All that two participants agree on."""

    region: str
    seller: str
    """Participant that delivers."""
    buyer: str
    """Participant that takes, and pays."""
    carrier: str
    """One of `CARRIERS`."""
    quantity_wh: int
    price_per_mwh: int
    """Minor money units per MWh: 25 ct/kWh is 25,000."""
    start_ms: int
    """First instant of the delivery window."""
    end_ms: int
    """Does not belong to it."""
    clean_only: bool = False
    """Whether only energy from clean sources counts as delivered."""
    penalty_ppm: int = 0
    """Of the price of what is not delivered; whoever is responsible for that pays it to the other."""
    termination_ppm: int = 0
    """Of the price of the rest; whoever ends the contract early pays it to the other."""
    fee: int = 0
    """Tokens that the buyer pays when the contract is confirmed in a block: what puts it before others."""
    expires_ms: int
    """After this instant the offer is void."""
    nonce: bytes
    """16 bytes of chance, which name the negotiation: a counter-offer keeps them, and two contracts with like terms are
    two by them."""
    answers: bytes = ANSWERS_NOTHING
    """Digest of the terms that these counter."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the spelling: the contract's number."""
        return digest_of(self.encode())

    @property
    def price(self) -> int:
        """Of all of it, in millionths of a minor money unit."""
        return price_of(self.quantity_wh, self.price_per_mwh)

    def encode(self) -> bytes:
        """Spell the terms."""
        return encode(
            {
                1: self.region,
                2: self.seller,
                3: self.buyer,
                4: CARRIERS.index(self.carrier),
                5: self.quantity_wh,
                6: self.price_per_mwh,
                7: self.start_ms,
                8: self.end_ms,
                9: self.clean_only,
                10: self.penalty_ppm,
                11: self.termination_ppm,
                12: self.fee,
                13: self.expires_ms,
                14: self.nonce,
                15: self.answers,
            }
        )

    @classmethod
    def decode(cls, payload: bytes) -> Terms:
        """Read terms.

        Raises:
            EncodingError: not the one spelling of terms, of no energy, or with a window that is none.
        """
        fields = fields_of(decode(payload, size_max=TERMS_BYTES_MAX), tuple(range(1, 16)), "terms")
        terms = cls(
            region=name(fields[1], "region"),
            seller=name(fields[2], "seller"),
            buyer=name(fields[3], "buyer"),
            carrier=CARRIERS[uint(fields[4], "carrier", len(CARRIERS) - 1)],
            quantity_wh=uint(fields[5], "quantity", QUANTITY_MAX_WH),
            price_per_mwh=uint(fields[6], "price", PRICE_MAX),
            start_ms=uint(fields[7], "start"),
            end_ms=uint(fields[8], "end"),
            clean_only=flag(fields[9], "clean only"),
            penalty_ppm=uint(fields[10], "penalty", PPM),
            termination_ppm=uint(fields[11], "termination", PPM),
            fee=uint(fields[12], "fee"),
            expires_ms=uint(fields[13], "expiry"),
            nonce=octets(fields[14], "nonce", NONCE_BYTES),
            answers=digest(fields[15], "answers"),
        )
        if not terms.quantity_wh:
            raise EncodingError("terms: a contract of 0 Wh delivers nothing")
        if not 0 < terms.end_ms - terms.start_ms <= WINDOW_MAX_MS:
            raise EncodingError(
                f"terms: a window from {terms.start_ms} until {terms.end_ms}, a day at most is asked for"
            )
        return terms
