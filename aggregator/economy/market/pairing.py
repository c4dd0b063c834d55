"""Who delivers to whom, once a call auction has said who trades how much.

Energy has no address in a network; a contract has. Sellers and buyers of an island are laid side by side, those whose
energy is, or has to be, clean first, the older of equals first, and each buyer is served by whoever lies opposite.
"""

from __future__ import annotations

from collections.abc import Iterator

from aggregator.economy.market.clearing import Auction, Clearing
from aggregator.economy.market.quotes import Match, OpenQuote
from config.rules import Pricing
from protocol.quote import Side

_Part = list[tuple[OpenQuote, int, int]]
"""Quotes of one side of an island, with their fills and prices."""


def pair(auction: Auction, clearing: Clearing, pricing: Pricing) -> Iterator[Match]:
    """The matches of a clearing that has been verified, island by island.

    With `Pricing.UNIFORM` everybody at a node pays, and is paid, its price; with `Pricing.PAY_AS_BID` everybody their
    own limit. The region's clearing account has the difference.
    """
    sides: dict[tuple[int, Side], _Part] = {}
    limits = [quote.limit for quote in auction.quotes]
    prices = limits if pricing is Pricing.PAY_AS_BID else auction.prices(clearing)
    for quote, island, fill_wh, price in zip(auction.quotes, auction.island_of, clearing.fills_wh, prices, strict=True):
        if fill_wh:
            sides.setdefault((island, quote.side), []).append((quote, fill_wh, price))
    for island in range(auction.islands):
        sells = sorted(sides.get((island, Side.SELL), []), key=lambda part: (not part[0].is_clean, part[0].number))
        buys = sorted(sides.get((island, Side.BUY), []), key=lambda part: (not part[0].clean_only, part[0].number))
        yield from _side_by_side(sells, buys)


def _side_by_side(sells: _Part, buys: _Part) -> Iterator[Match]:
    s = b = used_s = used_b = 0
    while s < len(sells) and b < len(buys):
        (sell, fill_s, sell_price), (buy, fill_b, buy_price) = sells[s], buys[b]
        quantity_wh = min(fill_s - used_s, fill_b - used_b)
        yield Match(sell, buy, quantity_wh, sell_price, buy_price)
        used_s, used_b = used_s + quantity_wh, used_b + quantity_wh
        if used_s == fill_s:
            s, used_s = s + 1, 0
        if used_b == fill_b:
            b, used_b = b + 1, 0
