"""Waiting for tasks, and ending them for certain. The one asyncio in this room: all three programs need it alike."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any, Final

ASK_AGAIN_S: Final = 0.2


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they are over.

    Each is asked again until it is: before Python 3.12, `asyncio.wait_for` swallows a cancellation that comes in the
    same moment as what it waited for, and the libraries below us are full of it.
    """
    while waiting := [task for task in tasks if not task.done()]:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting, timeout=ASK_AGAIN_S)


async def wait_for_any(
    events: Collection[asyncio.Event], *, tasks: Collection[asyncio.Task[Any]], timeout_s: float | None = None
) -> None:
    """Wait until one of `events` is set or one of `tasks` is over, but no longer than `timeout_s`.

    Raises:
        Exception: one of `tasks` broke; what it raised.
    """
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait([*waiting, *tasks], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for task in done.intersection(tasks):
            task.result()
    finally:
        await end(*waiting)
