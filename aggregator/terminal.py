"""What the commands share: where they print, the options that several have, and how to show what others said.

A name or a serial number is text, never markup and never a command.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from config.called import called
from protocol.errors import OperatorError

if TYPE_CHECKING:
    from protocol.quorum import Quorum

PIPED_WIDTH: Final = 160
"""Columns where nobody looks at a terminal: commands and digests are to be copied in one piece."""


def console() -> Console:
    """Where commands print, as wide as a terminal, or as what is copied from."""
    return Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)


out = console()
err = Console(stderr=True)

SettingsOption = Annotated[Path, typer.Option("--settings", help="aggregator.yaml of the node.")]
DataFolder = Annotated[
    Path,
    typer.Option("--data", help="Folder of the ledger: `data` below the folder that init made.", show_default=True),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


def plain(text: object) -> str:
    """Text for `rich`, without its markup, and with a ``?`` for what moves a cursor or turns the order of letters."""
    return escape("".join(c if c.isprintable() or c == "\n" else "?" for c in str(text)))


def instant(at_ms: int) -> str:
    """A time of day to the millisecond, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def own_command() -> str:
    """This program as it was called, for a command that people can paste."""
    return plain(called("este-aggregator"))


def instant_ms(text: str, hint: str) -> int:
    """An instant that somebody typed, UTC, in milliseconds.

    Raises:
        typer.BadParameter: it is none, or says no time zone. `hint` names the option.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected an instant such as 2026-11-20T12:00:00Z, got {text!r}") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"say which time zone: {text}Z for UTC", param_hint=hint)
    return round(moment.timestamp() * 1000)


def load_quorum(path: Path) -> Quorum:
    """Read a quorum file.

    Raises:
        EsteError: it is none.
    """
    from config.load import load  # noqa: PLC0415 - for the commands that are given one
    from config.quorum import QuorumFile  # noqa: PLC0415 - the same

    return load(path, QuorumFile).quorum()


def load_proof(path: Path, size_max: int) -> object:
    """Read a proof of at most `size_max` bytes. Nothing in it is trusted yet.

    Raises:
        OperatorError: there is none.
    """
    expected = "a proof, as este-aggregator prove writes it"
    data = read_bounded(path, expected, size_max)
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OperatorError(path, "", expected, f"no JSON, or not all of it: {error}") from error


def read_bounded(path: Path, expected: str, size_max: int) -> bytes:
    """Read a file that somebody handed over.

    Raises:
        OperatorError: there is none, or it has more than `size_max` bytes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(size_max + 1)
    except OSError as error:
        raise OperatorError(path, "", expected, error.strerror or str(error)) from error
    if len(data) > size_max:
        raise OperatorError(path, "", expected, f"more than {size_max} bytes")
    return data
