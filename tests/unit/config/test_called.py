"""A suggested command is spelled so that it can be pasted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from config.called import called


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An installed program in a folder of its own."""
    file = tmp_path / "bin" / "este-agent"
    file.parent.mkdir()
    file.touch(0o755)
    return file


def test_a_program_that_is_not_on_path_is_named_as_it_was_called(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bin/este-agent", "run"])
    assert called("este-agent") == "bin/este-agent"
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "my bin" / "este-agent")])
    assert called("este-agent") == f"'{tmp_path}/my bin/este-agent'"


def test_a_program_on_path_is_named_by_its_name(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(sys, "argv", [str(program), "run"])
    assert called("este-agent") == "este-agent"


def test_another_copy_than_the_one_on_path_is_named_by_its_path(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "other" / "este-agent")])
    assert called("este-agent") == str(tmp_path / "other" / "este-agent")


@pytest.mark.parametrize("argv", ["este-agent", "/usr/bin/pytest", "-c", ""])
def test_what_cannot_be_told_is_the_bare_name(argv: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [argv])
    assert called("este-agent") == "este-agent"
