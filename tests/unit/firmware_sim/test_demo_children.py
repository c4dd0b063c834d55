"""The commands that the demo tells can be pasted, wherever one stands; what it starts is over when it says so."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from firmware_sim.demo.children import output_of, pasted


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with este's commands in an environment below it, which is not on PATH."""
    commands = tmp_path / "este" / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name in ("python", "este-aggregator"):
        (commands / name).touch(mode=0o755)
    monkeypatch.setattr(sys, "executable", str(commands / "python"))
    monkeypatch.setenv("PATH", "/usr/bin")
    return tmp_path / "este"


def test_below_where_one_stands_a_command_has_its_path_from_there(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(installed)
    assert pasted("este-aggregator", "audit") == ".venv/bin/este-aggregator audit"


def test_elsewhere_it_has_its_whole_path(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (installed.parent / "other").mkdir()
    monkeypatch.chdir(installed.parent / "other")
    assert pasted("este-aggregator") == str(installed / ".venv" / "bin" / "este-aggregator")


def test_on_path_its_name_is_enough(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(installed / ".venv" / "bin"))
    assert pasted("este-aggregator") == "este-aggregator"


def test_another_one_on_path_is_not_mistaken_for_it(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(installed)
    other = installed.parent / "other"
    other.mkdir()
    (other / "este-aggregator").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(other))
    assert pasted("este-aggregator") == ".venv/bin/este-aggregator"


def test_a_folder_with_a_space_stays_one_argument(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(installed)
    assert pasted("este-aggregator", "--data", Path("my region")).endswith("--data 'my region'")


async def test_a_command_that_nobody_waits_for_any_more_is_ended() -> None:
    asking = asyncio.create_task(output_of([sys.executable, "-c", "import time; time.sleep(60)"]))
    await asyncio.sleep(0.3)
    asking.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await asking
