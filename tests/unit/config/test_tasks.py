"""A task that is ended is over, whatever it does with its cancellation."""

from __future__ import annotations

import asyncio

import pytest

from config.tasks import end, wait_for_any


async def stubborn(times: int) -> None:
    """Swallow so many cancellations, as `asyncio.wait_for` may before Python 3.12."""
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            times -= 1
            if times < 0:
                raise


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_task_that_swallows_its_cancellation_is_ended_all_the_same(times: int) -> None:
    task = asyncio.create_task(stubborn(times))
    await asyncio.sleep(0)
    await end(task)
    assert task.cancelled()


async def test_one_that_is_over_is_let_be() -> None:
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    await end(task)
    assert not task.cancelled()


async def test_the_first_event_ends_the_wait() -> None:
    never, now = asyncio.Event(), asyncio.Event()
    now.set()
    await wait_for_any([never, now], tasks=[])


async def test_so_does_the_time() -> None:
    await wait_for_any([asyncio.Event()], tasks=[], timeout_s=0.01)


async def test_a_task_that_breaks_is_told_at_once() -> None:
    async def broken() -> None:
        raise RuntimeError("an invariant does not hold")

    with pytest.raises(RuntimeError, match="an invariant"):
        await wait_for_any([asyncio.Event()], tasks=[asyncio.create_task(broken())])
