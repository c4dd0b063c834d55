"""What quotes come to is a contract like any other: judged, confirmed, measured and settled."""

from __future__ import annotations

from aggregator.economy.contracts.states import State
from protocol.messages import MessageType
from protocol.quote import Quote, Side
from protocol.refusals import RefusalCode
from tests.contract_village import EVEN_WH, PER_WH, Market, a_market_document
from tests.market_village import contracts
from tests.village import INTERVAL_MS, a_grid

GATEWAYS = {Side.SELL: "gw-wind", Side.BUY: "gw-home"}


def a_region(*, has_contracts: bool = True) -> Market:
    """Wind and home, where quotes meet."""
    document = a_market_document()
    document["rules"]["market"] = {"gate_ms": 0, "ahead_ms": 20 * INTERVAL_MS, "penalty_ppm": 200_000}
    if not has_contracts:
        del document["rules"]["contracts"]
    return Market(grid=a_grid(**document))


def trade(market: Market) -> bytes:
    """Let wind and home quote for the interval after the next; the number of the contract."""
    start_ms = market.now_ms - market.now_ms % INTERVAL_MS + 2 * INTERVAL_MS
    for side, participant in ((Side.SELL, "wind"), (Side.BUY, "home")):
        author = GATEWAYS[side]
        quote = Quote(
            link=market.link(author), participant=participant, side=side, meter=f"m-{participant}",
            start_ms=start_ms, quantity_wh=EVEN_WH, price_per_mwh=PER_WH,
        )  # fmt: skip
        assert market.put(quote, MessageType.QUOTE, author).refusal is None
    return contracts(market)[-1].digest


def test_two_quotes_that_meet_are_confirmed_at_once_and_paid_once_delivered() -> None:
    market = a_region()
    digest = trade(market)
    assert market.state(digest) is State.CONFIRMED
    market.live_even(9)
    assert market.state(digest) is State.SETTLED
    owed = market.owed()
    assert sum(owed.values()) == 0
    assert (owed["wind"], owed["home"]) == (EVEN_WH, -EVEN_WH)


def test_a_match_that_the_verdict_does_not_allow_is_rejected_with_its_reason() -> None:
    market = a_region()
    market.freeze("wind")
    digest = trade(market)
    assert market.state(digest) is State.REJECTED
    objection = market.contract(digest).objection
    assert objection is not None and objection.rule is RefusalCode.PARTY_FROZEN


def test_where_the_region_has_no_contracts_a_match_is_stated_and_no_more() -> None:
    market = a_region(has_contracts=False)
    trade(market)
    assert not market.five.operation.contracts.book.rows
