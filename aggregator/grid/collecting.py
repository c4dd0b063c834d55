"""The garbage collector, told to wait while many small things are made."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_collecting() -> Iterator[None]:
    """Make rows without looking for circles among them: there are none.

    CPython looks after every few hundred new objects, and every so often at all that the process has. A region of
    10,000 meters makes 50,000 objects in an interval, and is itself a few hundred thousand: looking took as long as the
    physics.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
