"""Tables leave out whole columns, and never cut or fold what stands in one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from config.tables import Cell, Column, Table, show

COLUMNS = (
    Column(heading="meter"),
    Column(heading="profile", drop=2),
    Column(heading="energy imported", short="kWh in", is_right=True),
    Column(heading="serial", drop=1),
)
ROW = ("m-home-[1]", "carlo_gavazzi_em24", "750402.900", "46300002")


def printed(width: int, *rows: tuple[Cell, ...], is_terminal: bool = True) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=is_terminal, color_system=None)
    show(Table(COLUMNS, rows), console)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    return shown.splitlines()


def test_with_room_everything_is_shown() -> None:
    assert printed(80, ROW) == [
        "meter       profile             energy imported  serial",
        "m-home-[1]  carlo_gavazzi_em24       750402.900  46300002",
    ]


def test_headings_are_short_before_a_column_goes() -> None:
    assert printed(54, ROW)[0].split() == ["meter", "profile", "kWh", "in", "serial"]


def test_the_least_important_column_goes_first_and_is_named() -> None:
    assert printed(40, ROW) == [
        "meter           kWh in  serial",
        "m-home-[1]  750402.900  46300002",
        "(no room for: profile)",
    ]


@pytest.mark.parametrize("width", [1, 5, 20])
def test_what_may_not_go_is_whole_on_any_terminal(width: int) -> None:
    assert printed(width, ROW)[1] == "m-home-[1]  750402.900"


def test_what_is_read_by_a_program_has_all_columns() -> None:
    assert printed(20, ROW, is_terminal=False)[1].split() == list(ROW)


def test_data_are_text_and_never_markup_or_a_command_to_the_terminal() -> None:
    row = printed(80, ("[red]m[/]", "a\x1b[2Jb", "c\nd", Text("e", style="bold")))[1]
    assert row.split() == ["[red]m[/]", "a?[2Jb", "c?d", "e"]


def test_a_table_without_rows_has_its_headings() -> None:
    assert printed(80) == ["meter  profile  energy imported  serial"]
