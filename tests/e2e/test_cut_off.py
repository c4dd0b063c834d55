"""The network between four validators is cut, and mended: nothing committed is lost, and no two disagree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.e2e.consensus import Consensus, consensus
from tests.e2e.netns import Wires, wired

pytestmark = [pytest.mark.cometbft, pytest.mark.netns]

STILL_S = 8.0

World = tuple[Consensus, Wires]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Four nodes, each in a network namespace of its own, that have agreed on a first batch."""
    with consensus(tmp_path) as made, wired(made) as wires:
        made.start()
        made.send("node-1")
        made.all_have_all()
        yield made, wires


def test_one_that_is_cut_off_stands_still_and_has_everything_once_it_is_back(world: World) -> None:
    made, wires = world
    lost = "regulator-node"
    others = [name for name in made.names if name != lost]
    wires.cut(lost)
    for _ in range(3):
        made.send("node-1")
        made.all_have_all(*others)
    assert made.received(lost) < len(made.gateway.sent)
    wires.mend(lost)
    made.all_have_all()
    made.kill("node-2")  # and it votes again: without it there is no quorum
    made.send("node-1")
    made.all_have_all()
    made.start("node-2")
    made.all_have_all()
    made.stop()
    made.audit()


def test_two_and_two_decide_nothing_until_they_hear_each_other_and_lose_nothing(world: World) -> None:
    made, wires = world
    wires.split()
    made.wait("what was under way has arrived, and nothing is decided any more", Stillness(made))
    before = {name: made.decided(name) for name in made.names}
    made.send("node-1", batches=2)
    made.wait("nobody decides anything", Stillness(made))
    assert {name: made.decided(name) for name in made.names} == before
    made.agree()
    wires.join()
    made.all_have_all()
    made.stop()
    made.audit()


@dataclass
class Stillness:
    """Whether no node has decided anything for so long that, with blocks every second, it is no accident."""

    made: Consensus
    seen: list[int] = field(default_factory=list)
    since_s: float = 0.0

    def __call__(self) -> bool:
        now = [self.made.decided(name) for name in self.made.names]
        if now != self.seen:
            self.seen, self.since_s = now, time.monotonic()
        return time.monotonic() - self.since_s > STILL_S
