"""`explain` on a ledger file: every step adds up to the one above, and each is found where it says that it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.economy.accounts import MovementKind
from aggregator.service.past import Past
from aggregator.service.query import LedgerFile
from protocol.batch import Batch
from protocol.checkpoint import ChainName
from protocol.envelope import Envelope
from tests.explaining import explained, run
from tests.integration.test_ledger_file import Running
from tests.integration.test_restated_ledger import Region

PERIODS_MS = (1_790_000_000_000, 1_790_000_030_000, 1_790_000_060_000, 1_790_000_090_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three settlement periods of the village, and the beginning of a fourth."""
    made = tmp_path_factory.mktemp("ledger")
    running = Running(made)
    running.live(100)
    running.node.close()
    yield made


@pytest.mark.parametrize("participant", ["gas", "grid", "home", "wind"])
def test_every_step_adds_up_to_the_one_above(folder: Path, participant: str) -> None:
    found = explained(folder, participant)
    assert found["adds_up"] is True
    assert len(found["intervals"]) == 6
    for key, amount in found["sums"].items():
        assert sum(interval["adds"][key] for interval in found["intervals"]) == amount
    for interval in found["intervals"]:
        for line in interval["energy"]:
            assert sum(line["origin_wh"].values()) == line["imported_wh"]
    earned = [MovementKind.AWARD, MovementKind.CHARGE]
    moved = [post["movement"]["amount"] for post in found["postings"] if post["movement"]["kind"] in earned]
    assert sum(moved) == abs(found["tokens"] or 0)


def test_a_factor_is_shown_with_its_numbers(folder: Path) -> None:
    found = explained(folder, "gas")
    emitted_mg = found["sums"]["emitted_mg"]
    (role,) = found["roles"]
    assert role["role"] == "supply"
    assert f"(100.000 g − {emitted_mg / 1000:.3f} g) / 100.000 g" in role["lines"][1]
    assert role["tokens"] == found["tokens"] < 0


def test_each_step_stands_where_it_says(folder: Path) -> None:
    found = explained(folder, "home", "--interval", "2026-09-21T14:14:32Z")
    ledger = LedgerFile(folder)
    (interval,) = found["intervals"]
    record = ledger.store.leaf(ChainName.ANALYSIS, interval["place"]["index"])
    assert record is not None
    assert Envelope.parse(record.body).type == "interval"
    (meter,) = interval["meters"]
    assert meter["meter"] == "m-home"
    assert meter["energy"]["imported_wh"] == interval["energy"][0]["imported_wh"]
    (batch,) = meter["batches"]
    leaf = ledger.store.leaf(ChainName.DATA, batch["place"]["index"])
    assert leaf is not None
    envelope = Envelope.parse(leaf.body)
    assert Batch.decode(envelope.payload).link.sequence == batch["sequence"]
    assert leaf.height == batch["place"]["height"]
    assert batch["readings"] == 5
    ledger.close()


def test_the_command_that_it_gives_proves_the_reading(folder: Path) -> None:
    result = run(folder, "home", "--interval", "2026-09-21T14:14:32Z")
    (line,) = [line.split() for line in result.stdout.splitlines() if " prove " in line]
    arguments = line[line.index("prove") :]
    proven = CliRunner().invoke(app, arguments)
    assert proven.exit_code == 0
    assert json.loads(proven.stdout)["kind"] == "reading"


def test_earlier_periods_are_explained_too(folder: Path) -> None:
    for at, start_ms in zip(("2026-09-21T14:13:21Z", "2026-09-21T14:13:50Z"), PERIODS_MS, strict=False):
        found = explained(folder, "home", at)
        assert found["start_ms"] == start_ms
        assert found["adds_up"] is True
        assert {posting["period_start_ms"] for posting in found["postings"]} <= {start_ms}


def test_the_text_tells_the_same_and_fits_a_narrow_terminal(folder: Path) -> None:
    result = run(folder, "home")
    assert "the intervals below add up to the same" in result.stdout
    assert "DO NOT" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "--interval 2026-09-21T14:14:" in result.stdout


def test_what_is_found_again_and_again_is_told_once(folder: Path) -> None:
    told = " ".join(run(folder, "home", "2026-09-21T14:13:21Z").stdout.split())
    assert told.count("the readings contradict each other") == 1
    assert "the readings contradict each other; and 5 times more, until 2026-09-21 14:13:45" in told
    assert "m-home: says 30,000 W imported, where 50,000 W imported would fit" in told


def test_an_interval_looked_at_closely_says_that_all_of_the_period_add_up(folder: Path) -> None:
    result = run(folder, "home", "--interval", "2026-09-21T14:14:32Z")
    assert "the period's intervals add up to the same" in result.stdout


def refusal(folder: Path, *arguments: str) -> str:
    result = run(folder, *arguments)
    assert result.exit_code == 1
    return str(result.exception)


def test_somebody_unknown_is_answered_with_the_nearest_names(folder: Path) -> None:
    assert "no participant 'hom' in village: the nearest names are home" in refusal(folder, "hom")


def test_the_period_that_runs_is_told_as_far_as_it_is_known(folder: Path) -> None:
    found = explained(folder, "home", "now")
    assert (found["is_settled"], found["factors_at"], found["roles"]) == (False, None, [])
    assert found["start_ms"] == PERIODS_MS[3]
    assert found["adds_up"] is True
    assert (
        found["sums"]["used_wh"] == sum(line["imported_wh"] for one in found["intervals"] for line in one["energy"]) > 0
    )
    assert "none yet: the period runs" in run(folder, "home", "now").stdout


def test_an_interval_of_the_period_that_runs_goes_down_to_its_readings(folder: Path) -> None:
    found = explained(folder, "home", "--interval", "2026-09-21T14:14:51Z")
    (interval,) = found["intervals"]
    assert interval["meters"][0]["batches"]
    assert "is not closed yet: intervals are closed up to" in refusal(
        folder, "home", "--interval", "2026-09-21T14:15:15Z"
    )


def test_while_no_period_is_settled_the_first_one_is_told_so_far(tmp_path: Path) -> None:
    begun = Running(tmp_path)
    assert "no settlement period is closed yet" in refusal(tmp_path, "home")
    assert "no interval of it is closed yet: the running one is" in refusal(tmp_path, "home", "now")
    begun.live(15)
    begun.node.close()
    found = explained(tmp_path, "home")
    assert (found["is_settled"], len(found["intervals"])) == (False, 2)


def test_a_picture_is_of_a_day_or_of_a_span(folder: Path) -> None:
    options = ["--day", "2026-09-21", "--from", "2026-09-21T14:14:00Z", "--data", str(folder), "-o", "x.svg"]
    result = CliRunner().invoke(app, ["plot", "origin", "home", *options])
    assert result.exit_code == 2
    assert "either --day, or --from and --to" in result.output


def test_a_ledger_without_a_closed_interval_says_when_the_first_one_begins(tmp_path: Path) -> None:
    begun = Running(tmp_path)
    begun.node.close()
    result = CliRunner().invoke(app, ["plot", "network", "--data", str(tmp_path), "-o", str(tmp_path / "x.svg")])
    assert str(result.exception) == "no interval is closed yet: the first one begins at 2026-09-21 14:13:20"


def test_a_period_that_is_not_closed_is_answered_with_those_that_are(folder: Path) -> None:
    said = refusal(folder, "home", "2026-09-21T14:14:55Z")
    assert "closed are 2026-09-21 14:13:20 – 2026-09-21 14:13:50" in said
    assert "the running one is 2026-09-21 14:14:50 – 2026-09-21 14:15:20" in said
    assert "no closed settlement period holds 2027-01" in refusal(folder, "home", "2027-01")
    assert "got 'yesterday'" in refusal(folder, "home", "yesterday")
    assert "say which time zone: 2026-09-21T14:14:32Z" in refusal(folder, "home", "2026-09-21T14:14:32")


def test_an_interval_of_another_period_is_refused(folder: Path) -> None:
    said = refusal(folder, "home", "2026-09-21T14:13:21Z", "--interval", "2026-09-21T14:14:32Z")
    assert "is not in the period" in said


def test_intervals_are_found_again_in_any_span_of_time(folder: Path) -> None:
    ledger = LedgerFile(folder)
    past = Past(ledger.store)
    every = past.intervals(PERIODS_MS[0], PERIODS_MS[3], 10**9)
    assert [one.start_ms for one in every] == list(range(PERIODS_MS[0], PERIODS_MS[3], 5_000))
    some = past.intervals(PERIODS_MS[1], PERIODS_MS[2], 10**9)
    assert some == every[6:12]
    assert all(one.energies for one in every)
    ledger.close()


@pytest.mark.parametrize("participant", ["gas", "home", "wind"])
def test_a_restated_period_is_explained_as_it_was_stated_last(tmp_path: Path, participant: str) -> None:
    late = Region(tmp_path, wind_heard_ms=100_000)
    late.live(180)
    late.node.close()
    found = explained(late.folder, participant, "2026-09-21T14:13:50Z")
    assert any(interval["restatements"] for interval in found["intervals"])
    assert found["adds_up"] is True
    up, down = MovementKind.ADJUSTMENT_UP, MovementKind.ADJUSTMENT_DOWN
    signs = {MovementKind.AWARD: 1, up: 1, MovementKind.CHARGE: -1, down: -1}
    moved = sum(signs.get(post["movement"]["kind"], 0) * post["movement"]["amount"] for post in found["postings"])
    assert moved == (found["tokens"] or 0)
