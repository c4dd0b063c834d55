"""What others said, as a terminal may show it: a name or a serial number is text, never markup and never a command."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.markup import escape


def plain(text: object) -> str:
    """Text for `rich`, without its markup, and with a ``?`` for what moves a cursor or turns the order of letters."""
    return escape("".join(c if c.isprintable() or c == "\n" else "?" for c in str(text)))


def instant(at_ms: int) -> str:
    """A time of day to the millisecond, UTC."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
