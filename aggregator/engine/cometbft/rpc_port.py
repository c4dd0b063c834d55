"""What we ask of CometBFT over its JSON-RPC, on loopback: take these transactions, how far are you, show a block.

The standard library's client, in one thread of its own: one connection that is kept, no further dependency, and
nothing here is hot, since transactions go in batches. Answers are bounded and no wait is for ever. Never call it from
inside an application's method of the same node and wait for the answer: CometBFT holds its mempool meanwhile.

What waits for a block waits in CometBFT's memory, and is gone when it ends: whoever needs a transaction in a block
hands it over until it is in one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from aggregator.engine.cometbft.home import RPC_BATCH_MAX, RPC_BODY_BYTES_MAX
from protocol.errors import LinkError

ANSWER_BYTES_MAX: Final = 160 << 20
"""The longest block in base 64, and some."""

VALIDATORS_PER_PAGE: Final = 100
"""As many as CometBFT shows at once (rpc/core/env.go)."""

ANY_HOST: Final = "0.0.0.0"  # noqa: S104  not bound to here: what a setting may say

_ENVELOPE_BYTES: Final = 120
"""What a transaction takes in a call beside its own text."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a transaction on its way into the mempool."""

    is_taken: bool
    """It waits for a block, as far as is known: `broadcast` does not wait for the application's word."""
    code: int
    """The application's, if it was asked and said no."""
    log: str


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """How far a node has come."""

    node_id: str
    chain_id: str
    height: int
    """Of its last block; 0 before the first."""
    block_hash: bytes
    block_time_ms: int
    is_catching_up: bool
    """It takes blocks or a snapshot from others and does not vote yet."""
    validator_key: bytes
    power: int
    """Its weight now; 0 for a node that only follows."""


class Rpc:
    """One connection to one CometBFT. Requests of one object wait for one another; close it at the end."""

    def __init__(self, port: int, *, host: str = "127.0.0.1", timeout_s: float = 10.0) -> None:
        """`timeout_s` bounds the wait for the connection and for each piece of an answer."""
        self._place = f"{host}:{port}"
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cometbft-rpc")
        self._is_closed = False

    @classmethod
    def where_it_listens(cls, host: str, port: int) -> Rpc:
        """For a node's own questions; where its CometBFT listens on every address, on loopback too."""
        return cls(port) if host == ANY_HOST else cls(port, host=host)

    def close(self) -> None:
        """Ask nothing more, and wait for no answer. May be called again."""
        self._is_closed = True
        if (open_socket := self._connection.sock) is not None:
            with contextlib.suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._connection.close()

    async def broadcast(self, txs: Sequence[bytes]) -> list[Sent]:
        """Hand transactions over and do not wait until they are checked: thousands a second.

        Our own application hears of each in `check_tx` and knows what it said.

        Raises:
            LinkError: it is not known how many were taken. Sending one twice does no harm.
        """
        return await self._broadcast("broadcast_tx_async", txs)

    async def broadcast_checked(self, txs: Sequence[bytes]) -> list[Sent]:
        """Hand transactions over one after another, each once the one before has been checked.

        Takes up to 20 ms for each: so long CometBFT holds a question back for company.

        Raises:
            LinkError: it is not known how many were taken.
        """
        return await self._broadcast("broadcast_tx_sync", txs)

    async def status(self) -> NodeStatus:
        """How far the node has come.

        Raises:
            LinkError: it does not answer, or not with a status.
        """
        told = await self._ask("status")
        try:
            sync, validator = told["sync_info"], told["validator_info"]
            return NodeStatus(
                node_id=told["node_info"]["id"],
                chain_id=told["node_info"]["network"],
                height=int(sync["latest_block_height"]),
                block_hash=bytes.fromhex(sync["latest_block_hash"]),
                block_time_ms=_to_ms(sync["latest_block_time"]),
                is_catching_up=bool(sync["catching_up"]),
                validator_key=base64.b64decode(validator["pub_key"]["value"]),
                power=int(validator["voting_power"]),
            )
        except (LookupError, TypeError, ValueError) as error:
            raise self._nonsense("status") from error

    async def commit(self, height: int | None = None) -> Mapping[str, Any]:
        """A block's signed header, `header` and `commit`, as CometBFT spells it in JSON; by default the last one's.

        Raises:
            LinkError: it does not answer, or has no such block.
        """
        told = await self._ask("commit", **_at(height))
        return self._part(told, "signed_header")

    async def block(self, height: int | None = None) -> Mapping[str, Any]:
        """A block, as CometBFT spells it in JSON; by default the last one.

        Raises:
            LinkError: it does not answer, or has no such block.
        """
        told = await self._ask("block", **_at(height))
        return self._part(told, "block")

    async def validators(self, height: int | None = None) -> list[Mapping[str, Any]]:
        """Who votes at a height, in CometBFT's order and JSON; by default at the last one.

        Raises:
            LinkError: it does not answer, or knows no such height.
        """
        found: list[Mapping[str, Any]] = []
        while True:
            page = {"page": str(len(found) // VALIDATORS_PER_PAGE + 1), "per_page": str(VALIDATORS_PER_PAGE)}
            told = await self._ask("validators", **_at(height), **page)
            try:
                found += told["validators"]
                height, total = int(told["block_height"]), int(told["total"])
            except (LookupError, TypeError, ValueError) as error:
                raise self._nonsense("validators") from error
            if len(found) >= total or not told["validators"]:
                return found

    async def query(self, path: str, data: bytes) -> bytes:
        """Ask the node's application.

        Raises:
            LinkError: it does not answer.
        """
        told = self._part(await self._ask("abci_query", path=path, data=data.hex()), "response")
        return base64.b64decode(told.get("value") or "")

    # -- JSON-RPC

    async def _broadcast(self, method: str, txs: Sequence[bytes]) -> list[Sent]:
        sent: list[Sent] = []
        for batch in _batches(txs):
            calls = [_call(number, method, {"tx": base64.b64encode(tx).decode()}) for number, tx in enumerate(batch)]
            told = await self._post(calls)
            answers = told if isinstance(told, list) else [told]  # one answer comes without its brackets
            try:
                by_number = {one["id"]: one for one in answers}
                sent += [_sent(by_number[number]) for number in range(len(batch))]
            except (LookupError, TypeError, ValueError) as error:
                raise self._nonsense(method) from error
        return sent

    async def _ask(self, method: str, **arguments: str) -> Mapping[str, Any]:
        told = await self._post(_call(0, method, arguments))
        if not isinstance(told, dict):
            raise self._nonsense(method)
        if "error" in told:
            raise LinkError(f"{self._place}: {method}: {_reason(told['error'])}", retry=True)
        return self._part(told, "result")

    def _part(self, told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        part = told.get(name)
        if not isinstance(part, dict):
            raise self._nonsense(name)
        return part

    async def _post(self, document: object) -> Any:
        body = json.dumps(document, separators=(",", ":")).encode()
        try:
            data = await asyncio.get_running_loop().run_in_executor(self._thread, self._exchange, body)
            return json.loads(data)
        except (OSError, http.client.HTTPException) as error:
            raise LinkError(f"{self._place}: {error or type(error).__name__}", retry=True) from error
        except ValueError as error:
            raise self._nonsense("a call") from error

    def _exchange(self, body: bytes) -> bytes:
        """One call, in the thread. A kept connection may have been closed meanwhile: then once more on a new one."""
        is_new = self._connection.sock is None
        try:
            return self._exchange_once(body)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if is_new or self._is_closed:
                raise
            return self._exchange_once(body)

    def _exchange_once(self, body: bytes) -> bytes:
        try:
            self._connection.request("POST", "/", body, {"Content-Type": "application/json"})
            with contextlib.closing(self._connection.getresponse()) as response:
                data = response.read(ANSWER_BYTES_MAX + 1)
        except BaseException:
            self._connection.close()
            raise
        if len(data) > ANSWER_BYTES_MAX:
            self._connection.close()
            raise http.client.HTTPException(f"an answer of more than {ANSWER_BYTES_MAX} bytes")
        return data

    def _nonsense(self, what: str) -> LinkError:
        return LinkError(f"{self._place}: {what}: not an answer of CometBFT's", retry=False)


def _batches(txs: Sequence[bytes]) -> Iterator[list[bytes]]:
    """In order, as many at a time as one call takes."""
    batch, room = list[bytes](), RPC_BODY_BYTES_MAX
    for tx in txs:
        takes = _ENVELOPE_BYTES + 4 * (len(tx) // 3 + 1)
        if batch and (len(batch) == RPC_BATCH_MAX or takes > room):
            yield batch
            batch, room = [], RPC_BODY_BYTES_MAX
        batch.append(tx)
        room -= takes
    if batch:
        yield batch


def _call(number: int, method: str, arguments: Mapping[str, str]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": arguments}


def _sent(told: Mapping[str, Any]) -> Sent:
    if "error" in told:
        return Sent(False, 0, _reason(told["error"]))
    code = int(told["result"]["code"])
    return Sent(code == 0, code, str(told["result"]["log"]))


def _reason(error: Mapping[str, Any]) -> str:
    return str(error.get("data") or error.get("message") or "no reason given")


def _at(height: int | None) -> dict[str, str]:
    return {} if height is None else {"height": str(height)}


def _to_ms(text: str) -> int:
    """UTC, cut to the millisecond, of RFC 3339 with up to nine digits of a second."""
    date, _, fraction = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(date + "+00:00").timestamp()) * 1000 + int(f"{fraction:0<3}"[:3])
