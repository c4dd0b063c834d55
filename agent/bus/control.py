"""Rights, restrictions and contracts → what a device is told: limits, a set-point, or that it is free.

Given the last believed statement, its age and the bounds that the settings set for a device, says what the device is
granted and which words spell that. The settings always win: no statement can hold a device below its `power_min_w`. A
limit wins over a set-point. It fails towards freedom: when the aggregator has been silent for too long, all of it is
lifted. Only a gateway that has stopped can lift nothing: a device that must not rely on it needs a watchdog of its own.
Never writes: the port does, and reads back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import Final

from agent.bus.planner import ReadRequest
from config.grid_model import DeviceDirection
from config.meter_profile import MeterProfile, PowerLimit, Table
from config.settings.bus import DeviceAddress
from protocol.batch import Clock, ClockState
from protocol.errors import EncodingError, OperatorError
from protocol.limits import Direction
from protocol.messages import Statement
from protocol.registers import RegisterCodec, WordOrder


class Lever(Enum):
    """What can be written to a device, by the names of profiles, in the order in which it is written."""

    EITHER = "power_limit"
    TAKE = "take_limit"
    FEED_IN = "feed_in_limit"
    SET = "set_point"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """Everything needed to hold one device of the settings to a power, and to have it run as contracts say."""

    device: str
    unit: int
    power_min_w: int
    power_max_w: int
    levers: Mapping[Lever, PowerLimit]
    word_order: WordOrder
    contracts_of: str | None = None
    direction: DeviceDirection = DeviceDirection.BOTH

    @property
    def can_be_set(self) -> bool:
        """Whether it can be told what to do, beside what it may do at most."""
        return Lever.SET in self.levers


@dataclass(frozen=True, slots=True)
class Grant:
    """What a device may do, and is to do."""

    take_w: int | None = None
    """The most that it may take; None: as much as it likes."""
    feed_in_w: int | None = None
    """The most that it may feed in."""
    set_w: int | None = None
    """What it is to take, or, below 0, to feed in; None: what it likes."""

    def most_w(self, direction: Direction) -> int | None:
        """The most that it may take, or feed in."""
        return self.take_w if direction is Direction.TAKE else self.feed_in_w


FREE: Final = Grant()


@dataclass(frozen=True, slots=True)
class Order:
    """What one register of a device must be holding."""

    register: PowerLimit
    power_w: int | None
    """None where it is lifted."""
    words: tuple[int, ...]

    @property
    def request(self) -> ReadRequest:
        """How to read back what was written."""
        return ReadRequest(Table.HOLDING, self.register.address, self.register.type.words)

    def is_obeyed(self, read_back: Sequence[int]) -> bool:
        """Whether the device holds what it was told."""
        return tuple(read_back) == self.words


@dataclass(frozen=True, slots=True)
class Command:
    """What a device must be holding, register by register, in the order in which they are written."""

    orders: tuple[Order, ...]
    power_w: int | None
    """The lowest limit, or None where there is none."""
    set_w: int | None
    """The set-point, or None where it is free."""


def device_plan_for(address: DeviceAddress, profiles: Mapping[str, MeterProfile]) -> DevicePlan:
    """How to reach the device at `address`.

    Raises:
        OperatorError: there is no such profile, or it has nothing to write; or the bounds cross, or do not fit it.
    """
    profile = profiles.get(address.profile)
    if profile is None or not profile.is_controlled:
        known = ", ".join(sorted(name for name, other in profiles.items() if other.is_controlled))
        raise OperatorError(f"device {address.id}", "profile", f"one of {known}", repr(address.profile))
    if address.power_min_w > address.power_max_w:
        expected = f"at least power_min_w, {address.power_min_w}"
        raise OperatorError(f"device {address.id}", "power_max_w", expected, str(address.power_max_w))
    found = {lever: getattr(profile, lever.value) for lever in Lever}
    plan = DevicePlan(
        device=address.id,
        unit=address.unit,
        power_min_w=address.power_min_w,
        power_max_w=address.power_max_w,
        levers={lever: register for lever, register in found.items() if register is not None},
        word_order=profile.word_order,
        contracts_of=address.contracts_of,
        direction=address.direction,
    )
    if not _is_spelled(plan):
        raise OperatorError(f"device {address.id}", "power_max_w", "what its register can hold", str(plan.power_max_w))
    return plan


def _is_spelled(plan: DevicePlan) -> bool:
    """Whether every register of a device can hold the most that it is told, and that differs from what lifts it."""
    most_w = plan.power_max_w
    try:
        free = command_for(plan, FREE).orders
        told = [command_for(plan, Grant(most_w, most_w, set_w)).orders for set_w in (most_w, -most_w)]
    except EncodingError:
        return False
    return all(order.words != lifted.words for orders in told for order, lifted in zip(orders, free, strict=True))


def see_that_each_has_its_own_limit(devices: Iterable[DevicePlan]) -> None:
    """See that no two devices of one bus would be told different things through one register.

    Raises:
        OperatorError: two share theirs.
    """
    owners: dict[tuple[int, int], str] = {}
    for device in devices:
        for register in device.levers.values():
            owner = owners.setdefault((device.unit, register.address), device.device)
            if owner != device.device:
                expected = f"another unit than that of {owner}, which has the same register"
                raise OperatorError(f"device {device.device}", "unit", expected, str(device.unit))


@dataclass(frozen=True, slots=True)
class StatementAge:
    """How long ago the last believed statement was made and heard."""

    made_ms: int
    """When the aggregator made it, UTC."""
    heard_ms: int
    """When this program first held it in hands, on the boot's clock."""

    def is_stale(self, now_ms: int, clock: Clock, age_max_ms: int) -> bool:
        """Whether its limits have run out.

        The boot's clock alone would take a statement for fresh that was kept over a restart; UTC alone would trust a
        clock that nobody set. So either says when it is too old, and UTC only where it is synchronized.
        """
        is_old_here = now_ms - self.heard_ms > age_max_ms
        is_clock_sure = clock.state is ClockState.SYNCHRONIZED
        return is_old_here or (is_clock_sure and clock.epoch_ms + now_ms - self.made_ms > age_max_ms)

    def unix_ms(self, now_ms: int, clock: Clock) -> int:
        """Now, UTC: by the clock where it is synchronized, else by when it was made and how long ago it was heard."""
        if clock.state is ClockState.SYNCHRONIZED:
            return clock.epoch_ms + now_ms
        return self.made_ms + now_ms - self.heard_ms


def limits_of(device: DevicePlan, statement: Statement) -> Grant:
    """What `device` is held to, each way, by a statement that is not stale.

    A device that several standings limit is held to the least. A limit without a direction holds both ways.
    """
    limits = [limit for standing in statement.standings for limit in standing.limits if limit.device == device.device]
    most = {
        way: min((limit.power_max_w for limit in limits if limit.direction in (None, way)), default=None)
        for way in Direction
    }
    bounded = {
        way: None if watts is None else min(max(watts, device.power_min_w), device.power_max_w)
        for way, watts in most.items()
    }
    return Grant(bounded[Direction.TAKE], bounded[Direction.FEED_IN])


def command_for(device: DevicePlan, grant: Grant) -> Command:
    """The words that hold `device` to what it is granted, or that lift its limits."""
    orders = tuple(_orders(device, grant))
    limits = [order.power_w for order in orders if order.register is not device.levers.get(Lever.SET)]
    set_w = next((order.power_w for order in orders if order.register is device.levers.get(Lever.SET)), None)
    return Command(orders, min((watts for watts in limits if watts is not None), default=None), set_w)


def _orders(device: DevicePlan, grant: Grant) -> Iterator[Order]:
    """One for each register; a register that holds both ways holds what no other one does."""
    own = {Lever.TAKE: grant.take_w, Lever.FEED_IN: grant.feed_in_w}
    rest = [watts for lever, watts in own.items() if lever not in device.levers and watts is not None]
    wanted = {Lever.EITHER: min(rest, default=None), **own, Lever.SET: grant.set_w}
    for lever in Lever:
        if lever in device.levers:
            yield _order(device, lever, wanted[lever])


def _order(device: DevicePlan, lever: Lever, power_w: int | None) -> Order:
    """A limit that the register cannot spell is rounded down, unless that would go below what the settings promise.

    A set-point is rounded up, since a contract promises at least so much, unless that would be more than the device's.
    """
    register = device.levers[lever]
    raw = RegisterCodec(register.type, device.word_order, Fraction(1))
    if power_w is None:
        return Order(register, None, tuple(raw.encode(register.lifted)))
    scale, watts = register.base_scale, abs(power_w)
    counts = watts // scale
    is_to_rise = watts > counts * scale and (counts + 1) * scale <= device.power_max_w
    if is_to_rise if lever is Lever.SET else counts * scale < device.power_min_w:
        counts += 1
    counts = -counts if power_w < 0 else counts
    return Order(register, int(counts * scale), tuple(raw.encode(counts)))
