"""How commands end: every one of them alike."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from agent.commands import cli
from agent.exits import EXIT_EXPECTED, EXIT_PIN_REFUSED
from config import load
from protocol.errors import EsteError, OperatorError, PinRefused

COMMANDS = [
    ["status", "--settings", "agent.yaml"],
    ["doctor", "--settings", "agent.yaml", "--meter", "m-1"],
    ["profiles", "list"],
    ["scan", "--host", "127.0.0.1"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PinRefused("pin_file", "", "the PIN", "another"), EXIT_PIN_REFUSED),
        (OperatorError("x", "", "y", "z"), EXIT_EXPECTED),
    ],
    ids=["pin", "operator"],
)
def test_a_refused_pin_ends_every_command_alike(
    monkeypatch: pytest.MonkeyPatch, command: list[str], error: EsteError, code: int
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(load, "load", fails)
    monkeypatch.setattr(load, "load_profiles", fails)
    done = CliRunner().invoke(cli.app, command)
    assert (done.exit_code, len(done.stderr.splitlines())) == (code, 1)
