"""The regulator's desk and money: a rate is announced, a bank is told what is owed, what it paid is off the books."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from aggregator.chains.accounts.exchanges import Payout, RateRecord
from aggregator.cli import app
from aggregator.economy.exchange import Rate
from aggregator.founding.region import found
from aggregator.regulator.desk import RegulatorError
from aggregator.regulator.money.bank_file import read_csv
from aggregator.regulator.money.desk import announce, paid
from aggregator.regulator.rehearsal import WouldBeRefusedError
from config import key_files
from protocol.crypto import SoftwareKey
from protocol.exchange import Exchange, ExchangeKind
from protocol.messages import MessageType
from tests.integration.test_ledger_file import Running
from tests.integration.test_regulator import anew, take
from tests.village import START_MS, Village, a_grid, a_grid_document

RATE = Rate(2_000, 2_500)
IBANS = {"gas": "DE02500105170137075030", "home": "DE02120300000000202051", "wind": "DE89370400440532013000"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A region that exchanges tokens and money; its gateway is known, and nobody has earned anything yet."""
    document = a_grid_document()
    document["rules"]["exchange"] = {"bought_per_day": 100, "sold_per_day": 100}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(document))
    founding: dict[str, Any] = {"name": "node-1", "profile_folders": (), "broker": ("127.0.0.1", 9)}
    found(tmp_path / "agg", tmp_path / "grid.yaml", time_ms=START_MS, gateways={}, **founding)
    return tmp_path


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """Whose bank account is whose."""
    accounts = [{"participant": name, "name": name.title(), "iban": iban} for name, iban in IBANS.items()]
    path = tmp_path / "bank.yaml"
    path.write_text(yaml.safe_dump({"name": "Stadtwerke", "iban": IBANS["gas"], "accounts": accounts}))
    return path


@pytest.fixture
def key(home: Path) -> SoftwareKey:
    return key_files.load(home / "agg" / "regulator.key")


def este(home: Path, *command: str) -> str:
    """What a command prints."""
    done = CliRunner().invoke(app, [*command, f"--data={home / 'agg' / 'data'}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def at_the_desk(home: Path, act: Any) -> None:
    """Let the regulator sign something, and the node take it."""
    regulator = anew(home)
    sealed = act(regulator)
    regulator.close()
    take(home, sealed)


def test_a_rate_is_announced_ahead_and_shown(home: Path, key: SoftwareKey) -> None:
    assert "No rate was announced." in este(home, "money")
    at_the_desk(home, lambda regulator: announce(regulator, START_MS + 1, RATE, key))
    assert "2500" in este(home, "money")
    (rate,) = json.loads(este(home, "money", "--json"))["rates"]
    assert rate == {"from_ms": START_MS + 1, "brings": 2_000, "costs": 2_500, "is_in_force": False}


@pytest.mark.parametrize(
    ("from_ms", "rate", "error", "says"),
    [
        pytest.param(START_MS + 1, Rate(2, 1), RegulatorError, "could be pumped", id="a pump"),
        pytest.param(START_MS + 1, Rate(0, 0), RegulatorError, "could be pumped", id="tokens for nothing"),
        pytest.param(START_MS, RATE, WouldBeRefusedError, "RATE_NOT_AHEAD", id="a rate of now"),
    ],
)
def test_a_rate_that_cannot_be_is_said_before_anything_is_signed(
    home: Path, key: SoftwareKey, from_ms: int, rate: Rate, error: type[Exception], says: str
) -> None:
    regulator = anew(home)
    with pytest.raises(error, match=says):
        announce(regulator, from_ms, rate, key)
    regulator.close()


def test_nothing_is_paid_that_is_not_owed(home: Path, key: SoftwareKey) -> None:
    regulator = anew(home)
    with pytest.raises(WouldBeRefusedError, match="NOT_WHAT_IS_OWED"):
        paid(regulator, "village-1", {"wind": 1}, key)
    regulator.close()


def test_where_nobody_is_owed_money_a_file_says_so(home: Path, bank: Path) -> None:
    assert "Nobody is owed money" in este(home, "money")
    assert "Nobody is limited" in este(home, "limits")
    assert este(home, "bank-file", f"--accounts={bank}").count("\n") == 1


def test_wrong_words_are_one_sentence(home: Path, bank: Path) -> None:
    arguments = ["bank-file", f"--accounts={bank}", f"--data={home / 'agg' / 'data'}", "--on=tomorrow"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and "such as 2026-12-01" in done.output
    arguments = ["regulator", "rate", "--key=k", "--from=2026-12-01T00:00:00Z", "--brings=1", f"--costs={10**9 + 1}"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and "1000000000" in done.output


def test_what_is_owed_goes_to_a_bank_and_off_the_books_and_audit_finds_the_same(tmp_path: Path, bank: Path) -> None:
    rules = a_grid_document()["rules"] | {"exchange": {"bought_per_day": 100, "sold_per_day": 100}}
    (tmp_path / "agg" / "data").mkdir(parents=True)
    running = Running(tmp_path / "agg" / "data", Village(grid=a_grid(rules=rules)))
    village = running.village
    running.live(35)
    rate = RateRecord(village.link("regulator"), village.now_ms + 1, RATE)
    running.send(village.sign(rate, MessageType.RATE, "regulator"))
    running.live(5)
    sale = Exchange(link=village.link(), participant="wind", kind=ExchangeKind.SELL, tokens=50, money_limit=100)
    running.send(village.sign(sale, MessageType.EXCHANGE))
    fine = Exchange(link=village.link(), participant="gas", kind=ExchangeKind.FINE, tokens=10, money_limit=25)
    running.send(village.sign(fine, MessageType.EXCHANGE))
    assert json.loads(este(tmp_path, "money", "--json"))["owed_millionths"] == {"gas": -25_000_000, "wind": 100_000_000}
    told = este(tmp_path, "bank-file", f"--accounts={bank}", f"--output={tmp_path / 'paid.csv'}")
    assert "2 amounts, 1 to be paid" in told
    assert '<InstdAmt Ccy="EUR">1.00</InstdAmt>' in este(
        tmp_path, "bank-file", f"--accounts={bank}", "--format=pain.001", "--on=2026-12-01"
    )
    reference, amounts = read_csv((tmp_path / "paid.csv").read_bytes())
    for _ in range(2):  # the second time, nothing is owed any more
        payout = Payout(village.link("regulator"), reference, tuple(sorted(amounts.items())))
        running.send(village.sign(payout, MessageType.PAYOUT, "regulator"))
    assert running.node.five.ledger.head is not None
    assert "Nobody is owed money" in este(tmp_path, "money")
    running.node.close()
    assert "ok" in este(tmp_path, "audit")
