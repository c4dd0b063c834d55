"""A settled contract is corrected at its own price and by the rules of its own interval, once, and nobody else's."""

from __future__ import annotations

from aggregator.chains.metering.correction import Correction, Delta
from aggregator.economy.contracts.states import State
from protocol.canonical import decode
from protocol.messages import MessageType
from protocol.money import millionths_of
from tests.contract_village import EVEN_W, EVEN_WH, PER_WH, Market, a_market_grid
from tests.village import INTERVAL_MS

DEAR = 3


def two_contracts() -> tuple[Market, bytes, bytes]:
    """Two contracts of two intervals each, the later one dearer; of the first, half was delivered."""
    market = Market(grid=a_market_grid(time={"restate_after_ms": 0}))
    market.live_even(2)
    first = market.made()
    terms = market.contract(first).terms
    window = {"start_ms": terms.end_ms, "end_ms": terms.end_ms + 2 * INTERVAL_MS}
    second = market.made(**window, price_per_mwh=DEAR * PER_WH, nonce=bytes([1] * 16))
    market.live_even(2)
    market.live_even(2, wind=-EVEN_W // 2)
    market.live_even(8)
    assert market.state(first) is market.state(second) is State.SETTLED
    return market, first, second


def correct(market: Market, start_ms: int, energy_wh: int) -> None:
    """The regulator says that the turbine fed in more in an interval than its meter counted."""
    correction = Correction(market.link("regulator"), "m-wind", (Delta(start_ms, 0, energy_wh),), "a wrong ratio")
    assert market.put(correction, MessageType.CORRECTION, "regulator").refusal is None
    market.close_due()


def bills(market: Market, digest: bytes) -> list[list[int]]:
    """Every bill of a contract that blocks have stated."""
    rows = [decode(leaf.body, size_max=1 << 20) for block in market.blocks for leaf in block.leaves]
    return [row[2:] for row in rows if row[:2] == ["bill", digest]]


def test_pains_row_7_a_correction_is_billed_at_the_price_of_its_own_contract() -> None:
    market, first, second = two_contracts()
    before, dear = market.contract(first), market.contract(second)
    owed = market.owed()
    correct(market, before.terms.start_ms, 5)
    after = market.contract(first)
    assert after.amounts.delivered_wh == before.amounts.delivered_wh + 5
    assert after.booked.price == before.booked.price + millionths_of(5)
    assert after.booked.penalty == before.booked.penalty - millionths_of(1)  # 20 % of the price of 5 Wh
    assert market.contract(second) == dear
    change = {name: amount - owed.get(name, 0) for name, amount in market.owed().items()}
    assert change["wind"] == 5 + 1
    assert sum(change.values()) == 0


def test_pains_row_7_every_difference_is_booked_once_however_often_an_interval_is_stated() -> None:
    market, first, second = two_contracts()
    start_ms = market.contract(second).terms.start_ms
    for _ in range(3):
        correct(market, start_ms, 2)
    market.live_even(3)
    for digest in (first, second):
        booked = market.contract(digest).booked
        stated = [sum(column) for column in zip(*bills(market, digest), strict=True)]
        assert stated == list(booked.lines)
    assert market.contract(second).amounts.surplus_wh == 3 * 2
    assert market.contract(second).booked.price == millionths_of(DEAR * 2 * EVEN_WH)
