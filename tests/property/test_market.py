"""Whatever is quoted: energy and money add up, nobody trades beyond their quote, and what is cleared is the best."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aggregator.economy.market.book import Book, trade
from aggregator.economy.market.call import cross
from aggregator.economy.market.clearing import (
    PRICE_SCALE,
    ROUND_WH,
    Auction,
    Clearing,
    overload_max_mwh,
    verify,
    welfare_of,
)
from aggregator.economy.market.pairing import pair
from aggregator.economy.market.quotes import Match, OpenQuote
from aggregator.economy.network import MWH_PER_WH, TradedNetwork
from aggregator.grid.clearing import Clearer
from config.rules import Pricing
from protocol.contract import price_of
from protocol.quote import Side, TimeInForce
from protocol.refusals import RefusalCode, Refused
from tests.market import a_network, an_auction, an_open_quote, fill, most_by_angles, most_welfare

prices = st.integers(0, 60) | st.sampled_from([10**6, 10**9])
amounts = st.integers(1, 40) | st.sampled_from([10**6, 10**15])
PRICE_MAX, WH_MAX = 10**6, 10**9
"""What a call auction is asked to clear: a region's rules and its connections bound both."""


@st.composite
def quotes(draw: st.DrawFn, nodes: int = 1, participants: str = "abcd", most: int = 12) -> tuple[OpenQuote, ...]:
    """Quotes as they come. Each participant is on one side, as a call auction wants it."""
    side = {name: draw(st.sampled_from(Side)) for name in participants}
    found = []
    for number in range(1, draw(st.integers(0, most)) + 1):
        name = draw(st.sampled_from(participants))
        is_sell = side[name] is Side.SELL
        found.append(
            an_open_quote(
                number, side[name], participant=name, node=f"n{draw(st.integers(0, nodes - 1))}",
                quantity_wh=min(WH_MAX, draw(amounts)), limit=min(PRICE_MAX, draw(prices)),
                is_clean=is_sell and draw(st.booleans()), clean_only=not is_sell and draw(st.booleans()),
            )
        )  # fmt: skip
    return tuple(found)


@st.composite
def networks(draw: st.DrawFn, nodes: int = 4) -> TradedNetwork:
    """Lines and pipes, in trees, loops and pieces."""
    ends = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)).filter(lambda pair: pair[0] != pair[1])
    is_power = draw(st.booleans())
    lines = [
        (*draw(ends), draw(st.integers(20, 300)) if is_power else 0, draw(st.integers(20, 900) | st.just(10**6)))
        for _ in range(draw(st.integers(0, 6)))
    ]
    return a_network(*lines, nodes=nodes)


@st.composite
def auctions(draw: st.DrawFn) -> Auction:
    network = draw(networks())
    auction = an_auction(network, *draw(quotes(nodes=len(network.nodes))))
    watts = st.sampled_from([0, 0, 10, 200, 10**6])
    taken = [(number, draw(watts), draw(watts)) for number in range(len(network.lines))] if draw(st.booleans()) else []
    return replace(auction, taken_w=tuple(taken))


# -- Continuous trading


@st.composite
def wishes(draw: st.DrawFn) -> list[tuple[OpenQuote, TimeInForce]]:
    """Quotes of all kinds, by participants who may be on both sides."""
    found = []
    for number in range(1, draw(st.integers(0, 25)) + 1):
        side = draw(st.sampled_from(Side))
        quote = an_open_quote(
            number, side, participant=draw(st.sampled_from("abc")), quantity_wh=draw(amounts), limit=draw(prices),
            is_clean=side is Side.SELL and draw(st.booleans()), clean_only=side is Side.BUY and draw(st.booleans()),
            partner=draw(st.sampled_from(["", "", "a"])), is_local=draw(st.booleans()), is_inside=draw(st.booleans()),
        )  # fmt: skip
        found.append((quote, draw(st.sampled_from(TimeInForce))))
    return found


def lived(wanted: list[tuple[OpenQuote, TimeInForce]]) -> tuple[Book, list[Match], dict[int, int]]:
    """A book after quotes have come one by one: the book, what was traded, and what was refused or is void."""
    book, matches, void = Book(), list[Match](), dict[int, int]()
    for quote, time_in_force in wanted:
        try:
            found = trade(book, quote, time_in_force)
        except Refused as refused:
            assert refused.code in (RefusalCode.CROSSES_ITSELF, RefusalCode.NOT_FILLED)
            void[quote.number] = quote.quantity_wh
            continue
        left = quote.quantity_wh
        for match in found:
            fill(book, match, quote)
            left -= match.quantity_wh
        matches += found
        if left and time_in_force is TimeInForce.GOOD_TILL_CANCELLED:
            book.put(replace(quote, quantity_wh=left))
        else:
            void[quote.number] = left
    return book, matches, void


@given(wishes())
def test_every_watt_hour_quoted_is_traded_stands_or_is_void(wanted: list[tuple[OpenQuote, TimeInForce]]) -> None:
    book, matches, void = lived(wanted)
    traded = dict.fromkeys((quote.number for quote, _ in wanted), 0)
    for match in matches:
        traded[match.sell.number] += match.quantity_wh
        traded[match.buy.number] += match.quantity_wh
    standing = {quote.number: quote.quantity_wh for side in Side for quote in book.side(side)}
    for quote, _ in wanted:
        number = quote.number
        assert traded[number] + standing.get(number, 0) + void.get(number, 0) == quote.quantity_wh


@given(wishes())
def test_nobody_trades_beyond_their_limit_or_with_whom_they_do_not_want(
    wanted: list[tuple[OpenQuote, TimeInForce]],
) -> None:
    for match in lived(wanted)[1]:
        assert match.quantity_wh > 0
        assert match.sell.limit <= match.sell_price == match.buy_price <= match.buy.limit
        assert match.sell.participant != match.buy.participant
        assert match.sell.agrees_with(match.buy)


@given(wishes())
def test_no_two_quotes_stand_that_could_trade(wanted: list[tuple[OpenQuote, TimeInForce]]) -> None:
    book, _, _ = lived(wanted)
    for sell in book.side(Side.SELL):
        for buy in book.side(Side.BUY):
            assert sell.limit > buy.limit or not sell.agrees_with(buy) or sell.participant == buy.participant


@given(wishes())
def test_a_better_price_is_never_passed_over_nor_an_older_quote_among_equals(
    wanted: list[tuple[OpenQuote, TimeInForce]],
) -> None:
    book = Book()
    for quote, _ in wanted:
        places = [(one.limit if one.side is Side.SELL else -one.limit, one.number) for one in book.side(quote.side)]
        assert places == sorted(places)
        book.put(quote)


# -- Call auctions


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(auctions())
def test_every_auction_is_cleared_and_nothing_is_better(auction: Auction) -> None:
    clearing = Clearer(auction.network).clear(auction)
    verify(auction, clearing)
    welfare = welfare_of(auction, clearing)
    beyond = 2 * sum(overload_max_mwh(auction.network)) * max((quote.limit for quote in auction.quotes), default=0)
    assert welfare.reached - beyond // MWH_PER_WH <= most_welfare(auction) <= welfare.bound


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(auctions(), st.sampled_from(Pricing))
def test_energy_and_money_add_up_to_the_unit(auction: Auction, pricing: Pricing) -> None:
    clearing = Clearer(auction.network).clear(auction)
    matches = list(pair(auction, clearing, pricing))
    traded = dict.fromkeys((quote.number for quote in auction.quotes), 0)
    paid = got = kept = 0
    for match in matches:
        traded[match.sell.number] += match.quantity_wh
        traded[match.buy.number] += match.quantity_wh
        paid += price_of(match.quantity_wh, match.buy_price)
        got += price_of(match.quantity_wh, match.sell_price)
        kept += match.rent
        assert match.sell.limit <= match.sell_price
        assert match.buy_price <= match.buy.limit
        assert match.sell.participant != match.buy.participant
        assert match.sell.is_clean or not match.buy.clean_only
    assert tuple(traded.values()) == clearing.fills_wh
    assert paid == got + kept


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(auctions())
def test_along_a_tree_matches_load_lines_as_the_dispatch_does(auction: Auction) -> None:
    """Nothing has to be set off: what matches carry over a line, each by itself, is what the dispatch carries."""
    plain = tuple(replace(quote, clean_only=False) for quote in auction.quotes)
    tree = tuple(
        line for number, line in enumerate(auction.network.lines) if number not in auction.network.forest.left_out
    )
    radial = replace(auction, network=TradedNetwork(auction.network.nodes, tree), quotes=plain)
    clearing = Clearer(radial.network).clear(radial)
    gross = [0] * len(tree)
    for match in pair(radial, clearing, Pricing.UNIFORM):
        injected = [0] * len(radial.network.nodes)
        injected[radial.network.node_number[match.sell.node]] += match.quantity_wh
        injected[radial.network.node_number[match.buy.node]] -= match.quantity_wh
        gross = [sum(one) for one in zip(gross, map(abs, radial.network.flows_mwh(injected, [])), strict=True)]
    assert [1000 * one for one in gross] == [abs(flow) for flow in clearing.flows_mwh]


@given(quotes(), st.randoms(use_true_random=False))
def test_the_order_in_which_quotes_are_told_changes_nothing(given_: tuple[OpenQuote, ...], chance: object) -> None:
    shuffled = list(given_)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert cross(shuffled) == cross(given_)


@given(quotes(most=8))
def test_the_merit_order_reaches_the_most_welfare_where_there_is_no_network(given_: tuple[OpenQuote, ...]) -> None:
    plain = tuple(replace(quote, is_clean=False, clean_only=False) for quote in given_)
    crossing = cross(plain)
    reached = sum(
        (quote.limit if quote.side is Side.BUY else -quote.limit) * crossing.fills_wh.get(quote.number, 0)
        for quote in plain
    )
    assert reached == most_welfare(an_auction(a_network(nodes=1), *plain))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(auctions(), st.lists(st.integers(-100_000, 100_000), min_size=4, max_size=4))
def test_no_prices_whatever_claim_less_than_the_most_welfare(auction: Auction, claimed: list[int]) -> None:
    """Weak duality, in integers: whoever lies about prices can only widen the gap."""
    clearing = Clearer(auction.network).clear(auction)
    assert welfare_of(auction, replace(clearing, prices=tuple(claimed))).bound >= most_welfare(auction)


@st.composite
def left_out(draw: st.DrawFn) -> tuple[Auction, Clearing]:
    """An auction in which two at a node could trade with a gain, and a clearing that leaves them out."""
    auction = draw(auctions())
    node = f"n{draw(st.integers(0, 3))}"
    ask, gain = draw(prices), draw(st.integers(1, 50))
    wh = st.integers(ROUND_WH + 1, 40)
    sell = an_open_quote(
        101, Side.SELL, participant="x", node=node, quantity_wh=draw(wh), limit=ask, is_clean=draw(st.booleans())
    )
    buy = an_open_quote(102, Side.BUY, participant="y", node=node, quantity_wh=draw(wh), limit=ask + gain)
    clearing = Clearer(auction.network).clear(auction)
    told = draw(st.lists(st.integers(-100, 10**6 + 100), min_size=4, max_size=4))
    told = [price * PRICE_SCALE + draw(st.integers(-999, 999)) for price in told]
    claimed = tuple(told) if draw(st.booleans()) else clearing.prices
    changed = replace(clearing, fills_wh=(*clearing.fills_wh, 0, 0), prices=claimed)
    return replace(auction, quotes=(*auction.quotes, sell, buy)), changed


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(left_out())
def test_whatever_others_quote_and_whatever_prices_are_told_no_trade_with_a_gain_is_left_out(
    wrong: tuple[Auction, Clearing],
) -> None:
    with pytest.raises(Refused) as refused:
        verify(*wrong)
    assert refused.value.code in {RefusalCode.CLEARING_NOT_OPTIMAL, RefusalCode.CLEARING_BREAKS_LIMIT}


numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(auctions(), st.data())
def test_whatever_a_clearing_says_it_is_right_or_refused_by_its_number(auction: Auction, data: st.DataObject) -> None:
    right = Clearer(auction.network).clear(auction)
    part = data.draw(st.sampled_from([field.name for field in fields(Clearing)]))
    said = getattr(right, part)
    told = data.draw(st.lists(numbers, min_size=len(said), max_size=len(said)) | st.lists(numbers, max_size=3))
    try:
        verify(auction, replace(right, **{part: tuple(told)}))
    except Refused as refused:
        assert refused.code in {
            RefusalCode.CLEARING_INFEASIBLE, RefusalCode.CLEARING_NOT_OPTIMAL, RefusalCode.CLEARING_BREAKS_LIMIT,
            RefusalCode.CLEARING_OFF_THE_RULE,
        }  # fmt: skip


@st.composite
def power_networks(draw: st.DrawFn) -> TradedNetwork:
    """Lines that all have an impedance."""
    ends = st.tuples(st.integers(0, 3), st.integers(0, 3)).filter(lambda pair: pair[0] != pair[1])
    lines = st.tuples(ends, st.integers(20, 300), st.integers(20, 900))
    return a_network(*((*pair, ohm, watts) for pair, ohm, watts in draw(st.lists(lines, max_size=6))), nodes=4)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(power_networks(), quotes(nodes=4))
def test_a_program_with_angles_instead_of_loops_finds_as_much(
    network: TradedNetwork, given_: tuple[OpenQuote, ...]
) -> None:
    """Another formulation: the angle of every node decides flows. It agrees, but for what rounding may leave."""
    auction = an_auction(network, *given_)
    reached = welfare_of(auction, Clearer(network).clear(auction)).reached
    found = most_by_angles(auction)
    assume(found is not None)
    highest = max((one.limit for one in given_), default=0)
    rounding = 4 * (1 + len(network.loops)) * (len(given_) + len(network.lines)) * highest
    assert reached == pytest.approx(found, rel=1e-6, abs=rounding + 1)
