"""The door for Prometheus: answers ``GET /metrics`` over HTTP, on this machine alone.

Knows as much of HTTP as a scraper needs: reads one request, bounded in time and size, answers it and hangs up. Never
writes anything into the agent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from agent.house.metrics import CONTENT_TYPE
from config.settings.agent import Metrics
from protocol.errors import OperatorError

REQUEST_BYTES_MAX: Final = 8192
PATIENCE_S: Final = 5.0
"""How long a request may take to come, and its answer to go."""


async def serve(settings: Metrics, answer: Callable[[], Awaitable[str]]) -> None:
    """Serve until cancelled.

    Raises:
        OperatorError: the port is taken.
    """

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(PATIENCE_S):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(await _answer_to(request.split(b"\r\n")[0], answer))
                await writer.drain()
        writer.close()

    try:
        server = await asyncio.start_server(converse, settings.host, settings.port, limit=REQUEST_BYTES_MAX)
    except OSError as error:
        raise OperatorError("metrics", "port", "a free port", f"{settings.port}: {error.strerror}") from error
    async with server:
        await server.serve_forever()


async def _answer_to(line: bytes, answer: Callable[[], Awaitable[str]]) -> bytes:
    match line.split(b" "):
        case [b"GET", b"/metrics", _]:
            return _http("200 OK", await answer())
        case [b"GET", _, _]:
            return _http("404 Not Found", "there is /metrics\n")
        case _:
            return _http("405 Method Not Allowed", "there is GET\n")


def _http(status: str, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
