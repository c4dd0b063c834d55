"""Who delivers to whom, once a call auction has said who trades how much.

Energy has no address in a network; a contract has, and is judged by the lines between its parties without setting it
off against others. So neighbours are paired first: from the leaves of the tree of each island upwards, sellers and
buyers at a node meet, the older first, and what is left of one side goes on to the node above. Along the tree no two
contracts then pass a line in opposite directions. Whoever wants clean energy is served before all others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from aggregator.economy.market.clearing import Auction, Clearing
from aggregator.economy.market.quotes import Match, OpenQuote
from aggregator.economy.network import TradedNetwork
from config.rules import Pricing
from protocol.quote import Side


@dataclass(slots=True)
class _Part:
    """What of a fill is not paired yet."""

    quote: OpenQuote
    left_wh: int
    price: int


def pair(auction: Auction, clearing: Clearing, pricing: Pricing) -> Iterator[Match]:
    """The matches of a clearing that has been verified.

    With `Pricing.UNIFORM` everybody at a node pays, and is paid, its price; with `Pricing.PAY_AS_BID` everybody their
    own limit. The region's clearing account has the difference.
    """
    limits = [quote.limit for quote in auction.quotes]
    prices = limits if pricing is Pricing.PAY_AS_BID else auction.prices(clearing)
    at: list[list[_Part]] = [[] for _ in auction.network.nodes]
    for quote, node, fill_wh, price in zip(auction.quotes, auction.nodes, clearing.fills_wh, prices, strict=True):
        if fill_wh:
            at[node].append(_Part(quote, fill_wh, price))
    yield from _upwards(auction.network, at, is_clean=True)
    yield from _upwards(auction.network, at, is_clean=False)


def _upwards(network: TradedNetwork, at: list[list[_Part]], *, is_clean: bool) -> Iterator[Match]:
    """Pair what is left, node by node; with `is_clean`, only clean sellers with buyers who want no others."""
    waiting: dict[Side, list[deque[_Part]]] = {side: [deque() for _ in at] for side in Side}
    for node, parts in enumerate(at):
        for part in parts:
            if part.left_wh and (not is_clean or part.quote.is_clean or part.quote.clean_only):
                waiting[part.quote.side][node].append(part)
    for node in reversed(network.forest.order):
        sells, buys = waiting[Side.SELL][node], waiting[Side.BUY][node]
        while sells and buys:
            sell, buy = sells[0], buys[0]
            quantity_wh = min(sell.left_wh, buy.left_wh)
            yield Match(sell.quote, buy.quote, quantity_wh, sell.price, buy.price)
            for part, queue in ((sell, sells), (buy, buys)):
                part.left_wh -= quantity_wh
                if not part.left_wh:
                    queue.popleft()
        if (line := network.forest.line_up[node]) is not None:
            ends = network.lines[line]
            above = ends.to_node if ends.from_node == node else ends.from_node
            waiting[Side.SELL][above].extend(sells)
            waiting[Side.BUY][above].extend(buys)
