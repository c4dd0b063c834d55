"""A call auction's result, and how everybody sees that it is right without solving it: by duality, in integers.

The auction maximises welfare, what buyers would pay less what sellers ask, subject to
    balance     at every node, what is fed in less what is taken flows out;                  price λ, by node
    loops       around every loop of power lines, impedance times flow adds up to nothing;   price ν, by loop
    ratings     no line carries more than it is rated for;
    clean       on every island, clean_only buyers take no more than clean sellers give;     premium κ ≥ 0, by island
    quotes      nobody trades more than they quoted.
Whoever knows a feasible dispatch and *any* prices λ, ν, κ has both ends of an interval that holds the most welfare:
    Σ v·d − Σ c·s  ≤  most
      ≤  Σ D·(v − λ − κ·clean_only)⁺ + Σ S·(λ + κ·is_clean − c)⁺ + Σ rating·|λ_to − λ_from − Σ ±z·ν|
So a clearing says all of them as integers, and is right if the gap between both ends is nothing but rounding
(`gap_max`). How they were found does not matter (docs/adr/0042).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from aggregator.economy.market.network import MWH_PER_WH, TradedNetwork
from aggregator.economy.market.quotes import OpenQuote
from protocol.contract import price_of, rounded
from protocol.quote import Side
from protocol.refusals import RefusalCode, Refused
from protocol.units import PPM

PRICE_SCALE: Final = 1000
"""Prices at nodes are told in thousandths of a minor unit per MWh."""
LOOP_SCALE: Final = 10**9
"""A loop's price is told in billionths of a thousandth of a minor unit, per MWh and micro-ohm."""
LOOP_SLACK_MWH: Final = 1000
"""By how much each line of a loop may carry something else than the law of loops says: 1 Wh, on average over it."""
GAP_WH_PER_ROW: Final = 2
"""Of the gap, for every quote and line: what so much energy would be worth at the highest limit."""
GAP_PPM: Final = 10
"""And of the welfare itself."""


@dataclass(frozen=True, slots=True)
class Clearing:
    """Who trades how much, what flows where, and what it is worth at every node."""

    fills_wh: tuple[int, ...]
    """By quote, in the order of their numbers."""
    flows_mwh: tuple[int, ...]
    """By line, from its from_node to its to_node, in thousandths of a watt-hour."""
    prices: tuple[int, ...]
    """λ, by node: in thousandths of a minor unit per MWh."""
    loop_prices: tuple[int, ...]
    """ν, by loop; see `LOOP_SCALE`."""
    premiums: tuple[int, ...]
    """κ, by island, in the unit of λ: what energy costs more if it has to be clean."""


@dataclass(frozen=True, slots=True)
class Welfare:
    """The interval that holds the most welfare, in millionths of a minor money unit."""

    reached: int
    bound: int
    gap_max: int
    """What rounding may leave between both."""


@dataclass(frozen=True)
class Auction:
    """What is to be cleared: all quotes for one interval, and the network."""

    network: TradedNetwork
    interval_ms: int
    quotes: tuple[OpenQuote, ...]
    """In the order of their numbers, each at a node of the network."""

    @cached_property
    def nodes(self) -> tuple[int, ...]:
        """By quote: number of its node."""
        return tuple(self.network.node_number[quote.node] for quote in self.quotes)

    @cached_property
    def island_of(self) -> tuple[int, ...]:
        """By quote: the island in which it can trade."""
        return tuple(self.network.forest.island[node] for node in self.nodes)

    @cached_property
    def islands(self) -> int:
        """How many pieces of network there are."""
        return max(self.network.forest.island, default=-1) + 1

    def worth(self, clearing: Clearing) -> list[int]:
        """By quote: λ at its node, and κ where its energy is, or has to be, clean; in thousandths."""
        return [
            clearing.prices[node] + (clearing.premiums[island] if quote.is_clean or quote.clean_only else 0)
            for quote, node, island in zip(self.quotes, self.nodes, self.island_of, strict=True)
        ]

    def prices(self, clearing: Clearing) -> list[int]:
        """By quote: what its energy is worth, in minor units per MWh, to the nearest, half a unit to the even one."""
        return [rounded(worth, PRICE_SCALE) for worth in self.worth(clearing)]


def verify(auction: Auction, clearing: Clearing) -> Welfare:
    """See that a clearing is feasible, that nothing better exists, and that nobody's limit is broken.

    Raises:
        Refused: it is not, with the first rule that it breaks: see the codes 162 to 164.
    """
    _see_its_shape(auction, clearing)
    _see_quantities(auction, clearing)
    _see_flows(auction, clearing)
    welfare = welfare_of(auction, clearing)
    if welfare.bound - welfare.reached > welfare.gap_max:
        gap = welfare.bound - welfare.reached
        detail = f"by its own prices up to {gap} millionths more could be gained, {welfare.gap_max} are rounding"
        raise Refused(RefusalCode.CLEARING_NOT_OPTIMAL, detail)
    _see_limits(auction, clearing)
    return welfare


def welfare_of(auction: Auction, clearing: Clearing) -> Welfare:
    """Both ends of the interval: what the dispatch reaches, and what the prices say is the most."""
    reached = bound = 0
    for quote, fill_wh, worth in zip(auction.quotes, clearing.fills_wh, auction.worth(clearing), strict=True):
        sign = 1 if quote.side is Side.BUY else -1
        reached += sign * price_of(fill_wh, quote.limit)
        gain = sign * (quote.limit * PRICE_SCALE - worth)
        if gain > 0:
            bound += quote.quantity_wh * gain
    rents = [0] * len(auction.network.lines)
    for number, line in enumerate(auction.network.lines):
        rents[number] = (clearing.prices[line.to_node] - clearing.prices[line.from_node]) * LOOP_SCALE
    for loop, price in zip(auction.network.loops, clearing.loop_prices, strict=True):
        for number, sign in zip(loop.lines, loop.signs, strict=True):
            rents[number] -= sign * auction.network.lines[number].impedance_uohm * price
    lines = sum(
        line.capacity_mwh(auction.interval_ms) * abs(rent)
        for line, rent in zip(auction.network.lines, rents, strict=True)
    )
    bound = -(-(bound * MWH_PER_WH * LOOP_SCALE + lines) // (PRICE_SCALE * MWH_PER_WH * LOOP_SCALE))
    rounding_wh = GAP_WH_PER_ROW * (len(auction.quotes) + len(auction.network.lines))
    highest = max((quote.limit for quote in auction.quotes), default=0)
    return Welfare(reached, bound, rounding_wh * highest + bound * GAP_PPM // PPM)


def _see_its_shape(auction: Auction, clearing: Clearing) -> None:
    network = auction.network
    wanted = (len(auction.quotes), len(network.lines), len(network.nodes), len(network.loops), auction.islands)
    given = (clearing.fills_wh, clearing.flows_mwh, clearing.prices, clearing.loop_prices, clearing.premiums)
    if wanted != tuple(map(len, given)):
        detail = f"{[len(part) for part in given]} values where quotes, lines, nodes, loops and islands are {wanted}"
        raise Refused(RefusalCode.CLEARING_INFEASIBLE, detail)
    if min(clearing.premiums, default=0) < 0:
        raise Refused(RefusalCode.CLEARING_NOT_OPTIMAL, "a premium below 0: clean energy serves wherever any does")


def _see_quantities(auction: Auction, clearing: Clearing) -> None:
    spare_clean = [0] * auction.islands
    for quote, fill_wh, island in zip(auction.quotes, clearing.fills_wh, auction.island_of, strict=True):
        if not 0 <= fill_wh <= quote.quantity_wh:
            detail = f"{fill_wh} Wh of quote {quote.number}, which is for {quote.quantity_wh} Wh at most"
            raise Refused(RefusalCode.CLEARING_INFEASIBLE, detail)
        spare_clean[island] += fill_wh * (quote.is_clean - quote.clean_only)
    if min(spare_clean, default=0) < 0:
        raise Refused(RefusalCode.CLEARING_INFEASIBLE, f"{-min(spare_clean)} Wh have to be clean, and are not")


def _see_flows(auction: Auction, clearing: Clearing) -> None:
    network = auction.network
    rest = injections_mwh(auction, clearing.fills_wh)
    for line, flow in zip(network.lines, clearing.flows_mwh, strict=True):
        capacity = line.capacity_mwh(auction.interval_ms)
        if abs(flow) > capacity:
            detail = f"{line.name} would carry {abs(flow) - capacity} mWh more than the {capacity} mWh of its rating"
            raise Refused(RefusalCode.CLEARING_INFEASIBLE, detail)
        rest[line.from_node] -= flow
        rest[line.to_node] += flow
    for node, left in enumerate(rest):
        if left:
            raise Refused(RefusalCode.CLEARING_INFEASIBLE, f"{left} mWh too much at node {network.nodes[node]}")
    for loop in network.loops:
        drop = around = 0
        for number, sign in zip(loop.lines, loop.signs, strict=True):
            impedance = network.lines[number].impedance_uohm
            drop += sign * impedance * clearing.flows_mwh[number]
            around += impedance
        if abs(drop) > LOOP_SLACK_MWH * around:
            detail = f"power does not divide like this around the loop of {network.lines[loop.lines[0]].name}"
            raise Refused(RefusalCode.CLEARING_INFEASIBLE, detail)


def _see_limits(auction: Auction, clearing: Clearing) -> None:
    for quote, fill_wh, price in zip(auction.quotes, clearing.fills_wh, auction.prices(clearing), strict=True):
        if fill_wh and (price < quote.limit if quote.side is Side.SELL else price > quote.limit):
            detail = f"quote {quote.number} would trade at {price}, its limit is {quote.limit}"
            raise Refused(RefusalCode.CLEARING_BREAKS_LIMIT, detail)


def injections_mwh(auction: Auction, fills_wh: Sequence[int]) -> list[int]:
    """What is fed in at each node less what is taken there, in thousandths of a watt-hour."""
    injected = [0] * len(auction.network.nodes)
    for quote, node, fill_wh in zip(auction.quotes, auction.nodes, fills_wh, strict=True):
        if fill_wh:
            injected[node] += (fill_wh if quote.side is Side.SELL else -fill_wh) * MWH_PER_WH
    return injected
