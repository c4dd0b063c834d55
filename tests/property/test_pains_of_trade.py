"""What users of other markets suffer from: late energy at the wrong price, and bills that are not what was matched.

Rows 7 and 12 of docs/explanation/pains.md, over any history of silence, and any quotes.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aggregator.chains.contracts.rows import Contract
from aggregator.economy.contracts.bill import Bill
from aggregator.economy.contracts.feasibility import power_w
from aggregator.economy.contracts.states import State
from config.grid_model import Grid
from config.load import check
from protocol.agreement import Agreement, seal_offer
from protocol.contract import Terms, price_of
from protocol.messages import MessageType
from protocol.quote import Side
from tests.contract_village import EVEN_W, GATEWAYS, IMBALANCE, PER_WH, Market, a_market_document
from tests.late_village import a_village, known_wh, leaves, parcels, tell
from tests.market_village import BUY, SELL, a_quote, match_leaves
from tests.village import INTERVAL_MS, REGION, START_MS, Village

FEW: Final = settings(max_examples=5, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
"""A village lives long: to make an example smaller would take minutes."""

# -- Row 7: late and corrected data

PRICES: Final = (PER_WH, 3 * PER_WH)
"""What a watt-hour costs in the first window, and in the second."""
WINDOW_MS: Final = 2 * INTERVAL_MS
BEGIN_MS: Final = START_MS + WINDOW_MS
WIND_W: Final = (EVEN_W, EVEN_W // 2, EVEN_W + 3_600, EVEN_W, EVEN_W, EVEN_W)
"""What the turbine gives, for ten seconds each: half in the first window, and more than enough in the second."""
PARCELS: Final = len(WIND_W)
LATE_MS: Final = 60_000
"""Long after both contracts are settled, where nothing is late."""


def some_terms(number: int) -> Terms:
    """The turbine delivers 100 Wh to the home in ten seconds, at this window's price."""
    start_ms = BEGIN_MS + number * WINDOW_MS
    return Terms(
        region=REGION,
        seller="wind",
        buyer="home",
        carrier="electricity",
        quantity_wh=100,
        price_per_mwh=PRICES[number],
        start_ms=start_ms,
        end_ms=start_ms + WINDOW_MS,
        penalty_ppm=200_000,
        termination_ppm=0,
        expires_ms=BEGIN_MS,
        nonce=bytes([number] * 16),
    )


def lived(delays_ms: list[int]) -> Village:
    """Two contracts, one behind the other, and a turbine whose gateway is silent for a while."""
    rule = {"imbalance_per_mwh": IMBALANCE * PER_WH, "dispute_ms": INTERVAL_MS}
    village = a_village(contracts=rule, restate_periods=20)
    for number in range(2):
        offer = seal_offer(some_terms(number), village.keys["gw-wind"])
        data = village.sign(Agreement.to(village.link("gw-home"), offer), MessageType.AGREEMENT, "gw-home")
        village.close([village.record(data)])
    power_w = {"m-wind": [-watts for watts in WIND_W], "m-home": [EVEN_W] * PARCELS}
    power_w |= {"m-gas": [0] * PARCELS, "m-grid": [watts - EVEN_W for watts in WIND_W]}
    return tell(village, parcels(power_w, {"m-wind": delays_ms}), START_MS + PARCELS * WINDOW_MS + LATE_MS + 25_000)


def made(village: Village) -> list[Contract]:
    """Every contract, first made first."""
    return village.five.operation.contracts.book.in_order()


def owed(village: Village) -> dict[str, int]:
    """Everybody's obligations in money."""
    return {account: owed.amount for account, owed in village.five.payment.money.accounts.items()}


@pytest.fixture(scope="module")
def truth() -> Village:
    """What becomes of it where nothing is late."""
    return lived([0] * PARCELS)


@given(delays_ms=st.lists(st.sampled_from([0, LATE_MS]), min_size=PARCELS, max_size=PARCELS).filter(any))
@FEW
def test_pains_row_7_whatever_comes_late_each_contract_is_billed_once_as_if_nothing_had_been(
    truth: Village, delays_ms: list[int]
) -> None:
    late = lived(delays_ms)
    assert not late.five.data.late.waiting
    assert known_wh(late) == known_wh(truth)
    assert [one.state for one in made(late)] == [State.SETTLED] * 2
    for told, true in zip(made(late), made(truth), strict=True):
        assert (told.amounts, told.booked) == (true.amounts, true.booked)
        assert told.booked.price == price_of(told.amounts.delivered_wh, told.terms.price_per_mwh)
        metered = [line[2:] for line in leaves(late, "delivered") if line[0] == told.digest]
        assert tuple(map(sum, zip(*metered, strict=True))) == told.amounts.columns
        bills = [line[1:] for line in leaves(late, "bill") if line[0] == told.digest]
        assert Bill(*map(sum, zip(*bills, strict=True))) == told.booked
    assert owed(late) == owed(truth)
    assert sum(owed(late).values()) == 0


# -- Row 12: what is matched is what is planned, delivered and billed

limits = st.integers(0, 40 * PER_WH // 10)
"""Few of them come to whole minor units."""
orders = st.lists(
    st.tuples(st.sampled_from(sorted(GATEWAYS)), st.sampled_from(Side), st.integers(1, 40), limits), max_size=12
)


def a_region(mechanism: str) -> Market:
    """A village in which quotes become contracts."""
    document = a_market_document()
    document["rules"]["market"] = {"mechanism": mechanism, "price_max": 10 * PER_WH, "gate_ms": 2 * INTERVAL_MS}
    grid: Grid = check(document, Grid, "grid.yaml")
    return Market(grid=grid)


def quoted(market: Market, asked: list[tuple[str, Side, int, int]]) -> None:
    """Everybody quotes for one interval; what a rule refuses is left out. Then the gate closes."""
    start_ms = market.now_ms + 4 * INTERVAL_MS
    for who, side, wh, limit in asked:
        author, terms = GATEWAYS[who], {"quantity_wh": wh, "price_per_mwh": limit, "start_ms": start_ms}
        data = market.sign(a_quote(market, who, side, author, **terms), MessageType.QUOTE, author)
        market.close([market.record(data)])
    market.now_ms = start_ms - 2 * INTERVAL_MS
    market.close([])
    market.close_due()


@pytest.mark.parametrize("mechanism", ["continuous", "call"])
@given(asked=orders, wind=st.sampled_from([0, EVEN_W // 2, EVEN_W]), home=st.sampled_from([0, EVEN_W]))
@FEW
def test_pains_row_12_what_is_matched_is_what_is_planned_and_billed_to_the_unit(
    mechanism: str, asked: list[tuple[str, Side, int, int]], wind: int, home: int
) -> None:
    market = a_region(mechanism)
    quoted(market, [("wind", SELL, 8, PER_WH // 3), ("home", BUY, 6, PER_WH), *asked])
    matched = [
        (Terms.decode(spelled), buy_price, rent) for _, _, _, _, buy_price, rent, spelled in match_leaves(market)
    ]
    contracts = made(market)
    assert [terms for terms, _, _ in matched] == [one.terms for one in contracts] != []
    for terms, buy_price, rent in matched:
        of_buyer, of_seller = (price_of(terms.quantity_wh, price) for price in (buy_price, terms.price_per_mwh))
        assert of_buyer == of_seller + rent
    for one in contracts:
        assert one.promise.power_w == power_w(one.terms.quantity_wh, INTERVAL_MS)
    market.live_even(8, wind=-wind, home=home, grid=wind - home)
    for one in made(market):
        if one.state is State.REJECTED:
            continue
        assert one.state is State.SETTLED
        assert one.amounts.due_wh == one.terms.quantity_wh
        assert one.booked.price == price_of(one.amounts.delivered_wh, one.terms.price_per_mwh)
    assert sum(market.owed().values()) == 0


def test_pains_row_12_a_contract_that_is_delivered_costs_what_its_match_said() -> None:
    market = a_region("continuous")
    quoted(market, [("wind", SELL, 8, PER_WH // 3), ("home", BUY, 6, PER_WH)])
    market.live_even(8)
    (contract,) = made(market)
    assert (contract.amounts.delivered_wh, contract.terms.price_per_mwh) == (6, PER_WH // 3)
    assert contract.booked.price == contract.terms.price == price_of(6, PER_WH // 3)


def test_pains_row_12_there_is_one_function_of_prices_and_it_knows_integers_alone() -> None:
    from aggregator.economy.contracts import bill
    from aggregator.economy.market import quotes

    assert bill.price_of is quotes.price_of is price_of
    whole: Any = price_of(10**15, 10**9)
    assert isinstance(whole, int) and whole == 10**15 * 10**9
