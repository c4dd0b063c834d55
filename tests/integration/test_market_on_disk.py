"""The market on disk: quotes survive a restart, commands tell what became of them, and an audit does it all again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.service.audit import audit
from aggregator.service.store import Store
from protocol.contract import price_of
from protocol.messages import MessageType
from protocol.quote import QuoteCancel, Side, TimeInForce
from tests.integration.test_ledger_file import Running
from tests.market_village import BUY, SELL, SOON_MS, a_call_market, a_market, a_quote, market_of, standing
from tests.village import INTERVAL_MS, Village

FULL_MA = 28_900
"""So that the line carries 27 Wh in an interval."""


class Trading(Running):
    """A node of a region with a market, which others send quotes."""

    def quote(self, participant: str, side: Side, quantity_wh: int, price: int, **changes: Any) -> None:
        made = a_quote(self.village, participant, side, quantity_wh=quantity_wh, price_per_mwh=price, **changes)
        self.send(self.village.sign(made, MessageType.QUOTE))

    def at(self, now_ms: int) -> None:
        """Let time pass, and the node do what is due."""
        self.village.now_ms = now_ms
        self.node.close_block(now_ms)


def a_trading(folder: Path, village: Village) -> Trading:
    trading = Trading(folder, village)
    village.five = trading.node.five
    return trading


@pytest.fixture
def trading(tmp_path: Path) -> Iterator[Trading]:
    """Continuous trading: wind has sold 6 of 10 Wh; an offer was cancelled, one could not be filled."""
    made = a_trading(tmp_path, a_market())
    made.quote("wind", SELL, 10, 20_000)
    made.quote("home", BUY, 6, 30_000)
    made.quote("home", BUY, 1, 10_000, time_in_force=TimeInForce.FILL_OR_KILL)
    made.quote("gas", SELL, 5, 90_000)
    (gas,) = [digest for digest, one in market_of(made.village).quotes.items() if one.participant == "gas"]
    made.send(made.village.sign(QuoteCancel(made.village.link(), gas), MessageType.QUOTE_CANCEL))
    yield made
    made.node.close()


@pytest.fixture
def auctioned(tmp_path: Path) -> Iterator[Trading]:
    """A call auction behind a full line, cleared by the node when its gate closed."""
    made = a_trading(tmp_path, a_call_market(rating_ma=FULL_MA))
    made.quote("grid", SELL, 60, 200_000)
    made.quote("wind", SELL, 30, 300_000)
    made.quote("home", BUY, 50, 900_000)
    made.at(SOON_MS - INTERVAL_MS)
    yield made
    made.node.close()


def told(folder: Path, *words: str) -> str:
    result = CliRunner().invoke(app, ["market", *words, "--data", str(folder)])
    assert result.exit_code == 0, result.output
    return result.output


def as_json(folder: Path, *words: str) -> Any:
    return json.loads(told(folder, *words, "--json"))


def test_a_node_that_begins_again_has_the_same_books(trading: Trading) -> None:
    before = standing(trading.village)
    trading.node.close()
    trading.node = trading.open()
    trading.village.five = trading.node.five
    assert standing(trading.village) == before == [("wind", SELL, 4, 20_000)]
    trading.quote("home", BUY, 3, 20_000)
    assert standing(trading.village) == [("wind", SELL, 1, 20_000)]


def test_the_book_shows_what_stands_and_prices_what_was_traded(trading: Trading) -> None:
    (view,) = as_json(trading.folder, "book")
    assert (view["quote"], view["participant"], view["side"], view["quantity_wh"]) == (1, "wind", "sell", 4)
    (price,) = as_json(trading.folder, "prices")
    assert (price["matches"], price["quantity_wh"], price["last"], price["nodes"]) == (1, 6, 20_000, {})
    assert "wind" in told(trading.folder, "book")
    assert "20000" in told(trading.folder, "prices")


@pytest.mark.parametrize(
    ("which", "became", "left_wh", "traded_wh"),
    [("1", "stands", 4, 6), ("gw/1", "stands", 4, 6), ("2", "filled", 0, 6), ("3", "cancelled", 0, 0),
     ("gw/3", "refused", 0, 0)],
)  # fmt: skip
def test_what_became_of_a_quote_is_told(
    trading: Trading, which: str, became: str, left_wh: int, traded_wh: int
) -> None:
    view = as_json(trading.folder, "quote", which)
    assert (view["became"], view["left_wh"]) == (became, left_wh)
    assert sum(match["quantity_wh"] for match in view["matches"]) == traded_wh
    assert view["refusal"] == ("not_filled" if became == "refused" else "")


def test_each_side_of_a_match_is_told_of_the_other_and_of_the_contract(trading: Trading) -> None:
    (sold,) = as_json(trading.folder, "quote", "1")["matches"]
    (bought,) = as_json(trading.folder, "quote", "2")["matches"]
    assert (sold["partner"], bought["partner"]) == ("home", "wind")
    assert sold["contract"] == bought["contract"]
    assert "filled" in told(trading.folder, "quote", "2")
    assert "4 Wh: stands" in told(trading.folder, "quote", "1")
    assert "refused: not_filled" in told(trading.folder, "quote", "gw/3")


@pytest.mark.parametrize("which", ["0", "9", "gw/99", "nobody/1", "wind"])
def test_a_quote_that_there_is_not_is_an_error(trading: Trading, which: str) -> None:
    result = CliRunner().invoke(app, ["market", "quote", which, "--data", str(trading.folder)])
    assert result.exit_code != 0


def test_a_quote_whose_gate_has_closed_has_lapsed(trading: Trading) -> None:
    trading.at(SOON_MS - INTERVAL_MS)
    assert as_json(trading.folder, "quote", "1")["became"] == "lapsed"
    assert "No quote stands." in told(trading.folder, "book")


def test_the_node_closes_a_block_when_a_gate_closes(tmp_path: Path) -> None:
    made = a_trading(tmp_path, a_call_market())
    made.live(10)
    made.quote("wind", SELL, 10, 20_000)
    wait_ms = made.node.due_in_ms(SOON_MS - INTERVAL_MS - 100)
    made.node.close()
    assert wait_ms is not None and wait_ms <= 100


def test_a_node_clears_an_auction_and_tells_a_price_at_each_node(auctioned: Trading) -> None:
    (price,) = as_json(auctioned.folder, "prices")
    assert price["nodes"] == {"n0": 200_000, "n1": 300_000}
    assert price["full"] == ["b1"]
    assert (price["matches"], price["quantity_wh"]) == (2, 50)
    shown = told(auctioned.folder, "prices")
    assert "full: b1" in shown and "n1" in shown
    totals = market_of(auctioned.village).totals
    assert totals.rent == price_of(27, 300_000) - price_of(27, 200_000)


def test_what_an_auction_leaves_of_a_quote_has_lapsed(auctioned: Trading) -> None:
    view = as_json(auctioned.folder, "quote", "1")
    assert (view["became"], view["left_wh"]) == ("lapsed", 0)
    assert [match["quantity_wh"] for match in view["matches"]] == [27]


@pytest.mark.parametrize("market", ["trading", "auctioned"])
def test_an_audit_derives_every_match_again(market: str, request: pytest.FixtureRequest) -> None:
    made: Trading = request.getfixturevalue(market)
    made.node.close()
    store = Store.open_read_only(made.folder)
    try:
        head = store.last_block()
        assert head is not None
        assert audit(store).head_digest == head.digest
    finally:
        store.close()
        made.node = made.open()


def test_in_a_region_without_a_market_the_commands_say_so(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.live(5)
    running.node.close()
    assert "no market" in told(tmp_path, "book")
    assert "Nothing is traded" in told(tmp_path, "prices")
