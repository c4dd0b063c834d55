"""The village with a market: valid by default, one thing broken per test.

Gas, wind, home and the network outside are read through one gateway, which signs for them all. A line of 400 V joins
the connection at n0 with the others at n1. An interval is five seconds: 50 kW are 69 Wh.
"""

from __future__ import annotations

from typing import Any

from aggregator.chains.market.market import Market
from aggregator.economy.market.quotes import OpenQuote
from config.grid_model import Grid
from config.load import check
from protocol.canonical import decode
from protocol.contract import Terms
from protocol.messages import MessageType
from protocol.quote import Quote, QuoteCancel, Side
from protocol.refusals import RefusalCode
from tests.village import INTERVAL_MS, START_MS, Village, a_grid_document, some_keys

SOON_MS = START_MS + 4 * INTERVAL_MS
"""Start of an interval whose gate is open for a while."""
SELL, BUY = Side


def a_market_grid(rating_ma: int = 200_000, *, makes_contracts: bool = False, **market: Any) -> Grid:
    """The village's grid, with a market of continuous trading unless said otherwise."""
    document = a_grid_document()
    if makes_contracts:
        document["rules"]["contracts"] = {"imbalance_per_mwh": 40_000, "dispute_ms": 2 * INTERVAL_MS}
    document["rules"]["market"] = {"gate_ms": INTERVAL_MS, "ahead_ms": 20 * INTERVAL_MS} | market
    document["branches"][0]["rating_ma"] = rating_ma
    document["participants"].append({"id": "shed"})
    document["meters"].append(document["meters"][-2] | {"id": "m-shed", "participant": "shed", "gateway": "gw-2"})
    return check(document, Grid, "grid.yaml")


def a_market(rating_ma: int = 200_000, **market: Any) -> Village:
    """A village in which energy is traded; a shed has a gateway of its own."""
    return Village(grid=a_market_grid(rating_ma, **market), keys=some_keys("gw", "gw-2"))


def a_call_market(**changes: Any) -> Village:
    """The same with call auctions."""
    return a_market(**{"mechanism": "call"} | changes)


def a_quote(village: Village, participant: str, side: Side, author: str = "gw", **changes: Any) -> Quote:
    """Ten watt-hours at 25 ct a kilowatt-hour."""
    fields: dict[str, Any] = {
        "meter": f"m-{participant}", "start_ms": SOON_MS, "quantity_wh": 10, "price_per_mwh": 25_000,
    }  # fmt: skip
    return Quote(link=village.link(author), participant=participant, side=side, **fields | changes)


def quote(village: Village, participant: str, side: Side, author: str = "gw", **changes: Any) -> RefusalCode | None:
    """Send a quote into a block of its own, and say what became of it."""
    sealed = village.sign(a_quote(village, participant, side, author, **changes), MessageType.QUOTE, author)
    return village.close([village.record(sealed)]).outcomes[0].refusal


def cancel(village: Village, digest: bytes, author: str = "gw") -> RefusalCode | None:
    """Take a quote back."""
    sealed = village.sign(QuoteCancel(village.link(author), digest), MessageType.QUOTE_CANCEL, author)
    return village.close([village.record(sealed)]).outcomes[0].refusal


def market_of(village: Village) -> Market:
    """What stands, and counts."""
    return village.five.operation.market


def standing(village: Village) -> list[tuple[str, Side, int, int]]:
    """Whose quotes stand, with what is left of them and their limits, in the order of their numbers."""
    quotes: list[OpenQuote] = sorted((one for _, one in market_of(village).quotes.items()), key=lambda one: one.number)
    return [(one.participant, one.side, one.quantity_wh, one.limit) for one in quotes]


def contracts(village: Village) -> list[Terms]:
    """The terms of every match, as its leaf has them."""
    return [Terms.decode(leaf[6]) for leaf in match_leaves(village)]


def match_leaves(village: Village) -> list[list[Any]]:
    """What blocks say of matches."""
    rows = [decode(leaf.body, size_max=1 << 16) for block in village.blocks for leaf in block.leaves]
    return [row for row in rows if row[0] == "match"]


def said(terms: Terms) -> tuple[str, str, int, int]:
    """Who delivers how much to whom, and at what price."""
    return terms.seller, terms.buyer, terms.quantity_wh, terms.price_per_mwh
