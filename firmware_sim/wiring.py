"""Where each meter and limiter is found: gateway, TCP port, unit. One rule, without choices.

Meters are dealt to gateways in order: six each in a small region, 250 each in a large one. The meters of a gateway
stand on its buses, one TCP port per bus, as units 1, 2, 3, …; the limiter that belongs to the meter at unit *u* is
unit *u* + 100 on the same bus.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from protocol.errors import OperatorError

SMALL_REGION_METERS: Final = 24
METERS_PER_GATEWAY_SMALL: Final = 6
METERS_PER_GATEWAY_LARGE: Final = 250

LIMITER_OFFSET: Final = 100
"""From a meter's unit to its limiter's. So a bus has at most this many meters."""

PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class Place:
    """Where one meter is found."""

    gateway: str
    port: int
    unit: int

    @property
    def limiter_unit(self) -> int:
        """Where the limiter is found that belongs to the meter, if it has one."""
        return self.unit + LIMITER_OFFSET


def places(meters: int, *, first_port: int, units_per_port: int, more: int = 0, apart: int = 0) -> list[Place]:
    """The place of each meter, and of `more` behind them, in order. Ports follow each other from `first_port`.

    The size of the region is told by `meters` alone, so that what is added moves nobody. The last ones, as many as
    `apart` says, are behind a gateway of their own.

    A limiter takes a unit of its own, so a bus has half as many meters as units, but never fewer than one.

    Raises:
        OperatorError: there are not as many ports above `first_port` as it takes.
    """
    per_gateway = METERS_PER_GATEWAY_SMALL if meters <= SMALL_REGION_METERS else METERS_PER_GATEWAY_LARGE
    per_bus = min(LIMITER_OFFSET, max(1, units_per_port // 2))
    found: list[Place] = []
    port = first_port - 1
    together = meters + more - apart
    for number in range(meters + more):
        gateway, at_gateway = divmod(number, per_gateway)
        if number >= together:
            gateway, at_gateway = -(-together // per_gateway), number - together
        on_bus = at_gateway % per_bus
        if on_bus == 0:
            port += 1
        found.append(Place(f"gw-{gateway + 1}", port, on_bus + 1))
    if port > PORT_MAX:
        low_enough = PORT_MAX - (port - first_port)
        raise OperatorError("fleet", "first_port", f"{low_enough} or less, for {meters + more} meters", str(first_port))
    return found
