"""The regulator's desk and the law: what would change is shown, signed, and read by everybody."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.founding.region import found
from aggregator.regulator.desk import RegulatorError
from aggregator.regulator.laws import desk
from aggregator.regulator.rehearsal import WouldBeRefusedError
from config import key_files
from config.amendment import AmendmentFile
from config.load import SettingsError, check
from protocol.crypto import SoftwareKey
from tests.integration.test_regulator import anew, take
from tests.village import PERIOD_MS, START_MS, a_grid_document

NEXT_MS = START_MS + PERIOD_MS


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(a_grid_document()))
    founding: dict[str, Any] = {"name": "node-1", "profile_folders": (), "broker": ("127.0.0.1", 9)}
    found(tmp_path / "agg", tmp_path / "grid.yaml", time_ms=START_MS, gateways={}, **founding)
    return tmp_path


@pytest.fixture
def key(home: Path) -> SoftwareKey:
    return key_files.load(home / "agg" / "regulator.key")


def a_file(**sections: Any) -> AmendmentFile:
    return check(sections, AmendmentFile, "amendment.yaml")


def amend(home: Path, key: SoftwareKey, from_ms: int = NEXT_MS, **sections: Any) -> None:
    regulator = anew(home)
    try:
        sealed = desk.amend(regulator, desk.amended(regulator, a_file(**sections), from_ms), from_ms, key)
    finally:
        regulator.close()
    take(home, sealed)


def shown(home: Path, *options: str) -> str:
    done = CliRunner().invoke(app, ["rules", f"--data={home / 'agg' / 'data'}", *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


TOKENS = a_grid_document()["rules"]["tokens"]


def test_everybody_reads_what_holds_and_what_will(home: Path, key: SoftwareKey) -> None:
    assert "To be changed" not in shown(home)
    amend(home, key, tokens=TOKENS | {"reward": 80}, permits=[{"participant": "gas", "grams": 70}])
    told = json.loads(shown(home, "--json"))
    assert told["now"]["tokens.reward"] == "100"
    (to_come,) = told["amendments"]
    assert (to_come["from_ms"], to_come["is_in_force"]) == (NEXT_MS, False)
    assert to_come["differences"] == [
        {"law": "tokens.reward", "before": "100", "after": "80"},
        {"law": "permits.gas", "before": "100 g", "after": "70 g"},
        {"law": "permits.wind", "before": "100 g", "after": None},
    ]
    assert "To be changed" in shown(home)


def test_a_section_that_the_file_does_not_have_stays(home: Path, key: SoftwareKey) -> None:
    amend(home, key, accounts={"ceiling": 500, "restricted_ppm": 200_000})
    amend(home, key, NEXT_MS + PERIOD_MS, tokens=TOKENS | {"reward": 80})
    *_, last = json.loads(shown(home, "--json"))["amendments"]
    assert [one["law"] for one in last["differences"]] == ["tokens.reward"]


def test_what_cannot_be_is_said_before_anything_is_signed(home: Path, key: SoftwareKey) -> None:
    with pytest.raises(RegulatorError, match="nothing would change"):
        amend(home, key, tokens=TOKENS)
    with pytest.raises(WouldBeRefusedError, match="RULES_NOT_AHEAD"):
        amend(home, key, START_MS, tokens=TOKENS | {"reward": 80})
    with pytest.raises(WouldBeRefusedError, match="LAW_STAYS"):
        amend(home, key, accounts={"ceiling": 1, "restricted_ppm": 300_000})


@pytest.mark.parametrize(
    ("document", "says"),
    [
        pytest.param({}, "at least one section", id="nothing"),
        pytest.param({"tokens": None}, "no region is without", id="no tokens"),
        pytest.param({"time": {"interval_ms": 1000}}, "time", id="how time is cut"),
        pytest.param({"tokens": TOKENS | {"reward": -1}}, "0 or more", id="a reward below 0"),
        pytest.param({"permits": [{"participant": "gas", "grams": 0}]}, "grams", id="a permit of nothing"),
    ],
)
def test_a_file_that_is_no_amendment_says_why(document: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        check(document, AmendmentFile, "amendment.yaml")


def test_an_amendment_is_shown_and_not_signed_on_a_dry_run(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "amendment.yaml"
    file.write_text(yaml.safe_dump({"tokens": TOKENS | {"reward": 80}}))
    command = ["regulator", "amend", str(file), "--dry-run", f"--key={home / 'agg' / 'regulator.key'}"]
    done = CliRunner().invoke(app, [*command, f"--settings={home / 'agg' / 'aggregator.yaml'}"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "tokens.reward" in done.output
    assert "Nothing is signed" in done.output
    assert "To be changed" not in shown(home)
