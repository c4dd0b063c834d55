"""Who holds which right, and which capacity of which power line. Part of the state of the payment chain.

Rights are bought for whole settlement periods and end when theirs is settled; a channel is bought for a window of its
own and ends with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from aggregator.economy.channels import Channel, sold_w
from aggregator.economy.rights import HeldRight, RightKey
from aggregator.ledger.table import Journal, Table, WatchedTable, flat
from protocol.messages import Right, RightKind

RIGHTS_TABLE: Final = 52
CHANNELS_TABLE: Final = 58

ChannelKey = tuple[str, int, int]
"""The line, the start of the window, and a number that tells channels apart which begin together."""


class Rights:
    """What everybody has bought."""

    def __init__(self, journal: Journal) -> None:
        """Nobody holds anything."""
        spell, read = flat(HeldRight)
        self.held: Table[RightKey, HeldRight] = Table(RIGHTS_TABLE, journal, spell=spell, read=read)
        spell_channel, read_channel = flat(Channel)
        self._on_line: dict[str, dict[ChannelKey, Channel]] = {}
        self.channels: WatchedTable[ChannelKey, Channel] = WatchedTable(
            CHANNELS_TABLE, journal, spell=spell_channel, read=read_channel, watch=self._follow
        )
        self.tables: Mapping[int, Table[Any, Any]] = {RIGHTS_TABLE: self.held, CHANNELS_TABLE: self.channels}

    def holders_at(self, instant_ms: int) -> set[str]:
        """Everybody who holds a right of any kind for a whole period, at an instant."""
        return {name for (name, _, start_ms), right in self.held.items() if start_ms <= instant_ms < right.end_ms}

    def channels_of(self, branch: str) -> list[Channel]:
        """All that is sold of a line."""
        return list(self._on_line.get(branch, {}).values())

    @property
    def sold_lines(self) -> list[str]:
        """The lines of which something is sold, in the order of their names."""
        return sorted(self._on_line)

    def open_channel(self, branch: str, channel: Channel) -> None:
        """Sell a channel."""
        taken = [number for _, start_ms, number in self._on_line.get(branch, ()) if start_ms == channel.start_ms]
        self.channels.put((branch, channel.start_ms, max(taken, default=0) + 1), channel)

    def channel_w(self, participant: str, branch: str, instant_ms: int) -> int:
        """Capacity of a line that somebody has bought for an instant."""
        mine = (one for one in self.channels_of(branch) if one.participant == participant and one.covers(instant_ms))
        return sum(channel.power_w for channel in mine)

    def by_holder(self) -> Mapping[str, Sequence[Right]]:
        """Everybody's rights that are not over, each kind in the order of time; who holds none is left out."""
        held: dict[str, list[Right]] = {}
        for (participant, kind, start_ms), right in self.held.items():
            held.setdefault(participant, []).append(Right(RightKind(kind), start_ms, right.end_ms))
        for (branch, start_ms, _), channel in self.channels.items():
            right_now = Right(RightKind.CHANNEL_USE, start_ms, channel.end_ms, branch, channel.power_w)
            held.setdefault(channel.participant, []).append(right_now)
        return held

    def end_channels(self, now_ms: int) -> None:
        """Forget the channels whose windows are over."""
        for key in [key for key, channel in self.channels.items() if channel.end_ms <= now_ms]:
            self.channels.remove(key)

    def end_periods(self, settled_until_ms: int) -> None:
        """Forget the rights of periods that are settled."""
        for key in [key for key, right in self.held.items() if right.end_ms <= settled_until_ms]:
            self.held.remove(key)

    def broken_invariants(self, ratings_w: Mapping[str, int]) -> Iterator[str]:
        """Nobody holds a right twice at once, and no line is oversold."""
        for participant, rights in self.by_holder().items():
            for earlier, later in pairwise(right for right in rights if right.kind is not RightKind.CHANNEL_USE):
                if earlier.kind is later.kind and later.start_ms < earlier.end_ms:
                    yield f"{participant} holds {later.kind.name.lower()} twice from {later.start_ms}"
        for branch in self.sold_lines:
            channels = self.channels_of(branch)
            window = min(one.start_ms for one in channels), max(one.end_ms for one in channels)
            if (sold := sold_w(channels, *window)) > ratings_w[branch]:
                yield f"{sold} W of {branch} are sold, which is rated for {ratings_w[branch]} W"

    def _follow(self, key: ChannelKey, _: Channel | None, now: Channel | None) -> None:
        """Keep the index by line, also when a change is taken back."""
        channels = self._on_line.setdefault(key[0], {})
        channels.pop(key, None)
        if now is not None:
            channels[key] = now
        elif not channels:
            del self._on_line[key[0]]
