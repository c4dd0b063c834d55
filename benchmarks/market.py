"""Quotes a second in continuous trading, and a call auction of two thousand quotes beside HiGHS alone.

The call auction's network is a medium-voltage district of a thousand nodes, once without loops and once with some, with
lines so weak that several are full. HiGHS alone is handed a program that has been built before the clock starts; ours
begins with quotes and ends with a clearing in integers that has been verified, as every node does it again.

Continuous trading's peer is lightmatchingengine, on plain limit quotes; it has to come to as many matches, and to leave
as many quotes. gsy-e, the nearest in kind, cannot be installed by pip.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, Final

import numpy as np

from aggregator.economy.market.book import Book, trade
from aggregator.economy.market.clearing import Auction, verify
from aggregator.economy.market.quotes import OpenQuote
from aggregator.economy.network import MWH_PER_WH, Line, TradedNetwork
from aggregator.grid.clearing import Clearer, solver_of
from benchmarks.figure import Figure, cpu_seconds
from protocol.quote import Side, TimeInForce
from protocol.refusals import Refused

GTC: Final = TimeInForce.GOOD_TILL_CANCELLED
QUOTES: Final = 100_000
PER_SIDE: Final = 1000
NODES: Final = 1000
HOUR_MS: Final = 3_600_000
REACH: Final = 50
"""A node hangs on one of so many before it."""
WEAK_W: Final = 25_000
LOOPS: Final = 20


def measure() -> Iterator[Figure]:
    """Time both mechanisms."""
    wanted = some_quotes(QUOTES)
    seconds = cpu_seconds(lambda: _live(wanted))
    traded, standing = _live(wanted)
    note = f"{QUOTES:,} quotes of four kinds: {traded:,} matches, {standing:,} stand in the end"
    yield Figure("market: continuous trading, one core", QUOTES / seconds, 50_000, "/s", at_least=True, note=note)
    if find_spec("lightmatchingengine") is not None:
        yield _beside_peer([(replace(quote, is_clean=False, clean_only=False), GTC) for quote, _ in wanted])
    for loops in (0, LOOPS):
        yield _beside_highs(an_auction(loops))


def some_quotes(count: int) -> list[tuple[OpenQuote, TimeInForce]]:
    """Quotes around one price, the same in every run; some are to be filled at once, some buyers want clean energy."""
    chance = random.Random(6)
    found = []
    for number in range(1, count + 1):
        side = chance.choice(tuple(Side))
        away = int(chance.gauss(0, 2_000))
        quote = OpenQuote(
            number=number, participant=f"p{chance.randrange(10_000)}", meter="m", node="n0", carrier="electricity",
            side=side, start_ms=0, quantity_wh=chance.randrange(100, 5_000), limit=max(0, 25_000 + away),
            is_clean=side is Side.SELL and chance.random() < 0.5,
            clean_only=side is Side.BUY and chance.random() < 0.1,
        )  # fmt: skip
        found.append((quote, chance.choices(tuple(TimeInForce), (90, 5, 5))[0]))
    return found


def _live(wanted: list[tuple[OpenQuote, TimeInForce]]) -> tuple[int, int]:
    book, traded = Book(), 0
    for quote, time_in_force in wanted:
        try:
            matches = trade(book, quote, time_in_force)
        except Refused:
            continue
        left = quote.quantity_wh
        for match in matches:
            stood = match.buy if quote.side is Side.SELL else match.sell
            if stood.quantity_wh == match.quantity_wh:
                book.remove(stood.number)
            else:
                book.put(replace(stood, quantity_wh=stood.quantity_wh - match.quantity_wh))
            left -= match.quantity_wh
        traded += len(matches)
        if left and time_in_force is GTC:
            book.put(quote if left == quote.quantity_wh else replace(quote, quantity_wh=left))
    return traded, len(book)


def _beside_peer(wanted: list[tuple[OpenQuote, TimeInForce]]) -> Figure:
    """The same quotes through another engine; it knows no participants, so each quote is another one's."""
    plain = [(replace(quote, participant=f"p{quote.number}"), GTC) for quote, _ in wanted]
    peer_s, ours_s = cpu_seconds(lambda: _peer(plain)), cpu_seconds(lambda: _live(plain))
    matches, _ = _live(plain)
    passive, standing = _peer(plain)
    assert (matches, standing) == (passive, _live(plain)[1]), "the two engines trade differently"
    note = (
        f"lightmatchingengine {len(plain) / peer_s:,.0f}/s, ours {len(plain) / ours_s:,.0f}/s: {matches:,} like matches"
    )
    return Figure("market: continuous trading, beside lightmatchingengine", peer_s / ours_s, 1, "×", True, note)


def _peer(wanted: list[tuple[OpenQuote, TimeInForce]]) -> tuple[int, int]:
    """Matches, and quotes that stand in the end."""
    from lightmatchingengine.lightmatchingengine import LightMatchingEngine  # noqa: PLC0415 - where it is installed

    engine: Any = LightMatchingEngine()
    matches = 0
    for quote, _ in wanted:
        side = 1 if quote.side is Side.BUY else 2
        _, trades = engine.add_order("electricity", quote.limit, quote.quantity_wh, side)
        matches += sum(trade.order_id != engine.curr_order_id for trade in trades)
    (book,) = engine.order_books.values()
    return matches, sum(len(depth) for side in (book.bids, book.asks) for depth in side.values())


def an_auction(loops: int) -> Auction:
    """A thousand sellers and a thousand buyers on a thousand nodes, and lines that do not carry it all."""
    chance = np.random.default_rng(6)
    lines = [
        Line(f"b{node}", int(chance.integers(max(0, node - REACH), node)), node, 600, WEAK_W * (1 + 40 // node))
        for node in range(1, NODES)
    ]
    for number in range(loops):
        begin, end = sorted(chance.choice(NODES, 2, replace=False).tolist())
        lines.append(Line(f"t{number}", begin, end, 900, 2 * WEAK_W))
    quotes = [
        OpenQuote(
            number=number, participant=f"p{number}", meter=f"m{number}", node=f"n{int(chance.integers(NODES))}",
            carrier="electricity", side=Side.SELL if number % 2 else Side.BUY, start_ms=0,
            quantity_wh=int(chance.integers(500, 8_000)), limit=max(0, int(chance.normal(25_000, 6_000))),
        )
        for number in range(1, 2 * PER_SIDE + 1)
    ]  # fmt: skip
    return Auction(TradedNetwork(tuple(f"n{node}" for node in range(NODES)), tuple(lines)), HOUR_MS, tuple(quotes))


def _beside_highs(auction: Auction) -> Figure:
    clearer = Clearer(auction.network)
    room = np.array(auction.rooms_mwh).T // MWH_PER_WH
    program = clearer.program(auction, room)
    ours = cpu_seconds(lambda: clearer.clear(auction), rounds=7)
    bare = cpu_seconds(lambda: solver_of(program).run(), rounds=7)
    clearing = clearer.clear(auction)
    check = cpu_seconds(lambda: verify(auction, clearing), rounds=7)
    full = sum(
        abs(flow) > line.room_mwh(HOUR_MS) - 3 * MWH_PER_WH
        for flow, line in zip(clearing.flows_mwh, auction.network.lines, strict=True)
    )
    note = (
        f"HiGHS {bare * 1e3:.0f} ms, everything {ours * 1e3:.0f} ms, of which to verify {check * 1e3:.1f} ms; "
        f"{sum(map(bool, clearing.fills_wh)):,} quotes trade, {full} lines are full, "
        f"{len(set(clearing.prices)):,} prices"
    )
    what = f"call auction, {PER_SIDE:,} × {PER_SIDE:,} on {NODES:,} nodes, {len(auction.network.loops)} loops"
    return Figure(what, ours / bare, 2, "× bare", note=note)
