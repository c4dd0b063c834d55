"""What people type and read: what others said is text, never markup and never a command; instants, and our own name."""

from __future__ import annotations

from datetime import datetime

import typer
from rich.markup import escape

from config.called import called


def plain(text: object) -> str:
    """Text for `rich`, without its markup, and with a ``?`` for what moves a cursor or turns the order of letters."""
    return escape("".join(c if c.isprintable() or c == "\n" else "?" for c in str(text)))


def own_command() -> str:
    """This program as it was called, for a command that people can paste."""
    return plain(called("este-aggregator"))


def parse_instant(text: str | None) -> int | None:
    """Milliseconds of UTC out of what a person wrote.

    Raises:
        typer.BadParameter: it is no instant, or in no time zone.
    """
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected an instant such as 2026-11-20T12:00:00Z, got {text!r}") from error
    if instant.tzinfo is None:
        raise typer.BadParameter(f"say which time zone: {text}Z for UTC", param_hint="--at")
    return round(instant.timestamp() * 1000)
