"""What the agent tells its neighbours on the house's side: Home Assistant and Prometheus, each if the settings name it.

Looks into the outbox file as `este-agent status` does, beside the agent's own work, and hands what it sees to
`home_assistant` and `metrics`. Nobody here can change anything: a neighbour that is slow or gone is its own trouble.
Loaded only where there is one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from agent import home_assistant, metrics_port
from agent.clock_port import Clocks
from agent.control import DevicePlan
from agent.events import Event, Failing, Read
from agent.memory import Seen, look
from agent.metrics import Counts, exposition
from agent.mqtt_port import Announcer
from agent.outbox_file import StorageError
from agent.polling import Desk
from config.meter_profile import MeterProfile
from config.settings import AgentSettings, HomeAssistant


class CountingDesk:
    """A desk that counts what goes over it to the clerk."""

    def __init__(self, desk: Desk, counts: Counts) -> None:
        self._desk = desk
        self.counts = counts

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be read."""
        return self._desk.is_paused

    async def hand(self, event: Event) -> None:
        """Give the clerk something to deal with."""
        match event:
            case Read(reading):
                self.counts.readings[reading.meter] = self.counts.readings.get(reading.meter, 0) + 1
            case Failing(_, meters):
                for meter in meters:
                    self.counts.failures[meter] = self.counts.failures.get(meter, 0) + 1
            case _:
                pass
        await self._desk.hand(event)

    def granted_w(self, device: DevicePlan) -> int | None:
        """What a device is held to now."""
        return self._desk.granted_w(device)


class Neighbours:
    """Everybody whom the settings name."""

    def __init__(self, settings: AgentSettings, meters: Mapping[str, MeterProfile], desk: Desk, clocks: Clocks) -> None:
        self.desk = CountingDesk(desk, Counts(dict.fromkeys(meters, 0), dict.fromkeys(meters, 0)))
        """What the buses hand their readings to."""
        self._settings = settings
        self._meters = meters
        self._clocks = clocks

    async def run(self) -> None:
        """Tell them until cancelled.

        Raises:
            OperatorError: a port is taken, or a file of the broker's cannot be used.
        """
        work: list[Any] = []
        if self._settings.home_assistant is not None:
            work.append(self._tell_home_assistant(self._settings.home_assistant))
        if self._settings.metrics is not None:
            work.append(metrics_port.serve(self._settings.metrics, self._scraped))
        await asyncio.gather(*work)

    async def _tell_home_assistant(self, house: HomeAssistant) -> None:
        region, gateway = self._settings.region, self._settings.gateway
        announcer = Announcer(
            house.broker or self._settings.broker,
            identifier=f"{gateway}-home",
            availability=home_assistant.availability_topic(region, gateway),
            words=(home_assistant.ONLINE, home_assistant.GONE),
        )
        await asyncio.gather(announcer.run(), self._keep_up_to_date(announcer, house))

    async def _keep_up_to_date(self, announcer: Announcer, house: HomeAssistant) -> None:
        while True:
            try:
                seen = await self._look()
            except StorageError:
                pass  # a disk that cannot even be read now: the clerk says so
            else:
                announcer.put(home_assistant.messages(seen, self._meters, house.prefix))
            await asyncio.sleep(house.every_ms / 1000)

    async def _scraped(self) -> str:
        return exposition(await self._look(), self._clocks.clock(), self.desk.counts)

    async def _look(self) -> Seen:
        unix_ms = self._clocks.clock().epoch_ms + self._clocks.now_ms()
        return await asyncio.to_thread(look, self._settings.data, unix_ms=unix_ms)
