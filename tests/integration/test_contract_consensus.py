"""Contracts under consensus: whoever proposes, every node confirms the same ones, and comes to the same books."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aggregator.economy.contracts.states import State
from aggregator.service.audit import audit
from protocol.contract import Terms
from protocol.messages import MessageType
from tests.contract_village import EVEN, EVEN_W, Market
from tests.integration.test_replica import Played
from tests.village import INTERVAL_MS


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    keys = {**Market().keys, "other": Market().keys["node"].from_secret(77)}
    with ExitStack() as stack:
        made = Played(tmp_path, Market(keys=keys))
        for node in made.nodes:
            stack.callback(node.store.close)
            node.replica.init_chain(made.genesis())
        yield made


def market_of(played: Played) -> Market:
    market = played.village
    assert isinstance(market, Market)
    return market


def live(played: Played, intervals: int, **power_w: int) -> None:
    """Intervals pass, and nodes propose in turn."""
    market = market_of(played)
    for number in range(intervals):
        batch = market.a_batch(EVEN | {f"m-{name}": watts for name, watts in power_w.items()})
        market.now_ms += INTERVAL_MS
        data = market.sign(batch, MessageType.BATCH)
        market.record(data)
        played.round(data, proposer=number % 2)
        played.settle(2)


def agreed(played: Played, terms: Terms, proposer: int = 0) -> bytes:
    """Two participants agree."""
    market = market_of(played)
    data = market.sign(market.agreement(terms), MessageType.AGREEMENT, "gw-home")
    market.record(data)
    played.round(data, proposer=proposer)
    return terms.digest


def test_a_contract_is_confirmed_delivered_and_settled_alike_on_every_node(played: Played) -> None:
    live(played, 2)
    market = market_of(played)
    terms = market.terms()
    first, second = agreed(played, terms), agreed(played, market.terms(nonce=bytes([1] * 16)), proposer=1)
    books = [node.keeper.five.operation.contracts.book for node in played.nodes]
    assert [book.rows[first].state for book in books] == [State.CONFIRMED] * 2
    assert [book.rows[second].state for book in books] == [State.REJECTED] * 2
    live(played, 2)
    live(played, 2, wind=-EVEN_W // 2)
    live(played, 5)
    assert [book.rows[first].state for book in books] == [State.SETTLED] * 2
    owed = [dict(node.keeper.five.payment.money.accounts.items()) for node in played.nodes]
    assert owed[0] == owed[1] != {}
    heads = {node.keeper.five.ledger.head for node in played.nodes}
    assert len(heads) == 1
    for node in played.nodes:
        audit(node.store)


def test_a_delivery_begins_on_every_node_although_nothing_else_happens(played: Played) -> None:
    live(played, 2)
    digest = agreed(played, market_of(played).terms())
    market_of(played).now_ms += 2 * INTERVAL_MS
    played.round()
    for node in played.nodes:
        assert node.keeper.five.operation.contracts.book.rows[digest].state is State.DELIVERING
    assert len({node.keeper.five.ledger.head for node in played.nodes}) == 1
