"""Channels: capacity of a power line in a window of time, what it costs, and how much of it is left.

A line is never oversold: at no instant do the channels that cover it add up to more than its rating. Integers only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

AHEAD_MAX_MS: Final = 7 * 86_400_000
"""How far ahead a channel may begin."""
LENGTH_MAX_MS: Final = 86_400_000
HELD_MAX: Final = 32
"""Channels of one participant that are not over: each is told in every statement."""

_WATT_MS_PER_KWH: Final = 1000 * 3_600_000


@dataclass(frozen=True, slots=True)
class Channel:
    """What somebody has bought of a line."""

    participant: str
    start_ms: int
    end_ms: int
    """Does not belong to it."""
    power_w: int

    @property
    def window(self) -> tuple[int, int]:
        """When it begins and ends."""
        return self.start_ms, self.end_ms

    def covers(self, instant_ms: int) -> bool:
        """Whether it holds at an instant."""
        return self.start_ms <= instant_ms < self.end_ms


def price_of(power_w: int, length_ms: int, tokens_per_kwh: int) -> int:
    """What a channel costs in tokens: capacity times time, rounded up."""
    return -(-power_w * length_ms * tokens_per_kwh // _WATT_MS_PER_KWH)


def sold_w(channels: Iterable[Channel], start_ms: int, end_ms: int) -> int:
    """The most that is sold at any one instant of a window.

    What is sold only ever rises where a channel begins, so those instants, and the first, are all that has to be seen.
    """
    inside = [channel for channel in channels if channel.start_ms < end_ms and channel.end_ms > start_ms]
    instants = {start_ms, *(channel.start_ms for channel in inside if channel.start_ms > start_ms)}
    return max(sum(channel.power_w for channel in inside if channel.covers(instant)) for instant in sorted(instants))
