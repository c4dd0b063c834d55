"""One program per folder: two that sign with the same numbers, or write the same file, would contradict each other.

The kernel keeps the lock and lets go of it when the program ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from protocol.errors import OperatorError


def hold(path: Path, *, what: str, holder: str) -> int:
    """Hold what is in the folder of the lock file `path`, an outbox for example, against a second holder, an agent.

    Returns:
        What `release` lets go of.

    Raises:
        OperatorError: another one holds it, or the folder cannot be written to.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OperatorError(path.parent, "", "a folder to write to", error.strerror or str(error)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        expected = f"{what} that no other program holds: stop the other one first"
        raise OperatorError(path.parent, "", expected, f"{holder} that is running") from error
    return handle


def release(handle: int) -> None:
    """Let others have the folder."""
    os.close(handle)


def is_held(path: Path) -> bool:
    """Whether a program holds the lock file `path`. Whoever may not even open it cannot tell, and says no."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
