"""The regulator's desk and events: called from a command's words, shown, cancelled; what cannot be is said before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from aggregator.founding.region import found
from aggregator.regulator.desk import Regulator, RegulatorError
from aggregator.regulator.events.cli import events
from aggregator.regulator.events.desk import EventView, call, cancel, events_of
from aggregator.regulator.rehearsal import WouldBeRefusedError
from aggregator.service.query import LedgerFile
from config.key_files import load
from protocol.crypto import SoftwareKey
from tests.integration.test_regulator import anew, take
from tests.village import INTERVAL_MS, START_MS, a_grid_document

SPAN = (START_MS + INTERVAL_MS + 1, START_MS + 3 * INTERVAL_MS)
"""Begins within an interval."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A region in which home and wind respond."""
    document = a_grid_document()
    for participant in document["participants"]:
        participant["responds"] = participant["id"] in ("home", "wind")
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(document))
    founding: dict[str, Any] = {"name": "node-1", "gateways": {}, "profile_folders": (), "broker": ("127.0.0.1", 9)}
    found(tmp_path / "agg", tmp_path / "grid.yaml", time_ms=START_MS, **founding)
    return tmp_path


@pytest.fixture
def key(home: Path) -> SoftwareKey:
    return load(home / "agg" / "regulator.key")


@pytest.fixture
def regulator(home: Path) -> Iterator[Regulator]:
    opened = anew(home)
    yield opened
    opened.close()


def shown(home: Path) -> list[EventView]:
    ledger = LedgerFile(home / "agg" / "data")
    try:
        return events_of(ledger.five)
    finally:
        ledger.close()


def test_an_event_is_called_shown_and_cancelled(
    home: Path, key: SoftwareKey, regulator: Regulator, capsys: pytest.CaptureFixture[str]
) -> None:
    take(home, call(regulator, SPAN, "b1", ["home", "home"], key))
    (event,) = shown(home)
    whole = (START_MS + 2 * INTERVAL_MS, START_MS + 3 * INTERVAL_MS)
    assert event == EventView(1, "b1", *whole, ("home",), False), "rounded up to whole intervals"
    events(home / "agg" / "data", as_json=True)
    assert json.loads(capsys.readouterr().out)[0]["called"] == ["home"]
    events(home / "agg" / "data")
    assert "b1" in capsys.readouterr().out
    later = anew(home)
    take(home, cancel(later, 1, "no cloud came", key))
    later.close()
    events(home / "agg" / "data")
    assert capsys.readouterr().out == "Nobody is called.\n"


def test_who_names_nobody_calls_all_that_respond(home: Path, key: SoftwareKey, regulator: Regulator) -> None:
    take(home, call(regulator, SPAN, "", [], key))
    assert shown(home)[0].called == ("home", "wind")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"branch": "b9"}, "there is no power line b9; the grid has b1", id="a line that is not there"),
        pytest.param({"participants": ["gas"]}, "gas does not take part", id="somebody who does not respond"),
        pytest.param({"span": (SPAN[1], SPAN[1])}, "an interval or more", id="no time"),
        pytest.param({"span": (START_MS, START_MS + 10**8)}, "a day at most", id="two days"),
    ],
)
def test_what_cannot_be_called_is_said_before_anything_is_signed(
    key: SoftwareKey, regulator: Regulator, changes: dict[str, Any], says: str
) -> None:
    arguments: dict[str, Any] = {"span": SPAN, "branch": "b1", "participants": []} | changes
    with pytest.raises(RegulatorError, match=says):
        call(regulator, key=key, **arguments)


def test_what_is_too_late_is_said_too(key: SoftwareKey, regulator: Regulator) -> None:
    with pytest.raises(WouldBeRefusedError, match="NOT_AHEAD"):
        call(regulator, (START_MS - INTERVAL_MS, START_MS), "b1", [], key)
