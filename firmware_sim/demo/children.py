"""Child processes that cannot outlive the demo, each with a log file of its own."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from protocol.errors import EsteError

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that a process gets when its parent dies."""

LOG_TAIL_LINES: Final = 15

_LIBC: Final = ctypes.CDLL(None)


class ChildError(EsteError):
    """A child process ended when it should not have, or ended badly."""


@dataclass(slots=True)
class Child:
    """One running program of the demo."""

    name: str
    process: asyncio.subprocess.Process
    log_file: Path

    async def watch(self) -> None:
        """Wait until it ends by itself, which it should not.

        Raises:
            ChildError: always, with the end of its log.
        """
        status = await self.process.wait()
        raise ChildError(f"{self.name} ended with status {status}:\n{_tail(self.log_file)}")

    async def stop(self, patience_s: float) -> None:
        """Ask it to end, and wait.

        Raises:
            ChildError: it did not end in time and was killed, or ended badly. One that dies of the signal, because it
                had not begun to listen for it, has nothing to put in order.
        """
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience_s):
                status = await self.process.wait()
        except TimeoutError:
            await self.kill()
            raise ChildError(f"{self.name} did not stop within {patience_s:.0f} s:\n{_tail(self.log_file)}") from None
        if status not in (0, -signal.SIGTERM):
            raise ChildError(f"{self.name} stopped with status {status}:\n{_tail(self.log_file)}")

    async def kill(self) -> None:
        """End it now, if it still runs."""
        await end_now(self.process)


def program(name: str) -> str:
    """The path of one of este's commands, beside the Python that runs the demo."""
    return str(Path(sys.executable).with_name(name))


def pasted(name: str, *arguments: str | Path) -> str:
    """A line that runs one of este's commands when it is pasted into this terminal, as short as it may be."""
    path = Path(program(name))
    on_path = shutil.which(name)
    if on_path and os.path.realpath(on_path) == os.path.realpath(path):
        command = name
    else:
        command = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return shlex.join([command, *map(str, arguments)])


async def start(name: str, command: Sequence[str], logs: Path) -> Child:
    """Start a child process; its output goes to ``<name>.log``."""
    log_file = logs / f"{name}.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is the demo's to hear; it tells its children one by one
            preexec_fn=_die_with_parent,
        )
    return Child(name, process, log_file)


async def output_of(command: Sequence[str]) -> str:
    """Run a command to its end.

    Returns:
        What it printed.

    Raises:
        ChildError: it ended with a status other than 0.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=_die_with_parent,
    )
    try:
        out, err = await process.communicate()
    finally:
        await end_now(process)
    if process.returncode != 0:
        said = (err or out).decode(errors="replace").strip()
        raise ChildError(f"`{' '.join(command[:2])}` ended with status {process.returncode}: {said}")
    return out.decode()


async def end_now(process: asyncio.subprocess.Process) -> None:
    """Kill a process if it still runs, and wait until it is over: asyncio wants to hear of it before its loop ends."""
    if process.returncode is None:
        process.kill()
        await process.wait()


def _die_with_parent() -> None:
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _tail(path: Path) -> str:
    lines = path.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join(lines) or "(it said nothing)"
