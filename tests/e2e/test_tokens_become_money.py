"""Tokens buy a channel and become money, by commands: a rate, a sale, a file for a bank, and off the books."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.region import Region, a_region, run, running, wait_until

pytestmark = pytest.mark.mosquitto

IBAN = "DE89370400440532013000"
WIND, GATEWAY, LINE = "wind", "gw-1", "b-1-1"


def with_a_market(grid: dict[str, Any]) -> None:
    """The region sells channels, and exchanges tokens and money."""
    grid["rules"] |= {"exchange": {"bought_per_day": 50, "sold_per_day": 50}}
    grid["rules"]["rights"] = [{"right": "channel_use", "price": 60}]


def soon(seconds: int) -> datetime:
    """An instant to come."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def minute(at: datetime) -> str:
    """When its minute began: a boundary of intervals, however long they are."""
    return at.replace(second=0, microsecond=0).isoformat()


def balances(region: Region) -> dict[str, Any]:
    rows = region.ask("este-aggregator", "balances", f"--data={region.stage.ledger}")
    return {row["participant"]: row for row in rows}


def money(region: Region) -> Any:
    return region.ask("este-aggregator", "money", f"--data={region.stage.ledger}")


def regulator(region: Region, *command: str, status: int = 0) -> str:
    """What the regulator's desk says, in front of the running node."""
    key = f"--key={region.stage.region / 'regulator.key'}"
    settings = f"--settings={region.stage.aggregator_settings}"
    done = run("este-aggregator", "regulator", *command, key, settings, status=status)
    return done.stdout + done.stderr


def test_a_channel_is_bought_and_tokens_become_money_that_a_bank_moves(tmp_path: Path) -> None:
    region = a_region(tmp_path, laid=with_a_market)
    agent = f"--settings={region.stage.agent_settings(GATEWAY)}"
    log = lambda: region.log("aggregator") + region.log(GATEWAY)  # noqa: E731  said once, for every wait below
    with running(region, "broker", "fleet", "aggregator", *region.gateways):
        wait_until("the first blocks", lambda: region.ledger()["intervals_closed"] > 0, log)
        assert "bring 2000 and cost 2500" in regulator(
            region, "rate", f"--from={soon(20).isoformat()}", "--brings=2000", "--costs=2500"
        )
        wait_until("the turbine has earned tokens", lambda: balances(region)[WIND]["balance"] > 30, log)
        wait_until("the rate is in force", lambda: money(region)["rates"][-1]["is_in_force"], log)
        window = (f"--from={minute(soon(120))}", f"--until={minute(soon(180))}")
        run("este-agent", "channel", LINE, "5000", f"--for={WIND}", *window, "--price-max=20", agent)
        run("este-agent", "exchange", "sell", "10", f"--for={WIND}", "--money=20", agent)
        wait_until("money is owed", lambda: money(region)["owed_millionths"] == {WIND: 20_000_000}, log)
        (channel,) = balances(region)[WIND]["rights"]
        assert (channel["branch"], channel["power_w"]) == (LINE, 5000)
        accounts = [{"participant": WIND, "name": "Wind GmbH", "iban": IBAN}]
        bank = tmp_path / "bank.yaml"
        bank.write_text(yaml.safe_dump({"name": "Stadtwerke", "iban": IBAN, "accounts": accounts}))
        files = [f"--accounts={bank}", f"--data={region.stage.ledger}"]
        run("este-aggregator", "bank-file", *files, f"--output={tmp_path / 'paid.csv'}")
        (row,) = csv.DictReader((tmp_path / "paid.csv").read_text().splitlines())
        assert (row["direction"], row["amount"], row["iban"]) == ("pay", "0.20", IBAN)
        assert '<InstdAmt Ccy="EUR">0.20' in run("este-aggregator", "bank-file", *files, "--format=pain.001").stdout
        assert "1 amounts are off the books" in regulator(region, "paid", str(tmp_path / "paid.csv"))
        assert money(region)["owed_millionths"] == {}
        again = regulator(region, "paid", str(tmp_path / "paid.csv"), status=1)
        assert "NOT_WHAT_IS_OWED" in again
        region.stop("aggregator")
    assert region.ask("este-aggregator", "audit", f"--data={region.stage.ledger}")["audit"] == "ok"
