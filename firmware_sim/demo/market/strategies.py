"""How people quote: sellers ask for the less, the more they have; buyers bid the more, the more they need.

Everybody expects to go on as they did in the last interval, and trades a little less than that. Nobody asks for less
than the network outside would pay them, or bids more than it would ask: that is what each could have without a market.
Between the two, price follows plenty and need, and a mood that is drawn from the region's seed. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from firmware_sim.chance import between
from firmware_sim.rules import FEED_IN_PER_MWH, RETAIL_PER_MWH
from firmware_sim.scenario import Connection
from firmware_sim.sites import Kind

SELLERS_MAX: Final = 4
BUYERS_MAX: Final = 3
"""Who quotes in a round: so many that there is a market, and so few that a small machine signs them all in time."""

CAREFUL_PERCENT: Final = 90
"""Of what was fed in, or used, in the last interval."""

ASK_SPAN_PERCENT: Final = 60
"""How far up from the feed-in price a seller with little to sell asks, of the way to the retail price."""
BID_FROM_PERCENT: Final = 45
"""How far up a buyer with little need begins."""
MOOD_PER_MWH: Final = 1_500
"""1.5 ct/kWh, up or down."""

MS_PER_HOUR: Final = 3_600_000
_PERCENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Trader:
    """Somebody who quotes."""

    participant: str
    meter: str
    power_max_w: int
    """The most that they ever use, or feed in, whichever is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """A quote that somebody makes."""

    participant: str
    meter: str
    is_sale: bool
    quantity_wh: int
    price_per_mwh: int
    """The least that a seller asks, the most that a buyer bids; in minor money units."""
    start_ms: int


def traders_of(connections: Iterable[Connection]) -> tuple[Trader, ...]:
    """Who has something to trade: wind and sun first, then roofs, then households; not who has a part of their own."""
    ranks = {Kind.WIND: 0, Kind.PV: 0, Kind.PROSUMER: 1, Kind.HOUSEHOLD: 2}
    found = [one.site for one in connections if one.site.kind in ranks]
    return tuple(
        Trader(participant=site.participant, meter=site.meter, power_max_w=max(site.import_max_w, site.export_max_w))
        for site in sorted(found, key=lambda site: ranks[site.kind])
    )


def round_of(
    traders: Sequence[Trader], people: Mapping[str, Any], *, start_ms: int, interval_ms: int, seed: int, number: int
) -> list[Quoted]:
    """What everybody quotes for an interval.

    Args:
        traders: in the order in which they come to speak.
        people: everybody's power in the last interval, as the aggregator publishes it; above 0 is used.
        start_ms: of the interval to come.
        interval_ms: its length.
        seed: of the region.
        number: of the round: moods change.
    """
    quotes = []
    for trader in traders:
        power_w = people.get(trader.participant, {"power_w": 0})["power_w"]
        mood = between(-MOOD_PER_MWH, MOOD_PER_MWH, seed, trader.participant, "mood", number)
        quote = quote_of(trader, power_w, mood, start_ms=start_ms, interval_ms=interval_ms)
        if quote is not None:
            quotes.append(quote)
    sellers = [quote for quote in quotes if quote.is_sale][:SELLERS_MAX]
    return [*sellers, *[quote for quote in quotes if not quote.is_sale][:BUYERS_MAX]]


def quote_of(trader: Trader, power_w: int, mood: int, *, start_ms: int, interval_ms: int) -> Quoted | None:
    """What somebody quotes who used `power_w` in the last interval, or fed it in if it is below 0; None is nothing."""
    quantity_wh = abs(power_w) * interval_ms * CAREFUL_PERCENT // (MS_PER_HOUR * _PERCENT)
    if not quantity_wh:
        return None
    span = RETAIL_PER_MWH - FEED_IN_PER_MWH
    percent = min(_PERCENT, abs(power_w) * _PERCENT // trader.power_max_w)
    asked = ASK_SPAN_PERCENT * (_PERCENT - percent)
    bid = BID_FROM_PERCENT * _PERCENT + (_PERCENT - BID_FROM_PERCENT) * percent
    price = FEED_IN_PER_MWH + span * (asked if power_w < 0 else bid) // _PERCENT**2
    return Quoted(
        participant=trader.participant,
        meter=trader.meter,
        is_sale=power_w < 0,
        quantity_wh=quantity_wh,
        price_per_mwh=min(RETAIL_PER_MWH, max(FEED_IN_PER_MWH, price + mood)),
        start_ms=start_ms,
    )
