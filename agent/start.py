"""An agent is started: the one command that stays in memory for years."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.exits import expected_errors

DRAIN_S: Final = 2.0
"""At the end, how long to wait for receipts, if nothing else is said."""


def run(settings: Path, drain_s: float = DRAIN_S) -> None:
    """Read meters, sign and publish, until a signal ends it. What is wrong ends the program with one sentence."""
    import asyncio

    from agent import log, runner
    from agent.clock_port import SystemClocks
    from agent.keys import enrolment
    from config.load import load
    from config.settings.agent import AgentSettings

    with expected_errors():
        log.configure()
        read = load(settings, AgentSettings)
        enrolment.settle(read)
        plan = runner.plan_of(read)
        asyncio.run(runner.run(plan, drain_s=drain_s, clocks=SystemClocks()))
