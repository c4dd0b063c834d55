"""The journal at work: readings go in, signed batches come out when they are due.

Given readings and the clock, keeps both in the outbox file and closes a batch when one is full, old, or must not grow
over a change: of a meter's shape, of the clock, of the boot. Readings are gathered until somebody says `keep`, and then
kept in one transaction: a memory card wears out by transactions, not by readings. While the time is not known but may
be found, batches wait (see `timekeeping`). All file work happens in a thread of its own (`Disk`), so that a slow disk
delays nobody's reading. What a batch may hold is decided in `batching`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, ParamSpec, TypeVar

from agent.bus.reading import Reading
from agent.clock_port import Clocks
from agent.log import Log
from agent.outbox.batching import Boot, OpenBatch
from agent.outbox.books import Books, Seal
from agent.outbox.queue import Entry
from agent.timekeeping import clock_of_both, clock_of_the_past, is_other_clock, may_be_found
from config.settings.agent import Batching
from protocol.batch import Clock, ClockState

TAKEN_MAX: Final = 256
"""Readings that are taken before they are kept, if nobody says so earlier."""

OVERLADEN: Final = 16 * TAKEN_MAX
"""Readings that may be held in memory while they cannot be kept."""

CLOCK_WAIT_MAX_MS: Final = 7_200_000
"""Unless the settings say otherwise, how long readings wait for the time of their boot to become known: two hours."""

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


@dataclass(slots=True)
class _Taken:
    """Readings that were taken while the clock was one and the same."""

    clock: Clock
    readings: list[Reading] = field(default_factory=list)


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
        clock_wait_max_ms: int = CLOCK_WAIT_MAX_MS,
    ) -> None:
        self.boot = Boot(id=clocks.boot_id, clock=clocks.clock())
        """This boot, and the clock that its next batch is stamped with, as far as it is known."""
        self.thin_ms = 0
        """If not 0, of each meter only one reading in so many milliseconds is kept; the others are dropped unseen."""
        self._books = books
        self._disk = disk
        self._limits = limits
        self._clocks = clocks
        self._seal = seal
        self._signed = signed
        self._clock_wait_max_ms = clock_wait_max_ms
        self._is_settled = self.boot.clock.state is ClockState.SYNCHRONIZED
        """Whether nothing waits for the time any more: it was known in this boot, or was waited for long enough."""
        self._open = OpenBatch(limits)
        self._unkept: deque[_Taken] = deque()
        """Taken, but not yet on disk, and so not counted: lost if the process is killed now."""
        self._taken_ms: dict[str, int] = {}
        """When each meter's last reading was taken."""

    async def start(self) -> None:
        """Take up what the last run left: close what was read in an earlier boot, go on with what was read in this one.

        What was read in a boot that ended before its time was known is sent as what it is: unsynchronized. Nobody can
        tell any more when that boot began, and nobody guesses.

        Raises:
            StorageError: the disk is full.
        """
        left = await self._disk.do(self._books.oldest_boot)
        while left is not None and left.id != self.boot.id:
            await self._close()
            left = await self._disk.do(self._books.oldest_boot)
        if left is not None:
            self.boot = left
            self._is_settled = self._is_settled or left.clock.state is ClockState.SYNCHRONIZED
        await self._reopen()

    @property
    def is_laden(self) -> bool:
        """Whether so much was taken that it should be kept at once."""
        return sum(len(taken.readings) for taken in self._unkept) >= TAKEN_MAX

    @property
    def is_overladen(self) -> bool:
        """Whether far more was taken than could be kept, so that nothing more should be read."""
        return sum(len(taken.readings) for taken in self._unkept) >= OVERLADEN

    @property
    def clock_text(self) -> str | None:
        """What people should know of the clock; None while it is synchronized."""
        clock = self.boot.clock
        if self.waits_for_time:
            minutes = self._clock_wait_max_ms // 60_000
            return f"the time is not known yet ({clock.source}): readings wait for it, at most {minutes} min"
        if clock.state is ClockState.UNSYNCHRONIZED:
            return f"not synchronized ({clock.source}): what is read is sent, and says so"
        return None

    @property
    def waits_for_time(self) -> bool:
        """Whether what is journaled stays unsigned until the time is known."""
        return not self._is_settled and may_be_found(self.boot.clock, self._clocks.now_ms())

    def take(self, reading: Reading) -> None:
        """One more reading; `keep` puts it on disk."""
        last_ms = self._taken_ms.get(reading.meter)
        if self.thin_ms and last_ms is not None and reading.start_ms - last_ms < self.thin_ms:
            return
        self._taken_ms[reading.meter] = reading.start_ms
        now = self._clocks.clock()
        if self._unkept and not is_other_clock(self._unkept[-1].clock, now):
            self._unkept[-1].clock = clock_of_both(self._unkept[-1].clock, now)
        else:
            self._unkept.append(_Taken(now))
        self._unkept[-1].readings.append(reading)

    async def keep(self) -> None:
        """Put on disk what was taken, and close what is due.

        Raises:
            StorageError: the disk takes nothing more; what was taken is still held, and the next call tries again.
        """
        while self._unkept:
            await self._meet(self._unkept[0].clock)
            await self._put(self._unkept[0].readings)
            self._unkept.popleft()
        await self._meet(self._clocks.clock())
        self._give_up_waiting()
        while not self.waits_for_time and self._open.due(self._clocks.now_ms()):
            await self._close()

    async def close_all(self) -> None:
        """Sign everything that was kept, due or not, unless it waits for the time: then it waits on disk.

        Raises:
            StorageError: the disk takes nothing more.
        """
        while not self.waits_for_time and len(self._open):
            await self._close()

    async def _put(self, readings: Sequence[Reading]) -> None:
        await self._disk.do(self._books.journal, readings, self.boot)
        for reading in readings:
            self._open.add(reading)

    async def _meet(self, now: Clock) -> None:
        """Take note of what the clock says; if it is another, close what came before with the clock that fits it."""
        known = self.boot.clock
        if not is_other_clock(known, now):
            self.boot = replace(self.boot, clock=clock_of_both(known, now) if len(self._open) else now)
            return
        if now.state is ClockState.SYNCHRONIZED or not self.waits_for_time:
            self._is_settled = self._is_settled or now.state is ClockState.SYNCHRONIZED
            if len(self._open):
                await self._disk.do(self._books.keep_clock, replace(self.boot, clock=clock_of_the_past(known, now)))
            while len(self._open):
                await self._close()
        log.info("clock changed", state=now.state.name.lower(), error_ms=now.error_ms, source=now.source)
        self.boot = replace(self.boot, clock=now)

    def _give_up_waiting(self) -> None:
        """What has waited long enough is sent as what it is: unsynchronized, with an error that says so."""
        since_ms, now_ms = self._open.since_ms, self._clocks.now_ms()
        if self.waits_for_time and since_ms is not None and now_ms - since_ms >= self._clock_wait_max_ms:
            self._is_settled = True
            log.warning("the time never became known: sent as unsynchronized", waited_ms=now_ms - since_ms)

    async def _close(self) -> None:
        """Sign what is journaled, as much of it as one batch holds."""
        entry = await self._disk.do(self._books.close_batch, self._limits.readings_max, self._seal)
        if entry is not None:
            self._signed(entry)
        await self._reopen()

    async def _reopen(self) -> None:
        self._open = await self._disk.do(self._books.gathered, self._limits)
