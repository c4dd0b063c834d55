"""Regions in which energy is traded, on one node and on four validators, and what people ask of them by commands."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from typer.testing import CliRunner

from agent.outbox.file import FILE_NAME
from aggregator.cli import app
from aggregator.service.store import Store
from config.settings.broker import Broker
from config.settings.fleet import FleetSettings
from firmware_sim.demo.stage import found, prepare
from firmware_sim.free_port import free_ports
from protocol.checkpoint import BlockHead, ChainName
from protocol.envelope import Envelope
from protocol.errors import EsteError
from protocol.messages import MessageType
from tests.e2e.region import PATIENCE_S, Laid, Region, a_region, este, run, running, wait_until


@dataclass
class Network(Region):
    """A region of four validators, around a broker that lets everybody in."""

    @property
    def nodes(self) -> list[str]:
        """All of them."""
        return [folder.name for folder in self.stage.nodes]

    def _command(self, name: str) -> list[str]:
        if name not in self.nodes:
            return super()._command(name)
        settings = next(folder for folder in self.stage.nodes if folder.name == name) / "aggregator.yaml"
        return [este("este-aggregator"), "run", f"--settings={settings}"]


def a_network(folder: Path, *, laid: Laid = dict.copy, **fleet: Any) -> Network:
    """Four validators; nothing runs yet.

    Args:
        folder: where to.
        laid: changes the grid file before it is signed.
        fleet: settings of the simulated meters.
    """
    port = free_ports()
    settings = FleetSettings(**{"meters": 12, "seed": 1, "first_port": free_ports(4)} | fleet)
    stage = prepare(folder, settings, Broker(host="localhost", port=port), validators=4)
    grid = yaml.safe_load(stage.grid_file.read_text())
    laid(grid)
    stage.grid_file.write_text(yaml.safe_dump(grid))
    asyncio.run(found(stage))
    (folder / "mosquitto.conf").write_text(f"listener {port} localhost\nallow_anonymous true\nuser root\n")
    return Network(stage, port)


# -- Letters between gateways


def trade(region: Region, gateway: str, *command: str, status: int = 0) -> str:
    """What `este-agent trade` says at a gateway."""
    done = run("este-agent", "trade", *command, f"--settings={region.stage.agent_settings(gateway)}", status=status)
    return done.stderr if status else done.stdout


def offers(region: Region, gateway: str, verb: str = "list") -> list[dict[str, Any]]:
    """What a gateway has offered and got."""
    found: list[dict[str, Any]] = json.loads(trade(region, gateway, verb, "--json"))
    return found


def stage(region: Region, gateway: str, number: str) -> str:
    """How an offer stands at a gateway."""
    return next((one["stage"] for one in offers(region, gateway) if one["number"] == number), "unknown")


def wait_for_stage(region: Region, gateway: str, number: str, *stages: str) -> None:
    """Wait until an offer stands so."""
    wait_until(
        f"{gateway}: {number[:12]} is {' or '.join(stages)}",
        lambda: stage(region, gateway, number) in stages,
        lambda: f"{offers(region, gateway)}\n{region.log(gateway)}",
    )


def in_inbox(region: Region, gateway: str) -> dict[str, Any]:
    """The one offer that waits at a gateway, once it is there."""
    wait_until(
        f"an offer at {gateway}", lambda: len(offers(region, gateway, "inbox")) == 1, lambda: region.log(gateway)
    )
    (offer,) = offers(region, gateway, "inbox")
    return offer


# -- What gateways and nodes know


def who(region: Region, gateway: str) -> list[str]:
    """Participants behind a gateway, as its last statement says."""
    if not (region.stage.agent_settings(gateway).parent / "data" / FILE_NAME).exists():
        return []
    return [standing["participant"] for standing in region.agent(gateway)["standings"]]


def until_stated(region: Region) -> None:
    """Wait until every gateway knows who is behind it."""
    wait_until(
        "statements", lambda: all(who(region, gateway) for gateway in region.gateways), lambda: region.log("gw-1")
    )


def on_chain(region: Region, chain: ChainName, type_: MessageType) -> list[Envelope]:
    """The records of one type."""
    store = Store.open_read_only(region.stage.ledger)
    try:
        bodies = [leaf.body for leaf in store.leaves(chain)]
    finally:
        store.close()
    envelopes = [Envelope.parse(body) for body in bodies if body.startswith(b"\xd2")]
    return [envelope for envelope in envelopes if envelope.type == type_]


def published(region: Region) -> int:
    """How many sealing keys are on the asset chain."""
    return len(on_chain(region, ChainName.ASSET, MessageType.SEALING_KEY))


# -- A region that is asked as a whole


@dataclass
class Place:
    """A region that trades, whatever orders its blocks: what its nodes are asked, all of them answer."""

    region: Region
    nodes: tuple[str, ...]
    slowness: float
    """How many times longer than on a quiet machine it took to start; at least 1.

    Deadlines that belong to a story, such as when a delivery begins, are put off by that much.
    """

    @property
    def ledgers(self) -> tuple[Path, ...]:
        """Every node's."""
        return self.region.stage.ledgers

    def log(self) -> str:
        """What the programs said last."""
        return "\n".join(f"--- {name}\n{self.region.log(name)}" for name in (*self.nodes, *self.region.gateways))

    def asked(self, *command: str) -> list[Any]:
        """What every node's ledger answers to a command of `este-aggregator`; None where it has no answer yet."""
        return [_answer(*command, f"--data={ledger}", "--json") for ledger in self.ledgers]

    def until(self, what: str, is_true: Callable[[Any], object], *command: str) -> Any:
        """Wait until a command's answer is such on every node, and give the first one's."""
        answers: list[Any] = []

        def is_so() -> bool:
            answers[:] = self.asked(*command)
            return all(answer is not None and is_true(answer) for answer in answers)

        wait_until(what, is_so, lambda: f"{answers}\n{self.log()}", 2 * PATIENCE_S * self.slowness)
        return answers[0]

    def first_has(self, number: str, *states: str) -> str:
        """Wait until the first node has a contract in one of these states, and tell which."""
        ask = ("contracts", number, f"--data={self.ledgers[0]}", "--json")
        seen: list[str] = []

        def is_there() -> bool:
            seen[:] = [(_answer(*ask) or {}).get("state", "")]
            return seen[0] in states

        wait_until(
            f"contract {number[:12]} is {' or '.join(states)}", is_there, self.log, 2 * PATIENCE_S * self.slowness
        )
        return seen[0]

    def contract(self, number: str, state: str) -> dict[str, Any]:
        """A contract that every node has in a state, or has had: and all of them have the same."""
        command = ("contracts", number)
        self.until(
            f"contract {number[:12]} is {state}", lambda told: state in [name for name, _ in told["history"]], *command
        )
        wait_until("the nodes say the same of it", lambda: is_one(self.asked(*command)), self.log)
        found: dict[str, Any] = self.asked(*command)[0]
        return found

    def regulator(self, *command: str, status: int = 0) -> str:
        """What the regulator's desk says, in front of the first node."""
        stage_ = self.region.stage
        key, settings = f"--key={stage_.regulator_key}", f"--settings={stage_.aggregator_settings}"
        done = run("este-aggregator", "regulator", *command, key, settings, status=status)
        return done.stdout + done.stderr

    def agent(self, gateway: str, *command: str) -> str:
        """What a gateway's command says."""
        return run("este-agent", *command, f"--settings={self.region.stage.agent_settings(gateway)}").stdout

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let no node do anything for a while; what it is sent waits."""
        for node in self.nodes:
            self.region.processes[node].send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for node in self.nodes:
                self.region.processes[node].send_signal(signal.SIGCONT)

    def agree(self) -> int:
        """See that no two nodes have another block, and so another state, at one height; tell how many they share."""
        histories = [_heads(ledger) for ledger in self.ledgers]
        shared = min(map(len, histories))
        assert is_one([history[:shared] for history in histories])
        return shared

    def audit(self) -> None:
        """Every node's ledger follows from its records."""
        for ledger in self.ledgers:
            assert _answer("audit", f"--data={ledger}", "--json")["audit"] == "ok"


QUIET_S: Final = 12.0
"""What it takes on a quiet machine until gateways know who is behind them."""
ENGINES: Final = (
    pytest.param(0, id="local"),
    pytest.param(4, id="four-validators", marks=pytest.mark.cometbft),
)
"""How many validators order the blocks; 0: one node by itself."""


@contextmanager
def a_place(folder: Path, validators: int, *, laid: Laid, **fleet: Any) -> Iterator[Place]:
    """A region that runs and whose gateways know who is behind them; afterwards nothing of it runs."""
    region: Region
    if validators:
        region = a_network(folder / "region", laid=laid, **fleet)
        nodes = tuple(region.nodes)
    else:
        region, nodes = a_region(folder / "region", laid=laid, **fleet), ("aggregator",)
    begin_s = time.monotonic()
    with running(region, "broker", "fleet", *nodes, *region.gateways):
        until_stated(region)
        yield Place(region, nodes, max(1.0, (time.monotonic() - begin_s) / QUIET_S))


def is_one(answers: Sequence[object]) -> bool:
    """Whether all answers are the same."""
    return all(answer == answers[0] for answer in answers)


def soon(seconds: int) -> datetime:
    """An instant to come."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def window(ahead_s: int, intervals: int = 2, interval_s: int = 4) -> tuple[str, str]:
    """A window of whole intervals that begins so far ahead: its two ends, as commands take them."""
    start_s = (int(time.time()) + ahead_s) // interval_s * interval_s
    ends = (start_s, start_s + intervals * interval_s)
    first, last = (datetime.fromtimestamp(instant_s, UTC).isoformat() for instant_s in ends)
    return first, last


def _answer(*command: str) -> Any:
    """What a command of `este-aggregator` prints, or None if it ends with an error that people are told."""
    done = CliRunner().invoke(app, list(command))
    if isinstance(done.exception, EsteError):
        return None
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return json.loads(done.stdout)


def _heads(ledger: Path) -> list[bytes]:
    """The digests of all blocks in a node's ledger file, oldest first."""
    with closing(Store.open_read_only(ledger)) as store:
        last = store.last_block()
        assert last is not None
        blocks = [store.block(height) for height in range(1, last.height + 1)]
    return [BlockHead.decode(block[0]).digest for block in blocks if block is not None]
