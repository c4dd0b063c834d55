"""One program per folder: two that sign with the same numbers, or write the same file, would contradict each other.

The kernel keeps the lock and lets go of it when the program ends, however it ends. The holder has two: flock(2), and
one that can be asked after without being taken (fcntl(2), F_OFD_GETLK), so that whoever only looks is in nobody's way.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import Final

from protocol.errors import OperatorError

_FLOCK: Final = "hhqqi"
"""struct flock of fcntl(2): type, whence, start, length, process."""

_WHOLE_FILE: Final = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)


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
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, _WHOLE_FILE)
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
        found = fcntl.fcntl(handle, fcntl.F_OFD_GETLK, _WHOLE_FILE)
    except OSError:
        return False
    finally:
        os.close(handle)
    return bool(struct.unpack_from(_FLOCK, found)[0] != fcntl.F_UNLCK)
