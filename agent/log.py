"""Logging to standard error: one line per change of state, as key=value, for people and for grep alike.

A layer of a few lines over `logging`. structlog would do the same and bring rich with it: 4 MB of the 60 that an agent
may take, and a tenth of a second at every start.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from typing import Any, Final

_ROOT: Final = "este.agent"


class Log:
    """Tells what happened in one part of the agent."""

    def __init__(self, part: str) -> None:
        self._logger = logging.getLogger(f"{_ROOT}.{part}")

    def info(self, event: str, **what: object) -> None:
        """Something changed, as it should."""
        self._logger.info(_line("info", event, what))

    def warning(self, event: str, **what: object) -> None:
        """Something is not as it should be, and may mend itself."""
        self._logger.warning(_line("warning", event, what))

    def error(self, event: str, **what: object) -> None:
        """A person should look at this."""
        self._logger.error(_line("error", event, what))


class Once:
    """Tells of what may come again and again only when it is new."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last: dict[str, dict[str, object]] = {}

    def warning(self, about: str, **what: object) -> None:
        """Something is not as it should be, unless that was the last that was told about it."""
        if self._last.get(about) != what:
            self._last[about] = what
            self._log.warning(about, **what)


def configure() -> None:
    """Have the log go to standard error, once per program."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("timestamp=%(asctime)s.%(msecs)03dZ %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logger = logging.getLogger(_ROOT)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def tell_loop_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Have what a library lets fall into the event loop told in one line: the program goes on without it."""
    loop.set_exception_handler(_tell)


def _tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    Log("loop").warning(context["message"], error=repr(context.get("exception")))


def _line(level: str, event: str, what: dict[str, object]) -> str:
    return " ".join(f"{key}={_spelled(value)}" for key, value in {"level": level, "event": event, **what}.items())


def _spelled(value: object) -> str:
    """One word as it is, anything else in quotes, and never more than one line."""
    text = " ".join(str(value).split())
    if text and " " not in text and '"' not in text and "=" not in text:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
