"""Who is limited because a power line carries too much, followed from interval to interval.

Part of the state of the analysis chain: whenever an interval is closed, what its lines carried decides who is limited
further and who is given back what. The rule is `aggregator.economy.curtailment`; who owes tokens and who holds rights
is asked of the payment chain, as it stands then. A line is left alone until an interval that began after the last
decision about it has been closed: earlier ones know nothing of it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from aggregator.chains.congestion.congestions import Congestion
from aggregator.chains.intervals.flows import Flows
from aggregator.chains.region import Region
from aggregator.economy.curtailment import Load, Tier, curtail, excess_w, release, room_w, tiers_of
from aggregator.ledger.table import Journal, Table, flat
from config.rules import CurtailmentRule
from protocol.canonical import encode
from protocol.messages import RightKind
from protocol.units import PPM, Interval

CURTAILED_TABLE: Final = 57


class Books(Protocol):
    """What decides who goes first."""

    def balance(self, participant: str) -> int:
        """Tokens of a participant; below 0 is owed."""

    def holds_at(self, participant: str, kind: RightKind, instant_ms: int) -> bool:
        """Whether somebody holds a right at an instant."""

    def channel_w(self, participant: str, branch: str, instant_ms: int) -> int:
        """Capacity of a branch that somebody has bought for an instant."""


@dataclass(frozen=True, slots=True)
class Curtailed:
    """What is left to somebody."""

    branch: str
    """For whose sake."""
    is_feeding: bool
    """Whether it is what they feed in that is limited."""
    allowed_w: int
    """All their devices together."""
    relief_ppm: int
    """What the branch carries less for a watt less, when it was decided."""
    since_ms: int
    """When the block was closed that decided so, UTC."""


class Curtailments:
    """Everybody's limits for the sake of power lines."""

    def __init__(self, journal: Journal, region: Callable[[], Region], books: Callable[[], Books]) -> None:
        """Nobody is limited."""
        self._region = region
        self._books = books
        spell, read = flat(Curtailed)
        self.curtailed: Table[str, Curtailed] = Table(CURTAILED_TABLE, journal, spell=spell, read=read)
        self.tables: Mapping[int, Table[Any, Any]] = {CURTAILED_TABLE: self.curtailed}

    def close_interval(self, interval: Interval, flows: Flows, time_ms: int) -> list[bytes]:
        """Decide anew, in the order of the grid file, by what lines carried in an interval.

        Returns:
            A leaf for everybody whose limit changes.
        """
        rule = self._region().rules.curtailment
        if rule is None:
            return []
        leaves: list[bytes] = []
        congested = {congestion.branch: congestion for congestion in flows.congestions}
        given_up: dict[str, int] = {}
        for branch in flows.branches:
            ours = [row for _, row in self.curtailed.items() if row.branch == branch.branch]
            if any(row.since_ms > interval.start_ms for row in ours):
                continue
            if branch.is_congested and branch.branch in congested:
                needed_w = excess_w(branch.flow_w, branch.loading_ppm)
                leaves += self._limit(congested[branch.branch], needed_w, rule, given_up, interval.start_ms, time_ms)
            elif ours:
                rating_w = self._region().ratings_w[branch.branch]
                free_w = room_w(rating_w, branch.loading_ppm, rule.release_ppm)
                leaves += self._give_back(branch.branch, free_w, interval.start_ms, time_ms)
        return leaves

    def broken_invariants(self) -> Iterator[str]:
        """Nobody is limited to less than nothing, or to all that they have."""
        rows = self.curtailed.items() if len(self.curtailed) else ()
        for participant, row in rows:
            if not 0 <= row.allowed_w < self._region().limitable_w[participant]:
                yield f"{participant} is limited to {row.allowed_w} W"

    def _limit(
        self,
        congestion: Congestion,
        needed_w: int,
        rule: CurtailmentRule,
        given_up: dict[str, int],
        start_ms: int,
        time_ms: int,
    ) -> Iterator[bytes]:
        """Limit those who load a branch; `given_up` is what everybody gives up for other branches already."""
        limitable = self._region().limitable_w
        relieved = sum(given_up.get(one.participant, 0) * one.relief_ppm for one in congestion.loads) // PPM
        loads: list[Load] = []
        for one in congestion.loads:
            left_w = min(abs(one.taken_w), limitable.get(one.participant, 0)) - given_up.get(one.participant, 0)
            if one.relief_ppm >= rule.relief_min_ppm and left_w > 0:
                used = (congestion.branch, one.taken_w < 0)
                loads += self._tiers(one.participant, used, left_w, one.relief_ppm, time_ms)
        of = {one.participant: one for one in congestion.loads}
        for participant, by_w in sorted(curtail(needed_w - relieved, loads).items()):
            given_up[participant] = given_up.get(participant, 0) + by_w
            is_feeding, relief_ppm = of[participant].taken_w < 0, of[participant].relief_ppm
            allowed_w = min(abs(of[participant].taken_w), limitable[participant]) - given_up[participant]
            before = self.curtailed.get(participant)
            if before is not None and before.is_feeding is is_feeding:
                allowed_w = min(allowed_w, before.allowed_w)
            self.curtailed.put(participant, Curtailed(congestion.branch, is_feeding, allowed_w, relief_ppm, time_ms))
            yield limit_leaf(participant, start_ms, congestion.branch, -by_w, allowed_w)

    def _give_back(self, branch: str, free_w: int, start_ms: int, time_ms: int) -> Iterator[bytes]:
        """Give those who are limited for a branch back what it has room for."""
        limitable = self._region().limitable_w
        ours = {name: row for name, row in self.curtailed.items() if row.branch == branch}
        loads: list[Load] = []
        for name, row in ours.items():
            lacked_w = limitable[name] - row.allowed_w
            loads += self._tiers(name, (branch, row.is_feeding), lacked_w, row.relief_ppm, time_ms)
        for name, by_w in sorted(release(free_w, loads).items()):
            row = ours[name]
            allowed_w = row.allowed_w + by_w
            after = Curtailed(branch, row.is_feeding, allowed_w, row.relief_ppm, time_ms)
            is_limited = allowed_w < limitable[name]
            self.curtailed.put_or_drop(name, after, is_kept=is_limited)
            yield limit_leaf(name, start_ms, branch, by_w, allowed_w if is_limited else None)

    def _tiers(
        self, participant: str, used: tuple[str, bool], power_w: int, relief_ppm: int, time_ms: int
    ) -> Iterator[Load]:
        """Somebody's power by tiers; `used` is the branch, and whether they feed in."""
        books, (branch, is_feeding) = self._books(), used
        right = RightKind.PRIORITY_GENERATION if is_feeding else RightKind.PRIORITY_PURCHASE
        tier = Tier.PRIORITY if books.holds_at(participant, right, time_ms) else Tier.COMMON
        if books.balance(participant) < 0:
            tier = Tier.RESTRICTED
        return tiers_of(power_w, relief_ppm, participant, tier, books.channel_w(participant, branch, time_ms))


def limit_leaf(participant: str, start_ms: int, branch: str, change_w: int, allowed_w: int | None) -> bytes:
    """The leaf that says why somebody's limit is another one; `allowed_w` is None where there is none any more."""
    return encode(["limited", participant, start_ms, branch, change_w, allowed_w])
