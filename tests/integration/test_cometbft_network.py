"""Real CometBFT over our socket: genesis to commit, falls at every step, four validators, and one that joins late."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.engine.cometbft.application import Draft
from aggregator.engine.cometbft.rpc_port import Sent
from protocol.errors import LinkError
from tests.integration.cometbft_world import BOUND_S, BRISK, Network, Node, eventually, network, short_folder, trust
from tests.toy_chain import REFUSED, ToyChain

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.cometbft


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


@pytest.fixture
async def node(folder: Path) -> AsyncIterator[Node]:
    async with network(folder, 1) as net:
        yield net.nodes[0]


@pytest.fixture
async def four(folder: Path) -> AsyncIterator[Network]:
    async with network(folder, 4) as net:
        for node in net.nodes:
            await node.start()
        yield net


async def test_one_validator_goes_from_genesis_to_commits(node: Node) -> None:
    await node.start()
    await node.sends(b"a=1", b"b=2")
    await node.knows("b", "2")
    assert node.application.words == {"chain": "dorf", "begin": "1", "a": "1", "b": "2"}
    assert node.application.told[0] == "init_chain"

    status = await node.answers()
    assert (status.node_id, status.chain_id, status.power) == (node.identity.node_id, "dorf", 10)
    assert status.validator_key == node.identity.validator_key
    assert await node.rpc.query("", b"a") == b"1"
    (validator,) = await node.rpc.validators()
    assert bytes.fromhex(validator["address"]) == node.identity.address
    assert (await node.rpc.block(1))["header"]["height"] == "1"

    height, app_hash = node.application.height, node.application.info().app_hash
    await eventually(lambda: node.application.height > height, "the proof block")
    assert bytes.fromhex((await node.rpc.commit(height + 1))["header"]["app_hash"]) == app_hash


async def test_what_is_refused_or_sent_twice_is_said_to_whoever_sent_it(node: Node) -> None:
    await node.start()
    await node.answers()
    assert await node.rpc.broadcast_checked([b"rubbish", b"a=1", b"a=1"]) == [
        Sent(False, REFUSED, "no key=value"),
        Sent(True, 0, ""),
        Sent(False, 0, "tx already exists in cache"),
    ]
    many = [b"k%d=%d" % (number, number) for number in range(250)]
    assert all(sent.is_taken for sent in await node.rpc.broadcast(many))
    await node.knows("k249", "249")
    with pytest.raises(LinkError, match="height"):
        await node.rpc.commit(10**6)


async def test_no_block_is_made_while_nothing_happens_unless_time_must_go_on(folder: Path) -> None:
    async with network(folder, 1) as net:
        (node,) = net.nodes
        await node.start()
        await node.sends(b"a=1")
        await node.knows("a", "1")
        await node.stop()
        node.tell(pacing=replace(BRISK, empty_every_ms=200))
        await node.start()
        await node.answers()
        height = node.application.height
        await eventually(lambda: node.application.height > height + 3, "blocks without transactions")


@pytest.mark.parametrize("question", ["init_chain", "prepare_proposal", "process_proposal", "finalize_block", "commit"])
async def test_an_application_that_dies_at_any_step_goes_on_where_it_was(node: Node, question: str) -> None:
    if question != "init_chain":
        await node.start()
        await node.sends(b"a=1")
        await node.knows("a", "1")
        await node.stop()

    is_armed = question == "init_chain"

    def die(asked: str) -> None:
        if is_armed and asked == question:
            raise OSError("the disk is gone")

    await node.start(ToyChain(node.folder / "words.json", before=die))
    if question != "init_chain":
        await node.answers()
        is_armed = True
        with contextlib.suppress(LinkError):  # it may die of a block that was due anyway
            await node.rpc.broadcast([b"b=2"])
    await breaks(node)
    await node.stop()
    await node.start()
    await node.sends(b"c=3")
    await node.knows("c", "3")
    assert question == "init_chain" or node.application.words["a"] == "1"


async def test_a_commit_that_was_kept_but_not_told_is_not_done_twice(node: Node) -> None:
    class DiesAfter(ToyChain):
        def commit(self) -> int:
            super().commit()
            if "b" in self.words:
                raise OSError("the answer never came")
            return 0

    await node.start(DiesAfter(node.folder / "words.json"))
    await node.sends(b"b=2")
    await breaks(node)
    height = node.application.height
    await node.stop()
    await node.start()
    await node.sends(b"c=3")
    await node.knows("c", "3")
    assert node.application.height > height


async def breaks(node: Node) -> None:
    assert node.server is not None
    with pytest.raises(OSError, match=r"disk|answer"):
        async with asyncio.timeout(BOUND_S):
            await node.server.broken()


async def test_a_cometbft_that_is_killed_is_started_again(node: Node) -> None:
    await node.start()
    await node.sends(b"a=1")
    await node.knows("a", "1")
    pid = node.supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: node.supervisor.starts == 2, "a second start")
    await node.sends(b"b=2")
    await node.knows("b", "2")


HOST = """
import asyncio, pathlib, sys
from tests.integration.cometbft_world import host
asyncio.run(host(pathlib.Path(sys.argv[1])))
"""


async def test_a_node_that_is_killed_leaves_nothing_that_holds_its_folder(node: Node) -> None:
    hosted = await asyncio.create_subprocess_exec(sys.executable, "-c", HOST, node.folder, cwd=ROOT)
    try:
        await node.sends(b"a=1")
        words = node.folder / "words.json"
        await eventually(lambda: words.exists() and '"a"' in words.read_text(), "a block")
    finally:
        hosted.kill()
        await hosted.wait()
    await node.start()
    await node.sends(b"b=2")
    await node.knows("b", "2")
    assert node.application.words["a"] == "1"


async def test_four_validators_agree_and_a_third_may_be_missing(four: Network) -> None:
    first, *_, last = four.nodes
    await first.sends(b"a=1")
    await four.all_know("a", "1")
    await last.stop()
    await first.sends(b"b=2")
    await four.all_know("b", "2")
    await last.start()
    await four.all_know("b", "2")
    await last.sends(b"c=3")
    await four.all_know("c", "3")
    height = min(node.application.height for node in four.nodes)
    hashes = {(await node.rpc.commit(height))["header"]["app_hash"] for node in four.nodes}
    assert len(hashes) == 1


async def test_a_block_that_the_others_find_wrong_is_voted_down(four: Network) -> None:
    class Liar(ToyChain):
        def prepare_proposal(self, draft: Draft) -> Sequence[bytes]:
            return [b"a lie", *super().prepare_proposal(draft)]

    liar, honest = four.nodes[0], four.nodes[1]
    await liar.stop()
    await liar.start(Liar(liar.folder / "words.json"))
    for number in range(5):
        await honest.sends(b"n=%d" % number)
        await four.all_know("n", str(number))
    assert "prepare_proposal" in liar.application.told
    assert all("a lie" not in node.application.words for node in four.nodes)


async def test_who_votes_is_what_the_application_says(four: Network) -> None:
    first, *_, last = four.nodes
    word = f"validator:{last.identity.validator_key.hex()}"
    await first.sends(f"{word}=0".encode())
    await four.all_know(word, "0")

    async def are_three() -> bool:
        return len(await first.rpc.validators()) == 3

    await eventually(are_three, "three validators")
    await first.sends(b"a=1")
    await four.all_know("a", "1")
    assert (await last.answers()).power == 0


async def test_a_newcomer_begins_from_a_snapshot_and_then_follows(four: Network) -> None:
    first, second, *_ = four.nodes
    number = 0
    while not (first.application.snapshots and second.application.snapshots):
        number += 1
        await first.sends(b"n=%d" % number)
        await four.all_know("n", str(number))
    await first.sends(b"long=" + b"x" * 500)
    await four.all_know("long", "x" * 500)

    late = four.make("late")
    late.tell(sync=await trust(first, (first, second)))
    await late.start()
    await late.knows("n", str(number))
    await first.sends(b"after=1")
    await four.all_know("after", "1")
    assert "init_chain" not in late.application.told
    assert "offer_snapshot" in late.application.told
    assert late.application.words == first.application.words
