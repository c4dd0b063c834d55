"""What is traded cannot be altered afterwards: a match, a verdict, a delivery, a penalty, a right: no leaf, no row."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from aggregator.chains.accounts.money import MONEY_TABLE
from aggregator.chains.accounts.rights import CHANNELS_TABLE, RIGHTS_TABLE
from aggregator.chains.contracts.book import CONTRACTS_TABLE
from aggregator.chains.market.market import QUOTES_TABLE
from aggregator.service.audit import AuditError, audit
from aggregator.service.sqlite_port import FILE_NAME
from aggregator.service.store import Store
from config.grid_model import Grid
from config.load import check
from protocol.canonical import decode
from protocol.messages import MessageType
from protocol.quote import Side
from protocol.topics import Kind
from tests.builders import a_channel
from tests.contract_village import PER_WH, a_market_document
from tests.integration.test_contract_ledger import Trading
from tests.integration.test_ledger_file import kinds
from tests.market_village import BUY, SELL, a_quote
from tests.village import INTERVAL_MS

LEAVES = {
    "a match": b"match",
    "a verdict": b"contract",
    "a delivery": b"delivered",
    "a penalty": b"bill",
    "what is owed": b"money",
    "what a right cost": b"movement",
}
STATE = {
    "a quote": QUOTES_TABLE,
    "a contract": CONTRACTS_TABLE,
    "a right": RIGHTS_TABLE,
    "a channel": CHANNELS_TABLE,
    "what is owed": MONEY_TABLE,
}


def a_region() -> Grid:
    """Quotes, contracts and rights, all in one village."""
    document = a_market_document(time={"period_ms": 30_000, "restate_periods": 24})
    document["rules"]["market"] = {"price_max": PER_WH}
    document["rules"]["rights"] = [{"right": "priority_purchase", "price": 20}, {"right": "channel_use", "price": 1}]
    grid: Grid = check(document, Grid, "grid.yaml")
    return grid


def send_quote(trading: Trading, who: str, side: Side, **terms: int) -> None:
    """Let somebody quote at a minor unit for each watt-hour."""
    author = f"gw-{who}"
    quote = a_quote(trading.village, who, side, author, price_per_mwh=PER_WH, **terms)
    trading.send(trading.village.sign(quote, MessageType.QUOTE, author))


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of everything: quotes that met, one that stands, a contract that was breached, a right and a channel."""
    trading = Trading(tmp_path_factory.mktemp("traded") / "data", a_region())
    village = trading.village
    trading.live_even(12)
    start_ms = village.now_ms + 4 * INTERVAL_MS
    for who, side, wh in (("wind", SELL, 10), ("home", BUY, 6)):
        send_quote(trading, who, side, quantity_wh=wh, start_ms=start_ms)
    breach = village.terms(quantity_wh=40)
    trading.agree(breach)
    trading.live_even(2)
    trading.live_even(2, wind=0)
    trading.live_even(6)
    later_ms = village.now_ms + 10 * INTERVAL_MS
    send_quote(trading, "wind", SELL, quantity_wh=5, start_ms=later_ms)
    trading.send(village.sign(village.a_purchase(link=village.link("gw-wind")), MessageType.PURCHASE, "gw-wind"))
    channel = a_channel(
        link=village.link("gw-wind"), participant="wind", start_ms=later_ms, end_ms=later_ms + INTERVAL_MS
    )
    trading.send(village.sign(channel, MessageType.CHANNEL, "gw-wind"))
    assert not kinds(trading.sent, Kind.REFUSAL)
    trading.node.close()
    return trading.folder


@pytest.fixture
def altered(traded: Path, tmp_path: Path) -> Path:
    """The same ledger, for one test to alter."""
    return shutil.copytree(traded, tmp_path / "data")


def fails(folder: Path) -> None:
    """See that an audit finds it."""
    with closing(Store.open_read_only(folder)) as store, pytest.raises(AuditError):
        audit(store)


def test_what_was_not_altered_passes(traded: Path) -> None:
    with closing(Store.open_read_only(traded)) as store:
        assert audit(store).blocks


@pytest.mark.parametrize("word", LEAVES.values(), ids=LEAVES)
def test_a_leaf_that_was_altered_fails_the_audit(altered: Path, word: bytes) -> None:
    with closing(sqlite3.connect(altered / FILE_NAME)) as db:
        chain, index, body = next(
            row
            for row in db.execute("SELECT chain, idx, body FROM leaf ORDER BY height DESC, idx DESC")
            if row[2][1:].startswith(bytes([0x60 + len(word)]) + word)
        )
        changed = body[:-1] + bytes([body[-1] ^ 1])
        db.execute("UPDATE leaf SET body = ? WHERE chain = ? AND idx = ?", (changed, chain, index))
        db.commit()
    fails(altered)


@pytest.mark.parametrize("table", STATE.values(), ids=STATE)
def test_a_row_of_state_that_was_altered_fails_the_audit(altered: Path, table: int) -> None:
    with closing(sqlite3.connect(altered / FILE_NAME)) as db:
        key, value = next(
            row for row in db.execute("SELECT key, value FROM state") if decode(row[0], size_max=1 << 10)[0] == table
        )
        db.execute("UPDATE state SET value = ? WHERE key = ?", (value[:-1] + bytes([value[-1] ^ 1]), key))
        db.commit()
    fails(altered)
