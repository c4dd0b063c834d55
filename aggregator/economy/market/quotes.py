"""A quote that is open, and what becomes of two that meet."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.contract import price_of
from protocol.quote import Side

MarketKey = tuple[str, int]
"""Carrier, and start of the interval of delivery: what is traded as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenQuote:
    """What is left of a quote."""

    number: int
    """Its place in the order of arrival in the region; the first is 1."""
    participant: str
    meter: str
    node: str
    carrier: str
    side: Side
    start_ms: int
    quantity_wh: int
    """That is left."""
    limit: int
    """Minor money units per MWh."""
    is_clean: bool = False
    """Of a seller: whether what the meter feeds in counts as clean."""
    clean_only: bool = False
    is_inside: bool = True
    """Whether the participant is in the region, and does not stand for the network outside."""
    is_local: bool = False
    partner: str = ""
    gateway: str = ""
    """Who signed it."""
    digest: bytes = b""
    """Of the envelope that it came in: its name everywhere."""

    @property
    def market(self) -> MarketKey:
        """Where it is traded."""
        return self.carrier, self.start_ms

    @property
    def cost_max(self) -> int:
        """What is left of it costs whoever buys at most, in millionths of a minor unit."""
        return price_of(self.quantity_wh, self.limit)

    def agrees_with(self, other: OpenQuote) -> bool:
        """Whether two quotes on opposite sides suit each other, prices aside."""
        sell, buy = (self, other) if self.side is Side.SELL else (other, self)
        return (
            (sell.is_clean or not buy.clean_only)
            and (self.is_inside or not other.is_local)
            and (other.is_inside or not self.is_local)
            and (not self.partner or self.partner == other.participant)
            and (not other.partner or other.partner == self.participant)
        )


@dataclass(frozen=True, slots=True)
class Match:
    """Energy that goes from one participant to another, and what each of them pays or is paid for it."""

    sell: OpenQuote
    buy: OpenQuote
    quantity_wh: int
    sell_price: int
    """Minor money units per MWh that the seller is paid: the price of the contract."""
    buy_price: int
    """That the buyer pays. Where a line is full it differs; the region's clearing account has the difference."""

    @property
    def rent_per_mwh(self) -> int:
        """What the buyer pays beyond the seller's price, to the region, per MWh delivered; below 0 the region pays."""
        return self.buy_price - self.sell_price

    @property
    def rent(self) -> int:
        """The same of all of it, in millionths of a minor unit."""
        return price_of(self.quantity_wh, self.rent_per_mwh)
