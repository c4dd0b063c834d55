"""Rights are bought a period ahead: one row per period, no gap between two in a row, never two for one period."""

from __future__ import annotations

import pytest

from protocol.messages import MessageType, Right, RightKind
from protocol.refusals import RefusalCode
from tests.village import PERIOD_MS, START_MS, Village

KIND = RightKind.PRIORITY_PURCHASE
PRICE = 40


@pytest.fixture
def village() -> Village:
    """One period is settled, the next has begun, and the wind turbine has 171 tokens."""
    village = Village()
    village.live(35)
    assert village.five.payment.balance("wind") == 171
    return village


def buy(village: Village, participant: str = "wind") -> RefusalCode | None:
    """Put an order for the period to come into a block of its own."""
    data = village.sign(village.a_purchase(participant), MessageType.PURCHASE)
    return village.close([village.record(data)]).outcomes[0].refusal


def rights(village: Village, participant: str = "wind") -> tuple[Right, ...]:
    return village.five.standings().of(participant).rights


def in_period(number: int) -> Right:
    """The right to go first in the region's period of this number, counted from 0."""
    return Right(KIND, START_MS + number * PERIOD_MS, START_MS + (number + 1) * PERIOD_MS)


def test_nobody_is_born_with_a_right(village: Village) -> None:
    assert rights(village) == ()


def test_a_right_holds_for_the_whole_period_after_the_one_that_runs(village: Village) -> None:
    assert buy(village) is None
    assert rights(village) == (in_period(2),)


def test_rights_bought_in_every_period_follow_each_other_without_a_gap(village: Village) -> None:
    assert buy(village) is None
    village.live(PERIOD_MS // 1000)
    assert buy(village) is None
    assert rights(village) == (in_period(2), in_period(3))


def test_while_one_right_runs_the_next_can_be_bought_ahead_but_not_twice(village: Village) -> None:
    assert buy(village) is None
    village.live(PERIOD_MS // 1000)
    balance = village.five.payment.balance("wind")
    assert buy(village) is None
    assert buy(village) is RefusalCode.RIGHT_ALREADY_HELD
    assert village.five.payment.balance("wind") == balance - PRICE
    assert village.five.payment.totals.purchases == 2


def test_a_right_ends_with_the_settlement_of_its_period_and_leaves_the_next_one_alone(village: Village) -> None:
    assert buy(village) is None
    village.live(PERIOD_MS // 1000)
    assert buy(village) is None
    village.live(PERIOD_MS // 1000)
    assert rights(village) == (in_period(3),)
    village.live(PERIOD_MS // 1000)
    assert rights(village) == ()


def test_whoever_holds_a_right_in_the_period_that_begins_goes_first_in_it(village: Village) -> None:
    payment = village.five.payment
    village.live(2 * PERIOD_MS // 1000, {"m-gas": 0, "m-wind": -30_000})
    assert PRICE < payment.balance("home") < payment.balance("wind")
    assert buy(village, "home") is None
    village.live(PERIOD_MS // 1000)
    assert payment.ranks["home"].place == 1
    village.live(PERIOD_MS // 1000)
    assert payment.ranks["home"].place != 1


def test_what_a_right_costs_goes_to_the_reserve_and_no_token_is_lost(village: Village) -> None:
    before = village.five.payment.totals
    assert buy(village) is None
    after = village.five.payment.totals
    assert after.reserve == before.reserve + PRICE
    assert (after.minted, after.burned) == (before.minted, before.burned)
    assert village.five.payment.balance("wind") == 171 - PRICE


def test_two_participants_hold_their_rights_apart(village: Village) -> None:
    village.live(PERIOD_MS // 1000)
    assert buy(village, "wind") is None
    assert rights(village, "home") == ()
    assert set(village.five.payment.rights.held) == {("wind", KIND.value, in_period(3).start_ms)}
