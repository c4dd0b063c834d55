"""A contract for clean energy is served by its seller's clean sources, in every network, and by nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.contracts.metering import metered_in
from aggregator.chains.metering.interval_energy import IntervalEnergy
from aggregator.chains.periods.carbon import PeriodSums
from aggregator.chains.region import Region
from aggregator.economy.contracts.delivery import Amounts
from aggregator.economy.contracts.states import State
from config.carriers import Carrier
from config.grid_model import Grid
from config.load import check
from protocol.refusals import RefusalCode
from tests.contract_village import EVEN_W, EVEN_WH, Market, a_market_document, settled
from tests.plain_physics import PlainPhysics
from tests.village import PROFILE, a_genesis, a_grid, some_keys

QUANTITY_WH = 2 * EVEN_WH


@pytest.fixture
def market() -> Market:
    """Readings have come in for two intervals. The turbine's owner has the gas engine, too."""
    document = a_market_document()
    for one in (*document["meters"], *document["devices"]):
        if one.get("id") == "m-gas" or one.get("participant") == "gas":
            one["participant"] = "wind"
    market = Market(grid=a_grid(**document))
    market.live_even(2)
    return market


def test_a_seller_does_not_answer_for_what_else_the_buyer_takes(market: Market) -> None:
    """The grid outside feeds the home as well: half of what reaches it is clean."""
    digest = market.made(clean_only=True, quantity_wh=EVEN_WH)
    half = {"wind": -EVEN_W // 2, "grid": -EVEN_W // 2}
    market.live_even(2, **half)
    contract = settled(market, digest, **half)
    assert contract.amounts.delivered_wh == contract.amounts.due_wh == EVEN_WH
    assert State.FULFILLED in dict(contract.history)


def test_a_contract_that_gas_serves_is_breached(market: Market) -> None:
    contract = settled(market, market.made(clean_only=True), wind=0, gas=-EVEN_W)
    assert State.BREACHED in dict(contract.history)
    assert contract.amounts.seller_short_wh > 80
    assert contract.booked.penalty > 0
    plain = settled(market, market.made(), wind=0, gas=-EVEN_W)
    assert plain.amounts == Amounts(QUANTITY_WH, QUANTITY_WH)


def test_whoever_has_no_clean_source_is_told_at_once() -> None:
    market = Market()
    contract = market.contract(market.made(seller="gas", clean_only=True))
    assert contract.objection is not None
    assert (contract.state, contract.objection.rule) == (State.REJECTED, RefusalCode.NOT_CLEAN)


def test_nobody_sells_clean_energy_that_they_have_used_themselves(market: Market) -> None:
    """Turbine and engine give as much, and of what their owner takes half is clean by tracing."""
    region = market.five.asset.region
    energies = {"m-wind": IntervalEnergy(0, 50), "m-gas": IntervalEnergy(40, 50)}
    metered = metered_in(Carrier.ELECTRICITY, region, energies, {"wind": PeriodSums(used_wh=40, clean_wh=20)})
    assert (metered.fed_in_wh["wind"], metered.clean_fed_in_wh["wind"]) == (60, 30)


# -- Gas and hydrogen, of which nobody's sums say what it was made from


def a_gas_grid(clean: bool = True) -> Grid:
    """The village, in which a biogas plant feeds a pipe, and the home burns gas from it."""
    document = a_market_document()
    meter = {"gateway": "gw", "profile": PROFILE.id, "power_max_w": 50_000}
    document["participants"].append({"id": "farm"})
    document["nodes"] += [{"id": "f0", "carrier": "gas"}, {"id": "f1", "carrier": "gas"}]
    document["pipes"] = [{"id": "pipe", "from_node": "f0", "to_node": "f1", "rating_w": 80_000}]
    document["meters"] += [
        {"id": "m-farm", "participant": "farm", "node": "f0", **meter},
        {"id": "m-stove", "participant": "home", "node": "f1", **meter},
    ]
    source: dict[str, Any] = {"source": "biomass"} if clean else {"source": "gas", "emission_g_per_kwh": 200}
    plant = {"id": "g-farm", "meter": "m-farm", "rated_w": 50_000, "emission_g_per_kwh": 0} | source
    document["generators"].append(plant)
    return check(document, Grid, "grid.yaml")


def test_clean_gas_fulfils_a_contract_for_clean_gas() -> None:
    market = Market(grid=a_gas_grid(), physics=PlainPhysics())
    flowing = {"m-farm": -EVEN_W, "m-stove": EVEN_W, "m-wind": 0, "m-home": 0, "m-gas": 0, "m-grid": 0}
    market.live(10, flowing)
    terms = market.terms(seller="farm", buyer="home", carrier="gas", clean_only=True)
    assert market.agree(terms, "gw", "gw") is None
    assert market.state(terms.digest) is State.CONFIRMED
    market.live(50, flowing)
    contract = market.contract(terms.digest)
    assert contract.state is State.SETTLED
    assert contract.amounts == Amounts(QUANTITY_WH, QUANTITY_WH)


def test_gas_from_a_well_is_not_clean() -> None:
    market = Market(grid=a_gas_grid(clean=False), physics=PlainPhysics())
    terms = market.terms(seller="farm", buyer="home", carrier="gas", clean_only=True)
    assert market.agree(terms, "gw", "gw") is None
    reason = market.contract(terms.digest).objection
    assert reason is not None and reason.rule is RefusalCode.NOT_CLEAN


def test_whoever_uses_gas_is_taken_to_use_their_clean_gas_first() -> None:
    region = Region(open_genesis(a_genesis(a_gas_grid(), some_keys("gw"))).message)
    metered = metered_in(Carrier.GAS, region, {"m-farm": IntervalEnergy(20, 50)}, {})
    assert (metered.fed_in_wh["farm"], metered.clean_fed_in_wh["farm"]) == (30, 30)
