"""What contracts and channels together ask of one line in one direction: nobody is promised what somebody has bought.

A channel is its holder's own reserve. What their contracts carry over the line comes out of it, and what these leave of
it is kept free for them: so a line is asked for the power of all contracts, and for every holder's unused rest. A
contract uses the seller's channel, and the buyer's where the seller has none then: which one is a matter of the instant
alone, and not of who came first. So whatever is taken out of a set that fits, the rest still fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aggregator.economy.channels import Channel
from aggregator.economy.contracts.profile import Peak, Profile
from protocol.units import PPM


class Use(NamedTuple):
    """What a contract carries over the line, in millionths of a watt, all through its window."""

    seller: str
    buyer: str
    start_ms: int
    end_ms: int
    amount: int


def peak_beside(line: Profile, uses: Iterable[Use], channels: Sequence[Channel], more: Use) -> Peak:
    """Where most is asked of a line in the window of one more contract, if that is made.

    Args:
        line: what all contracts carry over it.
        uses: those of them whose seller or buyer holds a channel of it.
        channels: what is sold of it, in that window or besides.
        more: the one more; its amount may be 0.
    """
    start_ms, end_ms = more.start_ms, more.end_ms
    steps = dict(line.steps(start_ms, end_ms))
    changes: dict[int, list[tuple[Use, int]]] = {}
    for use in (*uses, more):
        if use.start_ms < end_ms and use.end_ms > start_ms:
            changes.setdefault(max(use.start_ms, start_ms), []).append((use, use.amount))
            changes.setdefault(use.end_ms, []).append((use, -use.amount))
    bounds = {start_ms: None} | {at_ms: None for one in channels for at_ms in one.window if start_ms < at_ms < end_ms}
    reserve, level, best = _Reserve(), 0, Peak(-1, start_ms)
    for at_ms in sorted({*steps, *changes, *bounds}):
        if at_ms >= end_ms:
            break
        level = steps.get(at_ms, level)
        for use, amount in changes.get(at_ms, ()):
            reserve.use(use, amount)
        if at_ms in bounds:
            reserve.resell(_capacity(channels, at_ms))
        if (asked := level + more.amount + reserve.unused) > best.level:
            best = Peak(asked, at_ms)
    return best


@dataclass(slots=True)
class _Reserve:
    """What holders of channels have left of them at an instant."""

    capacity: Mapping[str, int] = field(default_factory=dict)
    """By holder."""
    unused: int = 0
    """Of all channels together."""
    _using: dict[tuple[str, str], int] = field(default_factory=dict)
    """By seller and buyer."""
    _used: dict[str, int] = field(default_factory=dict)
    """By holder."""

    def use(self, use: Use, more: int) -> None:
        """Let so much more be carried between two parties from now on."""
        pair = (use.seller, use.buyer)
        self._using[pair] = self._using.get(pair, 0) + more
        self._count(pair, more)

    def resell(self, capacity: Mapping[str, int]) -> None:
        """Let these be the channels from now on: then others may serve some contracts."""
        self.capacity, self._used = capacity, {}
        self.unused = sum(capacity.values())
        for pair, amount in self._using.items():
            self._count(pair, amount)

    def _count(self, pair: tuple[str, str], more: int) -> None:
        holder = next((who for who in pair if who in self.capacity), None)
        if holder is not None:
            capacity, used = self.capacity[holder], self._used.get(holder, 0)
            self._used[holder] = used + more
            self.unused += max(0, capacity - used - more) - max(0, capacity - used)


def _capacity(channels: Sequence[Channel], at_ms: int) -> dict[str, int]:
    """What everybody has bought for an instant, in millionths of a watt."""
    capacity: dict[str, int] = {}
    for one in channels:
        if one.covers(at_ms):
            capacity[one.participant] = capacity.get(one.participant, 0) + one.power_w * PPM
    return capacity
