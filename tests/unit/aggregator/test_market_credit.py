"""Nobody buys on the market what they could not come to owe."""

from __future__ import annotations

from aggregator.chains.accounts.money import CLEARING
from aggregator.economy.contracts.states import State
from protocol.agreement import Agreement, seal_offer
from protocol.canonical import encode
from protocol.contract import Terms
from protocol.messages import MessageType
from protocol.refusals import RefusalCode
from tests.market_village import BUY, SELL, SOON_MS, a_market_grid, market_of, quote, standing
from tests.village import INTERVAL_MS, REGION, Village, some_keys

LIMIT = 1_000_000
"""A minor unit for each watt-hour."""


def a_village(credit: int, mechanism: str = "continuous") -> Village:
    """A village in which everybody may come to owe so many minor units, and contracts are made."""
    grid = a_market_grid(makes_contracts=True, mechanism=mechanism)
    accounts = grid.rules.accounts.model_copy(update={"credit_max": credit})
    rules = grid.rules.model_copy(update={"accounts": accounts})
    return Village(grid=grid.model_copy(update={"rules": rules}), keys=some_keys("gw", "gw-2"))


def test_all_that_somebody_would_buy_together_is_within_their_credit() -> None:
    village = a_village(25)
    assert quote(village, "home", BUY, price_per_mwh=LIMIT) is None
    assert quote(village, "home", BUY, price_per_mwh=LIMIT) is None
    assert quote(village, "home", BUY, price_per_mwh=LIMIT) is RefusalCode.BEYOND_CREDIT
    assert quote(village, "home", BUY, price_per_mwh=LIMIT // 2) is None
    assert len(standing(village)) == 3


def test_in_an_auction_too() -> None:
    village = a_village(15, "call")
    assert quote(village, "home", BUY, price_per_mwh=LIMIT) is None
    assert quote(village, "home", BUY, price_per_mwh=LIMIT) is RefusalCode.BEYOND_CREDIT


def lose_credit(village: Village, minor: int) -> None:
    """Let the home come to owe so many minor units elsewhere."""
    for account, amount in (("home", -minor * LIMIT), (CLEARING, minor * LIMIT)):
        village.five.payment.money.accounts.load(account, encode([amount]))


def test_whoever_has_used_up_their_credit_meanwhile_is_in_no_auction_and_the_latest_quote_goes_first() -> None:
    village = a_village(25, "call")
    quote(village, "wind", SELL, quantity_wh=20)
    quote(village, "home", BUY, price_per_mwh=LIMIT)
    quote(village, "home", BUY, price_per_mwh=LIMIT)
    lose_credit(village, 15)
    village.now_ms = SOON_MS - INTERVAL_MS
    village.close([])
    assert standing(village) == [("wind", SELL, 20, 25_000), ("home", BUY, 10, LIMIT)]
    village.close_due()
    (contract,) = village.five.operation.contracts.book.in_order()
    assert (contract.state, contract.terms.quantity_wh) == (State.CONFIRMED, 10)


def agree(village: Village, quantity_wh: int) -> RefusalCode | None:
    """Wind and the home agree on so many watt-hours, a minor unit each, in another interval than quotes are for."""
    start_ms = SOON_MS + INTERVAL_MS
    terms = Terms(
        region=REGION, seller="wind", buyer="home", carrier="electricity", quantity_wh=quantity_wh,
        price_per_mwh=LIMIT, start_ms=start_ms, end_ms=start_ms + INTERVAL_MS, expires_ms=SOON_MS,
        nonce=bytes([quantity_wh] * 16),
    )  # fmt: skip
    agreement = Agreement.to(village.link("gw"), seal_offer(terms, village.keys["gw"]))
    return village.close([village.record(village.sign(agreement, MessageType.AGREEMENT))]).outcomes[0].refusal


def test_nobody_agrees_to_owe_what_they_quote_to_owe_already() -> None:
    village = a_village(25)
    assert quote(village, "home", BUY, price_per_mwh=LIMIT) is None
    assert agree(village, 16) is RefusalCode.QUOTED_ALREADY
    assert agree(village, 15) is None


def test_a_seller_needs_no_credit() -> None:
    assert quote(a_village(0), "wind", SELL, price_per_mwh=LIMIT) is None


def test_a_quote_that_stood_buys_only_what_its_owner_may_still_come_to_owe() -> None:
    """The home's credit was used up elsewhere meanwhile: the seller's quote is not, and stands."""
    village = a_village(10)
    assert quote(village, "home", BUY, price_per_mwh=LIMIT) is None
    lose_credit(village, 4)
    assert quote(village, "wind", SELL, price_per_mwh=LIMIT) is None
    assert market_of(village).totals.traded_wh == 6
    assert standing(village) == [("home", BUY, 4, LIMIT), ("wind", SELL, 4, LIMIT)]
