"""One agent, from start to end: everything put together, started, and stopped in the right order.

A task per bus, one for the link, one for the clerk, and a ticker. On SIGTERM or SIGINT nothing more is read, what is
journaled is closed and signed, and receipts are waited for a while; a second signal ends the wait. Whatever is left by
then waits in the outbox. If one task breaks, all end: a half-running agent helps nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from agent.agreement import Agreement, enough
from agent.bus.control import DevicePlan, device_plan_for, see_that_each_has_its_own_limit
from agent.bus.metering import MeterPlan, plan_for, see_that_none_counts_twice
from agent.bus.modbus_port import ModbusBus
from agent.bus.polling import BusPoller
from agent.clerk import Clerk
from agent.clock_port import Clocks
from agent.events import CloseAll
from agent.inbox import Inbox
from agent.keys.keystore import open_key
from agent.keys.mark import Mark
from agent.log import Log, tell_loop_errors
from agent.mqtt_port import MqttPort
from agent.outbox.books import Books
from agent.outbox.file import OutboxFile
from agent.outbox.memory import HeardStatement, Memory
from agent.outbox.queue import Outbox, Tick
from agent.service_port import Service
from agent.session import Session
from agent.standing import Believed
from agent.status import LINK_UP, OFFLINE
from config import key_files
from config.load import load_profiles
from config.settings.agent import AgentSettings
from config.settings.bus import Bus
from config.tasks import end, wait_for_any
from protocol.crypto import PublicKey, SigningKey, fingerprint
from protocol.errors import MessageError, OperatorError
from protocol.messages import Statement
from protocol.topics import Kind
from protocol.units import Quantity

if TYPE_CHECKING:
    from agent.house.neighbours import Neighbours

TICK_S: Final = 1.0

FAREWELL_S: Final = 0.5
"""How long the last status may take on its way to the broker."""

STALLED_MS: Final = 20_000
"""A clerk that has dealt with no tick for so long does not work: its disk or its chip hangs."""

log = Log("runner")


@dataclass(frozen=True)
class BusPlan:
    """One bus and everything on it."""

    bus: Bus
    meters: tuple[MeterPlan, ...]
    devices: tuple[DevicePlan, ...]


@dataclass(frozen=True)
class Plan:
    """Everything that settings and files say, checked before anything starts."""

    settings: AgentSettings
    key: SigningKey
    aggregators: tuple[PublicKey, ...]
    """Whoever keeps the chains."""
    buses: tuple[BusPlan, ...]


def plan_of(settings: AgentSettings) -> Plan:
    """Read the files that the settings name, and plan every bus.

    Raises:
        OperatorError: a key or a profile is missing or wrong, or one counter would be signed for two meters.
        SettingsError: a profile file is wrong.
    """
    profiles = load_profiles(settings.profile_folders)
    wanted = [Quantity[quantity.upper()] for quantity in settings.quantities]
    buses = tuple(
        BusPlan(
            bus=bus,
            meters=tuple(
                plan_for(meter, profiles, wanted, is_split=bus.slow_every_ms is not None) for meter in bus.meters
            ),
            devices=tuple(device_plan_for(device, profiles) for device in bus.devices),
        )
        for bus in settings.buses
    )
    for bus in buses:
        see_that_none_counts_twice(bus.meters)
        see_that_each_has_its_own_limit(bus.devices)
    key, aggregators = open_key(settings), key_files.load_public_keys(settings.aggregator_key_file)
    if (settings.aggregators_agree or 1) > len(aggregators):
        expected = f"at least {settings.aggregators_agree} keys, as aggregators_agree says"
        raise OperatorError(settings.aggregator_key_file, "", expected, str(len(aggregators)))
    return Plan(settings=settings, key=key, aggregators=aggregators, buses=buses)


async def run(plan: Plan, *, drain_s: float, clocks: Clocks) -> None:
    """Run an agent until a signal ends it.

    Raises:
        OperatorError: the outbox or a file of the broker's cannot be used, or the key has signed from another outbox.
        StorageError: the disk is full already.
    """
    tell_loop_errors(asyncio.get_running_loop())
    settings = plan.settings
    with contextlib.closing(OutboxFile.open(settings.data, region=settings.region, gateway=settings.gateway)) as file:
        books = Books(file)
        mark = Mark(settings, plan.key.public_key)
        mark.check(books.last_signed())
        mark.move(books.last_signed())
        conversation = _conversation(plan, books)
        devices = [device for bus in plan.buses for device in bus.devices]
        clerk = Clerk(
            settings=settings, books=books, conversation=conversation, key=plan.key, clocks=clocks, devices=devices
        )
        with contextlib.closing(clerk):
            await clerk.start()
            try:
                await _run_tasks(plan, clerk, clocks, drain_s, mark)
            finally:
                mark.move(mark.left)


async def _run_tasks(plan: Plan, clerk: Clerk, clocks: Clocks, drain_s: float, mark: Mark) -> None:
    settings, service = plan.settings, Service.from_environment()

    async def fetch(sequence: int) -> bytes | None:
        if mark.leaves(sequence):
            await asyncio.to_thread(mark.move, sequence)
        return await clerk.fetch(sequence)

    neighbours = _neighbours(plan, clerk, clocks)
    link = MqttPort(settings.broker, region=settings.region, gateway=settings.gateway, last_will=OFFLINE, fetch=fetch)
    ports = [ModbusBus(bus.bus) for bus in plan.buses]
    pollers = [
        BusPoller(
            bus=f"bus {bus.bus.place}",
            port=port,
            meters=bus.meters,
            devices=bus.devices,
            desk=neighbours.desk if neighbours else clerk,
            clocks=clocks,
            every_ms=settings.poll_every_ms,
            timeout_ms=bus.bus.timeout_ms,
            slow_every_ms=bus.bus.slow_every_ms or 0,
        )
        for port, bus in zip(ports, plan.buses, strict=True)
    ]
    with _signals() as (stop, leave):
        polling = [asyncio.create_task(poller.run()) for poller in pollers]
        working = asyncio.create_task(clerk.run(link))
        linking = asyncio.create_task(link.run(clerk.hand))
        ticking = asyncio.create_task(_tick(clerk, clocks, service))
        telling = [asyncio.create_task(neighbours.run())] if neighbours else []
        try:
            _log_start(plan)
            service.tell(READY="1")
            await wait_for_any([stop], tasks=[working, linking, ticking, *polling, *telling])
            service.tell(STOPPING="1")
            await end(*polling)
            await _end_telling(neighbours, telling)
            log.info("stopping: nothing more is read; waiting for receipts", seconds=drain_s)
            await clerk.hand(CloseAll())
            await wait_for_any([clerk.drained, leave], tasks=[working, linking, ticking], timeout_s=drain_s)
            await end(ticking, working)
            await _say_goodbye(clerk, link)
        finally:
            await end(*polling, working, linking, ticking)
            await _end_telling(neighbours, telling)
            for port in ports:
                port.close()
    log.info("stopped")


async def _end_telling(neighbours: Neighbours | None, telling: Sequence[asyncio.Task[None]]) -> None:
    """Have the neighbours told that nobody is here any more, then end what tells them. Twice is no harm."""
    if neighbours is not None:
        await neighbours.say_goodbye()
    await end(*telling)


async def _say_goodbye(clerk: Clerk, link: MqttPort) -> None:
    """Leave word at the broker that nobody is here any more, if there is a broker."""
    if clerk.state.link != LINK_UP:
        return
    link.publish_status(OFFLINE)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_S):
            await link.flush()


def _conversation(plan: Plan, books: Books) -> Session:
    """Take up the conversation where the books say it was."""
    settings, memory = plan.settings, Memory(books)
    inbox = Inbox(plan.aggregators, settings.region, settings.gateway)
    records = Outbox(
        in_flight_max=settings.in_flight_max,
        resend_after_ms=settings.resend_after_ms,
        last_signed=books.last_signed(),
    )
    return Session(
        inbox=inbox,
        records=records,
        orders=settings.standing_orders,
        agreement=Agreement(settings.aggregators_agree or enough(len(plan.aggregators))),
        believed=_believed(inbox, memory.statement()),
        placed=memory.placed(),
    )


def _believed(inbox: Inbox, kept: HeardStatement | None) -> Believed | None:
    """The statement that was kept; none if it is not from the aggregator that is believed today."""
    if kept is None:
        return None
    try:
        heard = inbox.open(Kind.STATEMENT, kept.envelope)
    except MessageError as error:
        log.warning("the kept statement is not believed", reason=str(error))
        return None
    assert isinstance(heard.message, Statement), "the inbox opens a statement where it was asked for one"
    return Believed.of(heard.envelope, heard.message)


async def _tick(clerk: Clerk, clocks: Clocks, service: Service) -> None:
    """Tell the clerk that time passes, and whoever watches over this program that the clerk works."""
    while True:
        await clerk.hand(Tick())
        if clocks.now_ms() - clerk.dealt_ms < STALLED_MS:
            service.tell(WATCHDOG="1", STATUS=f"link: {clerk.state.link}")
        await asyncio.sleep(TICK_S)


def _neighbours(plan: Plan, clerk: Clerk, clocks: Clocks) -> Neighbours | None:
    """Whoever is to be told something in the house; what that needs is loaded only then."""
    if plan.settings.home_assistant is None and plan.settings.metrics is None:
        return None
    from agent.house.neighbours import Neighbours  # noqa: PLC0415

    meters = {meter.meter: meter.profile for bus in plan.buses for meter in bus.meters}
    return Neighbours(plan.settings, meters, clerk, clocks)


@contextlib.contextmanager
def _signals() -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Two events: the first SIGTERM or SIGINT sets the first, the next one the second."""
    stop, leave = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def take() -> None:
        (leave if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, take)
    try:
        yield stop, leave
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _log_start(plan: Plan) -> None:
    log.info(
        "started",
        region=plan.settings.region,
        gateway=plan.settings.gateway,
        buses=len(plan.buses),
        meters=sum(len(bus.meters) for bus in plan.buses),
        devices=sum(len(bus.devices) for bus in plan.buses),
        key=fingerprint(plan.key.public_key.thumbprint),
    )
    if not any(bus.meters for bus in plan.buses):
        log.warning("there is nothing to read: enter the meters under buses", remedy="este-agent scan finds them")
