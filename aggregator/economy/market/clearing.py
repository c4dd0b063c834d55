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
The gap between both ends is a sum with a part for every quote, line and island, none of them below 0. A clearing is
right if each part by itself is nothing but rounding: whoever would gain at their price trades all they quoted, a line
that earns is full, clean energy that costs more is used up, each but for so many watt-hours as stand below. So nobody's
quote makes room for a mistake in another's. How a clearing was found does not matter (docs/adr/0042, docs/adr/0045).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

from aggregator.economy.market.call import Crossing, cross
from aggregator.economy.market.quotes import OpenQuote
from aggregator.economy.network import MWH_PER_WH, TradedNetwork
from protocol.contract import price_of, rounded
from protocol.quote import Side
from protocol.refusals import RefusalCode, Refused

PRICE_SCALE: Final = 1000
"""Prices at nodes are told in thousandths of a minor unit per MWh."""
LOOP_SCALE: Final = 10**9
"""A loop's price is told in billionths of a thousandth of a minor unit, per MWh and micro-ohm."""
LOOP_SLACK_MWH: Final = 1000
"""By how much each line of a loop may carry something else than the law of loops says: 1 Wh, on average over it."""
ROUND_WH: Final = 2
"""What rounding may leave of a quote that gains, of clean energy that costs more, and, where no loop is, of a line that
earns. Every loop of power lines leaves a line as much more: what divides around it comes to no whole watt-hours."""
NOISE: Final = 10
"""Thousandths of a minor unit per MWh: a rent or premium up to this is none, but what rounding leaves of prices."""


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


Taken = tuple[int, int, int]
"""Number of a line, and watts that are promised of it from its from_node, and towards it."""


class Room(NamedTuple):
    """What a line carries of an auction, in thousandths of a watt-hour."""

    forward: int
    backward: int


@dataclass(frozen=True)
class Auction:
    """What is to be cleared: all quotes for one interval, and the network."""

    network: TradedNetwork
    interval_ms: int
    quotes: tuple[OpenQuote, ...]
    """In the order of their numbers, each at a node of the network."""
    taken_w: tuple[Taken, ...] = ()
    """What contracts have of lines already."""

    @cached_property
    def rooms_mwh(self) -> tuple[Room, ...]:
        """By line: what it carries of the auction in the interval, in thousandths of a watt-hour."""
        taken = {number: (forward_w, backward_w) for number, forward_w, backward_w in self.taken_w}
        return tuple(
            Room(*(line.room_mwh(self.interval_ms, watts) for watts in taken.get(number, (0, 0))))
            for number, line in enumerate(self.network.lines)
        )

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

    @cached_property
    def crossings(self) -> tuple[Crossing, ...]:
        """By island: how far its quotes cross, whatever its lines carry and whoever wants clean energy."""
        quotes: list[list[OpenQuote]] = [[] for _ in range(self.islands)]
        for quote, island in zip(self.quotes, self.island_of, strict=True):
            quotes[island].append(quote)
        return tuple(cross(one) for one in quotes)

    def worth(self, clearing: Clearing) -> list[int]:
        """By quote: λ at its node, and κ where its energy is, or has to be, clean; in thousandths."""
        return [
            clearing.prices[node] + (clearing.premiums[island] if quote.is_clean or quote.clean_only else 0)
            for quote, node, island in zip(self.quotes, self.nodes, self.island_of, strict=True)
        ]

    def prices(self, clearing: Clearing) -> list[int]:
        """By quote: what its energy is worth, in minor units per MWh, to the nearest, half a unit to the even one."""
        return [rounded(worth, PRICE_SCALE) for worth in self.worth(clearing)]


def verify(auction: Auction, clearing: Clearing) -> None:
    """See that a clearing is feasible, that nothing better exists, that nobody's limit is broken, and what rules say.

    Raises:
        Refused: it is not, with the first rule that it breaks: see the codes 162 to 164, and 166.
    """
    _see_its_shape(auction, clearing)
    _see_quantities(auction, clearing)
    _see_flows(auction, clearing)
    _see_gains(auction, clearing)
    earns = rents(auction, clearing)
    _see_rents(auction, clearing, earns)
    _see_premiums(auction, clearing)
    _see_uniform_prices(auction, clearing, earns)


def welfare_of(auction: Auction, clearing: Clearing) -> Welfare:
    """Both ends of the interval: what the dispatch reaches, and what the prices say is the most."""
    reached = bound = 0
    for quote, fill_wh, worth in zip(auction.quotes, clearing.fills_wh, auction.worth(clearing), strict=True):
        sign = 1 if quote.side is Side.BUY else -1
        reached += sign * price_of(fill_wh, quote.limit)
        gain = sign * (quote.limit * PRICE_SCALE - worth)
        if gain > 0:
            bound += quote.quantity_wh * gain
    lines = sum(
        (room.forward if rent > 0 else room.backward) * abs(rent)
        for room, rent in zip(auction.rooms_mwh, _scaled_rents(auction, clearing), strict=True)
    )
    bound = -(-(bound * MWH_PER_WH * LOOP_SCALE + lines) // (PRICE_SCALE * MWH_PER_WH * LOOP_SCALE))
    return Welfare(reached, bound)


def rents(auction: Auction, clearing: Clearing) -> list[int]:
    """By line: what one more MWh of rating would bring, in thousandths; below 0 the other way, 0 where it is noise."""
    found = [rounded(rent, LOOP_SCALE) for rent in _scaled_rents(auction, clearing)]
    return [rent if abs(rent) > NOISE else 0 for rent in found]


def islands_by_rule(auction: Auction, clearing: Clearing, earns: Sequence[int]) -> list[bool]:
    """By island: whether the price is that of the merit order, in the middle (`Crossing.price`).

    It is wherever no line earns and clean energy costs no more, and wherever those trade whom the merit order names.
    """
    is_one_price = [premium <= NOISE for premium in clearing.premiums]
    for line, rent in zip(auction.network.lines, earns, strict=True):
        if rent:
            is_one_price[auction.network.forest.island[line.from_node]] = False
    is_merit = [True] * auction.islands
    for quote, island, fill_wh in zip(auction.quotes, auction.island_of, clearing.fills_wh, strict=True):
        if fill_wh != auction.crossings[island].fills_wh.get(quote.number, 0):
            is_merit[island] = False
    return [one or other for one, other in zip(is_one_price, is_merit, strict=True)]


def _scaled_rents(auction: Auction, clearing: Clearing) -> list[int]:
    """λ_to − λ_from − Σ ±z·ν of every line, in billionths of a thousandth."""
    found = [
        (clearing.prices[line.to_node] - clearing.prices[line.from_node]) * LOOP_SCALE for line in auction.network.lines
    ]
    for loop, price in zip(auction.network.loops, clearing.loop_prices, strict=True):
        for number, sign in zip(loop.lines, loop.signs, strict=True):
            found[number] -= sign * auction.network.lines[number].impedance_uohm * price
    return found


def _see_its_shape(auction: Auction, clearing: Clearing) -> None:
    network = auction.network
    wanted = (len(auction.quotes), len(network.lines), len(network.nodes), len(network.loops), auction.islands)
    given = (clearing.fills_wh, clearing.flows_mwh, clearing.prices, clearing.loop_prices, clearing.premiums)
    if wanted != tuple(map(len, given)):
        detail = f"{[len(part) for part in given]} values where quotes, lines, nodes, loops and islands are {wanted}"
        raise Refused(RefusalCode.CLEARING_INFEASIBLE, detail)


def _see_quantities(auction: Auction, clearing: Clearing) -> None:
    for quote, fill_wh in zip(auction.quotes, clearing.fills_wh, strict=True):
        if not 0 <= fill_wh <= quote.quantity_wh:
            detail = f"{fill_wh} Wh of quote {quote.number}, which is for {quote.quantity_wh} Wh at most"
            raise Refused(RefusalCode.CLEARING_INFEASIBLE, detail)
    if (spare_wh := min(spare_clean_wh(auction, clearing.fills_wh), default=0)) < 0:
        raise Refused(RefusalCode.CLEARING_INFEASIBLE, f"{-spare_wh} Wh have to be clean, and are not")


def _see_flows(auction: Auction, clearing: Clearing) -> None:
    network = auction.network
    rest = injections_mwh(auction, clearing.fills_wh)
    over_mwh = overload_max_mwh(network)
    rows = zip(network.lines, clearing.flows_mwh, auction.rooms_mwh, strict=True)
    for number, (line, flow, room) in enumerate(rows):
        capacity = room.forward if flow > 0 else room.backward
        if abs(flow) > capacity + over_mwh[number]:
            detail = f"{line.name} would carry {abs(flow) - capacity} mWh more than the {capacity} mWh that it has left"
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


def _see_gains(auction: Auction, clearing: Clearing) -> None:
    for quote, fill_wh, price in zip(auction.quotes, clearing.fills_wh, auction.prices(clearing), strict=True):
        gain = price - quote.limit if quote.side is Side.SELL else quote.limit - price
        if gain < 0 and fill_wh:
            detail = f"quote {quote.number} would trade at {price}, its limit is {quote.limit}"
            raise Refused(RefusalCode.CLEARING_BREAKS_LIMIT, detail)
        if gain > 0 and quote.quantity_wh - fill_wh > ROUND_WH:
            detail = f"quote {quote.number} would trade {quote.quantity_wh - fill_wh} Wh more at {price}"
            raise Refused(RefusalCode.CLEARING_NOT_OPTIMAL, detail)


def _see_rents(auction: Auction, clearing: Clearing, earns: Sequence[int]) -> None:
    slack_mwh = ROUND_WH * MWH_PER_WH * (1 + len(auction.network.loops))
    rows = zip(auction.network.lines, clearing.flows_mwh, auction.rooms_mwh, earns, strict=True)
    for line, flow, room, rent in rows:
        free = room.forward - flow if rent > 0 else room.backward + flow
        if rent and free > slack_mwh:
            detail = f"{line.name} earns {abs(rent)} thousandths for a MWh, and could carry {free} mWh more"
            raise Refused(RefusalCode.CLEARING_NOT_OPTIMAL, detail)


def _see_premiums(auction: Auction, clearing: Clearing) -> None:
    for premium, spare_wh in zip(clearing.premiums, spare_clean_wh(auction, clearing.fills_wh), strict=True):
        if premium < 0:
            detail = "a premium below 0: clean energy serves wherever any does"
            raise Refused(RefusalCode.CLEARING_NOT_OPTIMAL, detail)
        if premium > NOISE and spare_wh > ROUND_WH:
            detail = f"clean energy costs {premium} thousandths more, and {spare_wh} Wh of it are not asked for"
            raise Refused(RefusalCode.CLEARING_NOT_OPTIMAL, detail)


def _see_uniform_prices(auction: Auction, clearing: Clearing, earns: Sequence[int]) -> None:
    by_rule = islands_by_rule(auction, clearing, earns)
    for node, island, price in zip(auction.network.nodes, auction.network.forest.island, clearing.prices, strict=True):
        wanted = auction.crossings[island].price * PRICE_SCALE
        if by_rule[island] and (price != wanted or clearing.premiums[island]):
            detail = f"{price} thousandths at {node}, where the merit order comes to {wanted}"
            raise Refused(RefusalCode.CLEARING_OFF_THE_RULE, detail)


def overload_max_mwh(network: TradedNetwork) -> list[int]:
    """By line: what it may carry beyond its room: in a loop what rounding adds, in thousandths, else nothing."""
    over = [0] * len(network.lines)
    for loop in network.loops:
        for number in loop.lines:
            over[number] = LOOP_SLACK_MWH * (1 + len(network.loops))
    return over


def injections_mwh(auction: Auction, fills_wh: Sequence[int]) -> list[int]:
    """What is fed in at each node less what is taken there, in thousandths of a watt-hour."""
    injected = [0] * len(auction.network.nodes)
    for quote, node, fill_wh in zip(auction.quotes, auction.nodes, fills_wh, strict=True):
        if fill_wh:
            injected[node] += (fill_wh if quote.side is Side.SELL else -fill_wh) * MWH_PER_WH
    return injected


def spare_clean_wh(auction: Auction, fills_wh: Sequence[int]) -> list[int]:
    """By island: what clean sellers give beyond what has to be clean."""
    spare = [0] * auction.islands
    for quote, fill_wh, island in zip(auction.quotes, fills_wh, auction.island_of, strict=True):
        spare[island] += fill_wh * (quote.is_clean - quote.clean_only)
    return spare
