"""A region under random kills, cut links and lying meters, as long as one likes: ``make soak`` takes ten minutes."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml

from aggregator.chains.intervals.flows import ParticipantFlow
from aggregator.chains.intervals.results import IntervalResult
from aggregator.service.store import Store
from firmware_sim.control_port import order
from firmware_sim.demo.stage import TIME
from firmware_sim.faults import Fault
from protocol.checkpoint import ChainName
from protocol.envelope import Envelope
from protocol.errors import EncodingError, EsteError
from tests.e2e.region import Region, a_region, running, wait_until
from tests.e2e.test_nothing_is_lost import grows, readings_of

pytestmark = pytest.mark.mosquitto

SOAK_S: Final = float(os.environ.get("ESTE_SOAK_S", "45"))
SEED: Final = int(os.environ.get("ESTE_SOAK_SEED", "1"))

FAULT_MS_MAX: Final = 8_000
CUT_S_MAX: Final = 4.0
"""How long a meter is broken, or a process frozen, at most."""


def test_no_reading_is_lost_or_doubled_whatever_happens(tmp_path: Path) -> None:
    """pains.md, rows 1, 2 and 3: kills, cut links and every fault of a meter, in an order that chance decides.

    And no meter is booked more energy than its connection can have carried, whatever its counter showed.
    """
    begin_s = time.monotonic()
    region = a_region(tmp_path)
    run_folder = _with_orders(region)
    chance = random.Random(SEED)
    blows = {"kill": _kill, "freeze": _freeze, "fault": lambda region, chance: _break(region, chance, run_folder)}
    dealt: Counter[str] = Counter()
    with running(region, "broker", "fleet", "aggregator", *region.gateways):
        grows(region)
        end_s = time.monotonic() + SOAK_S
        while time.monotonic() < end_s:
            blow = chance.choice(list(blows))
            blows[blow](region, chance)
            dealt[blow] += 1
            time.sleep(chance.uniform(0.5, 3.0))
        for meter in _meters(region):
            _order(run_folder, meter, "none")
        grows(region)
        for gateway in region.gateways:
            region.stop(gateway)
        region.stop("aggregator")
        agents = {gateway: region.agent(gateway) for gateway in region.gateways}
    on_chain = readings_of(region)
    read = sum(agent["readings_read"] for agent in agents.values())
    doubled = sum(count - 1 for count in on_chain.values())
    print(f"{SOAK_S:.0f} s, {dict(dealt)}: {read} readings read, {read - len(on_chain)} lost, {doubled} doubled")
    assert doubled == 0
    assert read == len(on_chain) > SOAK_S
    lived_s = time.monotonic() - begin_s
    energy_wh = booked(region)
    for meter in region.stage.scenario.grid(TIME).meters:
        booked_wh = energy_wh[meter.participant]
        assert booked_wh <= meter.power_max_w * lived_s / 3600, f"{meter.id} is booked {booked_wh} Wh"
    assert [agent["records_waiting"] for agent in agents.values()] == [0] * len(agents)
    assert region.ask("este-aggregator", "audit", f"--data={region.stage.ledger}")["audit"] == "ok"


def booked(region: Region) -> Counter[str]:
    """Watt-hours that closed intervals hold of each participant, in both directions."""
    total: Counter[str] = Counter()
    store = Store.open_read_only(region.stage.ledger)
    try:
        for leaf in store.leaves(ChainName.ANALYSIS):
            for flow in _flows_in(leaf.body):
                total[flow.participant] += flow.imported_wh + flow.exported_wh
    finally:
        store.close()
    assert sum(total.values()) > 0
    return total


def _flows_in(leaf: bytes) -> tuple[ParticipantFlow, ...]:
    """The flows of an interval's record; none in the leaves that a block itself brought about."""
    try:
        envelope = Envelope.parse(leaf)
    except EncodingError:
        return ()
    return IntervalResult.decode(envelope.payload).flows.participants if envelope.type == "interval" else ()


def _with_orders(region: Region) -> Path:
    """Let the fleet take orders."""
    run_folder = region.stage.folder / "fleet-run"
    settings = yaml.safe_load(region.stage.fleet_settings.read_text())
    region.stage.fleet_settings.write_text(yaml.safe_dump(settings | {"run_folder": str(run_folder)}))
    return run_folder


def _kill(region: Region, chance: random.Random) -> None:
    victim = chance.choice(sorted(region.processes))
    region.kill(victim)
    time.sleep(chance.uniform(0.0, 2.0))
    region.start(victim)


def _freeze(region: Region, chance: random.Random) -> None:
    """A link that swallows everything: the process behind it hears and says nothing for a while."""
    process = region.processes[chance.choice(("aggregator", "broker", "fleet"))]
    process.send_signal(signal.SIGSTOP)
    time.sleep(chance.uniform(0.5, CUT_S_MAX))
    process.send_signal(signal.SIGCONT)


def _break(region: Region, chance: random.Random, run_folder: Path) -> None:
    meter, fault = chance.choice(_meters(region)), chance.choice(list(Fault))
    _order(run_folder, meter, fault.value, for_ms=chance.randrange(500, FAULT_MS_MAX))


def _order(run_folder: Path, meter: str, fault: str, **more: int) -> None:
    """Tell the fleet, as soon as it hears."""
    wait_until(f"{meter}: {fault}", _is_obeyed(run_folder, {"meter": meter, "fault": fault} | more))


def _is_obeyed(run_folder: Path, what: dict[str, object]) -> Callable[[], bool]:
    def try_once() -> bool:
        try:
            asyncio.run(order(run_folder, what))
        except EsteError:  # it may just be starting again
            return False
        return True

    return try_once


def _meters(region: Region) -> list[str]:
    return [connection.site.meter for connection in region.stage.scenario.connections]
