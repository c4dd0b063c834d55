"""Tokens change hands, none is lost on the way, and a fee is paid by what takes effect."""

from __future__ import annotations

import pytest

from aggregator.economy.accounts import MovementKind
from protocol.canonical import decode
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from protocol.transfer import Transfer
from tests.village import Village, a_grid, a_grid_document


@pytest.fixture
def village() -> Village:
    """One period is settled: the wind turbine has 171 tokens, the gas engine owes."""
    village = Village()
    village.live(35)
    return village


def give(village: Village, transfer: Transfer) -> RefusalCode | None:
    """Put a transfer into a block of its own."""
    return village.close([village.record(village.sign(transfer, MessageType.TRANSFER))]).outcomes[0].refusal


def test_what_one_gives_another_gets(village: Village) -> None:
    payment, home = village.five.payment, village.five.payment.balance("home")
    reserve = payment.totals.reserve
    assert give(village, village.a_transfer(amount=71)) is None
    assert (payment.balance("wind"), payment.balance("home")) == (100, home + 71)
    assert (payment.totals.reserve, payment.totals.transfers) == (reserve, 1)


def test_a_fee_goes_to_the_reserve_on_top(village: Village) -> None:
    payment, before = village.five.payment, village.five.payment.totals
    assert give(village, village.a_transfer(amount=100, fee=71)) is None
    assert payment.balance("wind") == 0
    after = payment.totals
    assert (after.reserve, after.fees) == (before.reserve + 71, before.fees + 71)
    assert (after.minted, after.burned) == (before.minted, before.burned)


def test_whoever_buys_a_right_may_pay_a_fee_too(village: Village) -> None:
    payment = village.five.payment
    village.close([village.record(village.sign(village.a_purchase(fee=5), MessageType.PURCHASE))])
    assert payment.balance("wind") == 171 - 40 - 5
    assert (payment.totals.purchases, payment.totals.fees) == (1, 5)


def test_a_refused_order_costs_no_fee(village: Village) -> None:
    assert give(village, village.a_transfer(receiver="nobody", fee=5)) is RefusalCode.UNKNOWN_RECEIVER
    assert (village.five.payment.balance("wind"), village.five.payment.totals.fees) == (171, 0)


def test_a_debt_can_be_paid_by_somebody_else(village: Village) -> None:
    owed = -village.five.payment.balance("gas")
    assert owed > 0
    assert village.five.standings().of("gas").is_restricted
    assert give(village, village.a_transfer(receiver="gas", amount=owed)) is None
    assert not village.five.standings().of("gas").is_restricted


def test_what_exceeds_the_receiver_s_ceiling_goes_to_the_reserve() -> None:
    rules = a_grid_document()["rules"] | {"accounts": {"ceiling": 180, "restricted_ppm": 300_000}}
    village = Village(grid=a_grid(rules=rules))
    village.live(35)
    payment = village.five.payment
    assert give(village, village.a_transfer("wind", "home", amount=100)) is None
    home, reserve = payment.balance("home"), payment.totals.reserve
    village.live(30)  # and the turbine earns again
    assert give(village, village.a_transfer("wind", "home", amount=171)) is None
    assert payment.balance("home") == 180 > home
    assert payment.totals.reserve > reserve


def test_every_movement_is_a_leaf_that_says_what_it_leaves_behind(village: Village) -> None:
    home = village.five.payment.balance("home")
    give(village, village.a_transfer(amount=10, fee=2))
    rows = [decode(leaf.body, size_max=1 << 10)[1:5] for leaf in village.blocks[-1].leaves]
    assert rows == [
        [MovementKind.FEE, "wind", 2, 169],
        [MovementKind.SENT, "wind", 10, 159],
        [MovementKind.RECEIVED, "home", 10, home + 10],
    ]


def test_an_order_bids_only_as_it_would_take_effect_now(village: Village) -> None:
    def bid(transfer: Transfer) -> int:
        return village.five.bid(village.five.ledger.check(village.sign(transfer, MessageType.TRANSFER))).fee

    assert bid(village.a_transfer(fee=5)) == 5
    assert bid(village.a_transfer(fee=5, amount=167)) == 0
    assert bid(village.a_transfer(fee=5, receiver="nobody")) == 0
    assert village.five.bid(village.record(village.sign(village.a_batch(), MessageType.BATCH))).fee == 0
