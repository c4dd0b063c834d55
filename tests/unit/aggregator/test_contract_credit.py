"""What bounds contracts' money: a limit of credit, a cap of prices, and approval that no slicing avoids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aggregator.chains.accounts.exchanges import Payout
from aggregator.chains.admission.amendments import Amendment
from aggregator.chains.admission.laws import Laws
from aggregator.chains.contracts import closing
from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.chains.metering.correction import Correction, Delta
from aggregator.economy.contracts.bill import Prices
from aggregator.economy.contracts.states import State
from aggregator.economy.credit import credit_left
from protocol.messages import MessageType
from protocol.money import millionths_of
from protocol.refusals import RefusalCode
from tests.contract_village import EVEN_W, EVEN_WH, PER_WH, Market, a_market_document, a_market_grid, settled
from tests.plain_physics import PlainPhysics
from tests.village import INTERVAL_MS, START_MS, a_grid

PRICE = 2 * EVEN_WH
"""Of the plain contract, in minor units."""


@pytest.fixture
def market() -> Market:
    """A region in which nobody may owe more than one and a half of the plain contract."""
    market = Market(grid=a_market_grid(accounts={"credit_max": PRICE * 3 // 2}))
    market.live_even(2)
    return market


def another(market: Market, number: int, **changes: Any) -> bytes:
    """The plain contract once more, two intervals later for each."""
    start_ms = market.terms().start_ms + number * 2 * INTERVAL_MS
    window = {"start_ms": start_ms, "end_ms": start_ms + 2 * INTERVAL_MS}
    return market.made(**window | {"nonce": bytes([number] * 16)} | changes)


def excess(market: Market, digest: bytes) -> int:
    """By how much a contract that was rejected for it is beyond the buyer's credit."""
    contract = market.contract(digest)
    assert contract.state is State.REJECTED and contract.objection is not None
    assert (contract.objection.rule, contract.objection.subject) == (RefusalCode.BEYOND_CREDIT, "home")
    return contract.objection.excess_money


# -- Credit


def test_what_contracts_that_bind_would_cost_is_bounded(market: Market) -> None:
    assert market.state(another(market, 0)) is State.CONFIRMED
    too_much = another(market, 1)
    assert excess(market, too_much) == millionths_of(PRICE // 2)
    reason = market.contract(too_much).objection
    assert reason is not None and reason.said.endswith("by 50 of money")
    assert market.state(another(market, 1, price_per_mwh=PER_WH // 2)) is State.CONFIRMED


def test_what_is_owed_counts_with_it_until_it_is_paid(market: Market) -> None:
    settled(market, another(market, 0))
    assert excess(market, another(market, 1)) == millionths_of(PRICE // 2)
    paid = Payout(market.link("regulator"), "este-1", (("home", -PRICE), ("wind", PRICE)))
    assert market.put(paid, MessageType.PAYOUT, "regulator").refusal is None
    assert market.state(another(market, 1, nonce=bytes([9] * 16))) is State.CONFIRMED


def test_what_somebody_is_owed_is_no_credit() -> None:
    """A bank may pay it out tomorrow."""
    assert credit_left(100, owed=millionths_of(500), promised=0) == millionths_of(100)
    assert credit_left(100, owed=-millionths_of(30), promised=millionths_of(50)) == millionths_of(20)
    assert credit_left(100, owed=-millionths_of(130), promised=0) == -millionths_of(30)


def test_whoever_gives_for_nothing_needs_no_credit() -> None:
    market = Market(grid=a_market_grid(accounts={"credit_max": 0}))
    market.live_even(2)
    assert market.state(another(market, 0, price_per_mwh=0)) is State.CONFIRMED
    assert excess(market, another(market, 1)) == millionths_of(PRICE)


def test_what_is_ended_early_or_settled_holds_no_credit_any_more(market: Market) -> None:
    digest = another(market, 0)
    costs_of = market.five.operation.contracts.book.costs_of
    assert costs_of("home") == millionths_of(PRICE)
    assert market.terminate(digest) is None
    assert (costs_of("home"), costs_of("wind")) == (0, millionths_of(PRICE) // 10)
    settled(market, another(market, 1, start_ms=market.terms().start_ms, end_ms=market.terms().end_ms))
    assert costs_of("home") == 0


@pytest.mark.parametrize(("party", "gateway"), [("home", "gw-home"), ("wind", "gw-wind")])
def test_nobody_ends_contracts_beyond_their_credit(market: Market, party: str, gateway: str) -> None:
    """What ending the first costs holds credit until it is settled, so there is no second to be ended."""
    dear = {"termination_ppm": 1_000_000, "penalty_ppm": 0}
    states = []
    for number in range(2):
        digest = another(market, number, **dear)
        states.append(market.state(digest))
        if states[-1] is State.CONFIRMED:
            assert market.terminate(digest, party, gateway) is None
    assert states == [State.CONFIRMED, State.REJECTED]
    market.live_even(10)
    assert market.five.payment.money_owed_to(party) == -millionths_of(PRICE)


def test_a_seller_needs_credit_for_what_falling_short_costs(market: Market) -> None:
    other_buyer = {"buyer": "gas", "penalty_ppm": 1_000_000}
    assert market.state(another(market, 0, **other_buyer)) is State.CONFIRMED
    reason = market.contract(another(market, 1, **other_buyer | {"buyer": "grid"})).objection
    assert reason is not None
    assert (reason.rule, reason.subject, reason.excess_money) == (
        RefusalCode.BEYOND_CREDIT,
        "wind",
        millionths_of(PRICE // 2),
    )


def test_what_is_measured_holds_as_much_credit_as_it_is_owed_however_long_it_is_disputed(market: Market) -> None:
    digest = another(market, 0)
    market.live_even(2)
    market.live_even(2, wind=0)
    market.live_even(2)
    assert market.dispute(digest, "wind", "gw-wind") is None
    market.live_even(10)
    assert market.state(digest) is State.DISPUTED
    contract, credit = market.contract(digest), millionths_of(PRICE * 3 // 2)
    measured = contract.bill(Prices(imbalance_per_mwh=0, tolerance_ppm=0))
    assert measured.penalty > measured.price > 0
    left = [market.five.payment.credit_left(who) for who in ("home", "wind")]
    assert left == [credit - measured.price, credit + measured.seller]
    assert left[0] > millionths_of(PRICE)


def test_what_the_books_cannot_hold_waits_until_a_bank_has_paid(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closing, "AMOUNT_MAX", millionths_of(PRICE) - 1)
    digest = another(market, 0)
    market.live_even(10)
    assert market.state(digest) is State.FULFILLED
    assert not market.owed()
    monkeypatch.undo()
    market.live_even(1)
    assert market.state(digest) is State.SETTLED


# -- The cap of prices


def test_no_contract_between_two_is_dearer_than_the_market_allows() -> None:
    document = a_market_document()
    document["rules"]["market"] = {"price_max": PER_WH - 1}
    market = Market(grid=a_grid(**document))
    market.live_even(2)
    assert market.agree(market.terms()) is RefusalCode.PRICE_ABOVE_CAP
    assert market.agree(market.terms(price_per_mwh=PER_WH - 1)) is None


# -- Approval


@pytest.fixture
def watched() -> Market:
    """A region in which two who agree on 100 Wh within a day need the regulator's approval."""
    market = Market(grid=a_market_grid(approval_from_wh=PRICE))
    market.live_even(2)
    return market


def test_slices_of_a_large_contract_need_approval_as_the_whole_does(watched: Market) -> None:
    half, other_half = (another(watched, 0, quantity_wh=50, nonce=bytes([n] * 16)) for n in (1, 2))
    assert (watched.state(half), watched.state(other_half)) == (State.CONFIRMED, State.VERIFIED)


def test_slices_of_the_window_need_approval_too(watched: Market) -> None:
    states = [watched.state(another(watched, number, quantity_wh=40)) for number in range(3)]
    assert states == [State.CONFIRMED, State.CONFIRMED, State.VERIFIED]


def test_others_and_what_was_rejected_do_not_count(watched: Market) -> None:
    assert watched.state(another(watched, 0, quantity_wh=99)) is State.CONFIRMED
    assert watched.state(another(watched, 0, quantity_wh=99, nonce=bytes([1] * 16))) is State.REJECTED
    assert watched.state(another(watched, 1, quantity_wh=99, seller="gas")) is State.CONFIRMED
    assert watched.state(another(watched, 2, quantity_wh=1)) is State.VERIFIED


# -- The rules by which a contract is settled


def test_a_contract_is_settled_by_the_rules_of_its_window_whatever_holds_later() -> None:
    document = a_market_document(time={"restate_after_ms": 0, "period_ms": 60_000})
    market = Market(grid=a_grid(**document))
    document["rules"]["contracts"] |= {"imbalance_per_mwh": 9 * PER_WH}
    dearer = Laws(a_grid(**document).rules, market.grid.permits)
    amendment = Amendment(market.link("regulator"), START_MS + 60_000, dearer)
    assert market.put(amendment, MessageType.AMENDMENT, "regulator").refusal is None
    market.live_even(2)
    digest = another(market, 0)
    before = settled(market, digest, home=0)
    assert before.booked.surplus == millionths_of(2 * before.amounts.surplus_wh)
    correction = Correction(market.link("regulator"), "m-wind", (Delta(before.terms.start_ms, 0, 5),), "broken seals")
    assert market.put(correction, MessageType.CORRECTION, "regulator").refusal is None
    market.live_even(2)
    assert market.five.asset.region.rules == dearer.rules
    after = market.contract(digest).booked
    assert after == replace(before.booked, surplus=before.booked.surplus + millionths_of(2 * 5))
    later = settled(market, another(market, 0, nonce=bytes([1] * 16)), home=0)
    assert later.booked.surplus == millionths_of(9 * later.amounts.surplus_wh) > 0


# -- Meters that are caught saying what cannot be


def test_a_flagged_meter_s_energy_is_paid_as_counted_until_the_regulator_corrects_it() -> None:
    """Finding and bill stand side by side: who doubts the meter disputes, and a correction is made up for."""
    physics = PlainPhysics()
    market = Market(grid=a_market_grid(time={"restate_after_ms": 0}), physics=physics)
    market.live_even(2)
    digest = another(market, 0)
    physics.findings = (Finding(FindingKind.IMPOSSIBLE_READING, "m-wind", (EVEN_W, 2 * EVEN_W)),)
    before = settled(market, digest)
    assert before.booked.price == millionths_of(before.amounts.delivered_wh) == millionths_of(PRICE)
    correction = Correction(market.link("regulator"), "m-home", (Delta(before.terms.start_ms, 7, 0),), "tested")
    assert market.put(correction, MessageType.CORRECTION, "regulator").refusal is None
    market.live_even(2)
    after = market.contract(digest)
    assert after.booked == replace(before.booked, extra=before.booked.extra + millionths_of(2 * 7))
