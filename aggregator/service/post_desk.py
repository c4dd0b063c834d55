"""Where a node's messages from the broker part: records to be verified for a block, letters to be passed on at once.

A letter never waits for a block. Bounded: of what comes beyond, whoever wrote it writes again. Waits; decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Outgoing
from protocol.topics import Kind

WAITING_MAX: Final = 1000
"""Letters and questions that wait to be passed on."""

Take = Callable[[Incoming], None]
PassOn = Callable[[Incoming], Awaitable[list[Outgoing]]]
Publish = Callable[[list[Outgoing]], Awaitable[None]]


class PostDesk:
    """Letters and questions that wait to be passed on."""

    def __init__(self, take_record: Take, pass_on: PassOn, publish: Publish) -> None:
        self._take_record = take_record
        self._pass_on = pass_on
        self._publish = publish
        self._waiting: asyncio.Queue[Incoming] = asyncio.Queue(WAITING_MAX)
        self.dropped = 0

    def receive(self, incoming: Incoming) -> None:
        """Take a message, wherever it belongs."""
        if incoming.kind is Kind.RECORD:
            self._take_record(incoming)
            return
        try:
            self._waiting.put_nowait(incoming)
        except asyncio.QueueFull:
            self.dropped += 1

    async def run(self) -> None:
        """Pass on what comes, until cancelled."""
        while True:
            await self._publish(await self._pass_on(await self._waiting.get()))
