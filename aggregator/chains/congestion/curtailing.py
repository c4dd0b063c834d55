"""Who is limited because a power line carries too much, which way, and why, followed from interval to interval.

Part of the state of the analysis chain: whenever an interval is closed, what its lines carried decides anew who is left
how much. The rule is `aggregator.economy.curtailment`; who owes tokens and who holds rights is asked of the payment
chain, as it stands then, each time a limit is set or carried on. A line is left alone until an interval that began
after the last decision about it has been closed: earlier ones know nothing of it yet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final, Protocol

from aggregator.chains.congestion.congestions import LineLoad
from aggregator.chains.intervals.flows import BranchFlow, Flows
from aggregator.chains.region import Region
from aggregator.economy.curtailment import Claim, excess_w, room_w, share_out
from aggregator.ledger.table import Journal, Table, flat
from config.rules import CurtailmentRule
from protocol.canonical import encode
from protocol.limits import Direction, Tier
from protocol.messages import RightKind
from protocol.units import PPM, Interval

CURTAILED_TABLE: Final = 57

LINES_MAX: Final = 16
"""For so many lines one participant may be limited one way: this bounds the state. Who is, is not for another one."""
BINDS_PPM: Final = 900_000
"""Whoever uses so much of what is left to them would use more."""

UNFAIR: Final = Fraction(1, 100)
"""So much larger a share, of what somebody's devices are rated for, is evened out even while a line is full."""

CurtailedKey = tuple[str, str, int]
"""The line, the participant, and the number of the direction."""


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
    """What is left to somebody, one way, for the sake of one line."""

    allowed_w: int
    """All their devices together."""
    relief_ppm: int
    """What the line carries less for a watt less, when it was decided."""
    tier: int
    """In which they stood then."""
    loading_ppm: int
    """Of the line, in the interval that it was decided by."""
    since_ms: int
    """When the block was closed that decided so, UTC."""

    def share_ppm(self, rated_w: int) -> int:
        """What is left, of what their devices are rated for, rounded down."""
        return self.allowed_w * PPM // rated_w


@dataclass(frozen=True, slots=True)
class _Round:
    """All that is decided when one interval is closed."""

    rule: CurtailmentRule
    start_ms: int
    """Of the interval."""
    time_ms: int
    """Of the block."""
    lines: Counter[tuple[str, int]]
    """For how many lines somebody is limited one way."""
    given_up: Counter[tuple[str, int]] = field(default_factory=Counter)
    """Watts that somebody gives up one way for the lines that were decided about."""


@dataclass(frozen=True, slots=True)
class _Case:
    """One participant, one way, on one line."""

    key: tuple[str, int]
    """Who, and the number of the direction."""
    rated_w: int
    relief_ppm: int
    used_w: int
    """Less what they give up for other lines."""
    before: Curtailed | None
    step_w: int

    @property
    def allowed_w(self) -> int:
        """What they were left."""
        return self.rated_w if self.before is None else self.before.allowed_w

    @property
    def raised_w(self) -> int:
        """A step more than that."""
        return min(self.rated_w, self.allowed_w + self.step_w)

    @property
    def target_w(self) -> int:
        """What they are left where there is enough: a step more, if they use what they were left."""
        return self.raised_w if self.used_w * PPM >= self.allowed_w * BINDS_PPM else self.allowed_w

    @property
    def counted_w(self) -> int:
        """What the line is reckoned to carry of it."""
        return min(self.used_w, self.allowed_w)

    @property
    def wanted_w(self) -> int:
        """What they are reckoned to want: what they use, or a step more where that is all they were left."""
        return self.target_w if self.target_w > self.allowed_w else self.counted_w


class Curtailments:
    """Everybody's limits for the sake of power lines."""

    def __init__(self, journal: Journal, region: Callable[[], Region], books: Callable[[], Books]) -> None:
        """Nobody is limited."""
        self._region = region
        self._books = books
        spell, read = flat(Curtailed)
        self.curtailed: Table[CurtailedKey, Curtailed] = Table(CURTAILED_TABLE, journal, spell=spell, read=read)
        self.tables: Mapping[int, Table[Any, Any]] = {CURTAILED_TABLE: self.curtailed}

    def by_participant(self) -> Mapping[str, Sequence[tuple[str, Direction, Curtailed]]]:
        """Everybody's limits, by line and direction, in the order of the lines' names; who has none is left out."""
        found: dict[str, list[tuple[str, Direction, Curtailed]]] = {}
        for (branch, participant, way), row in self.curtailed.items():
            found.setdefault(participant, []).append((branch, Direction(way), row))
        return found

    def close_interval(self, interval: Interval, flows: Flows, time_ms: int) -> list[bytes]:
        """Decide anew, in the order of the grid file, by what lines carried in an interval.

        Returns:
            A leaf for everybody whose limit changes.
        """
        rule = self._region().rules.curtailment
        if rule is None:
            return list(self._lift_all(interval))
        limited: dict[str, dict[tuple[str, int], Curtailed]] = {}
        for (branch, name, way), row in self.curtailed.items():
            limited.setdefault(branch, {})[name, way] = row
        lines = Counter(key for rows in limited.values() for key in rows)
        round_ = _Round(rule, interval.start_ms, time_ms, lines)
        told = {congestion.branch: congestion.loads for congestion in flows.congestions}
        leaves: list[bytes] = []
        for flow in flows.branches:
            rows, loads = limited.get(flow.branch, {}), told.get(flow.branch)
            if any(row.since_ms > interval.start_ms for row in rows.values()):
                continue
            if loads is not None and (flow.is_congested or (rows and self._is_unfair(round_, flow, loads, rows))):
                leaves += self._decide(round_, flow, loads, rows)
            else:
                leaves += self._release(round_, flow, rows)
        return leaves

    def broken_invariants(self) -> Iterator[str]:
        """Nobody is limited to less than nothing, or to all that they have, or for too many lines."""
        lines: dict[tuple[str, int], int] = {}
        for (branch, name, way), row in self.curtailed.items():
            lines[name, way] = lines.get((name, way), 0) + 1
            if not 0 <= row.allowed_w < self._region().limitable_w[name, Direction(way)]:
                yield f"{name} is limited to {row.allowed_w} W for {branch}"
        yield from (f"{name} is limited for {count} lines" for (name, _), count in lines.items() if count > LINES_MAX)

    def _lift_all(self, interval: Interval) -> Iterator[bytes]:
        """Give everybody everything back: the rules limit nobody any more."""
        for key, row in self.curtailed.items():
            rated_w = self._region().limitable_w[key[1], Direction(key[2])]
            self.curtailed.remove(key)
            yield limit_leaf(key, interval.start_ms, row, rated_w - row.allowed_w, is_limited=False)

    def _release(self, round_: _Round, flow: BranchFlow, rows: Mapping[tuple[str, int], Curtailed]) -> Iterator[bytes]:
        """Give those who are limited for a line that has room a step back, last tier first, as far as the room goes."""
        if not rows:
            return
        cases = [self._case(round_, key, row.relief_ppm, row.allowed_w, row) for key, row in rows.items()]
        claims = [self._claim(case, flow, round_.time_ms) for case in cases]
        steps = [_step_of(case, claim) for case, claim in zip(cases, claims, strict=True)]
        shares = share_out(self._room_w(round_, flow) * PPM, steps)
        for case, claim, step_w in zip(cases, claims, shares, strict=True):
            allowed_w = case.raised_w if step_w is None else case.allowed_w + step_w
            yield from self._put(round_, flow, case, claim.tier, allowed_w)

    def _decide(
        self,
        round_: _Round,
        flow: BranchFlow,
        loads: Sequence[LineLoad],
        rows: Mapping[tuple[str, int], Curtailed],
    ) -> Iterator[bytes]:
        """Share out what a nearly full line can carry among those who load it."""
        cases = list(self._cases(round_, loads, rows))
        claims = [self._claim(case, flow, round_.time_ms) for case in cases]
        carried = sum(case.counted_w * case.relief_ppm for case in cases)
        if flow.is_congested:
            relieved = sum(round_.given_up[one.key] * one.relief_ppm for one in loads)
            carried -= excess_w(flow.flow_w, flow.loading_ppm) * PPM - relieved
        else:
            carried += self._room_w(round_, flow) * PPM
        for case, claim, left_w in zip(cases, claims, share_out(max(0, carried), claims), strict=True):
            allowed_w = case.target_w if left_w is None else min(left_w, case.raised_w)
            round_.given_up[case.key] += max(0, case.counted_w - allowed_w)
            yield from self._put(round_, flow, case, claim.tier, allowed_w)
        judged = {case.key for case in cases}
        for key in sorted(rows.keys() - judged):  # what they take, or feed in, does not load the line any more
            case = self._case(round_, key, rows[key].relief_ppm, 0, rows[key])
            yield from self._put(round_, flow, case, Tier(rows[key].tier), case.raised_w)

    def _is_unfair(
        self, round_: _Round, flow: BranchFlow, loads: Sequence[LineLoad], rows: Mapping[tuple[str, int], Curtailed]
    ) -> bool:
        """Whether somebody lacks power that somebody has who stands before them, or beside them with a larger share."""
        cases = list(self._cases(round_, loads, rows))
        claims = [self._claim(case, flow, round_.time_ms) for case in cases]
        pairs = list(zip(cases, claims, strict=True))
        lacking = [(case, _tier_at(claim, case.allowed_w)) for case, claim in pairs if case.target_w > case.allowed_w]
        using = [(case, _tier_at(claim, case.counted_w - 1)) for case, claim in pairs if case.counted_w]
        most: dict[Tier, Fraction] = {}
        for case, tier in using:
            most[tier] = max(most.get(tier, Fraction(0)), Fraction(case.counted_w - 1, case.rated_w))
        return any(
            any(before < tier for before in most)
            or most.get(tier, 0) > Fraction(case.allowed_w + 1, case.rated_w) + UNFAIR
            for case, tier in lacking
        )

    def _room_w(self, round_: _Round, flow: BranchFlow) -> int:
        return room_w(self._region().ratings_w[flow.branch], flow.loading_ppm, round_.rule.release_ppm)

    def _cases(
        self, round_: _Round, loads: Sequence[LineLoad], rows: Mapping[tuple[str, int], Curtailed]
    ) -> Iterator[_Case]:
        """Everybody who loads a line and can be limited for its sake."""
        for one in loads:
            row = rows.get(one.key)
            has_device = (one.participant, one.direction) in self._region().limitable_w
            is_new = row is None and has_device and round_.lines[one.key] < LINES_MAX
            if one.relief_ppm >= round_.rule.relief_min_ppm and (row is not None or is_new):
                used_w = max(0, one.power_w - round_.given_up[one.key])
                yield self._case(round_, one.key, one.relief_ppm, used_w, row)

    def _case(
        self, round_: _Round, key: tuple[str, int], relief_ppm: int, used_w: int, before: Curtailed | None
    ) -> _Case:
        rated_w = self._region().limitable_w[key[0], Direction(key[1])]
        step_w = max(1, rated_w * round_.rule.step_ppm // PPM)
        return _Case(key, rated_w, relief_ppm, used_w, before, step_w)

    def _claim(self, case: _Case, flow: BranchFlow, time_ms: int) -> Claim:
        """What somebody asks of a line, with all that they owe and hold at an instant."""
        books, (participant, way) = self._books(), case.key
        is_feeding = way == Direction.FEED_IN
        right = RightKind.PRIORITY_GENERATION if is_feeding else RightKind.PRIORITY_PURCHASE
        tier = Tier.PRIORITY if books.holds_at(participant, right, time_ms) else Tier.COMMON
        channel_w = books.channel_w(participant, flow.branch, time_ms)
        if books.balance(participant) < 0:
            tier, channel_w = Tier.RESTRICTED, 0
        return Claim(
            tier=tier,
            rated_w=case.rated_w,
            wanted_w=case.wanted_w,
            relief_ppm=case.relief_ppm,
            channel_w=min(channel_w, case.rated_w),
        )

    def _put(self, round_: _Round, flow: BranchFlow, case: _Case, tier: Tier, allowed_w: int) -> Iterator[bytes]:
        """Leave somebody so much; the leaf says so, where it is something else than before."""
        if allowed_w == case.allowed_w:
            return
        (participant, way), is_limited = case.key, allowed_w < case.rated_w
        after = Curtailed(allowed_w, case.relief_ppm, tier.value, flow.loading_ppm, round_.time_ms)
        key = (flow.branch, participant, way)
        self.curtailed.put_or_drop(key, after, is_kept=is_limited)
        round_.lines[case.key] += is_limited - (case.before is not None)
        yield limit_leaf(key, round_.start_ms, after, allowed_w - case.allowed_w, is_limited=is_limited)


def _tier_at(claim: Claim, power_w: int) -> Tier:
    """To which tier somebody's next watt belongs, beyond so many."""
    return Tier.CHANNEL if power_w < claim.channel_w else claim.tier


def _step_of(case: _Case, claim: Claim) -> Claim:
    """What somebody asks of a line's room: the next step, of which a channel covers what it reaches."""
    step_w = case.raised_w - case.allowed_w
    covered_w = min(step_w, max(0, claim.channel_w - case.allowed_w))
    return replace(claim, rated_w=step_w, wanted_w=step_w, channel_w=covered_w)


def limit_leaf(key: CurtailedKey, start_ms: int, after: Curtailed, change_w: int, *, is_limited: bool) -> bytes:
    """The leaf that says why what is left to somebody is something else now; if it is all again, without a number."""
    branch, participant, way = key
    why = (after.tier, after.loading_ppm)
    left_w = after.allowed_w if is_limited else None
    return encode(["limited", participant, start_ms, branch, way, *why, change_w, left_w])
