"""The demo's ear: what the aggregator publishes for dashboards. Translates and waits.

The only importer of aiomqtt in this program.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiomqtt

from protocol.topics import AGGREGATOR, Kind, Topic

RECONNECT_S = 0.5


async def listen(host: str, port: int, region: str, hear: Callable[[dict[str, Any]], None]) -> None:
    """Hand every summary of a region to `hear`, for as long as the task runs."""
    topic = str(Topic(region, AGGREGATOR, Kind.SUMMARY))
    while True:
        with suppress(aiomqtt.MqttError):
            async with aiomqtt.Client(host, port, protocol=aiomqtt.ProtocolVersion.V311) as client:
                await client.subscribe(topic, qos=1)
                async for message in client.messages:
                    if isinstance(message.payload, bytes):
                        hear(json.loads(message.payload))
        await asyncio.sleep(RECONNECT_S)


async def wait_for_broker(host: str, port: int, patience_s: float) -> None:
    """Wait until a broker answers.

    Raises:
        TimeoutError: none did in time.
    """
    async with asyncio.timeout(patience_s):
        while True:
            with suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(host, port, protocol=aiomqtt.ProtocolVersion.V311):
                    return
            await asyncio.sleep(0.1)
