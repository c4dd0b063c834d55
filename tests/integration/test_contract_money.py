"""What a contract comes to stands in the books that bills are paid from and a bank is told of: there is one set."""

from __future__ import annotations

import csv
import json
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from aggregator.chains.accounts.exchanges import Payout, RateRecord
from aggregator.economy.contracts.states import State
from aggregator.economy.exchange import Rate
from aggregator.regulator.money.bank_file import read_csv
from aggregator.service.store import Store
from protocol.canonical import decode
from protocol.checkpoint import ChainName
from protocol.crypto import digest_of
from protocol.envelope import Envelope
from protocol.exchange import Exchange, ExchangeKind
from protocol.messages import MessageType
from protocol.money import MILLIONTHS, millionths_of
from tests.contract_village import EVEN_WH, a_market_document
from tests.integration.test_contract_ledger import Trading, audited, command
from tests.village import a_grid

IBANS = {"home": "DE02120300000000202051", "wind": "DE89370400440532013000"}
PRICE = 2 * EVEN_WH


@pytest.fixture
def trading(tmp_path: Path) -> Trading:
    """A node of a region in which contracts are made, and tokens and money exchanged; the home was given tokens."""
    document = a_market_document(time={"period_ms": 30_000})
    document["rules"]["exchange"] = {"bought_per_day": 0, "sold_per_day": 0}
    made = Trading(tmp_path / "data", a_grid(**document))
    made.live(50)
    village = made.village
    made.send(village.sign(village.a_transfer("wind", "home", amount=20), MessageType.TRANSFER))
    return made


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    accounts = [{"participant": name, "name": name.title(), "iban": iban} for name, iban in IBANS.items()]
    path = tmp_path / "bank.yaml"
    path.write_text(yaml.safe_dump({"name": "Stadtwerke", "iban": IBANS["home"], "accounts": accounts}))
    return path


def money(trading: Trading) -> Any:
    """Who is owed how much, as the command tells it."""
    owed: dict[str, int] = json.loads(command(trading, "money", "--json").output)["owed_millionths"]
    return {name: Fraction(amount, MILLIONTHS) for name, amount in owed.items()}


def settle(trading: Trading) -> bytes:
    """Wind is delivered to the home as agreed, and nobody disputes it."""
    terms = trading.village.terms()
    trading.agree(terms)
    trading.live_even(10)
    assert trading.state(terms.digest) is State.SETTLED
    return terms.digest


def pay_a_bill(trading: Trading, tokens: int, brings: int) -> None:
    """Tokens of the home for what it owes in money, at a rate of so much for 1,000."""
    village = trading.village
    rate = RateRecord(village.link("regulator"), village.now_ms + 1, Rate(brings, brings))
    trading.send(village.sign(rate, MessageType.RATE, "regulator"))
    trading.live_even(1)
    bill = Exchange(
        link=village.link("gw-home"), participant="home", kind=ExchangeKind.BILL_CREDIT, tokens=tokens, money_limit=0
    )
    trading.send(village.sign(bill, MessageType.EXCHANGE, "gw-home"))


def test_what_a_contract_comes_to_is_in_the_bank_file_and_off_the_books_once_a_bank_has_moved_it(
    trading: Trading, bank: Path
) -> None:
    settle(trading)
    assert money(trading) == {"home": -PRICE, "wind": PRICE}
    pay_a_bill(trading, tokens=20, brings=2_000)
    assert money(trading) == {"home": -PRICE + 40, "wind": PRICE}
    document = command(trading, "bank-file", f"--accounts={bank}").output
    rows = [(row["participant"], row["direction"], row["amount"]) for row in csv.DictReader(document.splitlines())]
    assert rows == [("home", "collect", "0.60"), ("wind", "pay", "1.00")]
    told = command(trading, "bank-file", f"--accounts={bank}", "--format=pain.001", "--on=2026-12-01").output
    assert '<InstdAmt Ccy="EUR">1.00</InstdAmt>' in told and IBANS["wind"] in told
    reference, amounts = read_csv(document.encode())
    payout = Payout(trading.village.link("regulator"), reference, tuple(sorted(amounts.items())))
    trading.send(trading.village.sign(payout, MessageType.PAYOUT, "regulator"))
    assert money(trading) == {}
    assert trading.node.five.payment.money.owed_to("reserve") == 0
    assert trading.node.five.ledger.broken_invariants() == []
    assert audited(trading, second_opinion=True)
    trading.node.close()


def test_what_is_owed_for_contracts_says_by_which_interval(trading: Trading) -> None:
    settle(trading)
    trading.node.close()
    with closing(Store.open_read_only(trading.folder)) as store:
        spelled = [leaf for leaf in store.leaves(ChainName.ANALYSIS) if leaf.body[1:].startswith(b"\x65money")]
        (height,) = {leaf.height for leaf in spelled}
        told = [decode(leaf.body, size_max=1 << 10)[1:] for leaf in spelled]
        intervals = [one.envelope for one in store.entries(height) if Envelope.parse(one.envelope).type == "interval"]
    owed = millionths_of(PRICE)
    assert [said[1:] for said in told] == [["home", -owed, -owed], ["wind", owed, owed]]
    assert {said[0] for said in told} == {digest_of(envelope) for envelope in intervals}
