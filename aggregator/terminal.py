"""Between a terminal and its program: what others said is shown as text, and instants are understood one way only."""

from __future__ import annotations

from datetime import datetime

import typer
from rich.markup import escape


def plain(text: object) -> str:
    """Text for `rich`, without its markup, and with a ``?`` for what moves a cursor or turns the order of letters."""
    return escape("".join(c if c.isprintable() or c == "\n" else "?" for c in str(text)))


def instant_ms(text: str, hint: str) -> int:
    """An instant that somebody typed, UTC, in milliseconds.

    Raises:
        typer.BadParameter: it is none, or says no time zone. `hint` names the option.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected an instant such as 2026-11-20T12:00:00Z, got {text!r}") from error
    if instant.tzinfo is None:
        raise typer.BadParameter(f"say which time zone: {text}Z for UTC", param_hint=hint)
    return round(instant.timestamp() * 1000)
