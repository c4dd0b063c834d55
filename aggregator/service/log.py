"""Logging to standard error: one line per event, as key=value, for people and for grep alike. Keys are never logged."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import structlog


def configure(level: str) -> None:
    """Have the log go to standard error, from `level` on: debug, info, warning or error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event"), bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def tell_loop_errors(loop: asyncio.AbstractEventLoop) -> None:
    """Have what a library lets fall into the event loop told in one line: the program goes on without it."""
    loop.set_exception_handler(_tell)


def _tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    structlog.get_logger().warning(context["message"], error=repr(context.get("exception")))
