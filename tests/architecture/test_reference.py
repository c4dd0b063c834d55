"""What docs/reference says of settings and commands is what the programs take."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from agent.commands.cli import app as agent
from aggregator.cli import app as aggregator
from firmware_sim.cli import app as fleet
from firmware_sim.demo.cli import app as demo
from tests.architecture.house import ROOT, report
from tests.architecture.reference import PAGES, TODO, brought_up_to_date, pages

COMMANDS = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
APPS = {"este-agent": agent, "este-aggregator": aggregator, "este-fleet": fleet, "este-demo": demo}


def options() -> Iterator[tuple[str, set[str]]]:
    """Every command of every program, and the options that it takes."""
    for name, app in APPS.items():
        yield from options_of(name, typer.main.get_command(app))


def options_of(title: str, command: Any) -> Iterator[tuple[str, set[str]]]:
    """A command's options, and those of the verbs below it."""
    if verbs := getattr(command, "commands", None):
        if command.params:
            yield title, options_in(command)
        for key, verb in verbs.items():
            yield from options_of(f"{title} {key}", verb)
    else:
        yield title, options_in(command)


def options_in(command: Any) -> set[str]:
    """The options that a command itself takes."""
    return {option for parameter in command.params for option in parameter.opts if option.startswith("-")}


def section(title: str) -> str:
    """What the page says below a heading."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##|\Z)", COMMANDS, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def documented(text: str) -> set[str]:
    """The options in the first column of a section's table."""
    cells = re.findall(r"^\| (`-.*?) \|", text, re.MULTILINE)
    return {option for cell in cells for option in re.findall(r"`(--?[\w-]+)`", cell)}


def test_the_tables_are_what_the_models_say() -> None:
    stale = [path.name for path, text, wanted in pages() if text != wanted]
    report("Run .venv/bin/python -m tests.architecture.reference, then say what new settings mean.", stale)


def test_every_setting_has_a_meaning() -> None:
    report("Say what it means, in docs/reference.", [path.name for path, text, _ in pages() if f"| {TODO} |" in text])


@pytest.mark.parametrize(("title", "taken"), list(options()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_is_documented(title: str, taken: set[str]) -> None:
    assert documented(section(title)) == taken, f"docs/reference/commands.md, {title}"


@pytest.mark.parametrize("title", [title for title, _ in options()])
def test_help_shows_no_value_behind_an_option_that_takes_none(title: str) -> None:
    name, *verbs = title.split()
    told = CliRunner().invoke(APPS[name], [*verbs, "--help"])
    assert told.exit_code == 0
    assert "<bool>" not in told.output


def test_a_table_that_has_fallen_behind_is_seen() -> None:
    (kind, *_) = PAGES["settings.md"]
    page = f"<!-- fields of {kind.__name__} -->\n\n| `region` | text | none | Where it is. |\n\nMore.\n"
    renewed = brought_up_to_date(page, (kind,))
    assert "| `region` | name | **required** | Where it is. |" in renewed
    assert f"| `gateway` | name | **required** | {TODO} |" in renewed
    assert renewed.endswith("|\n\nMore.\n")
    assert brought_up_to_date(renewed, (kind,)) == renewed


@pytest.mark.parametrize("name", APPS)
def test_every_program_tells_its_version(name: str) -> None:
    told = CliRunner().invoke(APPS[name], ["--version"])
    assert (told.exit_code, told.stdout) == (0, f"este {version('este')}\n")
