"""What may not be agreed is told, by its number and signed by the node, to whom it concerns; and to nobody else.

Who sent something that is not in order is told by a refusal of the record. What is in order and cannot be concerns both
parties: each of their gateways has it in its next statement. What goes wrong with letters, before anything is agreed,
stands in `test_agent_trades.py` (`TestBadOffers`) and `test_post_room.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aggregator.chains.admission.membership import Revocation
from aggregator.chains.contracts.orders import Freeze
from aggregator.chains.contracts.parties import AHEAD_MAX_MS
from aggregator.service.notify import Outgoing
from protocol.agreement import Agreement, Dispute, Termination, seal_offer
from protocol.contract import QUANTITY_MAX_WH, Terms
from protocol.envelope import Envelope
from protocol.messages import MessageType, Refusal, Statement
from protocol.refusals import RefusalCode, Refused
from protocol.topics import Kind
from tests.builders import a_key
from tests.contract_village import GATEWAYS, Market, a_market_grid
from tests.integration.test_contract_ledger import Trading
from tests.integration.test_ledger_file import kinds
from tests.village import INTERVAL_MS


@pytest.fixture
def trading(tmp_path: Path) -> Iterator[Trading]:
    made = Trading(tmp_path / "data")
    made.live_even(2)
    yield made
    made.node.close()


@pytest.fixture
def market(trading: Trading) -> Market:
    """Whoever signs in the region of `trading`."""
    return trading.village


def agree(trading: Trading, terms: Terms, offers: str = "gw-wind", agrees: str = "gw-home") -> list[Outgoing]:
    """Both sides sign, and one sends it; what the node tells then."""
    agreement = trading.village.agreement(terms, offers, agrees)
    return trading.send(trading.village.sign(agreement, MessageType.AGREEMENT, agrees))


def refused(trading: Trading, told: list[Outgoing]) -> dict[str, RefusalCode]:
    """Who is told of a refusal, by the node's signature, and which."""
    found = {}
    for message in told:
        if message.topic.kind is Kind.REFUSAL:
            envelope = Envelope.parse(message.payload)
            envelope.verify(trading.village.keys["node"].public_key, trading.village.grid.region)
            refusal = Refusal.decode(envelope.payload)
            assert refusal.gateway == message.topic.name
            found[refusal.gateway] = refusal.code
    return found


def rejected(told: list[Outgoing], terms: Terms) -> dict[str, RefusalCode | None]:
    """Who is told in a statement why a contract cannot be, and by which rule."""
    found = {}
    for payload in kinds(told, Kind.STATEMENT):
        statement = Statement.decode(Envelope.parse(payload).payload)
        for standing in statement.standings:
            for news in standing.contracts:
                if news.contract == terms.digest:
                    found[standing.participant] = news.rule
    return found


# -- Not in order: whoever has sent it is told


def test_trade_with_oneself(trading: Trading, market: Market) -> None:
    told = agree(trading, market.terms(buyer="wind"), "gw-wind", "gw-wind")
    assert refused(trading, told) == {"gw-wind": RefusalCode.SELF_TRADE}


@pytest.mark.parametrize("ahead_ms", [-INTERVAL_MS, AHEAD_MAX_MS + INTERVAL_MS], ids=["past", "far"])
def test_a_window_in_the_past_or_too_far_ahead(trading: Trading, market: Market, ahead_ms: int) -> None:
    start_ms = market.now_ms + ahead_ms
    told = agree(trading, market.terms(start_ms=start_ms, end_ms=start_ms + 2 * INTERVAL_MS))
    assert refused(trading, told) == {"gw-home": RefusalCode.WINDOW_NOT_AHEAD}


def test_an_acceptance_that_is_replayed(trading: Trading, market: Market) -> None:
    """The very same record gets its receipt again; a new record around the same offer is refused."""
    terms = market.terms()
    agree(trading, terms)
    assert refused(trading, agree(trading, terms)) == {"gw-home": RefusalCode.AGREED_ALREADY}
    told = agree(trading, terms, "gw-home", "gw-wind")
    assert refused(trading, told) == {"gw-wind": RefusalCode.AGREED_ALREADY}
    assert len(trading.node.five.operation.contracts.book.rows) == 1


def test_an_offer_whose_counter_offer_was_accepted(trading: Trading, market: Market) -> None:
    offer = market.terms(quantity_wh=10)
    counter = replace(offer, quantity_wh=9, answers=offer.digest)
    assert refused(trading, agree(trading, counter, "gw-home", "gw-wind")) == {}
    assert refused(trading, agree(trading, offer)) == {"gw-home": RefusalCode.NEGOTIATED_ALREADY}


def test_an_offer_that_was_changed_or_is_a_stranger_s(trading: Trading, market: Market) -> None:
    dear, cheap = (seal_offer(market.terms(price_per_mwh=price), market.keys["gw-wind"]) for price in (2, 1))
    for offer in (dear[:-64] + cheap[-64:], seal_offer(market.terms(), a_key(99))):
        agreement = Agreement.to(market.link("gw-home"), offer)
        told = trading.send(market.sign(agreement, MessageType.AGREEMENT, "gw-home"))
        assert refused(trading, told) == {"gw-home": RefusalCode.OFFER_NOT_SIGNED}


def test_an_offer_by_a_key_that_was_revoked(trading: Trading, market: Market) -> None:
    revocation = Revocation(market.link("regulator"), market.keys["gw-wind"].public_key.thumbprint, "stolen")
    trading.send(market.sign(revocation, MessageType.REVOCATION, "regulator"))
    told = agree(trading, market.terms())
    assert refused(trading, told) == {"gw-home": RefusalCode.OFFER_NOT_SIGNED}
    own = market.agreement(market.terms(), "gw-home", "gw-wind")
    with pytest.raises(Refused) as door:
        trading.node.check(market.sign(own, MessageType.AGREEMENT, "gw-wind"))
    assert door.value.code is RefusalCode.UNKNOWN_KEY


def test_a_regulator_s_word_by_a_key_that_is_not_the_regulator_s(trading: Trading, market: Market) -> None:
    """A regulator's key cannot be revoked: it is the only one. Any other key's word is not let in."""
    regulator = market.keys["regulator"].public_key.thumbprint
    revocation = Revocation(market.link("regulator"), regulator, "stolen")
    trading.send(market.sign(revocation, MessageType.REVOCATION, "regulator"))
    assert trading.node.five.asset.author_of(regulator) is not None
    freeze = Freeze(market.link("regulator"), "wind", True, "envy")
    for key, code in (("gw-home", RefusalCode.NOT_THEIR_TYPE), ("", RefusalCode.UNKNOWN_KEY)):
        market.keys["forger"] = market.keys[key] if key else a_key(99)
        with pytest.raises(Refused) as door:
            trading.node.check(market.sign(freeze, MessageType.FREEZE, "forger"))
        assert door.value.code is code


@pytest.mark.parametrize("kind", [Termination, Dispute])
def test_a_step_of_somebody_who_is_no_party(trading: Trading, market: Market, kind: Any) -> None:
    terms = market.terms()
    agree(trading, terms)
    type_ = MessageType.TERMINATION if kind is Termination else MessageType.DISPUTE
    told = trading.send(market.sign(kind(market.link("gw"), terms.digest, "gas", "envy"), type_, "gw"))
    assert refused(trading, told) == {"gw": RefusalCode.NOT_THEIR_CONTRACT}


# -- In order, but it cannot be: both parties are told


def both(terms: Terms, code: RefusalCode) -> dict[str, RefusalCode | None]:
    return {terms.seller: code, terms.buyer: code}


def test_a_party_who_is_frozen(trading: Trading, market: Market) -> None:
    freeze = Freeze(market.link("regulator"), "wind", True, "an inquiry")
    trading.send(market.sign(freeze, MessageType.FREEZE, "regulator"))
    terms = market.terms()
    assert rejected(agree(trading, terms), terms) == both(terms, RefusalCode.PARTY_FROZEN)


def test_a_party_who_owes_tokens(tmp_path: Path) -> None:
    trading = Trading(tmp_path / "data", a_market_grid(time={"period_ms": 30_000}))
    trading.live(50)
    terms = trading.village.terms(seller="gas")
    told = agree(trading, terms, GATEWAYS["gas"], GATEWAYS["home"])
    assert rejected(told, terms) == both(terms, RefusalCode.PARTY_RESTRICTED)
    trading.node.close()


def test_the_same_energy_twice(trading: Trading, market: Market) -> None:
    first = market.terms()
    agree(trading, first)
    seller_again = market.terms(nonce=bytes([1] * 16), buyer="gas")
    told = agree(trading, seller_again, "gw-wind", "gw")
    assert rejected(told, seller_again) == both(seller_again, RefusalCode.SOLD_ALREADY)
    buyer_again = market.terms(nonce=bytes([2] * 16), seller="gas")
    told = agree(trading, buyer_again, "gw", "gw-home")
    assert rejected(told, buyer_again) == both(buyer_again, RefusalCode.BOUGHT_ALREADY)


def test_quantities_at_the_integers_limit(trading: Trading, market: Market) -> None:
    terms = market.terms(quantity_wh=QUANTITY_MAX_WH)
    assert rejected(agree(trading, terms), terms) == both(terms, RefusalCode.SELLER_CANNOT)


def test_clean_energy_from_gas(trading: Trading, market: Market) -> None:
    terms = market.terms(seller="gas", clean_only=True)
    told = agree(trading, terms, "gw", "gw-home")
    assert rejected(told, terms) == both(terms, RefusalCode.NOT_CLEAN)


def test_nobody_else_is_told(trading: Trading, market: Market) -> None:
    terms = market.terms(seller="grid", buyer="gas", quantity_wh=QUANTITY_MAX_WH)
    told = agree(trading, terms, "gw", "gw-wind")
    assert refused(trading, told) == {"gw-wind": RefusalCode.NOT_A_PARTY}
    assert rejected(told, terms) == {}
