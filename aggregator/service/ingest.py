"""From bytes off the broker to records in the queue: verified in threads, handed on in the order of arrival.

Verification is nearly all of the cost and releases the GIL, so a chunk of messages is cut into one slice per thread.
The chunk is handed on as a whole: two records of one gateway never overtake each other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from aggregator.ledger.record import Record
from aggregator.service.mqtt_port import Incoming
from protocol.refusals import RefusalCode, Refused

CHUNK_MAX: Final = 256
"""Messages that are verified together: enough to keep threads busy, few enough to stay prompt."""

Opened = Record | Refused
Check = Callable[[bytes], Record]


class Ingest:
    """Messages that wait to be verified."""

    def __init__(self, check: Check, threads: int, waiting_max: int) -> None:
        """`check` opens one envelope, in any thread."""
        self._check = check
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")
        self._waiting: asyncio.Queue[Incoming] = asyncio.Queue(maxsize=waiting_max)
        self.refused: Counter[RefusalCode] = Counter()
        self.dropped = 0

    def receive(self, incoming: Incoming) -> None:
        """Take a message. Where too many wait it is dropped, and its gateway will send it again."""
        try:
            self._waiting.put_nowait(incoming)
        except asyncio.QueueFull:
            self.dropped += 1

    async def next_chunk(self) -> list[tuple[Incoming, Opened]]:
        """Wait for messages, and open as many as are there, in the order of arrival."""
        chunk = [await self._waiting.get()]
        while len(chunk) < CHUNK_MAX and not self._waiting.empty():
            chunk.append(self._waiting.get_nowait())
        loop = asyncio.get_running_loop()
        slices = await asyncio.gather(
            *(loop.run_in_executor(self._pool, self._open_all, part) for part in _cut(chunk, self._threads))
        )
        opened = [one for part in slices for one in part]
        self.refused.update(one.code for one in opened if isinstance(one, Refused))
        return list(zip(chunk, opened, strict=True))

    def close(self) -> None:
        """Let the threads go."""
        self._pool.shutdown(wait=True)

    def _open_all(self, messages: Sequence[Incoming]) -> list[Opened]:
        return [self._open(message.payload) for message in messages]

    def _open(self, data: bytes) -> Opened:
        try:
            return self._check(data)
        except Refused as refused:
            return refused


def _cut(chunk: Sequence[Incoming], parts: int) -> list[Sequence[Incoming]]:
    """Slices of nearly equal length, in order, none of them empty."""
    size = -(-len(chunk) // parts)
    return [chunk[i : i + size] for i in range(0, len(chunk), size)]
