"""What README and reference say of commands, beside their names: defaults, meters, faults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from config.load import load_profiles
from firmware_sim.faults import KINDS
from tests.architecture.house import ROOT, report
from tests.architecture.test_reference import APPS, section

README = (ROOT / "README.md").read_text(encoding="utf-8")
SIMULATOR = (ROOT / "docs/reference/simulator.md").read_text(encoding="utf-8")


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of every program, by its whole name."""
    for name, app in APPS.items():
        yield from commands_below(name, typer.main.get_command(app))


def commands_below(title: str, command: Any) -> Iterator[tuple[str, Any]]:
    """A command, or the verbs below it."""
    if verbs := getattr(command, "commands", None):
        for key, verb in verbs.items():
            yield from commands_below(f"{title} {key}", verb)
    else:
        yield title, command


def groups() -> Iterator[tuple[str, ...]]:
    """Whatever lists commands: each program, and the groups below it."""
    for name, app in APPS.items():
        yield from groups_below((name,), typer.main.get_command(app))


def groups_below(path: tuple[str, ...], command: Any) -> Iterator[tuple[str, ...]]:
    """A group, and those in it; a single command is none."""
    if verbs := getattr(command, "commands", None):
        yield path
        for key, verb in verbs.items():
            yield from groups_below((*path, key), verb)


def defaults_of(command: Any) -> Iterator[tuple[str, str]]:
    """The options that are something where nothing is said, and what `--help` says that they are."""
    for parameter in command.params:
        named = getattr(parameter, "show_default", None)
        shown = named if isinstance(named, str) else parameter.default
        if parameter.opts[0].startswith("-") and shown not in (None, False, ""):
            yield parameter.opts[0], f"{shown:g}" if isinstance(shown, float) else str(shown)


def defaults_told(text: str) -> dict[str, str]:
    """The second column of a section's table. Options that share a row are told elsewhere."""
    rows = re.findall(r"^\| `(--?[\w-]+)`(?:, `-\w`)? \| (.*?) ?\|", text, re.MULTILINE)
    return {option: default.replace("`", "") for option, default in rows}


def stale_defaults(text: str, command: Any) -> Iterator[str]:
    """Options of which a section tells another default than the program's."""
    told = defaults_told(text)
    for option, value in defaults_of(command):
        if option in told and not told[option].startswith(value.removesuffix(" …")):
            yield f"{option}: the page says {told[option] or 'none'}, the program {value}"


def commands_in(table: str) -> set[str]:
    """The commands in the first column: after a whole name stand verbs that take its last word's place."""
    found = set()
    for cell in re.findall(r"^\| (`este-.*?) \|", table, re.MULTILINE):
        first, *others = re.findall(r"`(.*?)`", cell)
        words = [word for word in first.split() if not word.isupper()]
        found |= {" ".join(words), *(" ".join((*words[:-1], verb)) for verb in others)}
    return found


@pytest.mark.parametrize("title", [title for title, _ in commands()])
def test_every_default_is_the_program_s(title: str) -> None:
    report(f"docs/reference/commands.md, {title}", list(stale_defaults(section(title), dict(commands())[title])))


@pytest.mark.parametrize("path", list(groups()), ids="-".join)
def test_what_each_command_does_fits_into_the_list_of_commands(path: tuple[str, ...]) -> None:
    told = CliRunner().invoke(APPS[path[0]], [*path[1:], "--help"], env={"COLUMNS": "80"}).output
    cut = [line for line in told.partition("Commands")[2].splitlines() if line.endswith("...")]
    report(f"{' '.join(path)} --help, in 80 columns: the first sentence is what the list shows.", cut)


def test_the_readme_names_every_command_and_no_other() -> None:
    assert commands_in(README) == {title for title, _ in commands()}


def test_the_readme_counts_the_meters() -> None:
    meters = [profile for profile in load_profiles().values() if profile.registers]
    assert f"[{len(meters)} meters](docs/reference/meters.md)" in README


def test_the_page_of_the_simulator_names_every_fault_with_its_number() -> None:
    _, _, faults = SIMULATOR.partition("## Faults\n")
    told = re.findall(r"^\| `(\w+)` \| .* \|(.*)\|$", faults.partition("## ")[0], re.MULTILINE)
    numbers = {fault.value: f"{kind.unit}, {kind.default:,}" if kind.unit else "" for fault, kind in KINDS.items()}
    assert {fault: number.strip() for fault, number in told} == numbers


def test_a_default_that_has_fallen_behind_is_seen() -> None:
    run = dict(commands())["este-agent run"]
    assert list(stale_defaults("| `--drain-s` | `10` | long |\n", run)) == [
        "--drain-s: the page says 10, the program 2"
    ]
    assert not list(stale_defaults("| `--drain-s` | `2` | short |\n", run))
    assert commands_in("| `este-x a b DIR`, `c` | does |\n") == {"este-x a b", "este-x a c"}


def test_every_argument_of_este_agent_is_called_in_upper_case() -> None:
    arguments = [
        (title, parameter.metavar or parameter.name)
        for title, command in commands()
        for parameter in command.params
        if title.startswith("este-agent ") and parameter.param_type_name == "argument"
    ]
    report("help of arguments", [f"{title}: {name}" for title, name in arguments if name != name.upper()])
