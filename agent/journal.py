"""The journal at work: readings go in, signed batches come out when they are due.

Given readings and the clock, keeps both in the outbox file and closes a batch when one is full, old, or must not grow
over a change: of a meter's shape, of the clock, of the boot. Readings are gathered until somebody says `keep`, and then
kept in one transaction: a memory card wears out by transactions, not by readings. All file work happens in a thread of
its own (`Disk`), so that a slow disk delays nobody's reading. What a batch may hold is decided in `batching`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final, ParamSpec, TypeVar

from agent.batching import Boot, OpenBatch, clock_of_the_past, is_other_clock
from agent.books import Books, Seal
from agent.clock_port import Clocks
from agent.log import Log
from agent.metering import Reading
from agent.outbox import Entry
from config.settings import Batching

TAKEN_MAX: Final = 256
"""Readings that are taken before they are kept, if nobody says so earlier."""

P = ParamSpec("P")
T = TypeVar("T")

log = Log("journal")


class Disk:
    """The one thread in which the outbox file is used."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="outbox")

    async def do(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Wait for the disk while everything else goes on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, partial(call, *args, **kwargs))

    def close(self) -> None:
        """End the thread, when it has done what it was given."""
        self._thread.shutdown()


class Journal:
    """Readings that are in no record yet, in the file and on their way there."""

    def __init__(
        self,
        *,
        books: Books,
        disk: Disk,
        limits: Batching,
        clocks: Clocks,
        seal: Seal,
        signed: Callable[[Entry], None],
    ) -> None:
        self.boot = Boot(id=clocks.boot_id, clock=clocks.clock())
        """This boot, and its clock as last seen."""
        self._books = books
        self._disk = disk
        self._limits = limits
        self._clocks = clocks
        self._seal = seal
        self._signed = signed
        self._open = OpenBatch(limits)
        self._unkept: list[Reading] = []
        """Taken, but not yet on disk, and so not counted: lost if the process is killed now."""

    async def start(self) -> None:
        """Take up what the last run left: close what was read in an earlier boot, go on with what was read in this one.

        Raises:
            StorageError: the disk is full.
        """
        left = await self._disk.do(self._books.journaled)
        while left is not None and left[0].id != self.boot.id:
            await self._close()
            left = await self._disk.do(self._books.journaled)
        if left is not None:
            self.boot = left[0]
        await self._reopen()

    @property
    def is_laden(self) -> bool:
        """Whether so much was taken that it should be kept at once."""
        return len(self._unkept) >= TAKEN_MAX

    def take(self, reading: Reading) -> None:
        """One more reading; `keep` puts it on disk."""
        self._unkept.append(reading)

    async def keep(self) -> None:
        """Put on disk what was taken, and close what is due.

        Raises:
            StorageError: the disk takes nothing more; what was taken is still held, and the next call tries again.
        """
        await self._observe_clock()
        if self._unkept:
            await self._disk.do(self._books.journal, self._unkept, self.boot)
            for reading in self._unkept:
                self._open.add(reading)
            self._unkept = []
        while self._open.due(self._clocks.now_ms()):
            await self._close()

    async def close_all(self) -> None:
        """Sign everything that was kept, due or not.

        Raises:
            StorageError: the disk takes nothing more.
        """
        while len(self._open):
            await self._close()

    async def _observe_clock(self) -> None:
        """See what the clock says; if it changed, close what was read before, with the clock that fits it."""
        now = self._clocks.clock()
        if is_other_clock(self.boot.clock, now):
            past = replace(self.boot, clock=clock_of_the_past(self.boot.clock, now))
            if len(self._open):
                await self._disk.do(self._books.keep_clock, past)
                await self.close_all()
            log.info("clock changed", state=now.state.name.lower(), error_ms=now.error_ms, source=now.source)
        self.boot = replace(self.boot, clock=now)

    async def _close(self) -> None:
        """Sign what is journaled, as much of it as one batch holds."""
        entry = await self._disk.do(self._books.close_batch, self._limits.readings_max, self._seal)
        if entry is not None:
            self._signed(entry)
        await self._reopen()

    async def _reopen(self) -> None:
        left = await self._disk.do(self._books.journaled)
        self._open = OpenBatch(self._limits)
        for reading in left[1] if left else ():
            self._open.add(reading)
