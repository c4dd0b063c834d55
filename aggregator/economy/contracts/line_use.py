"""What contracts and channels together ask of one line in one direction: nobody is promised what somebody has bought.

A channel is its holder's own reserve. What their contracts carry over the line comes out of it, and what these leave of
it is kept free for them: so a line is asked for the power of all contracts, and for every holder's unused rest. A
contract uses the seller's channel, and the buyer's where the seller has none then: which one is a matter of the instant
alone, and not of who came first. So whatever is taken out of a set that fits, the rest still fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.economy.channels import Channel
from aggregator.economy.contracts.profile import Peak, Profile
from protocol.units import PPM

Pair = tuple[str, str]
"""Seller and buyer."""
Window = tuple[int, int]


class LineUse:
    """What contracts promise of a line in one direction, in millionths of a watt."""

    def __init__(self) -> None:
        """Nothing."""
        self._all = Profile()
        self._of: dict[str, dict[Pair, Profile]] = {}
        """By each of the two parties."""

    def add(self, pair: Pair, window: Window, amount: int) -> None:
        """Let a contract of two parties use so much more of it in a window; below 0, so much less."""
        self._all.add(*window, amount)
        profile = self._of.get(pair[0], {}).get(pair) or Profile()
        profile.add(*window, amount)
        for party in pair:
            uses = self._of.setdefault(party, {})
            uses[pair] = profile
            if not len(profile):
                del uses[pair]
            if not uses:
                del self._of[party]

    def peak(self, window: Window, channels: Iterable[Channel], pair: Pair = ("", ""), more: int = 0) -> Peak:
        """Where most is asked of it in a window, if one more contract of two parties used so much all through it."""
        start_ms, end_ms = window
        sold = [one for one in channels if one.start_ms < end_ms and one.end_ms > start_ms]
        level, at_ms = self._all.peak(start_ms, end_ms)
        if not sold:
            return Peak(level + more, at_ms)
        return self._swept(window, sold, pair, more)

    def _swept(self, window: Window, sold: Sequence[Channel], pair: Pair, more: int) -> Peak:
        """The peak, from instant to instant: what contracts use steps at some, what is sold at others."""
        start_ms, end_ms = window
        holders = dict.fromkeys(one.participant for one in sold)
        involved = {one: use for holder in holders for one, use in self._of.get(holder, {}).items()}
        steps = dict(self._all.steps(start_ms, end_ms))
        changes: dict[int, list[tuple[Pair, int]]] = {}
        for one, use in involved.items():
            for at_ms, level in use.steps(start_ms, end_ms):
                changes.setdefault(at_ms, []).append((one, level + more * (one == pair)))
        if pair not in involved:
            changes.setdefault(start_ms, []).append((pair, more))
        bounds = {start_ms: None} | {at_ms: None for one in sold for at_ms in one.window if start_ms < at_ms < end_ms}
        reserve, level, best = _Reserve(), 0, Peak(-1, start_ms)
        for at_ms in sorted({*steps, *changes, *bounds}):
            level = steps.get(at_ms, level)
            for one, amount in changes.get(at_ms, ()):
                reserve.use(one, amount)
            if at_ms in bounds:
                reserve.resell(_capacity(sold, at_ms))
            if (asked := level + more + reserve.unused) > best.level:
                best = Peak(asked, at_ms)
        return best


@dataclass(slots=True)
class _Reserve:
    """What holders of channels have left of them at an instant."""

    capacity: Mapping[str, int] = field(default_factory=dict)
    """By holder."""
    unused: int = 0
    """Of all channels together."""
    _using: dict[Pair, int] = field(default_factory=dict)
    _used: dict[str, int] = field(default_factory=dict)
    """By holder."""

    def use(self, pair: Pair, amount: int) -> None:
        """Let the contracts of two parties use so much from now on."""
        more = amount - self._using.get(pair, 0)
        self._using[pair] = amount
        self._count(pair, more)

    def resell(self, capacity: Mapping[str, int]) -> None:
        """Let these be the channels from now on: then others may serve some contracts."""
        self.capacity, self._used = capacity, {}
        self.unused = sum(capacity.values())
        for pair, amount in self._using.items():
            self._count(pair, amount)

    def _count(self, pair: Pair, more: int) -> None:
        holder = next((who for who in pair if who in self.capacity), None)
        if holder is not None:
            capacity, used = self.capacity[holder], self._used.get(holder, 0)
            self._used[holder] = used + more
            self.unused += max(0, capacity - used - more) - max(0, capacity - used)


def _capacity(sold: Sequence[Channel], at_ms: int) -> dict[str, int]:
    """What everybody has bought for an instant, scaled as contracts are."""
    capacity: dict[str, int] = {}
    for one in sold:
        if one.covers(at_ms):
            capacity[one.participant] = capacity.get(one.participant, 0) + one.power_w * PPM
    return capacity
