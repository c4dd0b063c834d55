"""The door for orders to a running fleet: a local socket in its run folder, for its owner alone (0600).

One line of JSON comes, one goes back; whoever sends more than a line, or no order, is told so. Knows nothing of faults.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from protocol.errors import OperatorError, WorldError

SOCKET_NAME: Final = "fleet.sock"
LINE_MAX: Final = 4096
PATIENCE_S: Final = 10.0

SOCKET_PATH_MAX: Final = 107
"""Bytes of a socket's path (unix(7): sun_path, with its end)."""

Obey = Callable[[Mapping[str, Any]], str]
"""Does what an order says, and says in one sentence what was done. Raises OperatorError where it cannot be."""


@asynccontextmanager
async def listening(folder: Path, obey: Obey) -> AsyncIterator[None]:
    """Take orders until the block ends.

    Raises:
        OperatorError: the folder cannot be used, or another fleet listens there.
    """
    path = _path_in(folder)
    await _see_that_nobody_listens(path)
    here = _bound(path)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _serve(reader, writer, obey), sock=here, limit=LINE_MAX
    )
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Have the run folder, for its owner alone.

    Raises:
        OperatorError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(folder, "run_folder", "a folder that can be made", error.strerror or str(error)) from error


async def order(folder: Path, what: Mapping[str, Any]) -> str:
    """Have a running fleet do something.

    Raises:
        OperatorError: no fleet listens in the folder, or it cannot do that.
        WorldError: it does not answer.
    """
    path = _path_in(folder)
    try:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_MAX)
    except OSError as error:
        expected = "the run folder of a running fleet (este-fleet run --run-folder)"
        raise OperatorError(folder, "", expected, error.strerror or str(error)) from error
    try:
        writer.write(json.dumps(what).encode() + b"\n")
        async with asyncio.timeout(PATIENCE_S):
            answer = json.loads(await reader.readline())
    except (TimeoutError, ValueError, OSError) as error:
        raise WorldError(f"the fleet at {path} does not answer", retry=True) from error
    finally:
        writer.close()
    if "done" in answer:
        return str(answer["done"])
    raise OperatorError(*(str(answer.get(key, "")) for key in ("place", "key_path", "expected", "got")))


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, obey: Obey) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            try:
                answer = _answer(await reader.readuntil(b"\n"), obey)
            except asyncio.LimitOverrunError:
                answer = _refusal(f"one order in a line of at most {LINE_MAX} bytes", "a longer one")
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _answer(line: bytes, obey: Obey) -> dict[str, str]:
    try:
        what = json.loads(line)
    except (ValueError, RecursionError):  # the latter: brackets within brackets, as many as the line holds
        what = None
    if not isinstance(what, dict):
        return _refusal("one order as a JSON object", "something else")
    try:
        return {"done": obey(what)}
    except OperatorError as error:
        told = {"place": error.place, "key_path": error.key_path, "expected": error.expected, "got": error.got}
        return {key: str(value) for key, value in told.items()}


def _refusal(expected: str, got: str) -> dict[str, str]:
    return {"place": "control socket", "expected": expected, "got": got}


def _path_in(folder: Path) -> Path:
    path = folder.absolute() / SOCKET_NAME
    if len(os.fsencode(path)) > SOCKET_PATH_MAX:
        raise OperatorError(folder, "run_folder", f"a path that leaves room for {SOCKET_NAME}", "a longer one")
    return path


def _bound(path: Path) -> socket.socket:
    """A socket at `path` that only its owner may open. One that was left behind goes."""
    here = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        here.bind(str(path))
    except OSError as error:
        here.close()
        raise OperatorError(path, "", "a folder to put a socket in", error.strerror or str(error)) from error
    finally:
        os.umask(before)
    return here


async def _see_that_nobody_listens(path: Path) -> None:
    try:
        _, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        return
    writer.close()
    raise OperatorError(path, "run_folder", "a folder for each fleet", "one in which another fleet listens")
