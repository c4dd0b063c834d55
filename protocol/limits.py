"""What a device may take or feed in at most, as a statement says it: which way, and why.

Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final

from protocol.canonical import Value
from protocol.errors import EncodingError
from protocol.fields import name, row, uint
from protocol.units import PPM

LIMITS_MAX: Final = 128
"""Of one participant at one gateway: two for each device that takes and feeds in."""


class Direction(IntEnum):
    """Which way power is limited. What goes the other way is not touched."""

    TAKE = 1
    FEED_IN = 2


class Tier(IntEnum):
    """Who is limited before whom."""

    RESTRICTED = 1
    """Owes tokens."""
    COMMON = 2
    PRIORITY = 3
    """Holds the right to go first, in the direction in which they load the line."""
    CHANNEL = 4
    """Is covered by capacity that was bought on this line."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why somebody is limited for the sake of a power line."""

    loading_ppm: int
    """What the line carried when that was decided, of its rating."""
    tier: Tier
    """In which their power stood then."""
    share_ppm: int
    """Of what their devices are rated for, that is left to them."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What a device may take or feed in at most, while its owner owes tokens, or a power line carries too much."""

    device: str
    power_max_w: int
    branch: str = ""
    """The power line for whose sake it is; empty: because its owner owes tokens."""
    direction: Direction | None = None
    """None: both ways, as statements said it before limits had a direction."""
    why: Why | None = None
    """Beside a direction and a line."""

    def spell(self) -> Value:
        """As a statement holds it."""
        if self.direction is None:
            return [self.device, self.power_max_w, *filter(None, [self.branch])]
        limit: list[Value] = [self.device, self.power_max_w, self.direction.value]
        if self.why is None:
            return limit
        return [*limit, self.branch, self.why.loading_ppm, self.why.tier.value, self.why.share_ppm]

    @classmethod
    def read(cls, value: Value) -> Limit:
        """Read what `spell` spells.

        Raises:
            EncodingError: it is not that.
        """
        parts = len(value) if type(value) is list and len(value) in (2, 3) else 7
        device, power_max_w, *more = row(value, "limit", parts)
        limit = cls(name(device, "device"), uint(power_max_w, "power limit"))
        match more:
            case []:
                return limit
            case [str() as branch]:
                return replace(limit, branch=name(branch, "branch"))
            case [direction]:
                return replace(limit, direction=read_direction(direction))
            case _:
                direction, branch, loading_ppm, tier, share_ppm = more
                why = Why(uint(loading_ppm, "loading"), _read_tier(tier), uint(share_ppm, "share", PPM))
                return replace(limit, branch=name(branch, "branch"), direction=read_direction(direction), why=why)


def read_direction(value: Value) -> Direction:
    """Read which way something is limited.

    Raises:
        EncodingError: there is no such direction.
    """
    try:
        return Direction(uint(value, "direction"))
    except ValueError as error:
        raise EncodingError(f"no direction has the number {value}") from error


def _read_tier(value: Value) -> Tier:
    try:
        return Tier(uint(value, "tier"))
    except ValueError as error:
        raise EncodingError(f"no tier has the number {value}") from error
