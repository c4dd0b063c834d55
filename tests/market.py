"""Quotes and networks to trade on, valid by default; and an exact solver as a second opinion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
from scipy.optimize import linprog

from aggregator.economy.market.book import Book
from aggregator.economy.market.clearing import Auction
from aggregator.economy.market.quotes import Match, OpenQuote
from aggregator.economy.network import MWH_PER_WH, Line, TradedNetwork
from protocol.quote import Side

HOUR_MS = 3_600_000
NOON_MS = 1_790_000_000_000


def an_open_quote(number: int = 1, side: Side = Side.SELL, **changes: Any) -> OpenQuote:
    """A kilowatt-hour at 25 ct."""
    quote = OpenQuote(
        number=number, participant=f"p{number}", meter=f"m{number}", node="n0", carrier="electricity", side=side,
        start_ms=NOON_MS, quantity_wh=1000, limit=25_000,
    )  # fmt: skip
    return replace(quote, **changes)


def a_sell(number: int, quantity_wh: int, limit: int, **changes: Any) -> OpenQuote:
    return an_open_quote(number, Side.SELL, quantity_wh=quantity_wh, limit=limit, **changes)


def a_buy(number: int, quantity_wh: int, limit: int, **changes: Any) -> OpenQuote:
    return an_open_quote(number, Side.BUY, quantity_wh=quantity_wh, limit=limit, **changes)


def fill(book: Book, match: Match, incoming: OpenQuote) -> None:
    """Let a match take from the quote that stood, as the chain does."""
    stood = match.buy if incoming.number == match.sell.number else match.sell
    if left := stood.quantity_wh - match.quantity_wh:
        book.put(replace(stood, quantity_wh=left))
    else:
        book.remove(stood.number)


def a_network(*lines: tuple[int, int, int, int], nodes: int | None = None) -> TradedNetwork:
    """Lines as (from, to, impedance, rating); the impedance of a pipe is 0."""
    count = nodes if nodes is not None else 1 + max((max(line[:2]) for line in lines), default=0)
    named = tuple(Line(f"b{number}", *line) for number, line in enumerate(lines))
    return TradedNetwork(tuple(f"n{number}" for number in range(count)), named)


def an_auction(network: TradedNetwork, *quotes: OpenQuote) -> Auction:
    """Of one hour, so that watts and watt-hours are the same."""
    return Auction(network, HOUR_MS, quotes)


def most_welfare(auction: Auction) -> Fraction:
    """The most welfare, in millionths of a minor unit: an exact simplex, with no rounding and no solver of others."""
    quotes, network = auction.quotes, auction.network
    q, lines = len(quotes), len(network.lines)
    width = q + 2 * lines
    gain = [Fraction(one.limit if one.side is Side.BUY else -one.limit) for one in quotes] + [Fraction(0)] * 2 * lines
    rows: list[tuple[list[Fraction], Fraction]] = []

    def at_most(entries: dict[int, int | Fraction], bound: int | Fraction) -> None:
        row = [Fraction(0)] * width
        for column, value in entries.items():
            row[column] += value
        rows.append((row, Fraction(bound)))

    def exactly_nothing(entries: dict[int, int | Fraction]) -> None:
        at_most(entries, 0)
        at_most({column: -value for column, value in entries.items()}, 0)

    for place, one in enumerate(quotes):
        at_most({place: 1}, one.quantity_wh)
    for number, room in enumerate(auction.rooms_mwh):
        at_most({q + number: 1}, Fraction(room.forward, MWH_PER_WH))
        at_most({q + lines + number: 1}, Fraction(room.backward, MWH_PER_WH))
    for node in range(len(network.nodes)):
        balance: dict[int, int | Fraction] = {
            place: 1 if one.side is Side.SELL else -1
            for place, one in enumerate(quotes)
            if network.node_number[one.node] == node
        }
        for number, line in enumerate(network.lines):
            sign = (line.to_node == node) - (line.from_node == node)
            if sign:
                balance |= {q + number: sign, q + lines + number: -sign}
        exactly_nothing(balance)
    for loop in network.loops:
        drop: dict[int, int | Fraction] = {}
        for number, sign in zip(loop.lines, loop.signs, strict=True):
            impedance = sign * network.lines[number].impedance_uohm
            drop |= {q + number: impedance, q + lines + number: -impedance}
        exactly_nothing(drop)
    for island in range(auction.islands):
        here = [(place, one) for place, one in enumerate(quotes) if auction.island_of[place] == island]
        at_most({place: one.clean_only - one.is_clean for place, one in here}, 0)
    return _simplex(gain, rows)


def most_by_angles(auction: Auction) -> float | None:
    """The same as `most_welfare` in floats, for lines that all have an impedance: flows follow from nodes' angles.

    None where the solver cannot tell.
    """
    quotes, network = auction.quotes, auction.network
    q, n = len(quotes), len(network.nodes)
    if not quotes:
        return 0.0
    sign = np.array([1.0 if one.side is Side.SELL else -1.0 for one in quotes])
    balance, flows = np.zeros((n, q + n)), np.zeros((len(network.lines), q + n))
    for number, line in enumerate(network.lines):
        flows[number, [q + line.from_node, q + line.to_node]] = 1 / line.impedance_uohm, -1 / line.impedance_uohm
        balance[line.from_node] += flows[number]
        balance[line.to_node] -= flows[number]
    for place, one in enumerate(quotes):
        balance[network.node_number[one.node], place] -= sign[place]
    clean = np.zeros((auction.islands, q + n))
    for place, (one, island) in enumerate(zip(quotes, auction.island_of, strict=True)):
        clean[island, place] = one.clean_only - one.is_clean
    rooms = np.array(auction.rooms_mwh, dtype=float).reshape(-1, 2) / MWH_PER_WH
    cost = np.concatenate([sign * [one.limit / 1000 for one in quotes], np.zeros(n)])
    found = linprog(
        cost, np.vstack([flows, -flows, clean]), np.concatenate([rooms[:, 0], rooms[:, 1], np.zeros(auction.islands)]),
        balance, np.zeros(n), [(0, one.quantity_wh) for one in quotes] + [(None, None)] * n,
    )  # fmt: skip
    return -1000 * float(found.fun) if found.success else None


def _simplex(gain: Sequence[Fraction], rows: Sequence[tuple[list[Fraction], Fraction]]) -> Fraction:
    """Maximum of gain · x for A x ≤ b and x ≥ 0, with b ≥ 0. Bland's rule, so that it ends."""
    height, width = len(rows), len(gain)
    table = [[*row, *[Fraction(int(i == j)) for j in range(height)], bound] for i, (row, bound) in enumerate(rows)]
    cost = [*(-one for one in gain), *[Fraction(0)] * (height + 1)]
    basis = list(range(width, width + height))
    while (entering := next((c for c in range(width + height) if cost[c] < 0), None)) is not None:
        ratios = [(table[r][-1] / table[r][entering], basis[r], r) for r in range(height) if table[r][entering] > 0]
        _, _, leaving = min(ratios)
        pivot = table[leaving][entering]
        table[leaving] = [value / pivot for value in table[leaving]]
        for row in (*(table[r] for r in range(height) if r != leaving), cost):
            factor = row[entering]
            if factor:
                row[:] = [value - factor * of_pivot for value, of_pivot in zip(row, table[leaving], strict=True)]
        basis[leaving] = entering
    return cost[-1]
