"""How `este-agent` is started: the one command that stays in memory goes without the parser of the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import cli, start
from agent.commands.cli import app

PLAIN = [["run", "--settings", "agent.yaml"], ["run", "--settings=agent.yaml"]]

OTHERS = [
    [],
    ["run"],
    ["run", "--help"],
    ["run", "--settings"],
    ["run", "--settings", "--help"],
    ["run", "--settings", "agent.yaml", "--drain-s", "5"],
    ["run", "--drain-s", "5", "--settings", "agent.yaml"],
    ["status", "--settings", "agent.yaml"],
]


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_a_run_that_says_nothing_else_is_read_without_the_parser(words: list[str]) -> None:
    assert cli.plain_run(words) == Path("agent.yaml")


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_every_other_command_line_is_the_parsers(words: list[str]) -> None:
    assert cli.plain_run(words) is None


@pytest.mark.parametrize("words", PLAIN, ids=" ".join)
def test_an_agent_that_runs_has_no_command_parser_in_memory(tmp_path: Path, words: list[str]) -> None:
    program = (
        "import atexit, sys; from agent.cli import main; atexit.register(lambda: print('typer' in sys.modules)); main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (1, "False\n")
    assert done.stderr == "este-agent: agent.yaml: expected a settings file, got no such file\n"


def test_both_ways_start_the_same_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    monkeypatch.setattr(start, "run", lambda settings, drain_s=start.DRAIN_S: started.append((settings, drain_s)))
    monkeypatch.setattr(sys, "argv", ["este-agent", "run", "--settings", "agent.yaml"])
    cli.main()
    assert CliRunner().invoke(app, ["run", "--settings", "agent.yaml"]).exit_code == 0
    assert started == [(Path("agent.yaml"), start.DRAIN_S)] * 2


def test_ctrl_c_ends_it_with_the_status_that_shells_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "run", interrupted)
    monkeypatch.setattr(sys, "argv", ["este-agent", "run", "--settings", "agent.yaml"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
