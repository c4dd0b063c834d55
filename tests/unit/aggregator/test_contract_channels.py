"""Of one line contracts and channels together are promised what contracts may promise of it, and not a watt beyond."""

from __future__ import annotations

from typing import Any

import pytest

from aggregator.economy.contracts.states import State
from protocol.channel import ChannelPurchase
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from tests.contract_village import EVEN_W, GATEWAYS, Market, a_market_document
from tests.village import INTERVAL_MS, a_grid

LINE_W = 51_961
"""Three quarters of √3 · 400 V · 100 A."""


@pytest.fixture
def market() -> Market:
    """Turbine and home hold tokens. The grid outside reaches the home over one line."""
    document = a_market_document(rating_ma=100_000, lines_ppm=750_000, time={"period_ms": 30_000})
    document["rules"]["rights"] = [{"right": "channel_use", "price": 3_600}]
    document["rules"]["accounts"]["ceiling"] = 10_000
    document["rules"]["tokens"]["tokens_max"] = 5_000
    document["rules"]["tokens"]["reward"] = 4_000
    market = Market(grid=a_grid(**document))
    market.live(50)
    transfer = market.a_transfer("wind", "home", amount=market.five.payment.balance("wind") // 2)
    market.close([market.record(market.sign(transfer, MessageType.TRANSFER))])
    return market


def buy(market: Market, participant: str, power_w: int, **changes: Any) -> RefusalCode | None:
    """Buy a channel for the two intervals of the plain contract."""
    terms, gateway = market.terms(), GATEWAYS[participant]
    window = {"start_ms": terms.start_ms, "end_ms": terms.end_ms, "price_max": 10**9} | changes
    link = market.link(gateway)
    order = ChannelPurchase(link=link, participant=participant, branch="b1", power_w=power_w, **window)
    return market.put(order, MessageType.CHANNEL, gateway).refusal


def reason_of(market: Market, digest: bytes) -> tuple[RefusalCode, str, int]:
    reason = market.contract(digest).objection
    assert reason is not None
    return reason.rule, reason.subject, reason.excess_w


def test_what_is_sold_as_a_channel_is_not_promised_to_a_contract_of_others(market: Market) -> None:
    assert buy(market, "wind", LINE_W - EVEN_W + 1) is None
    digest = market.made(seller="grid")
    assert reason_of(market, digest) == (RefusalCode.LINE_FULL, "b1", 1)


def test_what_is_promised_to_contracts_is_not_sold_as_a_channel(market: Market) -> None:
    assert market.state(market.made(seller="grid")) is State.CONFIRMED
    before = market.five.payment.balance("wind")
    assert buy(market, "wind", LINE_W - EVEN_W + 1) is RefusalCode.CHANNEL_SOLD
    assert market.five.payment.balance("wind") == before
    assert buy(market, "wind", LINE_W - EVEN_W) is None
    assert buy(market, "wind", 1) is RefusalCode.CHANNEL_SOLD


def test_a_holder_s_contract_uses_the_capacity_that_the_holder_has_bought(market: Market) -> None:
    """A channel is what it is for: the line is full for everybody else."""
    assert buy(market, "home", LINE_W) is None
    assert reason_of(market, market.made(seller="wind", buyer="grid"))[0] is RefusalCode.LINE_FULL
    assert market.state(market.made(seller="grid")) is State.CONFIRMED


def test_whoever_has_contracts_over_a_line_may_buy_the_room_that_they_use(market: Market) -> None:
    assert market.state(market.made(seller="grid")) is State.CONFIRMED
    assert buy(market, "home", LINE_W) is None
    assert buy(market, "wind", 1) is RefusalCode.CHANNEL_SOLD


def test_a_channel_stays_its_holder_s_when_their_contract_is_ended_early(market: Market) -> None:
    assert buy(market, "home", LINE_W) is None
    digest = market.made(seller="grid")
    assert market.terminate(digest, "home", "gw-home") is None
    assert reason_of(market, market.made(seller="wind", buyer="grid"))[0] is RefusalCode.LINE_FULL


def test_channels_together_are_no_wider_than_what_contracts_may_promise(market: Market) -> None:
    assert buy(market, "home", LINE_W + 1) is RefusalCode.CHANNEL_SOLD
    later = market.terms().end_ms
    assert buy(market, "home", LINE_W) is None
    assert buy(market, "wind", LINE_W, start_ms=later, end_ms=later + INTERVAL_MS) is None


def test_what_was_bought_and_taken_back_is_free_again(market: Market) -> None:
    ledger, rights = market.five.ledger, market.five.payment.rights
    start_ms = market.terms().start_ms
    window = {"start_ms": start_ms, "end_ms": start_ms + INTERVAL_MS, "price_max": 10**9}
    order = ChannelPurchase(link=market.link("gw-home"), participant="home", branch="b1", power_w=LINE_W, **window)
    record = ledger.check(market.sign(order, MessageType.CHANNEL, "gw-home"))
    ledger.finalize(market.now_ms, [record])
    assert rights.sold_lines == ["b1"]
    ledger.abandon()
    assert (rights.sold_lines, rights.channels_of("b1")) == ([], [])
    assert market.state(market.made(seller="grid")) is State.CONFIRMED
