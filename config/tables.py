"""Tables for people, in all three programs: names and numbers are never cut or folded, whole columns are left out.

What is data is text here, never markup and never a command.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.text import Text

Cell = str | Text
"""Text is shown as it is styled; a string is what others said, and is shown as plain text."""

GAP: Final = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column, and how it gives way."""

    heading: str
    short: str = ""
    """Heading where there is little room; none: the same."""
    drop: int = 0
    """The highest is left out first; 0: never."""
    is_right: bool = False
    width_min: int = 0
    """Room that is kept free, so that a table that is drawn again and again does not jump."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells below headings."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]

    @property
    def width(self) -> int:
        """How wide its lines are."""
        return sum(self._widths()) + len(GAP) * (len(self.columns) - 1)

    def fitted(self, width: int) -> Table:
        """The same with short headings and fewer columns, as far as `width` asks for it and columns may go."""
        if self.width <= width:
            return self
        table = Table([_shortened(column) for column in self.columns], self.rows)
        while table.width > width and (drop := max(column.drop for column in table.columns)):
            place = max(place for place, column in enumerate(table.columns) if column.drop == drop)
            table = table._without(place)
        return table

    def lines(self) -> Iterator[Text]:
        """The headings, then each row, each one line."""
        widths = self._widths()
        yield self._line([Text(column.heading, style="bold") for column in self.columns], widths)
        for row in self.rows:
            yield self._line([shown(cell) for cell in row], widths)

    def _line(self, cells: Sequence[Text], widths: Sequence[int]) -> Text:
        line = Text(GAP, no_wrap=True, overflow="ignore").join(
            _padded(cell, width, is_right=column.is_right)
            for cell, width, column in zip(cells, widths, self.columns, strict=True)
        )
        line.rstrip()
        return line

    def _widths(self) -> list[int]:
        return [
            max(column.width_min, Text(column.heading).cell_len, *(shown(row[place]).cell_len for row in self.rows), 0)
            for place, column in enumerate(self.columns)
        ]

    def _without(self, place: int) -> Table:
        columns = [*self.columns[:place], *self.columns[place + 1 :]]
        return Table(columns, [[*row[:place], *row[place + 1 :]] for row in self.rows])


def shown(cell: Cell) -> Text:
    """A cell as text: a ``?`` stands for whatever would move a cursor, or turn the order of letters."""
    if isinstance(cell, Text):
        return cell
    return Text("".join(character if character.isprintable() else "?" for character in cell))


def show(table: Table, console: Console) -> None:
    """Print it whole; on a terminal, with as many columns as there is room for, and a word on those left out."""
    fitted = table.fitted(console.width) if console.is_terminal else table
    for line in fitted.lines():
        console.print(line, soft_wrap=True)
    kept = {column.heading for column in fitted.columns}
    gone = [column.heading for column in table.columns if kept.isdisjoint({column.heading, column.short})]
    if gone:
        console.print(f"(no room for: {', '.join(gone)})", style="dim", highlight=False, soft_wrap=True)


def _shortened(column: Column) -> Column:
    return Column(heading=column.short or column.heading, drop=column.drop, is_right=column.is_right)


def _padded(cell: Text, width: int, *, is_right: bool) -> Text:
    room = " " * (width - cell.cell_len)
    return Text.assemble(room, cell) if is_right else Text.assemble(cell, room)
