"""What others said, as a terminal may show it: a name or a serial number is text, never markup and never a command."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console
from rich.markup import escape

PIPED_WIDTH: Final = 160
"""Columns where nobody looks at a terminal: commands and digests are to be copied in one piece."""


def console() -> Console:
    """Where commands print, as wide as a terminal, or as what is copied from."""
    return Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)


def plain(text: object) -> str:
    """Text for `rich`, without its markup, and with a ``?`` for what moves a cursor or turns the order of letters."""
    return escape("".join(c if c.isprintable() or c == "\n" else "?" for c in str(text)))
