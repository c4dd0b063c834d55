"""The demo's own broker, for machines without one: amqtt, in a process of its own, on loopback.

Good for a demo and nothing else: it keeps no messages for those who are away, and lets everybody in. Nothing in este
trusts a broker, so the loop closes all the same. Real regions run Mosquitto.

    python -m firmware_sim.demo.broker_port PORT
"""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any

from amqtt.broker import Broker

CONNECTIONS_MAX = 1000


async def serve(port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = Broker(_settings(port))
    await broker.start()
    await stop.wait()
    await broker.shutdown()


def _settings(port: int) -> dict[str, Any]:
    listener = {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": CONNECTIONS_MAX}
    everybody = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    return {"listeners": {"default": listener}, "plugins": everybody}


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
