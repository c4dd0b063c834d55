"""What contracts may ask of a region follows from its meters, devices, lines and pipes, in every network."""

from __future__ import annotations

import pytest

from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.contracts.limits import limits_of
from aggregator.chains.region import Region
from aggregator.economy.contracts.delivery import Amounts
from aggregator.economy.contracts.feasibility import Limits, Site
from aggregator.economy.contracts.states import State
from config.grid_model import Grid
from config.load import check
from config.rules import ContractRule
from protocol.refusals import RefusalCode
from protocol.units import PPM
from tests.contract_village import BOOKED, Market, a_market_grid
from tests.heat_village import PUMP, WARM, a_heat_document
from tests.plain_physics import PlainPhysics
from tests.village import a_genesis, some_keys

RULE = ContractRule.model_validate(BOOKED)


def limits(grid: Grid, rule: ContractRule = RULE) -> Limits:
    return limits_of(a_region(grid, rule))


def a_region(grid: Grid, rule: ContractRule = RULE) -> Region:
    ruled = grid.model_copy(update={"rules": grid.rules.model_copy(update={"contracts": rule})})
    return Region(open_genesis(a_genesis(ruled, some_keys("gw"))).message)


@pytest.fixture(scope="module")
def warm() -> Grid:
    """The village with a heat pump, a tank and a pipe; contracts are made in it."""
    document = a_heat_document()
    document["rules"]["contracts"] = BOOKED
    document["rules"]["time"] |= {"period_ms": 600_000}
    return check(document, Grid, "grid.yaml")


def test_a_meter_feeds_in_what_a_generator_behind_it_makes_and_no_more_than_its_fuses_carry() -> None:
    grid = a_market_grid()
    weak = grid.generators[2].model_copy(update={"rated_w": 20_000})
    strong = grid.generators[1].model_copy(update={"rated_w": 900_000})
    sites = limits(grid.model_copy(update={"generators": (grid.generators[0], strong, weak)})).sites
    at = {"n1": PPM}
    assert sites["wind", "electricity"] == Site(20_000, 20_000, 50_000, at, at)
    assert sites["gas", "electricity"] == Site(50_000, 0, 50_000, at, at)
    assert sites["home", "electricity"] == Site(0, 0, 50_000, {}, at)


def test_storages_and_converters_feed_in_what_their_meters_carry(warm: Grid) -> None:
    sites = limits(warm).sites
    assert sites["works", "heat"] == Site(100_000, 0, 50_000, {"h0": PPM}, {"h0": PPM})  # pump and tank; into the tank
    assert sites["home", "heat"] == Site(0, 0, 50_000, {}, {"h1": PPM})
    assert sites["works", "electricity"].feed_in_w == 0


def test_what_stands_at_several_nodes_is_shared_in_proportion() -> None:
    grid = a_market_grid()
    extra = grid.meters[3].model_copy(update={"id": "m-home-2", "node": "n0", "power_max_w": 25_000})
    assert grid.meters[2].participant == "home"
    extra = extra.model_copy(update={"participant": "home"})
    site = limits(grid.model_copy(update={"meters": (*grid.meters, extra)})).sites["home", "electricity"]
    assert site.takes_at == {"n1": 666_667, "n0": 333_333}
    assert site.take_w == 75_000


def test_a_line_carries_by_its_current_and_a_pipe_by_its_power_and_contracts_a_share(warm: Grid) -> None:
    assert limits(warm).rating_w == {"b1": 138_564, "pipe": 80_000}  # √3 · 400 V · 200 A
    half = RULE.model_copy(update={"lines_ppm": 500_000})
    assert limits(warm, half).rating_w == {"b1": 69_282, "pipe": 40_000}


def test_auctions_are_cleared_within_the_same_lines_and_ratings(warm: Grid) -> None:
    half = RULE.model_copy(update={"lines_ppm": 500_000})
    network = a_region(warm, half).traded_network
    assert {line.name: line.rating_w for line in network.lines} == limits(warm, half).rating_w


def test_check_meters_are_nobody_s_connection(warm: Grid) -> None:
    meter = warm.meters[0].model_copy(update={"id": "m-check", "participant": "home", "branch": "b1"})
    assert limits(warm.model_copy(update={"meters": (*warm.meters, meter)})).sites == limits(warm).sites


def test_heat_is_sold_through_a_pipe(warm: Grid) -> None:
    market = Market(grid=warm, physics=PlainPhysics())
    idle = dict.fromkeys((*PUMP, *WARM, "m-gas", "m-grid", "m-home", "m-wind"), 0)
    market.live(10, idle)
    terms = market.terms(seller="works", buyer="home", carrier="heat", quantity_wh=50)
    assert market.agree(terms, "gw", "gw") is None
    much = market.terms(seller="works", buyer="home", carrier="heat", quantity_wh=100, nonce=bytes([1] * 16))
    assert market.agree(much, "gw", "gw") is None
    reason = market.contract(much.digest).objection
    assert reason is not None and (reason.rule, reason.excess_w) == (RefusalCode.BOUGHT_ALREADY, 4_000)
    market.live(10, idle)
    market.live(10, idle | WARM)
    market.live(30, idle)
    contract = market.contract(terms.digest)
    assert contract.state is State.SETTLED
    delivered = contract.amounts.delivered_wh
    assert contract.amounts == Amounts(50, delivered)
    assert 40 < delivered <= 50
    assert market.owed() == {"works": delivered, "home": -delivered}


def test_whoever_makes_electricity_does_not_sell_heat(warm: Grid) -> None:
    market = Market(grid=warm, physics=PlainPhysics())
    terms = market.terms(seller="wind", buyer="home", carrier="heat")
    assert market.agree(terms, "gw", "gw") is None
    reason = market.contract(terms.digest).objection
    assert reason is not None and reason.rule is RefusalCode.SELLER_CANNOT
