"""Does what the demo's operator decides, through the same commands that anybody would type. Knows no time of day."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from firmware_sim.demo.children import output_of, program
from firmware_sim.demo.stage import Stage
from firmware_sim.demo.story import Act, Bypass, Call, Save
from firmware_sim.faults import Fault


async def do(act: Act, stage: Stage, wait_s: float) -> str:
    """Do it, after `wait_s`.

    Returns:
        What to tell about it.

    Raises:
        ChildError: a command failed.
    """
    await asyncio.sleep(wait_s)
    match act:
        case Call():
            people = [f"--participant={name}" for name in act.participants]
            window = (f"--from={_iso(act.start_ms)}", f"--until={_iso(act.end_ms)}", f"--branch={act.branch}")
            where = (f"--settings={stage.aggregator_settings}", f"--key={stage.regulator_key}")
            await output_of([program("este-aggregator"), "regulator", "call", *window, *people, *where])
            return f"{' and '.join(act.participants)} are called to relieve {act.branch}"
        case Save():
            await _fleet(stage.fleet_settings, "save", act.meter, f"--for={act.for_s}")
            return f"behind {act.meter} the heat pump is switched off for a while"
        case Bypass():
            await _fleet(stage.fleet_settings, "inject", act.meter, Fault.BYPASS.value, f"--for={act.for_s}")
            return f"a wire is led past {act.meter}: it shows 40 percent of what flows"


async def _fleet(settings: Path, *arguments: str) -> None:
    await output_of([program("este-fleet"), *arguments, f"--settings={settings}"])


def _iso(instant_ms: int) -> str:
    return datetime.fromtimestamp(instant_ms / 1000, tz=UTC).isoformat()
