"""Call auctions within a network: prices differ where a line is full, and what is wrong is seen without solving."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from aggregator.economy.market.clearing import LOOP_SCALE, PRICE_SCALE, Auction, Clearing, verify, welfare_of
from aggregator.economy.market.pairing import pair
from aggregator.economy.network import TradedNetwork, traded_network
from aggregator.grid.clearing import Clearer
from config.rules import Pricing
from protocol.money import millionths_of
from protocol.quote import Side
from protocol.refusals import RefusalCode, Refused
from tests.market import a_buy, a_network, a_sell, an_auction, most_welfare
from tests.vector_files import read_vectors
from tests.village import a_grid

THREE = read_vectors("market/three_bus.yaml")
FIVE = read_vectors("market/pjm_five_bus.yaml")
A_LINE = a_network((0, 1, 100, 600))
"""Two nodes, and a line of 600 W between them."""


def cleared(auction: Auction) -> Clearing:
    clearing = Clearer(auction.network).clear(auction)
    verify(auction, clearing)
    return clearing


def a_full_line() -> Auction:
    """At n0 a cheap seller, at n1 a dear one and a buyer who needs more than the line carries."""
    return an_auction(
        A_LINE, a_sell(1, 1000, 10_000), a_sell(2, 1000, 30_000, node="n1"), a_buy(3, 900, 50_000, node="n1")
    )


def the_buses(vectors: Any, *, is_limited: bool = True) -> Auction:
    """Megawatts over an hour as watt-hours, dollars as cents."""
    lines = [
        (line["from"] - 1, line["to"] - 1, round(line["reactance"] * 10**6), line["limit"] * 10**6)
        for line in vectors["lines"]
    ]
    nodes = max(max(line[:2]) for line in lines) + 1
    network = a_network(*(line if is_limited else (*line[:3], 10**9) for line in lines), nodes=nodes)
    sells = [
        a_sell(n, one["capacity"] * 10**6, round(one["cost"] * 100), node=f"n{one['bus'] - 1}")
        for n, one in enumerate(vectors["generators"], start=1)
    ]
    buys = [
        a_buy(10 + bus, megawatts * 10**6, 100_000, node=f"n{bus - 1}") for bus, megawatts in vectors["loads"].items()
    ]
    return an_auction(network, *sells, *buys)


def the_three_buses(*, is_limited: bool = True) -> Auction:
    return the_buses(THREE, is_limited=is_limited)


def cost_of(vectors: Any, clearing: Clearing) -> float:
    """Of the generators' fills, in dollars."""
    fills = zip(clearing.fills_wh, vectors["generators"], strict=False)
    return sum(fill * round(one["cost"] * 100) for fill, one in fills) / 10**8


def test_the_five_buses_of_pjm_have_the_published_dispatch_cost_and_prices() -> None:
    auction = the_buses(FIVE)
    clearing = cleared(auction)
    generated = dict(zip(FIVE["dispatch"], clearing.fills_wh, strict=False))
    assert {name: round(fill / 10**6, 2) for name, fill in generated.items()} == FIVE["dispatch"]
    assert cost_of(FIVE, clearing) == pytest.approx(FIVE["cost"], rel=1e-7)
    flows = {line["name"]: round(flow / 10**9) for line, flow in zip(FIVE["lines"], clearing.flows_mwh, strict=True)}
    assert flows["4-5"] == FIVE["full"]["4-5"]
    for bus, price in FIVE["prices"].items():
        assert clearing.prices[bus - 1] / PRICE_SCALE == pytest.approx(price * 100, abs=0.01)
    most = most_welfare(auction)
    assert abs(most - welfare_of(auction, clearing).reached) < most / 10**6


def test_the_textbook_s_three_buses_have_the_textbook_s_dispatch_flows_and_prices() -> None:
    clearing = cleared(the_three_buses())
    generated = dict(zip(THREE["dispatch"], clearing.fills_wh, strict=False))
    assert {name: round(fill / 10**6) for name, fill in generated.items()} == THREE["dispatch"]
    assert [round(flow / 10**9) for flow in clearing.flows_mwh] == list(THREE["flows"].values())
    assert [round(price / PRICE_SCALE) for price in clearing.prices] == [p * 100 for p in THREE["prices"].values()]
    assert cost_of(THREE, clearing) == pytest.approx(THREE["cost"], rel=1e-6)


def test_without_limits_the_three_buses_have_one_price() -> None:
    clearing = cleared(the_three_buses(is_limited=False))
    assert [round(fill / 10**6) for fill in clearing.fills_wh[:4]] == list(THREE["unlimited"]["dispatch"].values())
    assert len(set(clearing.prices)) == 1


def test_where_a_line_is_full_each_side_of_it_has_its_own_price() -> None:
    clearing = cleared(a_full_line())
    assert clearing.fills_wh == (600, 300, 900)
    assert clearing.flows_mwh == (600_000,)
    assert clearing.prices == (10_000 * PRICE_SCALE, 30_000 * PRICE_SCALE)


def test_what_contracts_have_of_a_line_an_auction_has_not_and_nothing_is_set_off() -> None:
    there, back = replace(a_full_line(), taken_w=((0, 250, 0),)), replace(a_full_line(), taken_w=((0, 0, 250),))
    assert cleared(there).fills_wh == (350, 550, 900)
    assert cleared(back) == cleared(a_full_line())
    with pytest.raises(Refused) as refused:
        verify(there, cleared(a_full_line()))
    assert refused.value.code is RefusalCode.CLEARING_INFEASIBLE


def test_what_is_paid_for_a_full_line_goes_to_the_region() -> None:
    auction = a_full_line()
    matches = list(pair(auction, cleared(auction), Pricing.UNIFORM))
    assert [(m.sell.number, m.quantity_wh, m.sell_price, m.buy_price, m.rent) for m in matches] == [
        (2, 300, 30_000, 30_000, 0),
        (1, 600, 10_000, 30_000, millionths_of(12)),
    ]


def test_paid_as_bid_everybody_trades_at_their_own_limit() -> None:
    auction = a_full_line()
    matches = list(pair(auction, cleared(auction), Pricing.PAY_AS_BID))
    assert [(m.sell_price, m.buy_price) for m in matches] == [(30_000, 50_000), (10_000, 50_000)]


def test_neighbours_are_paired_first_and_no_two_matches_pass_a_line_in_opposite_directions() -> None:
    line = a_network((0, 1, 100, 1000), (1, 2, 100, 1000))
    auction = an_auction(
        line, a_sell(1, 100, 10), a_sell(2, 100, 10, node="n2"), a_buy(3, 80, 90, node="n2"), a_buy(4, 120, 90),
    )  # fmt: skip
    matches = list(pair(auction, cleared(auction), Pricing.UNIFORM))
    assert [(m.sell.number, m.buy.number, m.quantity_wh) for m in matches] == [(2, 3, 80), (1, 4, 100), (2, 4, 20)]


def test_clean_energy_costs_a_premium_where_there_is_too_little_of_it() -> None:
    auction = an_auction(
        a_network(nodes=1),
        a_sell(1, 1000, 10_000),
        a_sell(2, 400, 15_000, is_clean=True),
        a_buy(3, 300, 50_000),
        a_buy(4, 600, 40_000, clean_only=True),
    )
    clearing = cleared(auction)
    assert clearing.fills_wh == (300, 400, 300, 400)
    assert clearing.premiums == (30_000 * PRICE_SCALE,)
    matches = list(pair(auction, clearing, Pricing.UNIFORM))
    assert [(m.sell.number, m.buy.number, m.sell_price, m.buy_price) for m in matches] == [
        (2, 4, 40_000, 40_000),
        (1, 3, 10_000, 10_000),
    ]


def test_pipes_are_opened_as_is_wanted_and_power_divides_as_it_does() -> None:
    quotes = a_sell(1, 1000, 10_000), a_buy(2, 1000, 50_000, node="n2")
    around = (0, 1, 200), (1, 2, 200), (0, 2, 500)
    pipes = an_auction(a_network(*((a, b, 0, rating) for a, b, rating in around)), *quotes)
    lines = an_auction(a_network(*((a, b, 100, rating) for a, b, rating in around)), *quotes)
    assert cleared(pipes).fills_wh == (700, 700)
    assert cleared(lines).fills_wh[0] in range(594, 601), "a third goes around: 200 W there are 400 W straight on"


def test_islands_do_not_trade_with_each_other() -> None:
    network = a_network((0, 1, 100, 1000), nodes=3)
    auction = an_auction(network, a_sell(1, 10, 10), a_buy(2, 10, 20, node="n1"), a_buy(3, 10, 99, node="n2"))
    assert cleared(auction).fills_wh == (10, 10, 0)


def test_an_auction_without_quotes_is_cleared() -> None:
    assert cleared(an_auction(A_LINE)).fills_wh == ()


def test_the_bound_of_the_prices_is_what_an_exact_simplex_finds() -> None:
    for auction in (a_full_line(), the_three_buses()):
        clearing, most = cleared(auction), most_welfare(auction)
        welfare = welfare_of(auction, clearing)
        assert welfare.reached <= most <= welfare.bound


def test_what_the_solver_s_presolve_loses_itself_in_is_cleared_all_the_same() -> None:
    most = 10**6
    network = a_network((0, 1, 20, most), (0, 1, 20, most), (0, 1, 20, most), (0, 2, 20, 20), nodes=4)
    quotes = a_buy(1, 1, most), a_sell(2, 1, most), a_sell(3, most, most), a_buy(4, 1, 0, clean_only=True)
    far = a_buy(5, most, most, node="n1"), a_buy(6, 21, most, node="n2")
    clearing = cleared(an_auction(network, *quotes, *far))
    assert sum(clearing.fills_wh) == 2 * (most + 1)


# -- What is wrong is seen


def broken(auction: Auction, **changes: object) -> Refused:
    """What a node says of a clearing of which one thing was changed."""
    with pytest.raises(Refused) as refused:
        verify(auction, replace(cleared(auction), **changes))  # type: ignore[arg-type]
    return refused.value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fills_wh": (600, 300)}, "values where"),
        ({"fills_wh": (-1, 901, 900)}, "of quote 1"),
        ({"fills_wh": (600, 301, 901)}, "of quote 3"),
        ({"fills_wh": (600, 300, 899)}, "too much at node n1"),
        ({"flows_mwh": (599_999,)}, "too much at node n0"),
        ({"fills_wh": (601, 299, 900), "flows_mwh": (601_000,)}, "b0 would carry 1000 mWh more"),
    ],
    ids=["one is missing", "below nothing", "beyond the quote", "out of balance", "other flows", "overload"],
)
def test_what_cannot_be_done_is_refused(changes: dict[str, object], said: str) -> None:
    refused = broken(a_full_line(), **changes)
    assert refused.code is RefusalCode.CLEARING_INFEASIBLE
    assert said in refused.detail


def test_power_that_does_not_divide_as_it_would_is_refused() -> None:
    auction = the_three_buses()
    flows = cleared(auction).flows_mwh
    around = tuple(flow + sign * 10**7 for flow, sign in zip(flows, (-1, 1, -1), strict=True))
    refused = broken(auction, flows_mwh=around)
    assert (refused.code, "around the loop" in refused.detail) == (RefusalCode.CLEARING_INFEASIBLE, True)


def test_unclean_energy_for_whoever_wants_clean_is_refused() -> None:
    auction = an_auction(a_network(nodes=1), a_sell(1, 10, 10), a_buy(2, 10, 20, clean_only=True))
    refused = broken(auction, fills_wh=(10, 10))
    assert (refused.code, "have to be clean" in refused.detail) == (RefusalCode.CLEARING_INFEASIBLE, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"fills_wh": (0, 0, 0), "flows_mwh": (0,)},
        {"fills_wh": (500, 400, 900), "flows_mwh": (500_000,)},
        {"prices": (10_000 * PRICE_SCALE, 40_000 * PRICE_SCALE)},
        {"premiums": (-1,)},
    ],
    ids=["nobody trades", "the dear one first", "prices that explain nothing", "a premium below 0"],
)
def test_what_is_not_the_best_is_refused(changes: dict[str, object]) -> None:
    assert broken(a_full_line(), **changes).code is RefusalCode.CLEARING_NOT_OPTIMAL


@pytest.mark.parametrize("highest", [11_000, 10**6])
def test_what_somebody_else_would_pay_leaves_no_room_for_a_trade_that_is_left_out(highest: int) -> None:
    auction = an_auction(
        a_network(nodes=1), a_sell(1, 1000, 10_000), a_buy(2, 1000, 11_000), a_buy(3, 1, highest), a_sell(4, 1, highest)
    )
    for price in (10_000, 10_500, 11_000, highest):
        refused = broken(auction, fills_wh=(0, 0, 0, 0), prices=(price * PRICE_SCALE,))
        assert refused.code is RefusalCode.CLEARING_NOT_OPTIMAL


def test_a_line_that_earns_is_full() -> None:
    auction = a_full_line()
    refused = broken(auction, fills_wh=(597, 303, 900), flows_mwh=(597_000,))
    assert refused.code is RefusalCode.CLEARING_NOT_OPTIMAL
    verify(auction, replace(cleared(auction), fills_wh=(598, 302, 900), flows_mwh=(598_000,)))


def test_clean_energy_that_costs_more_is_used_up() -> None:
    auction = an_auction(a_network(nodes=1), a_sell(1, 100, 10, is_clean=True), a_buy(2, 50, 90))
    refused = broken(auction, premiums=(20 * PRICE_SCALE,), prices=(0,), fills_wh=(0, 0))
    assert refused.code is RefusalCode.CLEARING_NOT_OPTIMAL


@pytest.mark.parametrize("price", [10_000, 14_999, 20_000])
def test_where_no_line_is_full_the_price_is_the_middle_one_and_no_compute_node_chooses(price: int) -> None:
    auction = an_auction(A_LINE, a_sell(1, 100, 10_000), a_buy(2, 100, 20_000, node="n1"))
    assert cleared(auction).prices == (15_000 * PRICE_SCALE,) * 2
    assert broken(auction, prices=(price * PRICE_SCALE,) * 2).code is RefusalCode.CLEARING_OFF_THE_RULE


def test_a_line_that_happens_to_be_full_does_not_let_a_compute_node_choose_either() -> None:
    auction = an_auction(A_LINE, a_sell(1, 600, 10_000), a_buy(2, 600, 20_000, node="n1"))
    assert cleared(auction).prices == (15_000 * PRICE_SCALE,) * 2
    refused = broken(auction, prices=(10_000 * PRICE_SCALE, 20_000 * PRICE_SCALE))
    assert refused.code is RefusalCode.CLEARING_OFF_THE_RULE


def test_an_island_whose_lines_are_wide_has_the_middle_price_beside_one_whose_line_is_full() -> None:
    network = a_network((0, 1, 100, 600), (2, 3, 100, 600))
    auction = an_auction(
        network,
        a_sell(1, 1000, 10_000),
        a_buy(2, 900, 50_000, node="n1"),
        a_sell(3, 100, 10_000, node="n2"),
        a_buy(4, 100, 20_000, node="n3"),
    )
    clearing = cleared(auction)
    assert clearing.fills_wh == (600, 600, 100, 100)
    assert clearing.prices[2:] == (15_000 * PRICE_SCALE,) * 2


def test_a_price_beyond_somebody_s_limit_is_refused_however_small_the_gap() -> None:
    auction = an_auction(a_network(nodes=1), a_sell(1, 1, 10_000), a_buy(2, 1, 10_000))
    refused = broken(auction, prices=(10_001 * PRICE_SCALE,))
    assert refused.code is RefusalCode.CLEARING_BREAKS_LIMIT


# -- The network, in integers


def test_the_market_s_network_is_the_grid_file_s() -> None:
    network = traded_network(a_grid())
    (line,) = network.lines
    assert (network.nodes, line.name, line.from_node, line.to_node) == (("n0", "n1"), "b1", 0, 1)
    assert line.rating_w == 138_564, "√3 · 400 V · 200 A"
    assert line.impedance_uohm == 21_540, "of 20 mΩ and 8 mΩ"
    assert line.room_mwh(900_000) == 138_564 * 250


def test_around_every_loop_signs_lead_back_to_where_it_began() -> None:
    network = a_network((0, 1, 1, 1), (2, 1, 1, 1), (2, 3, 1, 1), (0, 3, 1, 1), (1, 3, 1, 1), (4, 3, 1, 1))
    assert len(network.loops) == 2
    for loop in network.loops:
        passed = [0] * len(network.nodes)
        for number, sign in zip(loop.lines, loop.signs, strict=True):
            passed[network.lines[number].from_node] += sign
            passed[network.lines[number].to_node] -= sign
        assert not any(passed)


def test_flows_follow_from_what_is_fed_in_and_what_the_loops_carry() -> None:
    network: TradedNetwork = a_network((0, 1, 1, 1), (1, 2, 1, 1), (0, 2, 1, 1))
    assert network.flows_mwh([300, 0, -300], [100]) == [200, 0, 100] or network.forest.left_out == (1,)
    flows = network.flows_mwh([300, 0, -300], [50])
    assert [flows[0] + flows[2], flows[1] + flows[2], flows[0] - flows[1]] == [300, 300, 0]


def test_a_loop_s_price_counts_in_billionths() -> None:
    auction = the_three_buses()
    clearing = cleared(auction)
    without = replace(clearing, loop_prices=(0,))
    assert welfare_of(auction, without).bound > welfare_of(auction, clearing).bound
    assert Fraction(clearing.loop_prices[0], LOOP_SCALE) != 0


def test_sides_are_each_other_s_other() -> None:
    assert (Side.SELL.other, Side.BUY.other) == (Side.BUY, Side.SELL)
