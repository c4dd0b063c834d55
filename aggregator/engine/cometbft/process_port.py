"""The CometBFT program: found, checked, kept running, and stopped.

CometBFT ends itself whenever its application goes away or breaks, and trusts a supervisor to start it again: that is
this. It is a child that dies with this process, so that no orphan holds the home folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from aggregator.engine.cometbft import leash
from aggregator.engine.cometbft.home import Identity, read_identity
from aggregator.engine.cometbft.program_log import ProgramLog
from config.tasks import end
from protocol.errors import OperatorError

PROGRAM: Final = "cometbft"
PATCH_MIN: Final = 21
"""0.38.21 is the first of its line that is safe (GHSA-c32p-wcqj-j677)."""

COMMAND_WAIT_S: Final = 60
"""For commands of a moment, on the slowest machine."""

ENVIRONMENT_PREFIX: Final = "CMT"
LOOPBACK: Final = "127.0.0.1"

READ_BYTES_MAX: Final = 1 << 16

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited for what."""

    restart_min_s: float = 1.0
    restart_max_s: float = 30.0
    """The wait before the next start doubles from one to the other."""
    settled_s: float = 60.0
    """A program that ran so long was all right: its next restart waits the least."""
    stop_s: float = 10.0
    """How long it may take to stop before it is killed."""


def find_program(setting: Path | None = None) -> Path:
    """Where CometBFT is: where the settings say; else beside this Python, where `make cometbft` puts it; else on PATH.

    Raises:
        OperatorError: it is not there, or it is a version that este does not run on.
    """
    beside = Path(sys.executable).with_name(PROGRAM)
    found = setting or (beside if beside.is_file() else shutil.which(PROGRAM))
    if found is None:
        raise OperatorError(PROGRAM, "", "the program (make cometbft builds it)", "none beside Python or on PATH")
    program = Path(found).absolute()
    check_version(program, _version_of(program))
    return program


def check_version(program: Path, version: str) -> None:
    """See that a version is one that este speaks with.

    Raises:
        OperatorError: another line, or one with a known hole in its consensus.
    """
    found = re.match(r"v?0\.38\.(\d+)(?!\d)", version)
    if found is None or int(found[1]) < PATCH_MIN:
        raise OperatorError(program, "version", f"0.38.{PATCH_MIN} or a later 0.38", version or "none")


def make_keys(program: Path, home: Path) -> Identity:
    """Have CometBFT make a node's keys, or find those that are there. Takes a tenth of a second or so, and blocks.

    Raises:
        OperatorError: the folder cannot be written, or what is in it is not CometBFT's.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(home, "", "a folder that can be made", error.strerror or str(error)) from error
    done = _run(program, "init", "--home", str(home), "--log_level", "error")
    if done.returncode != 0:
        raise OperatorError(home, "", "a folder in which CometBFT can make its keys", last_line(done.stderr))
    return read_identity(home)


def see_that_free(ports: Iterable[int]) -> None:
    """See that nobody listens on these ports of this machine: CometBFT would say so only in its log.

    Raises:
        OperatorError: somebody does.
    """
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError as error:
                expected = "a port that is free (choose others with --first-port)"
                raise OperatorError(f"{LOOPBACK}:{port}", "", expected, error.strerror or str(error)) from error


def _version_of(program: Path) -> str:
    return _run(program, "version").stdout.strip()


def _run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(program), *arguments]
    try:
        return subprocess.run(  # noqa: S603  the operator's own program
            command, capture_output=True, text=True, timeout=COMMAND_WAIT_S, check=False, env=environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OperatorError(program, "", "a program that can be run", str(error)) from error


def environment() -> dict[str, str]:
    """This process's environment without what CometBFT would take for settings (libs/cli/setup.go): ADR 0012."""
    return {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def last_line(text: str) -> str:
    """What a program said last: mostly the reason."""
    return (text.strip().splitlines() or [""])[-1]


class Supervisor:
    """Keeps one CometBFT running as long as `run` does. Its application must listen by then, and outlive it."""

    def __init__(self, program: Path, home: Path, *, log_file: Path, patience: Patience | None = None) -> None:
        self._command = [str(program), "node", "--home", str(home)]
        self._said = ProgramLog(log_file)
        self._patience = patience or Patience()
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0
        """How often it was started."""

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def run(self) -> None:
        """Start it, and start it again whenever it ends, until cancelled. Call it in the thread of the main loop.

        Raises:
            OperatorError: it cannot be started at all.
        """
        loop = asyncio.get_running_loop()
        wait_s = self._patience.restart_min_s
        while True:
            began_s = loop.time()
            await self._live()
            if loop.time() - began_s >= self._patience.settled_s:
                wait_s = self._patience.restart_min_s
            code = self._process.returncode if self._process else None
            log.warning("cometbft ended", code=code, words=self._said.last_line, restart_in_s=wait_s)
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._patience.restart_max_s)

    async def _live(self) -> None:
        """One life of the program, until it ends or consensus fails inside."""
        leashed = [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), *self._command]
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *leashed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment(),
            )
        except OSError as error:
            raise OperatorError(self._command[0], "", "a program that can be started", str(error)) from error
        self.starts += 1
        self._said.begin()
        assert process.stdout is not None, "a pipe"
        listening = asyncio.create_task(self._listen(process.stdout))
        try:
            await asyncio.wait([listening])
            if self._said.has_failed:
                log.error("consensus has failed inside CometBFT: is the disk full?", words=self._said.last_line)
                return
            await process.wait()
        finally:
            await self._stop(process)
            await end(listening)
            self._said.close()

    async def _listen(self, pipe: asyncio.StreamReader) -> None:
        """Hear what it says, to the end or to the one thing after which nothing follows."""
        while not self._said.has_failed and (data := await pipe.read(READ_BYTES_MAX)):
            self._said.take(data)

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        """End it for certain, gently at first."""
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._patience.stop_s):
                await process.wait()
        except (TimeoutError, asyncio.CancelledError):
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
