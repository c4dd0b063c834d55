"""The application's socket: order, threads, bounds, and what a bad peer or a broken application costs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aggregator.engine.cometbft import abci_pb2 as pb
from aggregator.engine.cometbft.application import OrderedBlock, TxResult
from aggregator.engine.cometbft.framing import FrameReader, framed
from aggregator.engine.cometbft.server_port import Limits, Server
from protocol.errors import OperatorError
from tests.toy_chain import REFUSED, ToyChain

PATIENCE_S = 60
ECHO = pb.Request(echo=pb.RequestEcho(message="héllo"))
FLUSH = pb.Request(flush=pb.RequestFlush())


@dataclass
class Peer:
    """As much of CometBFT as one connection shows."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    frames: FrameReader = field(default_factory=lambda: FrameReader(1 << 30))
    waiting: list[pb.Response] = field(default_factory=list)

    def send(self, *requests: pb.Request) -> None:
        self.send_bytes(b"".join(framed(request.SerializeToString()) for request in requests))

    def send_bytes(self, data: bytes) -> None:
        self.writer.write(data)

    async def hears(self) -> pb.Response:
        async with asyncio.timeout(PATIENCE_S):
            while not self.waiting:
                data = await self.reader.read(1 << 16)
                if not data:
                    raise EOFError
                self.waiting += [pb.Response.FromString(message) for message in self.frames.feed(data)]
        return self.waiting.pop(0)

    async def asks(self, request: pb.Request) -> pb.Response:
        self.send(request)
        return await self.hears()

    async def is_hung_up_on(self) -> bool:
        try:
            await self.hears()
        except (EOFError, ConnectionError):
            return True
        return False


@dataclass
class Served:
    server: Server
    path: Path
    peers: list[Peer] = field(default_factory=list)

    async def peer(self) -> Peer:
        self.peers.append(Peer(*await asyncio.open_unix_connection(self.path)))
        return self.peers[-1]


@asynccontextmanager
async def serving(application: ToyChain, path: Path, limits: Limits | None = None) -> AsyncIterator[Served]:
    with ThreadPoolExecutor(1) as ledger, ThreadPoolExecutor(2) as pool:
        async with Server(application, path, ledger=ledger, pool=pool, limits=limits) as server:
            served = Served(server, path)
            try:
                yield served
            finally:
                for peer in served.peers:
                    peer.writer.close()
                    with contextlib.suppress(ConnectionError):
                        await peer.writer.wait_closed()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(ToyChain(), tmp_path / "app.sock") as served:
        yield served


def check(tx: bytes) -> pb.Request:
    return pb.Request(check_tx=pb.RequestCheckTx(tx=tx))


def finalize(height: int, *txs: bytes) -> pb.Request:
    return pb.Request(finalize_block=pb.RequestFinalizeBlock(height=height, txs=txs))


async def test_every_question_that_cometbft_asks_has_its_answer(served: Served) -> None:
    peer = await served.peer()
    assert (await peer.asks(ECHO)).echo.message == "héllo"
    assert (await peer.asks(FLUSH)).WhichOneof("value") == "flush"
    info = (await peer.asks(pb.Request(info=pb.RequestInfo()))).info
    assert (info.version, info.app_version, info.last_block_height) == ("toy", 3, 0)
    begin = pb.RequestInitChain(chain_id="dorf", app_state_bytes=b'{"a": "0"}')
    genesis = (await peer.asks(pb.Request(init_chain=begin))).init_chain
    assert len(genesis.app_hash) == 32
    assert (await peer.asks(check(b"rubbish"))).check_tx.code == REFUSED
    again = pb.RequestCheckTx(tx=b"a=1", type=pb.RECHECK)
    assert (await peer.asks(pb.Request(check_tx=again))).check_tx.data == b"again"
    draft = pb.RequestPrepareProposal(height=1, txs=[b"a=1", b"rubbish"], max_tx_bytes=1000)
    assert (await peer.asks(pb.Request(prepare_proposal=draft))).prepare_proposal.txs == [b"a=1"]
    verdicts = pb.ResponseProcessProposal
    for txs, verdict in (([b"a=1"], verdicts.ACCEPT), ([b"rubbish"], verdicts.REJECT)):
        proposal = pb.RequestProcessProposal(height=1, txs=txs)
        assert (await peer.asks(pb.Request(process_proposal=proposal))).process_proposal.status == verdict
    key = "11" * 32
    block = (await peer.asks(finalize(1, b"a=1", f"validator:{key}=4".encode()))).finalize_block
    assert [result.code for result in block.tx_results] == [0, 0]
    assert [(v.pub_key.ed25519.hex(), v.power) for v in block.validator_updates] == [(key, 4)]
    assert (await peer.asks(pb.Request(commit=pb.RequestCommit()))).WhichOneof("value") == "commit"
    assert (await peer.asks(pb.Request(query=pb.RequestQuery(data=b"a")))).query.value == b"1"
    assert (await peer.asks(pb.Request(info=pb.RequestInfo()))).info.last_block_app_hash == block.app_hash


async def test_a_snapshot_goes_from_one_application_to_another(tmp_path: Path) -> None:
    giver, taker = ToyChain(snapshot_every=1), ToyChain()
    async with serving(giver, tmp_path / "a") as a, serving(taker, tmp_path / "b") as b:
        old, new = await a.peer(), await b.peer()
        app_hash = (await old.asks(finalize(1, b"a=" + b"1" * 200))).finalize_block.app_hash
        await old.asks(pb.Request(commit=pb.RequestCommit()))
        (snapshot,) = (await old.asks(pb.Request(list_snapshots=pb.RequestListSnapshots()))).list_snapshots.snapshots
        odd = pb.Snapshot(height=1, format=2, chunks=1)
        for offered, verdict in ((odd, "REJECT_FORMAT"), (snapshot, "ACCEPT")):
            offer = pb.RequestOfferSnapshot(snapshot=offered, app_hash=app_hash)
            result = (await new.asks(pb.Request(offer_snapshot=offer))).offer_snapshot.result
            assert pb.ResponseOfferSnapshot.Result.Name(result) == verdict
        for index in range(snapshot.chunks):
            ask = pb.RequestLoadSnapshotChunk(height=1, format=1, chunk=index)
            chunk = (await old.asks(pb.Request(load_snapshot_chunk=ask))).load_snapshot_chunk.chunk
            apply = pb.RequestApplySnapshotChunk(index=index, chunk=chunk, sender="peer")
            applied = (await new.asks(pb.Request(apply_snapshot_chunk=apply))).apply_snapshot_chunk
            assert applied.result == pb.ResponseApplySnapshotChunk.ACCEPT
    assert (taker.height, taker.words) == (1, giver.words)


async def test_transactions_are_checked_together_and_answered_in_order(tmp_path: Path) -> None:
    together = threading.Barrier(2)

    class Slow(ToyChain):
        def check_tx(self, tx: bytes, is_recheck: bool) -> TxResult:
            together.wait(PATIENCE_S)
            return TxResult(data=tx)

    async with serving(Slow(), tmp_path / "app.sock", Limits(checks_per_job_max=1, checks_at_once_max=0)) as served:
        peer = await served.peer()
        peer.send(*(check(b"%d" % i) for i in range(200)), FLUSH, ECHO)
        assert [(await peer.hears()).check_tx.data for _ in range(200)] == [b"%d" % i for i in range(200)]
        assert [(await peer.hears()).WhichOneof("value") for _ in range(2)] == ["flush", "echo"]


async def test_a_transaction_that_comes_alone_is_checked_where_it_is_read(tmp_path: Path) -> None:
    threads = set[int]()

    class Noting(ToyChain):
        def check_tx(self, tx: bytes, is_recheck: bool) -> TxResult:
            threads.add(threading.get_ident())
            return TxResult(data=tx)

    async with serving(Noting(), tmp_path / "app.sock") as served:
        peer = await served.peer()
        peer.send(check(b"a=1"), FLUSH)
        assert (await peer.hears()).check_tx.data == b"a=1"
    assert threads == {threading.get_ident()}


async def test_connections_never_meet_in_the_ledger(tmp_path: Path) -> None:
    inside = threading.Lock()
    threads = set()

    def alone(_: str) -> None:
        assert inside.acquire(blocking=False)
        threads.add(threading.get_ident())
        inside.release()

    async with serving(ToyChain(before=alone), tmp_path / "app.sock") as served:
        peers = [await served.peer() for _ in range(4)]
        for peer in peers:
            peer.send(*[pb.Request(prepare_proposal=pb.RequestPrepareProposal())] * 50)
        for peer in peers:
            assert [(await peer.hears()).WhichOneof("value") for _ in range(50)] == ["prepare_proposal"] * 50
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_check_does_not_wait_for_the_ledger(tmp_path: Path) -> None:
    checked = threading.Event()

    class Busy(ToyChain):
        def finalize_block(self, block: OrderedBlock) -> None:  # type: ignore[override]
            assert checked.wait(PATIENCE_S)
            raise OSError("disk full")

    async with serving(Busy(), tmp_path / "app.sock") as served:
        consensus, mempool = await served.peer(), await served.peer()
        consensus.send(finalize(1, b"a=1"))
        assert (await mempool.asks(check(b"a=1"))).check_tx.code == 0
        checked.set()
        assert "disk full" in (await consensus.hears()).exception.error


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\xff\xff\xff\xff\x7f",
        b"\xff\xff\xff\xff\xff\x01",
        framed(b""),
        framed(b"\x42\x05\x0a"),
        framed(b"\xff\xff\xff"),
        framed(b"\x92\x01\x00"),
        framed(check(b"a=1").SerializeToString() + finalize(1).SerializeToString()),
    ],
    ids=["2 GiB", "no length", "empty", "cut off", "no field", "extend vote", "two in one"],
)
async def test_rubbish_costs_its_own_connection_only(served: Served, rubbish: bytes) -> None:
    good, bad = await served.peer(), await served.peer()
    bad.send(ECHO)
    bad.send_bytes(rubbish)
    assert (await bad.hears()).echo.message == "héllo"
    assert await bad.is_hung_up_on()
    assert (await good.asks(ECHO)).echo.message == "héllo"


async def test_a_message_above_the_bound_is_refused_before_it_comes(tmp_path: Path) -> None:
    async with serving(ToyChain(), tmp_path / "app.sock", Limits(message_bytes_max=1000)) as served:
        peer = await served.peer()
        assert (await peer.asks(check(b"=" * 900))).check_tx.code == 0
        peer.send_bytes(framed(b"\0" * 1001)[:2])
        assert await peer.is_hung_up_on()


async def test_a_peer_that_does_not_listen_is_not_read_from_without_end(tmp_path: Path) -> None:
    count = 500

    class Long(ToyChain):
        def check_tx(self, tx: bytes, is_recheck: bool) -> TxResult:
            self.told.append("check_tx")
            return TxResult(data=bytes(100_000))

    application = Long()
    async with serving(application, tmp_path / "app.sock", Limits(jobs_max=2, checks_per_job_max=1)) as served:
        deaf, good = await served.peer(), await served.peer()
        deaf.send(*[check(bytes(100_000))] * count)
        assert (await good.asks(ECHO)).echo.message == "héllo"
        assert len(application.told) < count
        for _ in range(count):
            assert len((await deaf.hears()).check_tx.data) == 100_000


async def test_a_connection_too_many_is_closed(tmp_path: Path) -> None:
    async with serving(ToyChain(), tmp_path / "app.sock", Limits(connections_max=4)) as served:
        peers = [await served.peer() for _ in range(4)]
        for peer in peers:
            await peer.asks(ECHO)
        assert await (await served.peer()).is_hung_up_on()
        assert (await peers[0].asks(ECHO)).echo.message == "héllo"


@pytest.mark.parametrize("bug", [lambda: check(b"bug"), lambda: finalize(1, b"\xff")], ids=["check", "finalize"])
async def test_a_broken_application_says_so_and_is_asked_nothing_more(
    tmp_path: Path, bug: Callable[[], pb.Request]
) -> None:
    application = ToyChain()
    async with serving(application, tmp_path / "app.sock") as served:
        peer, other = await served.peer(), await served.peer()
        assert (await peer.asks(bug())).WhichOneof("value") == "exception"
        assert await peer.is_hung_up_on()
        asked = len(application.told)
        assert (await other.asks(finalize(1, b"a=1"))).WhichOneof("value") == "exception"
        assert len(application.told) == asked
        with pytest.raises(ValueError, match=r"a bug|decode"):
            async with asyncio.timeout(PATIENCE_S):
                await served.server.broken()


async def test_a_question_that_a_dead_peer_left_is_answered_before_the_next(tmp_path: Path) -> None:
    go_on = threading.Event()

    def wait(question: str) -> None:
        if question == "finalize_block":
            assert go_on.wait(PATIENCE_S)

    application = ToyChain(before=wait)
    async with serving(application, tmp_path / "app.sock") as served:
        dying = await served.peer()
        dying.send(finalize(1, b"a=1"))
        await (await served.peer()).asks(ECHO)
        dying.writer.close()
        heir = await served.peer()
        heir.send(pb.Request(info=pb.RequestInfo()))
        go_on.set()
        assert (await heir.hears()).info.last_block_height == 0


async def test_whoever_asks_how_far_we_are_disturbs_no_block(served: Served) -> None:
    consensus, curious = await served.peer(), await served.peer()
    app_hash = (await consensus.asks(finalize(1, b"a=1"))).finalize_block.app_hash
    assert (await curious.asks(pb.Request(info=pb.RequestInfo()))).info.last_block_height == 0
    assert (await consensus.asks(finalize(1, b"a=1"))).finalize_block.app_hash == app_hash
    assert (await consensus.asks(pb.Request(commit=pb.RequestCommit()))).WhichOneof("value") == "commit"
    assert (await curious.asks(pb.Request(info=pb.RequestInfo()))).info.last_block_app_hash == app_hash


async def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    async with serving(ToyChain(), path):
        path.rename(tmp_path / "left")
    (tmp_path / "left").rename(path)
    async with serving(ToyChain(), path) as served:
        assert path.stat().st_mode & 0o777 == 0o600
        assert (await (await served.peer()).asks(ECHO)).echo.message == "héllo"
    assert not path.exists()


@pytest.mark.parametrize("name", ["no/such/folder/app.sock", "x" * 120, "file"])
async def test_a_place_where_no_socket_can_be_is_the_operators_to_mend(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OperatorError):
        async with serving(ToyChain(), tmp_path / name):
            pass
    assert (tmp_path / "file").read_text() == "kept"
