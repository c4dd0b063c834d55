"""A fleet in real time: the only place of the simulator that has a clock, and that hears signals."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Final

from config.settings.fleet import FleetSettings
from firmware_sim.control_port import listening, make_folder
from firmware_sim.fleet import Fleet
from firmware_sim.modbus_server import Buses
from firmware_sim.orders import Orders
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
        OperatorError: a port is taken, there are too few ports, the host is not one of this machine, or the run folder
            cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    fleet = Fleet(compose(settings), speed=settings.speed, begin_h=settings.begin_h)
    orders = Orders(fleet)
    buses = Buses(fleet, settings, orders.faults)
    async with AsyncExitStack() as stack:
        if settings.run_folder is not None:
            make_folder(settings.run_folder)
            await stack.enter_async_context(listening(settings.run_folder, orders.obey))
        stack.push_async_callback(buses.close)
        await buses.open()
        on_ready(fleet.scenario)
        await _live(fleet, stop)
    return buses.requests.total()


async def _live(fleet: Fleet, stop: asyncio.Event) -> None:
    """Let the fleet take its steps until it is told to stop."""
    before_ms = _now_ms()
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(TICK_S):
                await stop.wait()
        now_ms = _now_ms()
        if now_ms > before_ms:
            fleet.step(now_ms - before_ms)
            before_ms = now_ms


def _now_ms() -> int:
    """Milliseconds on a clock that nobody sets."""
    return time.monotonic_ns() // 1_000_000
