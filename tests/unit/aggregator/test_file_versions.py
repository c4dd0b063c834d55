"""What a ledger file holds belongs to its version. Whoever changes a row raises the version, or old files are misread.

No file of version 1 to 5 was ever handed out; what they held is not kept here.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Final

from aggregator.chains.accounts.exchanges import RateRecord
from aggregator.chains.admission.validators import Validator, ValidatorChange
from aggregator.chains.congestion.events import ResponseEvent
from aggregator.chains.contracts.book import CONTRACTS_TABLE
from aggregator.economy.baseline import LIKE_DAYS
from aggregator.economy.exchange import Rate
from aggregator.service.schema import SCHEMA_VERSION, create_schema
from config.grid_model import Grid
from config.load import check
from protocol.canonical import Value, decode
from protocol.channel import ChannelPurchase
from protocol.crypto import SoftwareKey
from protocol.exchange import Exchange, ExchangeKind
from protocol.messages import MessageType
from protocol.partners import SealingKeyRecord
from protocol.quote import Side
from protocol.rotation import rotate
from tests.contract_village import Market, a_market_document, a_market_grid
from tests.heat_village import PUMP, WARM, a_heat_document
from tests.market_village import SOON_MS, a_quote
from tests.plain_physics import PlainPhysics
from tests.village import GRACE_MS, INTERVAL_MS, Village

COLUMNS: Final[dict[int, dict[str, str]]] = {
    6: {
        "block": "height head checkpoint",
        "engine": "id height begins_at",
        "entry": "id author sequence code chain leaf waited envelope",
        "leaf": "chain idx height body",
        "node": "chain level position hash",
        "seal": "height seal",
        "state": "key value",
        "statement": "gateway number envelope",
    },
}
"""By version of the file: the columns of every table of SQLite."""

ROWS: Final[dict[int, dict[int, list[str]]]] = {
    6: {
        0: ["str [int bytes]"],
        10: ["int bytes"],
        11: ["bytes [str int bytes]"],
        12: ["bytes [int int bytes]"],
        13: ["str [bytes int]"],
        14: ["bytes [bytes bytes]"],
        20: ["str [bytes int int str int int [int int] [int int]]"],
        21: ["[int str] [int int int int int int int int int]"],
        22: ["int [int int int int int]"],
        23: ["[int str] [int int int int int int int int int]"],
        24: ["int [int]"],
        25: ["int [int int bytes]"],
        30: ["int [int int int int bytes int int]"],
        31: ["str [int int int int int int int int]"],
        32: [
            "str [str int int int int int int int int int int none str]",
            "str [str int int int int int int int int int int str none]",
        ],
        33: ["int [bytes bytes]"],
        34: ["int [int int]"],
        35: [
            "[int str] [str int int int int int int int int int int none str]",
            "[int str] [str int int int int int int int int int int str none]",
        ],
        36: ["int [int]"],
        37: ["str [[[int int] [int int]] int]"],
        38: ["[str int] [str bool [[int int] [int int]] int]"],
        39: sorted(f"[str int] [{' '.join(['int'] * days)}]" for days in range(1, LIKE_DAYS + 1)),
        40: ["int [int int str [str]]"],
        41: ["int [int int]"],
        42: [
            f"bytes [bytes int [[int int]…] int int [int int int int int int] {why} [int int int int int int] int]"
            for why in ("[int int] none", "none [int str int int int]", "none none")
        ],
        43: ["str [int str]"],
        44: ["int [int int int int int int]"],
        45: ["bytes [int str str str int int int int int bool bool bool bool str str bytes]"],
        46: ["int [int int int int int int int str int]"],
        47: ["[str int] [int int int int int int]"],
        48: ["str [[int int]]"],
        49: ["int [[int int int]]"],
        50: ["str [int]"],
        51: ["int [int int int int int int int int int int int]"],
        52: ["[str int int] [int]"],
        53: ["str [int]"],
        54: ["[int str] [int int int]"],
        55: ["int [int]"],
        56: ["str [int]"],
        57: ["[str str int] [int int int int int]"],
        58: ["[str int int] [str int int int]"],
        59: ["int [int int]"],
        60: ["str [int bytes bytes]"],
        61: ["str [int]"],
        62: ["str [int int int]"],
        66: ["bytes [str int]"],
    },
}
"""By version of the file: key and value of the state's rows, by table."""

CHANGED: Final = (
    "a ledger file holds something else now. Where one of this version may exist elsewhere, raise SCHEMA_VERSION, and"
    " VERSION of an export if its records or entries have changed; then write down here what the file holds"
)


def shape_of(value: Value) -> str:
    """What a value is made of, whatever it says."""
    if isinstance(value, list):
        return f"[{' '.join(map(shape_of, value))}]"
    return "none" if value is None else type(value).__name__


def a_full_life() -> Village:
    """Something in every table of the state, at one time or another."""
    document = a_heat_document()
    document["rules"]["time"] |= {"day_ms": INTERVAL_MS, "grace_ms": GRACE_MS}
    document["rules"] |= {"curtailment": {}, "exchange": {"bought_per_day": 1, "sold_per_day": 1}}
    document["rules"]["rights"] = [*document["rules"]["rights"], {"right": "channel_use", "price": 1}]
    document["rules"]["congestion"] = {"steps": [[1, 0.1]], "threshold": 1, "award": 1}
    document["rules"]["market"] = {}
    document["participants"] = [one | {"responds": one["id"] == "home"} for one in document["participants"]]
    village = Village(grid=check(document, Grid, "grid.yaml"), physics=PlainPhysics(rating_w=1))
    start = village.now_ms + 6 * INTERVAL_MS
    event = ResponseEvent(village.link("regulator"), start, start + INTERVAL_MS, "b1", ("home",))
    village.close([village.record(village.sign(event, MessageType.EVENT, "regulator"))])
    for side, quantity_wh in ((Side.SELL, 10), (Side.BUY, 4)):
        quote = a_quote(village, "home" if side is Side.BUY else "gas", side, quantity_wh=quantity_wh)
        village.close([village.record(village.sign(quote, MessageType.QUOTE))])
    vote = ValidatorChange(village.link("regulator"), "node", Validator(bytes(32), 10))
    village.close([village.record(village.sign(vote, MessageType.VALIDATOR, "regulator"))])
    village.live(30, PUMP | {"m-tank-out": 0, "m-home-heat": 0, "m-gas": -36_000, "m-home": 36_000})
    village.live(10, dict.fromkeys(PUMP, 0) | WARM | {"m-home": 0, "m-grid": 5_000})
    village.close([village.record(village.sign(village.a_purchase(), MessageType.PURCHASE))])
    _exchange(village)
    late = village.a_batch()
    village.now_ms += 4 * INTERVAL_MS
    village.close([village.record(village.sign(late, MessageType.BATCH))])
    village.close_due()
    village.live(40, dict.fromkeys(PUMP, 0) | WARM)
    box = SealingKeyRecord(village.link(), SoftwareKey.from_secret(701).public_key)
    village.close([village.record(village.sign(box, MessageType.SEALING_KEY))])
    step = rotate(village.link(), village.keys["gw"].public_key.thumbprint, SoftwareKey.from_secret(700))
    village.close([village.record(village.sign(step, MessageType.ROTATION))])
    return village


def a_life_with_contracts() -> Market:
    """One that was arbitrated, one that was rejected, and a participant who was frozen for a while."""
    market = Market()
    market.live_even(2)
    digest = market.made()
    market.made(nonce=bytes([1] * 16))
    market.freeze("gas")
    market.live_even(2)
    market.live_even(4, wind=0)
    market.dispute(digest)
    market.arbitrate(digest, 0)
    market.live_even(2)
    return market


def a_life_with_a_dispute() -> Market:
    """Tokens were put down."""
    market = Market(grid=a_market_grid(time={"period_ms": 30_000}, dispute_deposit=1))
    market.live(50)
    digest = market.made()
    market.live_even(6)
    market.dispute(digest, "wind", "gw-wind")
    return market


def an_auction_that_waits() -> Market:
    """Its gate has closed, and two have agreed on some of a line for its interval by themselves."""
    document = a_market_document()
    document["rules"]["market"] = {"mechanism": "call", "gate_ms": INTERVAL_MS}
    market = Market(grid=check(document, Grid, "grid.yaml"))
    market.made(seller="grid", quantity_wh=20, start_ms=SOON_MS, end_ms=SOON_MS + INTERVAL_MS)
    sell = a_quote(market, "wind", Side.SELL)
    market.close([market.record(market.sign(sell, MessageType.QUOTE))])
    market.now_ms = SOON_MS - INTERVAL_MS
    market.close([])
    return market


def _exchange(village: Village) -> None:
    """A rate is announced, and somebody sells tokens and buys a channel."""
    rate = RateRecord(village.link("regulator"), village.now_ms + 1, Rate(1_000, 1_000))
    village.close([village.record(village.sign(rate, MessageType.RATE, "regulator"))])
    village.now_ms += 1
    sale = Exchange(link=village.link(), participant="wind", kind=ExchangeKind.SELL, tokens=1, money_limit=0)
    village.close([village.record(village.sign(sale, MessageType.EXCHANGE))])
    start_ms = (village.now_ms // INTERVAL_MS + 1) * INTERVAL_MS
    window = {"start_ms": start_ms, "end_ms": start_ms + INTERVAL_MS, "price_max": 1}
    channel = ChannelPurchase(link=village.link(), participant="wind", branch="b1", power_w=1, **window)
    village.close([village.record(village.sign(channel, MessageType.CHANNEL))])


def test_the_rows_of_the_state_are_those_of_the_files_version() -> None:
    found: dict[int, set[str]] = {}
    lives = (a_full_life(), a_life_with_contracts(), a_life_with_a_dispute(), an_auction_that_waits())
    for block in (block for life in lives for block in life.blocks):
        for change in block.changes:
            if change.value is not None:
                table, key = decode(change.key, size_max=1 << 20)
                value = decode(change.value, size_max=1 << 24)
                shape = f"{shape_of(key)} {shape_of(value)}"
                shape = re.sub(r"\[(\[int int\] ?)+\]", "[[int int]…]", shape) if table == CONTRACTS_TABLE else shape
                found.setdefault(table, set()).add(shape)
    assert {table: sorted(shapes) for table, shapes in sorted(found.items())} == ROWS[SCHEMA_VERSION], CHANGED


def test_the_columns_of_the_tables_are_those_of_the_files_version() -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        create_schema(db)
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        found = {table: " ".join(row[1] for row in db.execute(f"PRAGMA table_info({table})")) for table in tables}
    assert found == COLUMNS[SCHEMA_VERSION], CHANGED
