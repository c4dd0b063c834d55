"""Founding a region: all of it or nothing, and a ledger that was meddled with is not opened."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.founding import region
from aggregator.founding.region import Founded, found
from aggregator.service.query import LedgerFile
from aggregator.service.sqlite_port import FILE_NAME
from protocol.crypto import PublicKey
from protocol.errors import OperatorError
from tests.village import START_MS, a_grid_document, some_keys


def a_grid_file(folder: Path) -> Path:
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(a_grid_document()))
    return path


def found_in(folder: Path, *, name: str = "node-1", gateways: dict[str, PublicKey] | None = None) -> Founded:
    keys = {"gw": some_keys("gw")["gw"].public_key} if gateways is None else gateways
    return found(
        folder / "region",
        a_grid_file(folder),
        name=name,
        gateways=keys,
        profile_folders=(),
        broker=("127.0.0.1", 1883),
        time_ms=START_MS,
    )


@pytest.mark.parametrize("name", ["a b", "gw", "regulator", "aggregator", ""])
def test_a_name_that_cannot_be_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    with pytest.raises(OperatorError, match="--name"):
        found_in(tmp_path, name=name)
    assert not (tmp_path / "region").exists()
    assert found_in(tmp_path).region == "village"


def test_a_key_for_a_gateway_that_nobody_knows_is_told(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"expected a --gateway out of gw, got gw-9"):
        found_in(tmp_path, gateways={"gw-9": some_keys("gw-9")["gw-9"].public_key})


@pytest.mark.parametrize("there", ["data", "regulator.key", "aggregator.yaml"])
def test_a_folder_in_which_something_was_founded_is_left_as_it_is(tmp_path: Path, there: str) -> None:
    (tmp_path / "region" / there).mkdir(parents=True)
    with pytest.raises(OperatorError, match=rf"in which nothing was founded yet: choose another one, got {there}"):
        found_in(tmp_path)
    assert [path.name for path in (tmp_path / "region").iterdir()] == [there]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--validators=4"], "are for --engine cometbft"),
        (["--first-port=30000"], "are for --engine cometbft"),
        (["--engine=cometbft", "--name=north"], "is for one node by itself"),
    ],
)
def test_an_option_of_the_other_engine_founds_nothing(tmp_path: Path, options: list[str], told: str) -> None:
    command = ["init", str(tmp_path / "region"), f"--grid={a_grid_file(tmp_path)}", *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 2 and told in " ".join(done.output.replace("│", " ").split())
    assert not (tmp_path / "region").exists()


def test_a_founding_that_is_broken_off_says_that_it_is_not_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(region, "write_ledger", interrupted)
    done = CliRunner().invoke(app, ["init", str(tmp_path / "region"), f"--grid={a_grid_file(tmp_path)}"])
    assert done.exit_code == 130
    assert "is not complete. Begin again in another folder." in " ".join(done.output.split())


def test_faults_of_the_grid_file_are_told_to_whoever_founds(tmp_path: Path) -> None:
    document = a_grid_document()
    document["nodes"].append({"id": "n9", "voltage_mv": 400_000})
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(document))
    done = CliRunner().invoke(app, ["init", str(tmp_path / "region"), f"--grid={file}"])
    assert done.exit_code == 0
    assert "fault  node n9: no path of branches from the reference node n0" in done.stderr
    assert "Faults: 1 of the grid file: mend it and found the region anew" in done.stderr
    good = CliRunner().invoke(app, ["init", str(tmp_path / "good"), f"--grid={a_grid_file(tmp_path)}"])
    assert (good.exit_code, good.stderr) == (0, "")


def test_private_keys_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    found_in(tmp_path)
    for name in ("regulator.key", "aggregator.key", f"data/{FILE_NAME}"):
        assert (tmp_path / "region" / name).stat().st_mode & 0o777 == 0o600


def test_a_state_that_was_meddled_with_is_not_opened(tmp_path: Path) -> None:
    found_in(tmp_path)
    data = tmp_path / "region" / "data"
    with sqlite3.connect(data / FILE_NAME) as db:
        db.execute("UPDATE state SET value = x'00' WHERE key = (SELECT min(key) FROM state)")
    db.close()
    with pytest.raises(OperatorError, match=r"a ledger that adds up .*, got the stored state does not fit"):
        LedgerFile(data)
