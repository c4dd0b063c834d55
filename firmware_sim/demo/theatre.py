"""What every play of the demo needs: its programs started and stopped in order, a curtain, and whom to ask for numbers.

The order of starting, and of stopping:

    broker, aggregator, agents, fleet      started in this order, so that the day begins when all look on
    agents, aggregator, fleet, broker      stopped in this one, so that nothing read is left unsent
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from config.settings.broker import Broker
from config.tasks import end, wait_for_any
from firmware_sim.demo.children import Child, output_of, program, start
from firmware_sim.demo.mqtt_port import wait_for_broker
from firmware_sim.demo.stage import Stage
from firmware_sim.free_port import HOST, free_ports
from protocol.errors import LinkError

BROKER_PATIENCE_S: Final = 15.0
OTHER_BROKER_PATIENCE_S: Final = 3.0
"""One that is there already need not start first."""
STOP_PATIENCE_S: Final = 20.0
DRAIN_S: Final = 15.0
"""How long a gateway may wait for its last receipts: in a demo nothing may be left unsent."""

RUNNING: Final = "running"
"""What a play's stage is called while meters are read."""

Redraw = Callable[[], None]
"""Called whenever the scene has changed."""

T = TypeVar("T")


class Interrupted(Exception):
    """A signal ended the demo when there was nothing to be stopped in order, or ended the stopping."""

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(signal_number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody wants to see."""

    meters: int
    seed: int
    """Which region."""
    broker: Broker | None
    """One that is there already, or None for the demo's own."""
    validators: int = 0
    """Nodes that agree on blocks; 0 for one that orders them by itself."""

    @property
    def place(self) -> Broker:
        """Where the broker is, or is going to be."""
        return self.broker or Broker(host=HOST, port=free_ports())


class Played(Protocol):
    """What a play tells of itself."""

    stage: str
    """What it is at."""
    ended_by: int | None
    """The last signal that came, if one did."""


async def until_curtain(scene: Played, play: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Play. A signal while meters are read lets the curtain fall and all end in order; at any other time, at once.

    Raises:
        Interrupted: a signal ended it at once.
    """
    curtain, leave = asyncio.Event(), asyncio.Event()

    def hear(number: int) -> None:
        is_first, scene.ended_by = scene.ended_by is None, number
        (curtain if is_first and scene.stage == RUNNING else leave).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, hear, number)
    telling = asyncio.create_task(play(curtain))
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


async def start_all(stage: Stage, running: list[Child], *, own_broker: bool) -> None:
    """Start every program, and put it down among those that run.

    Raises:
        LinkError: the broker does not answer.
    """
    if own_broker:
        command = [sys.executable, "-m", "firmware_sim.demo.broker_port", str(stage.broker.port)]
        running.append(await start("broker", command, stage.logs))
    await see_that_answers(stage.broker, BROKER_PATIENCE_S)
    for node in stage.nodes:
        aggregator = [program("este-aggregator"), "run", f"--settings={node / 'aggregator.yaml'}"]
        running.append(await start(node.name, aggregator, stage.logs))
    for gateway in stage.scenario.gateways:
        agent = [program("este-agent"), "run", f"--settings={stage.agent_settings(gateway)}", f"--drain-s={DRAIN_S}"]
        running.append(await start(gateway, agent, stage.logs))
    fleet = [program("este-fleet"), "run", f"--settings={stage.fleet_settings}"]
    running.append(await start("fleet", fleet, stage.logs))


async def perform(
    stage: Stage, scene: Played, redraw: Redraw, watch: Callable[[list[Child]], Awaitable[None]], *, own_broker: bool
) -> None:
    """Start everything, watch, and stop everything in order; whatever happens, nothing is left running.

    Args:
        stage: where it plays.
        scene: is told what it is at.
        redraw: called when that changes.
        watch: shows what happens until the play is over; it is handed the programs that run.
        own_broker: whether the broker is the demo's own.

    Raises:
        LinkError: the broker does not answer.
        ChildError: a program ended early, did not end, or ended badly.
    """
    running: list[Child] = []
    try:
        await start_all(stage, running, own_broker=own_broker)
        await watch(running)
        scene.stage = "stopping: every reading is being sent and receipted"
        redraw()
        await stop_all(running, [node.name for node in stage.nodes])
    finally:
        await asyncio.gather(*(child.kill() for child in running))
    scene.stage = "auditing from genesis"


async def stop_all(running: list[Child], nodes: list[str]) -> None:
    """Stop the gateways first, all at once; then who answers them, then who is read, then who carries.

    Raises:
        ChildError: one did not end, or ended badly.
    """
    order = dict.fromkeys(nodes, 1) | {"fleet": 2, "broker": 3}
    for place in range(4):
        group = [child for child in running if order.get(child.name, 0) == place]
        await asyncio.gather(*(child.stop(STOP_PATIENCE_S) for child in group))


async def ask(name: str, *arguments: str) -> Any:
    """What one of este's commands answers with ``--json``.

    Raises:
        ChildError: it failed.
    """
    return json.loads(await output_of([program(name), *arguments, "--json"]))
