"""The market's story from curtain to curtain: start everything, play the chapters, stop everything, count, audit.

Reads the clock for all who act in it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from config.tasks import end, wait_for_any
from firmware_sim.curves import HOUR_S
from firmware_sim.demo.children import Child, ChildError
from firmware_sim.demo.market.chapters import agree, go_first, trade
from firmware_sim.demo.market.clues import Try, clues_of
from firmware_sim.demo.market.desk import Desk, iso
from firmware_sim.demo.market.found import Progress
from firmware_sim.demo.market.scene import BOOKS, MarketScene
from firmware_sim.demo.market.stage import BEGIN_H, MARKET_TIME, SPEED, build
from firmware_sim.demo.market.strategies import traders_of
from firmware_sim.demo.market.summary import MarketSummary, summed_up
from firmware_sim.demo.market.world import World
from firmware_sim.demo.mqtt_port import listen
from firmware_sim.demo.stage import Stage
from firmware_sim.demo.theatre import RUNNING, Asked, Redraw, ask, perform, until_curtain
from firmware_sim.scenario import REGION

FRAME_S: Final = 0.25
MARKET_STORY_S: Final = 300
"""At most; on a machine that is not busy it is told in a third of that."""


async def tell_market(folder: Path, scene: MarketScene, asked: Asked, redraw: Redraw) -> tuple[MarketSummary, Stage]:
    """Run the story. Takes what `firmware_sim.demo.runner.tell` takes, and ends as soon as all of it was told.

    Raises:
        EsteError: something did not start, ended early, or would not stop.
        Interrupted: a signal ended it at once.
    """

    async def play(curtain: asyncio.Event) -> tuple[MarketSummary, Stage]:
        stage = await build(
            folder, meters=asked.meters, seed=asked.seed, broker=asked.place, validators=asked.validators
        )
        watch = partial(_watch, stage, scene, curtain, redraw)
        await perform(stage, scene, redraw, watch, own_broker=asked.broker is None)
        scene.say(BOOKS, "an audit derives every contract, price and coin again, from genesis")
        redraw()
        summary = await _count(stage, scene)
        scene.stage = f"stopped, counted and audited: {summary.audit}"
        return summary, stage

    return await until_curtain(scene, play)


async def _watch(
    stage: Stage, scene: MarketScene, curtain: asyncio.Event, redraw: Redraw, running: list[Child]
) -> None:
    """Play the chapters until all are told, the time is over, the curtain falls, or a program dies."""
    scene.stage = RUNNING
    begin, desk = time.monotonic(), Desk(stage)
    rule = stage.scenario.grid(MARKET_TIME).rules.market
    assert rule is not None, "a region that trades"
    world = World(
        desk=desk,
        scene=scene,
        traders=traders_of(stage.scenario.connections),
        seed=stage.scenario.seed,
        interval_ms=MARKET_TIME.interval_ms,
        gate_ms=rule.gate_ms,
        now_ms=lambda: time.time_ns() // 1_000_000,
    )

    def hear(summary: dict[str, Any]) -> None:
        scene.hear(summary)
        world.wake()

    ears = asyncio.create_task(listen(stage.broker.host, stage.broker.port, REGION, hear))
    watches = [asyncio.create_task(child.watch()) for child in running]
    eyes = asyncio.create_task(_look(world))
    chapters = [asyncio.create_task(chapter(world)) for chapter in (trade, agree, go_first)]
    told = asyncio.create_task(_all_of(chapters))
    try:
        while scene.elapsed_s < scene.duration_s and not curtain.is_set() and not told.done():
            redraw()
            await wait_for_any([curtain], tasks=[ears, eyes, *watches], timeout_s=FRAME_S)
            scene.elapsed_s = time.monotonic() - begin
            scene.clock_s = BEGIN_H * HOUR_S + SPEED * scene.elapsed_s
        if told.done():
            told.result()
    finally:
        await end(ears, eyes, *watches, told, *chapters)


async def _all_of(chapters: list[asyncio.Task[None]]) -> None:
    await asyncio.gather(*chapters)


async def _look(world: World) -> None:
    """See how contracts stand whenever an interval was closed, for as long as the task runs."""
    seen_ms = 0
    while True:
        seen_ms = await world.newer(seen_ms)
        with suppress(ChildError):
            world.scene.see(await world.desk.contracts())
        world.wake()


async def _clues(stage: Stage, scene: MarketScene) -> tuple[Try, ...]:
    """Where the story can be followed; each command is tried before it is named."""
    data = f"--data={stage.ledger}"

    async def answers(arguments: tuple[str, ...]) -> Any:
        try:
            return await ask("este-aggregator", *arguments, data)
        except ChildError:
            return None

    sold = ""
    for record in dict.fromkeys(scene.found.records):
        quote = await answers(("market", "quote", record))
        sold = sold or (record if quote and quote["matches"] else "")
    full_ms = scene.found.limited.at_ms if scene.found.limited else None
    tries = clues_of(scene.found, sold, "" if full_ms is None else iso(full_ms))
    return tuple([one for one in tries if await answers(one[1]) is not None])


async def _count(stage: Stage, scene: MarketScene) -> MarketSummary:
    """Ask every program for its numbers, through its own command."""
    begun = [stage.agent_settings(name) for name in stage.scenario.gateways if stage.has_begun(name)]
    agents = await asyncio.gather(*(ask("este-agent", "status", f"--settings={file}") for file in begun))
    data = f"--data={stage.ledger}"
    audits = [await ask("este-aggregator", "audit", f"--data={one}") for one in stage.ledgers]
    audit = next((one for one in audits if one["audit"] != "ok"), audits[0])["audit"]
    money = await ask("este-aggregator", "money", data)
    summary = summed_up(
        scene.found, agents=agents, ledger=await ask("este-aggregator", "status", data), money=money, audit=audit
    )
    scene.clues = await _clues(stage, scene)
    adds_up = "money adds up to 0" if summary.money_sums_to_zero else "[red]money does not add up[/]"
    is_right = audit == "ok" and summary.money_sums_to_zero
    scene.say(BOOKS, f"{adds_up}, and the audit says: {audit}", Progress.DONE if is_right else Progress.ON)
    return summary
