"""Nobody buys on the market what they could not come to owe."""

from __future__ import annotations

from aggregator.chains.accounts.money import CLEARING
from protocol.canonical import encode
from protocol.refusals import RefusalCode
from tests.market_village import BUY, SELL, a_market_grid, market_of, quote, standing
from tests.village import Village, some_keys

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


def test_a_seller_needs_no_credit() -> None:
    assert quote(a_village(0), "wind", SELL, price_per_mwh=LIMIT) is None


def test_a_quote_that_stood_buys_only_what_its_owner_may_still_come_to_owe() -> None:
    """The home's credit was used up elsewhere meanwhile: the seller's quote is not, and stands."""
    village = a_village(10)
    assert quote(village, "home", BUY, price_per_mwh=LIMIT) is None
    for account, amount in (("home", -4 * LIMIT), (CLEARING, 4 * LIMIT)):
        village.five.payment.money.accounts.load(account, encode([amount]))
    assert quote(village, "wind", SELL, price_per_mwh=LIMIT) is None
    assert market_of(village).totals.traded_wh == 6
    assert standing(village) == [("home", BUY, 4, LIMIT), ("wind", SELL, 4, LIMIT)]
