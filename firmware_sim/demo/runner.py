"""The demo from curtain to curtain: start everything, watch, stop everything in order, count, audit.

Beside the market's, the only module of the demo that reads a clock.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any, Final

from config.tasks import end, wait_for_any
from firmware_sim.demo.children import Child
from firmware_sim.demo.clues import Clue, clues_of, goes_down, relief_tokens
from firmware_sim.demo.hands import do
from firmware_sim.demo.mqtt_port import listen
from firmware_sim.demo.stage import Stage, build
from firmware_sim.demo.story import Act, Operator, Save
from firmware_sim.demo.theatre import RUNNING, Asked, Redraw, ask, perform, until_curtain
from firmware_sim.demo.view import Scene, Summary
from firmware_sim.scenario import REGION
from protocol.errors import EsteError

FRAME_S: Final = 0.25
WHOLE_STORY_S: Final = 120
"""Three evenings of a baseline, the one for which people are called, and the settlement of that day, with a reserve."""


async def tell(folder: Path, scene: Scene, asked: Asked, redraw: Redraw) -> tuple[Summary, Stage]:
    """Run the demo. A signal while meters are read ends the show before its time, in order; at any other time, at once.

    Args:
        folder: where everything is written; must be empty or absent.
        scene: what there is to show, kept up to date; says how long meters are read, and what signal ended that.
        asked: which region, and how it is run.
        redraw: called a few times a second with what there is to show.

    Raises:
        EsteError: something did not start, ended early, or would not stop.
        Interrupted: a signal ended it at once.
    """
    return await until_curtain(scene, lambda curtain: _tell(folder, scene, asked, curtain, redraw))


async def _tell(
    folder: Path, scene: Scene, asked: Asked, curtain: asyncio.Event, redraw: Redraw
) -> tuple[Summary, Stage]:
    stage = await build(folder, meters=asked.meters, seed=asked.seed, broker=asked.place, validators=asked.validators)
    watch = partial(_watch, stage, scene, curtain, redraw)
    await perform(stage, scene, redraw, watch, own_broker=asked.broker is None)
    redraw()
    summary, standings = await _count(stage, scene), await ask("este-aggregator", "balances", f"--data={stage.ledger}")
    scene.finish(await ask("este-aggregator", "status", f"--data={stage.ledger}"), standings)
    scene.stage = f"stopped, counted and audited: {summary.audit}"
    return summary, stage


async def _watch(stage: Stage, scene: Scene, curtain: asyncio.Event, redraw: Redraw, running: list[Child]) -> None:
    """Show what happens until the time is over, the curtain falls, or a program dies."""
    scene.stage = RUNNING
    begin = time.monotonic()
    operator = Operator(stage.plot)
    scene.chapters.plot = stage.plot

    def hear(summary: dict[str, Any]) -> None:
        scene.hear(summary)
        operator.hear(summary)

    ears = asyncio.create_task(listen(stage.broker.host, stage.broker.port, REGION, hear))
    watches = [asyncio.create_task(child.watch()) for child in running]
    acting: list[asyncio.Task[None]] = []
    try:
        while scene.elapsed_s < scene.duration_s and not curtain.is_set():
            redraw()
            await wait_for_any([curtain], tasks=[ears, *watches], timeout_s=FRAME_S)
            scene.elapsed_s = time.monotonic() - begin
            now_ms = time.time_ns() // 1_000_000
            for act in operator.acts(now_ms, scene.elapsed_s / scene.duration_s):
                scene.chapters.see(act)
                wait_s = max(0, act.at_ms - now_ms) / 1000 if isinstance(act, Save) else 0.0
                acting.append(asyncio.create_task(_act(act, stage, wait_s, scene)))
    finally:
        await end(ears, *watches, *acting)


async def _act(act: Act, stage: Stage, wait_s: float, scene: Scene) -> None:
    """Do what the operator decided, and tell; that it cannot be done is told as well, and ends nothing."""
    try:
        scene.tell(await do(act, stage, wait_s))
    except EsteError as error:
        scene.tell(str(error))


async def _count(stage: Stage, scene: Scene) -> Summary:
    """Ask every program for its numbers, through its own command."""
    begun = [stage.agent_settings(name) for name in stage.scenario.gateways if stage.has_begun(name)]
    agents = await asyncio.gather(*(ask("este-agent", "status", f"--settings={file}") for file in begun))
    ledger = await ask("este-aggregator", "status", f"--data={stage.ledger}")
    audits = await asyncio.gather(*(ask("este-aggregator", "audit", f"--data={one}") for one in stage.ledgers))
    audit = next((one for one in audits if one["audit"] != "ok"), audits[0])
    read = sum(agent["readings_read"] for agent in agents)
    told, followed = scene.chapters, await _follow(stage, scene) if ledger["periods_settled"] else []
    scene.clues = tuple(clue for clue, _ in followed)
    paid = {clue.participant: relief_tokens(found) for clue, found in followed}
    return Summary(
        readings_read=read,
        readings_on_chain=ledger["readings_on_chain"],
        readings_lost=read - ledger["readings_on_chain"],
        batches_refused=ledger["batches_refused"],
        intervals_closed=ledger["intervals_closed"],
        periods_settled=ledger["periods_settled"],
        tokens_minted=ledger["tokens_minted"],
        tokens_charged=ledger["tokens_charged"],
        rights_bought=ledger["purchases"],
        statements_verified=sum(agent["statements_verified"] for agent in agents),
        rights_applied=sum(agent["rights_applied"] for agent in agents),
        audit=audit["audit"],
        intervals_congested=told.congested,
        relief_paid_to=tuple(sorted(name for name, tokens in paid.items() if tokens)),
        relief_tokens=sum(paid.values()),
        heat_clean_percent=100 * told.clean_heat_wh // max(1, told.heat_wh),
        tank_clean_percent=100 * told.clean_given_wh // max(1, told.given_wh),
        meters_contradicted=tuple(sorted(told.liars)),
        meter_bypassed=stage.plot.liar if told.has_bypass else "",
        explanations=len({clue.about for clue, _ in followed}),
        is_whole_story=scene.duration_s >= WHOLE_STORY_S and scene.ended_by is None,
    )


async def _follow(stage: Stage, scene: Scene) -> list[tuple[Clue, dict[str, Any]]]:
    """Try the commands that explain the story, and keep those that go down to readings and add up."""
    data = f"--data={stage.ledger}"
    last = await ask("este-aggregator", "explain", stage.plot.liar_name, data)
    clues = clues_of(stage.plot, scene.chapters, stage.houses, last["end_ms"])
    found = await asyncio.gather(*(ask("este-aggregator", *clue.arguments, data) for clue in clues))
    return [pair for pair in zip(clues, found, strict=True) if goes_down(pair[1])]
