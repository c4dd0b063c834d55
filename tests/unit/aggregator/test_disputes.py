"""A dispute costs tokens where there was no reason for it, has a beginning and an end, and never ties a contract up."""

from __future__ import annotations

import pytest

from aggregator.chains.accounts.deposits import Deposit, Deposits
from aggregator.economy.accounts import MovementKind
from aggregator.economy.contracts.bill import Party
from aggregator.economy.contracts.states import State
from aggregator.ledger.table import Journal
from protocol.canonical import decode
from protocol.contract import price_of
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from tests.contract_village import DISPUTE_MS, EVEN_W, EVEN_WH, PER_WH, Market, a_market_grid
from tests.village import INTERVAL_MS

DEPOSIT = 7
ARBITRATION_MS = 6 * INTERVAL_MS


@pytest.fixture
def market() -> Market:
    """Wind and home hold twenty tokens and more; a contract between them was delivered by half, and is breached."""
    rules = {"dispute_deposit": DEPOSIT, "arbitration_ms": ARBITRATION_MS}
    market = Market(grid=a_market_grid(time={"period_ms": 30_000}, **rules))
    market.live(50)
    transfer = market.a_transfer("wind", "home", amount=20)
    market.close([market.record(market.sign(transfer, MessageType.TRANSFER))])
    return market


@pytest.fixture
def breached(market: Market) -> bytes:
    """Half of it was delivered."""
    digest = market.made()
    market.live_even(2)
    market.live_even(2, wind=-EVEN_W // 2)
    market.live_even(2)
    assert market.state(digest) is State.BREACHED
    return digest


def tokens(market: Market, participant: str = "home") -> int:
    return market.five.payment.balance(participant)


def said_of(market: Market, digest: bytes) -> list[object]:
    """What the leaf about the deposit says; it is given back if that says so, and only then."""
    leaves = [decode(leaf.body, size_max=1 << 20) for block in market.blocks for leaf in block.leaves]
    (said,) = [leaf[2:] for leaf in leaves if leaf[:2] == ["deposit", digest]]
    kind = MovementKind.DEPOSIT_RETURNED.value
    back = [leaf[2:4] for leaf in leaves if leaf[:2] == ["movement", kind]]
    assert back == ([[said[0], said[1]]] if said[2] else [])
    return list(said)


def test_a_dispute_puts_tokens_down_that_are_not_for_sale_meanwhile(market: Market, breached: bytes) -> None:
    payment = market.five.payment
    before, reserve, for_sale = tokens(market), payment.totals.reserve, payment.for_sale
    assert market.dispute(breached) is None
    assert (tokens(market), payment.totals.reserve) == (before - DEPOSIT, reserve + DEPOSIT)
    assert payment.for_sale == for_sale
    leaves = [decode(leaf.body, size_max=1 << 10) for leaf in market.blocks[-1].leaves]
    assert ["movement", MovementKind.DEPOSIT.value, "home", DEPOSIT] in [leaf[:4] for leaf in leaves]


def test_whoever_cannot_put_it_down_does_not_dispute(market: Market, breached: bytes) -> None:
    transfer = market.a_transfer("home", "wind", amount=tokens(market) - DEPOSIT + 1)
    assert market.close([market.record(market.sign(transfer, MessageType.TRANSFER))]).outcomes[0].refusal is None
    before = market.contract(breached)
    assert market.dispute(breached) is RefusalCode.DEPOSIT_NOT_COVERED
    assert market.contract(breached) == before
    assert market.five.operation.contracts.totals.disputed == 0


def test_it_comes_back_where_the_regulator_finds_more_for_whoever_disputed(market: Market, breached: bytes) -> None:
    """More delivered at the contract's price is less bought from the region at the imbalance price."""
    before = tokens(market)
    assert market.dispute(breached) is None
    assert market.arbitrate(breached, 2 * EVEN_WH, Party.SELLER) is None
    market.live_even(3)
    assert market.state(breached) is State.SETTLED
    assert tokens(market) == before
    assert said_of(market, breached) == ["home", DEPOSIT, True]
    assert market.five.payment.deposits.held == 0


@pytest.mark.parametrize("delivered_wh", ["as measured", 10])
def test_it_is_forfeited_where_nothing_changes_in_their_favour(
    market: Market, breached: bytes, delivered_wh: str | int
) -> None:
    before, for_sale = tokens(market), market.five.payment.for_sale
    measured = market.contract(breached).amounts
    assert measured.buyer_short_wh == 0
    assert market.dispute(breached) is None
    found_wh = measured.delivered_wh if isinstance(delivered_wh, str) else delivered_wh
    assert market.arbitrate(breached, found_wh, Party.SELLER) is None
    market.live_even(3)
    assert tokens(market) == before - DEPOSIT
    assert market.five.payment.for_sale == for_sale + DEPOSIT
    assert said_of(market, breached) == ["home", DEPOSIT, False]


def test_the_seller_s_favour_is_not_the_buyer_s(market: Market, breached: bytes) -> None:
    """As much was delivered as was measured, but nobody answers for the rest: the seller owes no penalty."""
    before, measured = tokens(market, "wind"), market.contract(breached).amounts
    assert market.dispute(breached, "wind", "gw-wind") is None
    assert market.arbitrate(breached, measured.delivered_wh, Party.NOBODY) is None
    market.live_even(3)
    assert tokens(market, "wind") == before


def test_a_dispute_that_nobody_arbitrates_is_settled_as_measured_and_the_deposit_comes_back(
    market: Market, breached: bytes
) -> None:
    measured = market.contract(breached).amounts
    assert market.dispute(breached) is None
    disputed_ms = market.contract(breached).since_ms
    while market.state(breached) is State.DISPUTED:
        market.live_even(1)
    contract = market.contract(breached)
    assert contract.history[-2:] == (
        (State.DISPUTED, disputed_ms),
        (State.SETTLED, -(-disputed_ms // INTERVAL_MS) * INTERVAL_MS + ARBITRATION_MS),
    )
    assert contract.settled_amounts == measured
    assert contract.booked.price == price_of(measured.delivered_wh, PER_WH)
    assert said_of(market, breached) == ["home", DEPOSIT, True]
    assert market.arbitrate(breached, 0) is RefusalCode.NO_SUCH_STEP


def test_nobody_disputes_what_is_settled(market: Market, breached: bytes) -> None:
    ended_ms = market.contract(breached).ended_ms
    while market.state(breached) is State.BREACHED:
        market.live_even(1)
    assert market.contract(breached).since_ms == ended_ms + DISPUTE_MS
    assert market.dispute(breached) is RefusalCode.NO_SUCH_STEP


def test_what_comes_back_goes_beyond_no_ceiling() -> None:
    deposits = Deposits(Journal())
    deposits.put_down(bytes(32), Deposit("home", DEPOSIT), 20)
    back = deposits.give_back(bytes(32), 998, 1000)
    assert [(one.kind, one.amount, one.balance) for one in back] == [
        (MovementKind.DEPOSIT_RETURNED, DEPOSIT, 1005),
        (MovementKind.OVERFLOW, 5, 1000),
    ]
    assert deposits.held == 0
