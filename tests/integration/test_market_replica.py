"""The market among several nodes: all come to the same matches, and a clearing that is not right gets no votes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from aggregator.chains.market.clearing import ClearingResult
from aggregator.chains.market.market import Market
from protocol.envelope import Envelope, seal
from protocol.messages import MessageType
from tests.integration.test_replica import Played
from tests.market_village import BUY, SELL, SOON_MS, a_market_grid, a_quote
from tests.village import INTERVAL_MS, Village, some_keys


@pytest.fixture
def auctioning(tmp_path: Path) -> Iterator[Played]:
    """Two nodes of a region with call auctions; a full line, and quotes on both sides of it whose gate has closed."""
    grid = a_market_grid(28_900, mechanism="call")
    played = Played(tmp_path, Village(grid=grid, keys=some_keys("other", "gw", "gw-2")))
    village = played.village
    for participant, side, quantity_wh, price in (("grid", SELL, 60, 20_000), ("wind", SELL, 30, 30_000),
                                                  ("home", BUY, 50, 90_000)):  # fmt: skip
        made = a_quote(village, participant, side, quantity_wh=quantity_wh, price_per_mwh=price)
        data = village.sign(made, MessageType.QUOTE)
        village.record(data)
        played.round(data)
    village.now_ms = SOON_MS - INTERVAL_MS
    late = a_quote(village, "shed", BUY, "gw-2")
    played.round(village.sign(late, MessageType.QUOTE, "gw-2"))
    yield played
    for node in played.nodes:
        node.store.close()


def markets(played: Played) -> list[Market]:
    return [node.keeper.five.operation.market for node in played.nodes]


def test_whoever_proposes_clears_and_every_node_comes_to_the_same(auctioning: Played) -> None:
    auctioning.settle()
    totals = [market.totals for market in markets(auctioning)]
    assert totals[0] == totals[1]
    assert (totals[0].cleared, totals[0].matches, totals[0].traded_wh) == (1, 2, 50)
    assert all(not len(market.quotes) for market in markets(auctioning))


def test_a_clearing_that_is_not_right_gets_no_votes(auctioning: Played) -> None:
    (data,) = auctioning.nodes[0].replica.prepare_proposal(auctioning.draft())
    result = ClearingResult.decode(Envelope.parse(data).payload)
    worse = replace(result, clearing=replace(result.clearing, fills_wh=(0, 0, 0), flows_mwh=(0,)))
    key = auctioning.village.keys["node"]
    lie = seal(key, region="village", type_=MessageType.CLEARING, payload=worse.encode())
    with capture_logs() as said:
        assert not auctioning.nodes[1].replica.process_proposal(auctioning.block(lie))
    assert [line["code"] for line in said if line["event"] == "voted down"] == ["CLEARING_NOT_OPTIMAL"]
    assert auctioning.nodes[1].replica.process_proposal(auctioning.block(data))
