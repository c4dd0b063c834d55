"""The region of the market's story, and how time is cut in it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from config.rules import TimeRule
from config.settings.broker import Broker
from config.settings.fleet import FleetSettings
from firmware_sim.demo.stage import Stage, found, prepare
from firmware_sim.free_port import free_ports

SPEED: Final = 180
"""Sun, wind and habits: a quarter of an hour in five seconds. Energy follows power in real time, as ever."""
BEGIN_H: Final = 15
"""Afternoon: there is sun to sell, and the evening comes while people watch."""
MARKET_TIME: Final = TimeRule(interval_ms=5_000, grace_ms=2_500, period_ms=20_000, day_ms=480_000)
"""An interval stands for a quarter of an hour, a settlement period for an hour."""
LANE_GATEWAYS: Final = 6
"""More than what is beside the meters takes."""


async def build(folder: Path, *, meters: int, seed: int, broker: Broker, validators: int = 0) -> Stage:
    """Write everything.

    Raises:
        EsteError: the folder is in use, or a command failed.
    """
    fleet = FleetSettings(
        meters=meters,
        market=True,
        seed=seed,
        first_port=free_ports(meters // 6 + LANE_GATEWAYS),
        speed=SPEED,
        begin_h=BEGIN_H,
        run_folder=folder / "fleet",
    )
    stage = prepare(folder, fleet, broker, validators, time=MARKET_TIME)
    await found(stage)
    return stage
