"""What the agent tells its neighbours on the house's side: Home Assistant and Prometheus, each if the settings name it.

Looks into the outbox file as `este-agent status` does, beside the agent's own work, and hands what it sees to
`home_assistant` and `metrics`. Nobody here can change anything: a neighbour that is slow or gone, or whose port is
taken, is its own trouble: it is logged and in the status, and tried again. Loaded only where there is one.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from agent.bus.control import DevicePlan, Grant
from agent.bus.polling import Desk
from agent.bus.reading import Reading
from agent.clock_port import Clocks
from agent.events import Event, Failing, Read, Trouble
from agent.house import energy_file, home_assistant, metrics_port
from agent.house.energy import HouseEnergy
from agent.house.metrics import Counts, exposition
from agent.log import Log
from agent.mqtt_port import Announcer
from agent.outbox.batching import Boot
from agent.outbox.file import StorageError
from agent.outbox.memory import Seen, look
from config.meter_profile import MeterProfile
from config.settings.agent import AgentSettings, HomeAssistant
from config.tasks import end, wait_for_any
from protocol.errors import EsteError

AGAIN_S: Final = 10.0
"""Between two tries to serve a neighbour that is in trouble."""

KEEP_ENERGY_EVERY_MS: Final = 60_000
"""What is newer is found again in the registers, so a memory card need not be written more often."""

log = Log("neighbours")


class CountingDesk:
    """A desk that counts what goes over it to the clerk, and remembers the last reading of each meter."""

    def __init__(self, desk: Desk, counts: Counts, energy: HouseEnergy) -> None:
        self._desk = desk
        self.counts = counts
        self.energy = energy
        self.readings: dict[str, Reading] = {}

    @property
    def is_paused(self) -> bool:
        """Whether nothing may be read."""
        return self._desk.is_paused

    async def hand(self, event: Event) -> None:
        """Give the clerk something to deal with."""
        match event:
            case Read(reading):
                self.counts.readings[reading.meter] = self.counts.readings.get(reading.meter, 0) + 1
                self.readings[reading.meter] = reading
                self.energy.add(reading)
            case Failing(_, meters):
                for meter in meters:
                    self.counts.failures[meter] = self.counts.failures.get(meter, 0) + 1
            case _:
                pass
        await self._desk.hand(event)

    def granted(self, device: DevicePlan) -> Grant:
        """What a device may do and is to do now."""
        return self._desk.granted(device)


class Neighbours:
    """Everybody whom the settings name."""

    def __init__(self, settings: AgentSettings, meters: Mapping[str, MeterProfile], desk: Desk, clocks: Clocks) -> None:
        self._settings = settings
        self._meters = meters
        self._clocks = clocks
        self._energy = HouseEnergy(meters)
        self._energy_kept_ms: int | None = None
        self._keeping = threading.Lock()
        """Whoever ends this does not wait for a thread that is still at it."""
        if settings.home_assistant is not None:
            self._restore_energy()
        self.desk = CountingDesk(desk, Counts(dict.fromkeys(meters, 0), dict.fromkeys(meters, 0)), self._energy)
        """What the buses hand their readings to."""
        self._announcer: Announcer | None = None
        self._troubles: dict[str, str] = {}

    async def run(self) -> None:
        """Tell them until cancelled."""
        work = []
        if self._settings.home_assistant is not None:
            work.append(
                self._serve("Home Assistant", partial(self._tell_home_assistant, self._settings.home_assistant))
            )
        if self._settings.metrics is not None:
            work.append(self._serve("Prometheus", partial(metrics_port.serve, self._settings.metrics, self._scraped)))
        await asyncio.gather(*work)

    async def say_goodbye(self) -> None:
        """Leave word at Home Assistant that nobody is here any more: before `run` is cancelled."""
        if self._announcer is not None:
            await self._announcer.say_goodbye()

    async def _serve(self, who: str, serve: Callable[[], Awaitable[None]]) -> None:
        """Serve one of them for ever; what hinders that is told and tried again, and hinders nobody else."""
        while True:
            serving = asyncio.ensure_future(serve())
            try:
                done, _ = await asyncio.wait([serving], timeout=AGAIN_S)
                if not done:
                    await self._tell_trouble(who, None)  # it lasts
                await serving
            except (EsteError, OSError) as error:
                await self._tell_trouble(who, str(error))
            finally:
                await end(serving)
            await asyncio.sleep(AGAIN_S)

    async def _tell_trouble(self, who: str, reason: str | None) -> None:
        """Have it in the log and in the status."""
        before = dict(self._troubles)
        if reason is None:
            self._troubles.pop(who, None)
        else:
            self._troubles[who] = reason
        if self._troubles != before:
            text = "; ".join(f"{name}: {why}" for name, why in self._troubles.items())
            await self.desk.hand(Trouble("neighbours", text or None))

    async def _tell_home_assistant(self, house: HomeAssistant) -> None:
        region, gateway = self._settings.region, self._settings.gateway
        announcer = Announcer(
            house.broker or self._settings.broker,
            identifier=f"{gateway}-home",
            availability=home_assistant.availability_topic(region, gateway),
            words=(home_assistant.ONLINE, home_assistant.GONE),
        )
        self._announcer = announcer
        announcing = asyncio.create_task(announcer.run())
        telling = asyncio.create_task(self._keep_up_to_date(announcer, house))
        try:
            await wait_for_any([], tasks=[announcing, telling])
        except EsteError:
            await announcer.say_goodbye()
            raise
        finally:
            self._keep_energy(self._energy.kept(self._boot()).to_json())
            await end(announcing, telling)

    async def _keep_up_to_date(self, announcer: Announcer, house: HomeAssistant) -> None:
        while True:
            try:
                seen = await self._look()
            except StorageError:
                pass  # a disk that cannot even be read now: the clerk says so
            else:
                live = self._live()
                if self._is_time_to_keep():
                    await asyncio.to_thread(self._keep_energy, self._energy.kept(self._boot()).to_json())
                announcer.put(home_assistant.messages(seen, live, self._meters, house.prefix))
            await asyncio.sleep(house.every_ms / 1000)

    def _live(self) -> home_assistant.Live:
        return home_assistant.Live(
            now_ms=self._clocks.now_ms(),
            poll_every_ms=self._settings.poll_every_ms,
            slow_every_ms=max((bus.slow_every_ms or 0 for bus in self._settings.buses), default=0),
            is_paused=self.desk.is_paused,
            readings=dict(self.desk.readings),
            energies=self._energy.told(),
        )

    def _restore_energy(self) -> None:
        try:
            kept = energy_file.load(self._settings.data)
            if kept is not None:
                self._energy.restore(kept, self._boot(), self._clocks.now_ms())
        except (OSError, LookupError, TypeError, ValueError) as error:
            log.warning("the energy told to the house begins anew", reason=repr(error))

    def _is_time_to_keep(self) -> bool:
        kept_ms = self._energy_kept_ms
        is_due = kept_ms is None or self._clocks.now_ms() - kept_ms >= KEEP_ENERGY_EVERY_MS
        return is_due or self._energy.has_news

    def _keep_energy(self, sums: Mapping[str, Any]) -> None:
        """Have on disk what is told next, so that no later run tells less."""
        try:
            with self._keeping:
                energy_file.save(self._settings.data, sums)
        except OSError as error:
            log.warning("the energy told to the house is not kept", reason=error.strerror or str(error))
        self._energy_kept_ms = self._clocks.now_ms()

    def _boot(self) -> Boot:
        return Boot(id=self._clocks.boot_id, clock=self._clocks.clock())

    async def _scraped(self) -> str:
        return exposition(await self._look(), self._clocks.clock(), self.desk.counts)

    async def _look(self) -> Seen:
        unix_ms = self._clocks.clock().epoch_ms + self._clocks.now_ms()
        return await asyncio.to_thread(look, self._settings.data, unix_ms=unix_ms)
