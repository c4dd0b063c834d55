"""What is seen to at the command line before anything is left for the agent, so that a slip is told at once.

Is given the time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from protocol.errors import OperatorError

PLACE: Final = "command line"


def see_ahead(start_ms: int, now_ms: int) -> None:
    """See that what is to be ordered has not begun.

    Raises:
        OperatorError: it has.
    """
    if start_ms <= now_ms:
        raise OperatorError(PLACE, "--start", f"an instant to come (it is {utc(now_ms)})", utc(start_ms))


def see_window(start_ms: int, end_ms: int, now_ms: int) -> None:
    """See that a window is still to begin, and ends after that.

    Raises:
        OperatorError: it has begun, or ends no later than it begins.
    """
    see_ahead(start_ms, now_ms)
    if end_ms <= start_ms:
        raise OperatorError(PLACE, "--end", f"an instant after the start at {utc(start_ms)}", utc(end_ms))


def utc(unix_ms: int) -> str:
    """An instant for people, to the second."""
    return datetime.fromtimestamp(unix_ms // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
