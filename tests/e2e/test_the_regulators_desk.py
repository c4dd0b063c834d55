"""The regulator's desk, by commands, on one node and on four validators: rules, rates, a bank's file, and a ruling.

Whatever is signed at the desk reaches every node, and an audit derives it again.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from protocol.money import millionths_of
from tests.e2e.region import run
from tests.e2e.trading import ENGINES, Place, a_place, soon, who

pytestmark = pytest.mark.mosquitto

WIND: Final = "wind"
IBAN: Final = "DE89370400440532013000"
SOLD: Final = 10
"""Tokens."""


def laid(grid: dict[str, Any]) -> None:
    """A region that changes tokens and money."""
    grid["rules"]["exchange"] = {"bought_per_day": 100, "sold_per_day": 100}


@pytest.fixture(scope="module", params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A region at night, when the turbine earns tokens."""
    with a_place(tmp_path_factory.mktemp("desk"), request.param, laid=laid, speed=1, begin_h=0) as made:
        yield made


def test_rules_are_amended_ahead_of_time_and_every_node_lives_by_them(place: Place, tmp_path: Path) -> None:
    assert place.until("the rules", bool, "rules")["amendments"] == []
    rules = yaml.safe_load(place.region.stage.grid_file.read_text())["rules"]
    reward, file = int(float(rules["tokens"]["reward"])) + 7, tmp_path / "amendment.yaml"
    file.write_text(yaml.safe_dump({"tokens": rules["tokens"] | {"reward": reward}}))
    assert "tokens.reward" in place.regulator("amend", str(file))
    told = place.until("the rules of now", lambda laws: laws["now"]["tokens.reward"] == str(reward), "rules")
    (amendment,) = told["amendments"]
    assert amendment["is_in_force"]
    assert [one["law"] for one in amendment["differences"]] == ["tokens.reward"]
    file.write_text(yaml.safe_dump({"accounts": {"ceiling": 1, "restricted_ppm": 300_000}}))
    assert "LAW_STAYS" in place.regulator("amend", str(file), status=1)


def test_tokens_become_money_that_a_bank_moves_once(place: Place, tmp_path: Path) -> None:
    desk = place.regulator("rate", f"--from={soon(20).isoformat()}", "--brings=2000", "--costs=2500")
    assert "bring 2000 and cost 2500" in desk
    place.until("the turbine has earned tokens", lambda rows: _balance(rows, WIND) > SOLD, "balances")
    place.until("the rate is in force", lambda told: told["rates"][-1]["is_in_force"], "money")
    place.agent("gw-1", "exchange", "sell", str(SOLD), f"--for={WIND}", "--money=20")
    owed = {WIND: millionths_of(2 * SOLD)}
    place.until("money is owed for tokens", lambda told: told["owed_millionths"] == owed, "money")
    accounts = [{"participant": WIND, "name": "Wind GmbH", "iban": IBAN}]
    bank, paid = tmp_path / "bank.yaml", tmp_path / "paid.csv"
    bank.write_text(yaml.safe_dump({"name": "Stadtwerke", "iban": IBAN, "accounts": accounts}))
    files = (f"--accounts={bank}", f"--data={place.ledgers[0]}")
    run("este-aggregator", "bank-file", *files, f"--output={paid}")
    (row,) = csv.DictReader(paid.read_text().splitlines())
    assert (row["direction"], row["amount"], row["iban"]) == ("pay", "0.20", IBAN)
    assert '<InstdAmt Ccy="EUR">0.20' in run("este-aggregator", "bank-file", *files, "--format=pain.001").stdout
    assert "1 amounts are off the books" in place.regulator("paid", str(paid))
    place.until("nothing is owed any more", lambda told: told["owed_millionths"] == {}, "money")
    assert "NOT_WHAT_IS_OWED" in place.regulator("paid", str(paid), status=1)


def test_money_pays_the_fine_of_whoever_owes_tokens(place: Place) -> None:
    rows = place.until("somebody owes tokens", lambda rows: any(row["balance"] < 0 for row in rows), "balances")
    debtor = next(row["participant"] for row in rows if row["balance"] < 0)
    gateway = next(one for one in place.region.gateways if debtor in who(place.region, one))
    place.agent(gateway, "exchange", "fine", "1", f"--for={debtor}", "--money=10")
    place.until("the fine is owed in money", lambda told: told["owed_millionths"].get(debtor, 0) < 0, "money")


def test_every_node_tells_one_story_and_an_audit_derives_it_again(place: Place) -> None:
    for node in place.nodes:
        place.region.stop(node)
    assert place.agree() > 0
    place.audit()


def _balance(rows: list[dict[str, Any]], participant: str) -> int:
    balance: int = next(row["balance"] for row in rows if row["participant"] == participant)
    return balance
