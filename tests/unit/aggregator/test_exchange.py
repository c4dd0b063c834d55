"""Tokens and money change at a dated rate; nothing is lost on the way, and nobody gains by changing to and fro."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from aggregator.chains.accounts.exchanges import AHEAD_MAX_MS, Payout, RateRecord
from aggregator.chains.accounts.money import CLEARING
from aggregator.economy.accounts import MovementKind
from aggregator.economy.exchange import Rate
from aggregator.ledger.block import Block
from protocol.canonical import decode
from protocol.exchange import Exchange, ExchangeKind
from protocol.messages import MessageType
from protocol.money import MILLIONTHS, millionths_of
from protocol.refusals import RefusalCode
from tests.village import INTERVAL_MS, Village, a_grid, a_grid_document

RATE = Rate(brings=2_000, costs=2_500)
"""A token brings two minor units and costs two and a half."""
LIMITS = {"bought_per_day": 100, "sold_per_day": 50}


def a_village(rate: Rate | None = RATE, **accounts: int) -> Village:
    """One period is settled: the wind turbine has 171 tokens, home has some, gas owes; a rate is in force."""
    rules = a_grid_document()["rules"] | {"exchange": LIMITS}
    rules["accounts"] |= accounts
    village = Village(grid=a_grid(rules=rules))
    village.live(30)
    if rate is not None:
        assert announce(village, rate, village.now_ms + 1) is None
    village.live(5)
    return village


@pytest.fixture
def village() -> Village:
    return a_village()


def announce(village: Village, rate: Rate, from_ms: int) -> RefusalCode | None:
    record = RateRecord(village.link("regulator"), from_ms, rate)
    return outcome(village.close([village.record(village.sign(record, MessageType.RATE, "regulator"))]))


def exchange(village: Village, kind: ExchangeKind, participant: str, tokens: int, **changes: Any) -> RefusalCode | None:
    limit = 0 if kind.gives_tokens else 10**9
    order = Exchange(link=village.link(), participant=participant, kind=kind, tokens=tokens, money_limit=limit)
    return outcome(village.close([village.record(village.sign(replace(order, **changes), MessageType.EXCHANGE))]))


def pay_out(village: Village, *amounts: tuple[str, int]) -> RefusalCode | None:
    payout = Payout(village.link("regulator"), "este-1", amounts)
    return outcome(village.close([village.record(village.sign(payout, MessageType.PAYOUT, "regulator"))]))


def outcome(block: Block) -> RefusalCode | None:
    return block.outcomes[0].refusal


def owed_to(village: Village, participant: str) -> Fraction:
    """In minor units."""
    return Fraction(village.five.payment.money.owed_to(participant), MILLIONTHS)


def test_who_sells_tokens_is_owed_what_they_bring(village: Village) -> None:
    reserve = village.five.payment.totals.reserve
    assert exchange(village, ExchangeKind.SELL, "wind", 50) is None
    assert village.five.payment.balance("wind") == 171 - 50
    assert (owed_to(village, "wind"), owed_to(village, CLEARING)) == (100, -100)
    assert village.five.payment.totals.reserve == reserve + 50
    assert village.five.payment.totals.exchanges == 1


def test_who_buys_tokens_owes_what_they_cost_and_the_reserve_gives_them(village: Village) -> None:
    assert exchange(village, ExchangeKind.SELL, "wind", 50) is None
    reserve, home = village.five.payment.totals.reserve, village.five.payment.balance("home")
    assert exchange(village, ExchangeKind.BUY, "home", 31) is None
    assert village.five.payment.balance("home") == home + 31
    assert village.five.payment.totals.reserve == reserve - 31
    assert owed_to(village, "home") == -78  # 77.5, rounded against whoever changes


def test_nobody_buys_or_pays_a_fine_on_credit_beyond_the_limit() -> None:
    village = a_village(credit_max=50)
    assert exchange(village, ExchangeKind.SELL, "wind", 50) is None
    assert exchange(village, ExchangeKind.BUY, "home", 21) is RefusalCode.BEYOND_CREDIT
    assert exchange(village, ExchangeKind.BUY, "home", 20) is None
    assert exchange(village, ExchangeKind.BUY, "home", 1) is RefusalCode.BEYOND_CREDIT
    assert village.five.payment.balance("gas") < -21
    assert exchange(village, ExchangeKind.FINE, "gas", 21) is RefusalCode.BEYOND_CREDIT
    assert exchange(village, ExchangeKind.FINE, "gas", 20) is None
    assert exchange(village, ExchangeKind.BUY, "wind", 21) is RefusalCode.BEYOND_CREDIT  # what it is owed is no credit


def test_a_bill_is_credited_with_whole_units_at_most(village: Village) -> None:
    assert exchange(village, ExchangeKind.SELL, "wind", 50) is None
    village.five.payment.money.book(bytes(32), {"home": -2 * MILLIONTHS + 1, CLEARING: 2 * MILLIONTHS - 1})
    assert exchange(village, ExchangeKind.BILL_CREDIT, "home", 1) is RefusalCode.NOTHING_OWED  # it is worth 2


def test_what_exceeded_a_ceiling_is_not_for_sale() -> None:
    """A restatement may find that it would not have, and give it back."""
    village = a_village(ceiling=160)
    payment = village.five.payment
    assert payment.balance("wind") == 160
    assert (payment.totals.reserve, payment.totals.overflow, payment.for_sale) == (11, 11, 0)
    assert exchange(village, ExchangeKind.BUY, "gas", 1) is RefusalCode.RESERVE_TOO_LOW
    assert exchange(village, ExchangeKind.SELL, "wind", 1) is None
    assert exchange(village, ExchangeKind.BUY, "gas", 2) is RefusalCode.RESERVE_TOO_LOW
    assert exchange(village, ExchangeKind.BUY, "gas", 1) is None


def test_a_fine_in_money_takes_the_place_of_a_charge_in_tokens(village: Village) -> None:
    debt, totals = -village.five.payment.balance("gas"), village.five.payment.totals
    assert debt > 0 and village.five.standings().of("gas").is_restricted
    assert exchange(village, ExchangeKind.FINE, "gas", debt) is None
    assert village.five.payment.balance("gas") == 0
    assert not village.five.standings().of("gas").is_restricted
    assert owed_to(village, "gas") == -RATE.price_of(debt)
    assert village.five.payment.totals.minted == totals.minted + debt


def test_a_bill_is_credited_with_tokens_as_far_as_money_is_owed(village: Village) -> None:
    assert exchange(village, ExchangeKind.BILL_CREDIT, "wind", 1) is RefusalCode.NOTHING_OWED
    debt = -village.five.payment.balance("gas")
    assert exchange(village, ExchangeKind.FINE, "gas", debt) is None
    transfer = village.a_transfer("wind", "gas", amount=20)
    village.close([village.record(village.sign(transfer, MessageType.TRANSFER))])
    before = owed_to(village, "gas")
    assert exchange(village, ExchangeKind.BILL_CREDIT, "gas", 20) is None
    assert owed_to(village, "gas") == before + 40
    assert village.five.payment.balance("gas") == 0


def test_debts_are_paid_without_a_daily_limit(village: Village) -> None:
    rules = village.five.asset.region.rules.exchange
    assert rules is not None and rules.bought_per_day == 100
    for _ in range(2):
        village.live(30)
    debt = -village.five.payment.balance("gas")
    assert debt > 0
    assert exchange(village, ExchangeKind.FINE, "gas", debt) is None


def test_the_limit_of_a_day_is_kept_and_the_next_day_is_another() -> None:
    rules = a_grid_document()["rules"] | {"exchange": LIMITS}
    rules["time"]["day_ms"] = 20 * INTERVAL_MS
    village = Village(grid=a_grid(rules=rules))
    village.live(30)
    assert announce(village, RATE, village.now_ms + 1) is None
    village.live(5)
    assert exchange(village, ExchangeKind.SELL, "wind", 30) is None
    assert exchange(village, ExchangeKind.SELL, "wind", 21) is RefusalCode.OVER_DAILY_LIMIT
    assert exchange(village, ExchangeKind.SELL, "wind", 20) is None
    assert exchange(village, ExchangeKind.SELL, "wind", 1) is RefusalCode.OVER_DAILY_LIMIT
    village.live(100)
    assert exchange(village, ExchangeKind.SELL, "wind", 50) is None


def test_who_changes_to_and_fro_loses(village: Village) -> None:
    assert exchange(village, ExchangeKind.SELL, "wind", 33) is None
    assert exchange(village, ExchangeKind.BUY, "wind", 33) is None
    assert village.five.payment.balance("wind") == 171
    assert owed_to(village, "wind") == 66 - 83


def test_a_rate_holds_from_its_instant_on_and_not_before(village: Village) -> None:
    later_ms = village.now_ms + INTERVAL_MS
    assert announce(village, Rate(1_000, 1_000), later_ms) is None
    payment = village.five.payment
    assert (payment.rate_at(later_ms - 1), payment.rate_at(later_ms)) == (RATE, Rate(1_000, 1_000))
    assert exchange(village, ExchangeKind.SELL, "wind", 1) is None
    assert owed_to(village, "wind") == 2
    village.live(5)
    assert exchange(village, ExchangeKind.SELL, "wind", 1) is None
    assert owed_to(village, "wind") == 3


def test_a_rate_lies_ahead_and_behind_the_last(village: Village) -> None:
    assert announce(village, RATE, village.now_ms) is RefusalCode.RATE_NOT_AHEAD
    assert announce(village, RATE, village.now_ms + 100) is None
    assert announce(village, RATE, village.now_ms + 100) is RefusalCode.RATE_NOT_AHEAD
    assert announce(village, RATE, village.now_ms + 99) is RefusalCode.RATE_NOT_AHEAD


def test_a_slip_of_the_pen_in_a_rate_s_year_bars_no_later_rate(village: Village) -> None:
    assert announce(village, RATE, village.now_ms + AHEAD_MAX_MS + 10**6) is RefusalCode.RATE_NOT_AHEAD
    assert announce(village, RATE, village.now_ms + 100) is None


def test_rates_that_no_longer_hold_are_forgotten(village: Village) -> None:
    for _ in range(3):
        assert announce(village, RATE, village.now_ms + 1) is None
        village.live(5)
    assert len(village.five.payment.exchanges.rates) == 2


WRONG: dict[str, tuple[ExchangeKind, str, int, dict[str, Any], RefusalCode]] = {
    "of nobody": (ExchangeKind.SELL, "nobody", 1, {}, RefusalCode.UNKNOWN_PARTICIPANT),
    "for less than wanted": (ExchangeKind.SELL, "wind", 10, {"money_limit": 21}, RefusalCode.WORSE_RATE),
    "for more than wanted": (ExchangeKind.BUY, "wind", 10, {"money_limit": 24}, RefusalCode.WORSE_RATE),
    "of tokens that are not there": (ExchangeKind.SELL, "gas", 1, {}, RefusalCode.BALANCE_TOO_LOW),
    "with a fee that is not there": (ExchangeKind.FINE, "gas", 1, {"fee": 1}, RefusalCode.BALANCE_TOO_LOW),
    "of more than the day allows": (ExchangeKind.BUY, "wind", 101, {}, RefusalCode.OVER_DAILY_LIMIT),
    "from an empty reserve": (ExchangeKind.BUY, "wind", 100, {}, RefusalCode.RESERVE_TOO_LOW),
    "of a fine that is not owed": (ExchangeKind.FINE, "wind", 1, {}, RefusalCode.NOTHING_OWED),
    "of a fine beyond the debt": (ExchangeKind.FINE, "gas", 10**6, {}, RefusalCode.NOTHING_OWED),
    "of integers at their limit": (
        ExchangeKind.FINE,
        "gas",
        2**63 - 1,
        {"money_limit": 2**63 - 1},
        RefusalCode.WORSE_RATE,
    ),
}


@pytest.mark.parametrize(("kind", "participant", "tokens", "changes", "code"), WRONG.values(), ids=WRONG)
def test_what_an_exchange_may_not_be(
    kind: ExchangeKind, participant: str, tokens: int, changes: dict[str, Any], code: RefusalCode, village: Village
) -> None:
    before = village.five.payment.totals
    assert exchange(village, kind, participant, tokens, **changes) is code
    assert village.five.payment.totals == before
    assert len(village.five.payment.money.accounts) == 0


def test_nobody_buys_beyond_the_ceiling() -> None:
    village = a_village(ceiling=171)
    assert exchange(village, ExchangeKind.SELL, "wind", 40) is None
    assert exchange(village, ExchangeKind.BUY, "wind", 41) is RefusalCode.RESERVE_TOO_LOW
    transfer = village.a_transfer("home", "wind", amount=1)
    village.close([village.record(village.sign(transfer, MessageType.TRANSFER))])
    assert exchange(village, ExchangeKind.BUY, "wind", 40) is RefusalCode.OVER_CEILING


def test_without_a_rate_or_a_rule_nothing_is_exchanged() -> None:
    assert exchange(a_village(rate=None), ExchangeKind.SELL, "wind", 1) is RefusalCode.NO_RATE
    village = Village()
    village.live(35)
    assert announce(village, RATE, village.now_ms + 1) is None
    assert exchange(village, ExchangeKind.SELL, "wind", 1) is RefusalCode.NO_RATE


def test_a_payout_takes_off_the_books_what_has_moved_outside(village: Village) -> None:
    assert exchange(village, ExchangeKind.SELL, "wind", 50) is None
    assert exchange(village, ExchangeKind.FINE, "gas", 10) is None
    assert (owed_to(village, "wind"), owed_to(village, "gas"), owed_to(village, CLEARING)) == (100, -25, -75)
    assert pay_out(village, ("gas", -25), ("wind", 60)) is None
    assert (owed_to(village, "wind"), owed_to(village, "gas"), owed_to(village, CLEARING)) == (40, 0, -40)


@pytest.mark.parametrize("amount", [101, -1, 2**62])
def test_nothing_is_paid_out_that_is_not_owed(amount: int, village: Village) -> None:
    assert exchange(village, ExchangeKind.SELL, "wind", 50) is None
    assert pay_out(village, ("wind", amount)) is RefusalCode.NOT_WHAT_IS_OWED
    assert pay_out(village, ("home", 1)) is RefusalCode.NOT_WHAT_IS_OWED
    assert owed_to(village, "wind") == 100


def test_the_region_is_paid_nothing_by_itself(village: Village) -> None:
    assert exchange(village, ExchangeKind.SELL, "wind", 50) is None
    assert pay_out(village, (CLEARING, -100)) is RefusalCode.NOT_WHAT_IS_OWED
    assert (owed_to(village, "wind"), owed_to(village, CLEARING)) == (100, -100)


def test_every_token_and_every_unit_of_money_is_a_leaf(village: Village) -> None:
    assert exchange(village, ExchangeKind.SELL, "wind", 10, fee=1) is None
    block = village.blocks[-1]
    about = block.outcomes[0].record.envelope.digest
    rows = [decode(leaf.body, size_max=1 << 10) for leaf in block.leaves]
    assert [row[1:5] for row in rows[:2]] == [
        [MovementKind.FEE, "wind", 1, 170],
        [MovementKind.REDEEMED, "wind", 10, 160],
    ]
    owed = millionths_of(20)
    assert rows[2:] == [["money", about, CLEARING, -owed, -owed], ["money", about, "wind", owed, owed]]


def test_a_fee_for_an_exchange_counts_for_its_place(village: Village) -> None:
    order = Exchange(link=village.link(), participant="wind", kind=ExchangeKind.SELL, tokens=10, money_limit=0, fee=5)
    assert village.five.bid(village.five.ledger.check(village.sign(order, MessageType.EXCHANGE))).fee == 5


def test_only_the_regulator_says_what_tokens_are_worth(village: Village) -> None:
    record = RateRecord(village.link(), village.now_ms + 1, RATE)
    with pytest.raises(Exception, match="NOT_THEIR_TYPE"):
        village.record(village.sign(record, MessageType.RATE))
