"""The socket that CometBFT talks to: it opens four connections and pipelines requests on each.

Each connection is answered strictly in order. Transactions are checked in a pool of threads, several at a time, or
where they are read if they are few. Every other question goes to the one thread of the ledger, whichever connection it
comes from, so that consensus, snapshots and queries never race. A peer that sends rubbish loses its connection. An
application that raises is broken: the peer is told so, nothing more is asked of it, and `broken` says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final, Self

import structlog

from aggregator.engine.cometbft.application import Application
from aggregator.engine.cometbft.framing import FrameReader, framed
from aggregator.engine.cometbft.wire import Lane, answer, exception, lane_of, read_request
from config.tasks import end
from protocol.errors import EncodingError, OperatorError

BLOCK_BYTES_MAX: Final = 104_857_600
"""The longest block that CometBFT can agree on (types/params.go, MaxBlockSizeBytes)."""

PATH_BYTES_MAX: Final = 107
"""The longest path of a socket (unix(7), sun_path)."""

READ_BYTES_MAX: Final = 1 << 18

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer may ask of us."""

    message_bytes_max: int = BLOCK_BYTES_MAX + (16 << 20)
    """The longest block, and who signed the one before."""
    connections_max: int = 16
    jobs_max: int = 64
    """Jobs of one connection that may wait for an answer. Beyond that it is not read from."""
    checks_per_job_max: int = 32
    """Transactions that one thread checks before another may take over."""
    checks_at_once_max: int = 4
    """So few that come together are checked where they are read: to hand them to a thread and back takes longer."""


@dataclass(frozen=True, slots=True)
class _Answered:
    """What a job came to."""

    answers: tuple[bytes, ...]
    fault: EncodingError | None = None
    """The peer's."""
    is_broken: bool = False


class Server:
    """Serves an application on a Unix socket, from `async with` on.

    Raises:
        OperatorError: the socket cannot be made there.
    """

    def __init__(
        self, application: Application, path: Path, *, ledger: Executor, pool: Executor, limits: Limits | None = None
    ) -> None:
        """`ledger` has exactly one thread. Both executors are the caller's, who ends them after this server."""
        self._application = application
        self._path = path
        self._executors = {Lane.LEDGER: ledger, Lane.CHECK: pool}
        self._limits = limits or Limits()
        self._bug: Exception | None = None
        self._is_broken = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._connected, sock=_bind(self._path), limit=READ_BYTES_MAX)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None, "entered first"
        self._server.close()
        await end(*self._connections)
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def broken(self) -> None:
        """Wait until the application breaks; for ever, while it does not.

        Raises:
            Exception: what it raised.
        """
        await self._is_broken.wait()
        assert self._bug is not None, "broken by something"
        raise self._bug

    # -- Connections

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio calls this in a task"
        if len(self._connections) >= self._limits.connections_max:
            log.warning("a connection too many", open=len(self._connections))
            writer.close()
            return
        self._connections.add(task)
        try:
            await self._converse(reader, writer)
        except EncodingError as error:
            log.warning("a peer on the application's socket sent rubbish", reason=str(error))
        except (ConnectionError, asyncio.CancelledError):
            pass  # it is gone, or we are going; asyncio's server wants no task that ends cancelled
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read ahead and answer in order until the peer closes, sends rubbish, or the application is broken."""
        jobs: asyncio.Queue[asyncio.Future[_Answered] | None] = asyncio.Queue(self._limits.jobs_max)
        reading = asyncio.create_task(self._read(reader, jobs))
        try:
            while (job := await jobs.get()) is not None:
                answered = await job
                writer.write(b"".join(framed(one) for one in answered.answers))
                await writer.drain()
                if answered.fault is not None:
                    raise answered.fault
                if answered.is_broken:
                    self._is_broken.set()
                    return
            await reading
        finally:
            await end(reading)

    async def _read(self, reader: asyncio.StreamReader, jobs: asyncio.Queue[asyncio.Future[_Answered] | None]) -> None:
        """Turn what comes into jobs, in order; None after the last one."""
        frames = FrameReader(self._limits.message_bytes_max)
        try:
            while data := await reader.read(READ_BYTES_MAX):
                for lane, requests in self._groups(frames.feed(data)):
                    await jobs.put(self._begin(lane, requests))
                if frames.fault is not None:
                    raise frames.fault
            if frames.waiting:
                raise EncodingError("the connection ends within a message")
        finally:
            await jobs.put(None)

    def _groups(self, requests: Sequence[bytes]) -> Iterator[tuple[Lane, list[bytes]]]:
        """Requests that go to the same place, in their order: transactions several at a time, all else one by one."""
        for lane, run in groupby(requests, lane_of):
            together, several = list(run), 1 if lane is Lane.LEDGER else self._limits.checks_per_job_max
            is_few = lane is Lane.CHECK and len(together) <= self._limits.checks_at_once_max
            for start in range(0, len(together), several):
                yield Lane.LINE if is_few else lane, together[start : start + several]

    # -- Answers

    def _begin(self, lane: Lane, requests: list[bytes]) -> asyncio.Future[_Answered]:
        loop = asyncio.get_running_loop()
        if lane in self._executors:
            return loop.run_in_executor(self._executors[lane], self._answer, requests)
        done: asyncio.Future[_Answered] = loop.create_future()
        done.set_result(self._answer(requests))
        return done

    def _answer(self, requests: list[bytes]) -> _Answered:
        """Answer requests one after another. In the loop's thread, the ledger's, or one of the pool."""
        answers: list[bytes] = []
        for request in requests:
            try:
                asked = read_request(request)
            except EncodingError as error:
                return _Answered(tuple(answers), fault=error)
            try:
                if self._bug is not None:
                    raise RuntimeError("the application broke earlier") from self._bug
                answers.append(answer(self._application, asked))
            except Exception as error:
                self._bug = self._bug or error
                answers.append(exception(repr(self._bug)))
                return _Answered(tuple(answers), is_broken=True)
        return _Answered(tuple(answers))


def _bind(path: Path) -> socket.socket:
    """A socket that nobody else may connect to. One that a dead process left is replaced."""
    if len(bytes(path)) > PATH_BYTES_MAX:
        raise OperatorError(path, "", f"a path of at most {PATH_BYTES_MAX} bytes for a socket", f"{len(bytes(path))}")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        server.bind(str(path))
        path.chmod(0o600)
    except OSError as error:
        server.close()
        raise OperatorError(path, "", "a folder in which a socket can be made", error.strerror or str(error)) from error
    return server
