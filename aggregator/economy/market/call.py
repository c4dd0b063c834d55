"""Call auction without a network: quotes are put in the order of merit, and trade as far as they cross.

Where no line is full, this is what clearing with the network comes to as well, so it is tried first; and it says which
of all prices at which supply meets demand is taken: the one in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aggregator.economy.market.quotes import OpenQuote
from protocol.contract import rounded
from protocol.quote import Side


@dataclass(frozen=True, slots=True)
class Crossing:
    """How far quotes cross."""

    fills_wh: dict[int, int]
    """By the quotes' numbers; those that trade nothing are left out."""
    low: int
    """From this price on, and"""
    high: int
    """up to this one, nobody who trades would rather not, and nobody who does not would rather trade."""

    @property
    def price(self) -> int:
        """In the middle, in minor units per MWh; half a unit to the even one."""
        return rounded(self.low + self.high, 2)


def cross(quotes: Sequence[OpenQuote]) -> Crossing:
    """Fill the cheapest sellers and the best buyers, the older of equals first, while the buyer pays what is asked."""
    sells = sorted((one for one in quotes if one.side is Side.SELL), key=lambda one: (one.limit, one.number))
    buys = sorted((one for one in quotes if one.side is Side.BUY), key=lambda one: (-one.limit, one.number))
    fills: dict[int, int] = {}
    s = b = 0
    while s < len(sells) and b < len(buys) and sells[s].limit <= buys[b].limit:
        sell, buy = sells[s], buys[b]
        left_s = sell.quantity_wh - fills.get(sell.number, 0)
        left_b = buy.quantity_wh - fills.get(buy.number, 0)
        traded = min(left_s, left_b)
        fills[sell.number] = fills.get(sell.number, 0) + traded
        fills[buy.number] = fills.get(buy.number, 0) + traded
        s += traded == left_s
        b += traded == left_b
    low, high = _prices(sells, buys, fills)
    return Crossing(fills, low, high)


def _prices(sells: Sequence[OpenQuote], buys: Sequence[OpenQuote], fills: dict[int, int]) -> tuple[int, int]:
    """Between which prices nobody who trades would rather not, and nobody who does not would rather trade."""
    asked = [one.limit for one in sells if one.number in fills]
    bid = [one.limit for one in buys if one.number in fills]
    asked_more = [one.limit for one in sells if fills.get(one.number, 0) < one.quantity_wh]
    bid_more = [one.limit for one in buys if fills.get(one.number, 0) < one.quantity_wh]
    floor = max([*asked, *bid_more], default=None)
    roof = min([*bid, *asked_more], default=None)
    low = floor if floor is not None else roof or 0
    return low, max(low, roof) if roof is not None else low
