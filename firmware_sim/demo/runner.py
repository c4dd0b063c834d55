"""The demo from curtain to curtain: start everything, watch, stop everything in order, count, audit.

    broker ← fleet ← agents ← aggregator      started in this order
    agents, aggregator, fleet, broker          stopped in this one, so that nothing read is left unsent

The only module of the demo that reads a clock.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from config.settings.broker import Broker
from config.tasks import end, wait_for_any
from firmware_sim.demo.children import Child, output_of, program, start
from firmware_sim.demo.mqtt_port import listen, wait_for_broker
from firmware_sim.demo.stage import Stage, build
from firmware_sim.demo.view import Scene, Summary
from firmware_sim.free_port import free_ports
from firmware_sim.scenario import REGION
from protocol.errors import LinkError

BROKER_PATIENCE_S: Final = 15.0
OTHER_BROKER_PATIENCE_S: Final = 3.0
"""One that is there already need not start first."""
STOP_PATIENCE_S: Final = 20.0
DRAIN_S: Final = 15.0
"""How long a gateway may wait for its last receipts: in a demo nothing may be left unsent."""

FRAME_S: Final = 0.25

RUNNING: Final = "running"
"""What the scene's stage is called while meters are read."""

Redraw = Callable[[], None]
"""Called whenever the scene has changed."""


class Interrupted(Exception):
    """A signal ended the demo when there was nothing to be stopped in order, or ended the stopping."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(signal_number)


async def tell(
    folder: Path, scene: Scene, *, meters: int, seed: int, broker: Broker | None, redraw: Redraw
) -> tuple[Summary, Stage]:
    """Run the demo. A signal while meters are read ends the show before its time, in order; at any other time, at once.

    Args:
        folder: where everything is written; must be empty or absent.
        scene: what there is to show, kept up to date; says how long meters are read, and what signal ended that.
        meters: how many.
        seed: which region.
        broker: one that is there already, or None for the demo's own.
        redraw: called a few times a second with what there is to show.

    Raises:
        EsteError: something did not start, ended early, or would not stop.
        Interrupted: a signal ended it at once.
    """
    curtain, leave = asyncio.Event(), asyncio.Event()

    def hear(number: int) -> None:
        is_first, scene.ended_by = scene.ended_by is None, number
        (curtain if is_first and scene.stage == RUNNING else leave).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear, number)
    telling = asyncio.create_task(_tell(folder, scene, curtain, redraw, meters=meters, seed=seed, broker=broker))
    try:
        await wait_for_any([leave], tasks=[telling])
        if scene.ended_by and not telling.done():
            raise Interrupted(scene.ended_by)
        return telling.result()
    finally:
        await end(telling)


async def see_that_answers(broker: Broker, patience_s: float = OTHER_BROKER_PATIENCE_S) -> None:
    """Wait until a broker answers, for as long as one that runs would need.

    Raises:
        LinkError: it does not.
    """
    try:
        await wait_for_broker(broker.host, broker.port, patience_s)
    except TimeoutError as error:
        place = f"{broker.host}:{broker.port}"
        raise LinkError(f"no broker answers at {place}; is it running, and open to clients?", retry=True) from error


async def _tell(
    folder: Path,
    scene: Scene,
    curtain: asyncio.Event,
    redraw: Redraw,
    *,
    meters: int,
    seed: int,
    broker: Broker | None,
) -> tuple[Summary, Stage]:
    own_broker = broker is None
    stage = await build(folder, meters=meters, seed=seed, broker=broker or Broker(host="127.0.0.1", port=free_ports()))
    running: list[Child] = []
    try:
        await _start_all(stage, running, own_broker)
        await _watch(stage, running, scene, curtain, redraw)
        scene.stage = "stopping: every reading is being sent and receipted"
        redraw()
        await _stop_all(running)
    finally:
        await asyncio.gather(*(child.kill() for child in running))
    scene.stage = "auditing from genesis"
    redraw()
    summary, standings = await _count(stage), await _ask("este-aggregator", "balances", f"--data={stage.ledger}")
    scene.finish(await _ask("este-aggregator", "status", f"--data={stage.ledger}"), standings)
    scene.stage = f"stopped, counted and audited: {summary.audit}"
    return summary, stage


async def _start_all(stage: Stage, running: list[Child], own_broker: bool) -> None:
    if own_broker:
        command = [sys.executable, "-m", "firmware_sim.demo.broker_port", str(stage.broker.port)]
        running.append(await start("broker", command, stage.logs))
    await see_that_answers(stage.broker, BROKER_PATIENCE_S)
    fleet = [program("este-fleet"), "run", f"--settings={stage.fleet_settings}"]
    running.append(await start("fleet", fleet, stage.logs))
    aggregator = [program("este-aggregator"), "run", f"--settings={stage.aggregator_settings}"]
    running.append(await start("aggregator", aggregator, stage.logs))
    for gateway in stage.scenario.gateways:
        agent = [program("este-agent"), "run", f"--settings={stage.agent_settings(gateway)}", f"--drain-s={DRAIN_S}"]
        running.append(await start(gateway, agent, stage.logs))


async def _watch(stage: Stage, running: list[Child], scene: Scene, curtain: asyncio.Event, redraw: Redraw) -> None:
    """Show what happens until the time is over, the curtain falls, or a program dies."""
    scene.stage = RUNNING
    begin = time.monotonic()
    ears = asyncio.create_task(listen(stage.broker.host, stage.broker.port, REGION, scene.hear))
    watches = [asyncio.create_task(child.watch()) for child in running]
    try:
        while scene.elapsed_s < scene.duration_s and not curtain.is_set():
            redraw()
            await wait_for_any([curtain], tasks=[ears, *watches], timeout_s=FRAME_S)
            scene.elapsed_s = time.monotonic() - begin
    finally:
        await end(ears, *watches)


async def _stop_all(running: list[Child]) -> None:
    """Stop the gateways first, all at once; then who answers them, then who is read, then who carries."""
    order = {"aggregator": 1, "fleet": 2, "broker": 3}
    for place in range(4):
        group = [child for child in running if order.get(child.name, 0) == place]
        await asyncio.gather(*(child.stop(STOP_PATIENCE_S) for child in group))


async def _count(stage: Stage) -> Summary:
    """Ask every program for its numbers, through its own command."""
    agents = await asyncio.gather(
        *(_ask("este-agent", "status", f"--settings={stage.agent_settings(g)}") for g in stage.scenario.gateways)
    )
    ledger = await _ask("este-aggregator", "status", f"--data={stage.ledger}")
    audit = await _ask("este-aggregator", "audit", f"--data={stage.ledger}")
    read = sum(agent["readings_read"] for agent in agents)
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
    )


async def _ask(name: str, *arguments: str) -> Any:
    return json.loads(await output_of([program(name), *arguments, "--json"]))
