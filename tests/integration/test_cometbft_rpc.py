"""The client of CometBFT's RPC against somebody who answers anything at all."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from aggregator.engine.cometbft import rpc_port
from aggregator.engine.cometbft.home import RPC_BATCH_MAX
from aggregator.engine.cometbft.rpc_port import Rpc, Sent
from protocol.errors import LinkError

HOST = "127.0.0.1"


@dataclass
class Answerer:
    """An HTTP server that says what a test wants."""

    body: bytes | None = None
    """Instead of what CometBFT would say to a broadcast."""
    hang_up_after: int = 1 << 30
    """How many calls a connection lives."""
    calls: list[Any] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            for _ in range(self.hang_up_after):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length: ")[1].split("\r\n")[0])
                self.calls.append(json.loads(await reader.readexactly(length)))
                body = self.body if self.body is not None else self._broadcast(self.calls[-1])
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass

    @staticmethod
    def _broadcast(calls: list[dict[str, Any]]) -> bytes:
        answers = [{"id": call["id"], "result": {"code": 0, "log": ""}} for call in reversed(calls)]
        return json.dumps(answers[0] if len(answers) == 1 else answers).encode()


@asynccontextmanager
async def asking(answerer: Answerer, timeout_s: float = 60) -> AsyncIterator[Rpc]:
    conversations: list[asyncio.Task[None]] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await answerer.serve(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(converse, HOST, 0)
    rpc = Rpc(server.sockets[0].getsockname()[1], timeout_s=timeout_s)
    try:
        yield rpc
    finally:
        rpc.close()
        server.close()
        await asyncio.gather(*conversations)


@pytest.mark.parametrize("count", [0, 1, 2, RPC_BATCH_MAX, RPC_BATCH_MAX + 1, 3 * RPC_BATCH_MAX])
async def test_every_transaction_goes_once_in_order_and_has_its_answer(count: int) -> None:
    answerer = Answerer()
    async with asking(answerer) as rpc:
        assert await rpc.broadcast([b"%d" % number for number in range(count)]) == [Sent(True, 0, "")] * count
    sent = [base64.b64decode(call["params"]["tx"]) for calls in answerer.calls for call in calls]
    assert sent == [b"%d" % number for number in range(count)]
    assert all(len(calls) <= RPC_BATCH_MAX for calls in answerer.calls)
    assert answerer.connections <= 1


async def test_a_call_is_never_longer_than_cometbft_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_port, "RPC_BODY_BYTES_MAX", 5000)
    answerer = Answerer()
    async with asking(answerer) as rpc:
        await rpc.broadcast([bytes(1000)] * 20)
    assert sum(map(len, answerer.calls)) == 20
    assert all(len(json.dumps(calls, separators=(",", ":"))) <= 5000 for calls in answerer.calls)


async def test_a_connection_that_was_closed_meanwhile_is_opened_again() -> None:
    answerer = Answerer(hang_up_after=1)
    async with asking(answerer) as rpc:
        for _ in range(3):
            assert await rpc.broadcast([b"a"]) == [Sent(True, 0, "")]
    assert answerer.connections == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b"null", b'{"result": 1}', b'{"id": 0, "result": {}}', b'[{"id": 7}]', b"\xff"],
)
async def test_an_answer_that_makes_no_sense_is_an_error_of_the_link(body: bytes) -> None:
    async with asking(Answerer(body)) as rpc:
        for ask in (rpc.status, rpc.commit, rpc.block, rpc.validators, lambda: rpc.broadcast([b"a"])):
            with pytest.raises(LinkError):
                await ask()


async def test_an_answer_without_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc_port, "ANSWER_BYTES_MAX", 1000)
    async with asking(Answerer(b" " * 2000)) as rpc:
        with pytest.raises(LinkError, match="more than 1000 bytes"):
            await rpc.status()


async def test_a_node_that_never_answers_is_not_waited_for_without_end() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    answerer = Answerer()
    answerer.serve = silent  # type: ignore[method-assign]
    async with asking(answerer, timeout_s=0.1) as rpc:
        with pytest.raises(LinkError, match="timed out"):
            await rpc.status()


async def test_a_node_that_is_not_there_is_an_error_of_the_link() -> None:
    rpc = Rpc(1)
    with pytest.raises(LinkError, match=r"127\.0\.0\.1:1"):
        await rpc.status()
    rpc.close()


async def test_the_reason_of_a_refusal_is_told() -> None:
    refusal = json.dumps({"id": 0, "error": {"code": -32603, "message": "Internal error", "data": "mempool is full"}})
    async with asking(Answerer(refusal.encode())) as rpc:
        with pytest.raises(LinkError, match="mempool is full"):
            await rpc.status()
        assert await rpc.broadcast([b"a"]) == [Sent(False, 0, "mempool is full")]


async def test_closing_does_not_wait_for_an_answer() -> None:
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        asked.set()
        await reader.read()

    answerer = Answerer()
    answerer.serve = silent  # type: ignore[method-assign]
    async with asking(answerer, timeout_s=3600) as rpc:
        asking_task = asyncio.create_task(rpc.status())
        await asked.wait()
        rpc.close()
        with pytest.raises(LinkError):
            await asking_task
