"""Rights and restrictions → what a device is told: a power limit, or that it is free.

Given the last believed statement, its age and the bounds that the settings set for a device, says which power the
device is granted and which words spell that. The settings always win: no statement can hold a device below its
`power_min_w`. It fails towards freedom: when the aggregator has been silent for too long, every limit is lifted. Only a
gateway that has stopped can lift nothing: a device that must not rely on it needs a watchdog of its own. Never writes:
the port does, and reads back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from agent.bus.planner import ReadRequest
from config.meter_profile import MeterProfile, PowerLimit, Table
from config.settings.bus import DeviceAddress
from protocol.batch import Clock, ClockState
from protocol.errors import EncodingError, OperatorError
from protocol.messages import Statement
from protocol.registers import RegisterCodec, WordOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """Everything needed to hold one device of the settings to a power."""

    device: str
    unit: int
    power_min_w: int
    power_max_w: int
    limit: PowerLimit
    word_order: WordOrder

    @property
    def request(self) -> ReadRequest:
        """How to read back what was written."""
        return ReadRequest(Table.HOLDING, self.limit.address, self.limit.type.words)


@dataclass(frozen=True, slots=True)
class Command:
    """What a device must be holding."""

    power_w: int | None
    """The limit, or None where there is none."""
    words: tuple[int, ...]


def device_plan_for(address: DeviceAddress, profiles: Mapping[str, MeterProfile]) -> DevicePlan:
    """How to reach the device at `address`.

    Raises:
        OperatorError: there is no such profile, or it has no power limit; or the bounds cross, or do not fit it.
    """
    profile = profiles.get(address.profile)
    if profile is None or profile.power_limit is None:
        known = ", ".join(sorted(name for name, other in profiles.items() if other.power_limit))
        raise OperatorError(f"device {address.id}", "profile", f"one of {known}", repr(address.profile))
    if address.power_min_w > address.power_max_w:
        expected = f"at least power_min_w, {address.power_min_w}"
        raise OperatorError(f"device {address.id}", "power_max_w", expected, str(address.power_max_w))
    plan = DevicePlan(
        device=address.id,
        unit=address.unit,
        power_min_w=address.power_min_w,
        power_max_w=address.power_max_w,
        limit=profile.power_limit,
        word_order=profile.word_order,
    )
    try:
        is_spelled = command_for(plan, plan.power_max_w).words != command_for(plan, None).words
    except EncodingError:
        is_spelled = False
    if not is_spelled:
        raise OperatorError(f"device {address.id}", "power_max_w", "what its register can hold", str(plan.power_max_w))
    return plan


def see_that_each_has_its_own_limit(devices: Iterable[DevicePlan]) -> None:
    """See that no two devices of one bus would be told different things through one register.

    Raises:
        OperatorError: two share theirs.
    """
    owners: dict[tuple[int, int], str] = {}
    for device in devices:
        owner = owners.setdefault((device.unit, device.limit.address), device.device)
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


def granted_w(device: DevicePlan, statement: Statement | None) -> int | None:
    """The power that `device` is held to by a statement that is not stale, or None where it is free.

    A device that several standings limit is held to the least.
    """
    limits = [
        limit.power_max_w
        for standing in (statement.standings if statement else ())
        for limit in standing.limits
        if limit.device == device.device
    ]
    return min(max(min(limits), device.power_min_w), device.power_max_w) if limits else None


def command_for(device: DevicePlan, power_w: int | None) -> Command:
    """The words that hold `device` to `power_w`, or that lift its limit.

    A limit that the register cannot spell is rounded down, unless that would go below what the settings promise.
    """
    raw = RegisterCodec(device.limit.type, device.word_order, Fraction(1))
    if power_w is None:
        return Command(None, tuple(raw.encode(device.limit.lifted)))
    scale = device.limit.base_scale
    counts = power_w // scale
    if counts * scale < device.power_min_w:
        counts += 1
    return Command(int(counts * scale), tuple(raw.encode(counts)))


def is_obeyed(command: Command, read_back: Sequence[int]) -> bool:
    """Whether the device holds what it was told."""
    return tuple(read_back) == command.words
