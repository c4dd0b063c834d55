"""A fleet in real time: the only place of the simulator that has a clock, and that hears signals."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from config.settings import FleetSettings
from firmware_sim.fleet import Fleet
from firmware_sim.modbus_server import Buses
from firmware_sim.scenario import Scenario, compose

TICK_S: Final = 0.25
"""Between two steps of the fleet, as near as the system keeps it. Energy follows the time that really went by."""


async def run(settings: FleetSettings, *, on_ready: Callable[[Scenario], None]) -> int:
    """Serve a fleet until SIGINT or SIGTERM.

    Args:
        settings: which fleet, and where.
        on_ready: called once, when every port listens.

    Returns:
        How many requests came.

    Raises:
        OperatorError: a port is taken, there are too few ports, or the host is not one of this machine.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    fleet = Fleet(compose(settings), speed=settings.speed)
    buses = Buses(fleet, settings.host)
    await buses.open()
    try:
        on_ready(fleet.scenario)
        await _live(fleet, stop)
    finally:
        await buses.close()
    return buses.requests.total()


async def _live(fleet: Fleet, stop: asyncio.Event) -> None:
    """Let the fleet take its steps until it is told to stop."""
    before_ms = _now_ms()
    while not stop.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), TICK_S)
        now_ms = _now_ms()
        if now_ms > before_ms:
            fleet.step(now_ms - before_ms)
            before_ms = now_ms


def _now_ms() -> int:
    """Milliseconds on a clock that nobody sets."""
    return time.monotonic_ns() // 1_000_000
