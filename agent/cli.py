"""``este-agent``, as it is started. What stays in memory for years is started without the parser of the other commands.

An agent that runs has no use for a command line any more: the parser would cost it 1.5 MB of the 60 that it may take.
So ``este-agent run --settings FILE``, as a service says it, is read here; everything else goes to `agent.commands`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from agent import start
from agent.exits import EXIT_INTERRUPTED


def main() -> None:
    """Entry point of ``este-agent``."""
    try:
        settings = plain_run(sys.argv[1:])
        if settings is not None:
            start.run(settings)
        else:
            from agent.commands.cli import app

            app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def plain_run(words: Sequence[str]) -> Path | None:
    """The settings of a `run` that says nothing else; None for every other command line."""
    match words:
        case ["run", "--settings", file] if not file.startswith("-"):
            return Path(file)
        case ["run", option] if option.startswith("--settings="):
            return Path(option.removeprefix("--settings="))
        case _:
            return None


if __name__ == "__main__":
    main()
