"""What is seen to at the command line before anything is left for the agent, so that a slip is told at once.

Is given the time, the settings, and what the last statement says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from protocol.errors import OperatorError
from protocol.messages import Statement

if TYPE_CHECKING:
    from config.settings.agent import AgentSettings

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


def see_ours(name: str, option: str, statement: Statement | None) -> None:
    """See that a participant is behind this gateway, once a statement has told who is.

    Raises:
        OperatorError: it tells of others only.
    """
    ours = [one.participant for one in statement.standings] if statement else [name]
    if name not in ours:
        raise OperatorError(PLACE, option, f"a participant of this gateway ({_listed(ours)})", name)


def see_meter(meter: str, settings: AgentSettings) -> None:
    """See that a meter is one of this gateway's.

    Raises:
        OperatorError: it is not.
    """
    ours = [one.id for bus in settings.buses for one in bus.meters]
    if meter not in ours:
        raise OperatorError(PLACE, "--meter", f"a meter of this gateway ({_listed(ours)})", meter)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "it has none"


def utc(unix_ms: int) -> str:
    """An instant for people, to the second."""
    return datetime.fromtimestamp(unix_ms // 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
