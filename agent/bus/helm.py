"""What contracts ask of devices: to a seller's gateway, a statement is the signed instruction to supply.

The statement says what all of a participant's contracts come to, step by step. That is shared among the devices whose
settings name the participant, in their order, as far as each can be set, is rated, and is not limited; only contracts
of electricity set anything. It ends when no duty is left, and when the statement is stale; a statement from before the
machine was started counts only by a clock that is sure. Given time and statements; reads no clock and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

from agent.bus.control import FREE, DevicePlan, Grant, StatementAge, limits_of
from config.grid_model import DIRECTIONS
from protocol.batch import Clock, ClockState
from protocol.contract_news import ContractNews, ContractState
from protocol.duty import Duty, duty_at
from protocol.limits import Direction
from protocol.messages import Statement

ELECTRICITY: Final = "electricity"
"""The carrier of the contracts that set devices."""

_BINDING: Final = frozenset(
    (
        ContractState.CONFIRMED,
        ContractState.DELIVERING,
        ContractState.TERMINATED,
        ContractState.DISPUTED,
        ContractState.ARBITRATED,
    )
)
"""States in which a contract is delivered for as long as something of its window is left."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The statement that is believed, and now."""

    statement: Statement
    heard_ms: int
    """When it was heard, on the boot's clock."""
    now_ms: int
    """On the same."""
    clock: Clock
    is_of_this_boot: bool = True
    """Whether it was heard since the machine was started."""

    @property
    def is_timed(self) -> bool:
        """Whether now can be told: without a sure clock, nobody knows how long the machine was off."""
        return self.is_of_this_boot or self.clock.state is ClockState.SYNCHRONIZED

    def is_stale(self, age_max_ms: int) -> bool:
        """Whether the aggregator has been silent for too long."""
        return self._age.is_stale(self.now_ms, self.clock, age_max_ms)

    @property
    def unix_ms(self) -> int:
        """Now, UTC: by the clock if it is sure, else by the statement and the time since it was heard."""
        return self._age.unix_ms(self.now_ms, self.clock)

    @property
    def _age(self) -> StatementAge:
        return StatementAge(self.statement.time_ms, self.heard_ms)


@dataclass(frozen=True, slots=True)
class Driven:
    """What a participant's contracts ask for now, and what comes of it."""

    participant: str
    contracts: tuple[str, ...]
    """Numbers of those that deliver, as far as the statement tells of them."""
    power_w: int
    """To feed in; below 0, to take."""
    until_ms: int
    """When that may change, UTC."""
    devices: Mapping[str, int]
    """What each is set to take, or, below 0, to feed in."""
    missing_w: int
    """What no device can do."""
    why: str | None
    """Why something is missing."""


class Helm:
    """Tells every device of a gateway what it may do, and what it is to do."""

    def __init__(self, devices: Sequence[DevicePlan], age_max_ms: int) -> None:
        self._devices = devices
        self._age_max_ms = age_max_ms

    def granted(self, device: DevicePlan, moment: Moment | None) -> Grant:
        """What a device may do and is to do; free where there is no statement to go by."""
        if moment is None or moment.is_stale(self._age_max_ms):
            return FREE
        limits = limits_of(device, moment.statement)
        if device.contracts_of is None or not device.can_be_set:
            return limits
        set_w = [one.devices[device.device] for one in self.driven(moment) if device.device in one.devices]
        return replace(limits, set_w=set_w[0]) if set_w else limits

    def driven(self, moment: Moment | None) -> list[Driven]:
        """What everybody's contracts ask for now; whoever has none that delivers is left out."""
        if moment is None or moment.is_stale(self._age_max_ms) or not moment.is_timed:
            return []
        now_ms = moment.unix_ms
        found = []
        for standing in moment.statement.standings:
            duty = duty_at(standing.duties, ELECTRICITY, now_ms)
            if duty is not None:
                told = tuple(one.contract.hex()[:12] for one in standing.contracts if _delivers(one, now_ms))
                found.append(self._share(standing.participant, duty, told, moment.statement))
        return found

    def told(self, moment: Moment | None) -> str | None:
        """The same as JSON for the status; None where nothing is asked for."""
        driven = self.driven(moment)
        return json.dumps([asdict(one) for one in driven]) if driven else None

    def _share(self, participant: str, duty: Duty, contracts: tuple[str, ...], statement: Statement) -> Driven:
        power_w = duty.feed_in_w - duty.take_w
        way, sign = (Direction.FEED_IN, -1) if power_w > 0 else (Direction.TAKE, 1)
        rest_w, set_w, limited = abs(power_w), dict[str, int](), []
        able = list(self._able(participant, way))
        for device in able:
            if not rest_w:
                break
            limit_w = limits_of(device, statement).most_w(way)
            if limit_w is not None and limit_w < min(rest_w, device.power_max_w):
                limited.append(f"{device.device} is held to {limit_w} W")
            most_w = device.power_max_w if limit_w is None else limit_w
            watts = min(max(rest_w, device.power_min_w), most_w)
            set_w[device.device] = sign * watts
            rest_w -= min(rest_w, watts)
        return Driven(
            participant=participant,
            contracts=contracts,
            power_w=power_w,
            until_ms=duty.until_ms,
            devices=set_w,
            missing_w=rest_w,
            why=self._why(participant, able, limited) if rest_w else None,
        )

    def _able(self, participant: str, way: Direction) -> Iterator[DevicePlan]:
        for device in self._devices:
            if device.contracts_of == participant and device.can_be_set and way in DIRECTIONS[device.direction]:
                yield device

    def _why(self, participant: str, able: Sequence[DevicePlan], limited: Sequence[str]) -> str:
        """Why a promise is not kept by devices here."""
        if limited:
            return ", ".join(limited)
        if able:
            return "the devices that can be set are rated for no more"
        named = [device.device for device in self._devices if device.contracts_of == participant]
        if not named:
            return "no device has this participant under contracts_of"
        cannot = [device.device for device in self._devices if device.device in named and not device.can_be_set]
        if cannot:
            return f"{', '.join(cannot)}: no set_point in the profile"
        return f"{', '.join(named)}: not in this direction"


def _delivers(news: ContractNews, now_ms: int) -> bool:
    """Whether a contract of electricity binds now: from its start, whether or not a block has said so, to its end."""
    is_on = news.start_ms <= now_ms < news.end_ms
    return is_on and news.state in _BINDING and news.carrier == ELECTRICITY
