"""One agent per outbox: two would sign the same numbers with the same key.

The kernel keeps the lock and lets go of it when the program ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from protocol.errors import OperatorError

LOCK_NAME: Final = "outbox.lock"


def hold(folder: Path) -> int:
    """Hold `folder`, which is made if need be, against a second agent.

    Returns:
        What `release` lets go of.

    Raises:
        OperatorError: another agent holds it, or it cannot be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OperatorError(folder, "", "a folder to write to", error.strerror or str(error)) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise OperatorError(folder, "", "an outbox that no other program holds", "an agent that is running") from error
    return handle


def release(handle: int) -> None:
    """Let others have the folder."""
    os.close(handle)


def is_held(folder: Path) -> bool:
    """Whether an agent holds `folder`. Whoever may not even open the lock cannot tell, and says no."""
    try:
        handle = os.open(folder / LOCK_NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False
