"""What must hold for any line and whoever loads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from aggregator.chains.congestion.congestions import NEARLY_FULL_PPM, Congestion, LineLoad
from aggregator.chains.congestion.curtailing import Curtailments
from aggregator.chains.intervals.flows import BranchFlow, Flows
from aggregator.economy.curtailment import Claim, excess_w, room_w, share_out
from aggregator.ledger.table import Journal
from config.rules import CurtailmentRule
from protocol.limits import Direction, Tier
from protocol.messages import RightKind
from protocol.units import PPM, Interval, UnixMs

watts = st.integers(0, 10**8)
millionths = st.integers(1, PPM)


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    """Somebody's, of one tier, or of two where a channel covers a part of it."""
    tier = draw(st.sampled_from([Tier.RESTRICTED, Tier.COMMON, Tier.PRIORITY]))
    rated_w = draw(st.integers(1, 10**8))
    return Claim(
        tier=tier,
        rated_w=rated_w,
        wanted_w=draw(st.integers(0, rated_w)),
        relief_ppm=draw(millionths),
        channel_w=0 if tier is Tier.RESTRICTED else min(rated_w, draw(st.sampled_from([0, 0, 5_000, 10**7]))),
    )


crowds = st.lists(claims(), max_size=8)
budgets = st.integers(0, 10**15)


def all_of(crowd: list[Claim]) -> int:
    """What the line would carry if everybody had what they want, in millionths of a watt."""
    return sum(one.wanted_w * one.relief_ppm for one in crowd)


def carried(crowd: list[Claim], shares: list[int | None]) -> int:
    """What the line carries if everybody takes what they want, within what is left to them."""
    got = (one.wanted_w if left is None else min(one.wanted_w, left) for one, left in zip(crowd, shares, strict=True))
    return sum(watts * one.relief_ppm for watts, one in zip(got, crowd, strict=True))


@given(budgets, crowds)
def test_nobody_is_left_less_than_nothing_or_more_than_they_have(budget: int, crowd: list[Claim]) -> None:
    for one, left_w in zip(crowd, share_out(budget, crowd), strict=True):
        assert left_w is None or 0 <= left_w <= one.rated_w


@given(budgets, crowds)
def test_what_is_removed_is_enough(budget: int, crowd: list[Claim]) -> None:
    assert carried(crowd, share_out(budget, crowd)) <= budget


@given(budgets, crowds)
def test_and_no_watt_more_than_is_needed(budget: int, crowd: list[Claim]) -> None:
    """Who is limited could not all have a watt more; where there is enough for everybody, nobody is limited."""
    shares = share_out(budget, crowd)
    if all_of(crowd) <= budget:
        assert shares == [None] * len(crowd)
    else:
        finest = max(one.relief_ppm for one in crowd)
        assert carried(crowd, shares) > budget - finest


@given(budgets, crowds)
def test_nobody_is_limited_while_a_tier_before_theirs_has_anything_left(budget: int, crowd: list[Claim]) -> None:
    """A holder is not touched while somebody without a right has a watt, and nobody while a debtor has one."""
    shares = share_out(budget, crowd)
    for one, left_w in zip(crowd, shares, strict=True):
        lacks_rest = left_w is not None and one.channel_w <= left_w < one.wanted_w
        for other, other_left_w in zip(crowd, shares, strict=True):
            if lacks_rest and other.tier < one.tier:
                assert other_left_w is not None and other_left_w <= other.channel_w


@given(budgets, crowds)
def test_what_a_channel_covers_is_kept_to_the_end(budget: int, crowd: list[Claim]) -> None:
    shares = share_out(budget, crowd)
    cut = [left for one, left in zip(crowd, shares, strict=True) if left is not None and left < one.channel_w]
    if cut:
        assert all(
            left is not None and left <= one.channel_w for one, left in zip(crowd, shares, strict=True) if left != 0
        )


@given(budgets, crowds)
def test_in_a_tier_the_same_share_of_what_each_is_rated_for_whatever_they_use(budget: int, crowd: list[Claim]) -> None:
    """To a watt, and a millionth: so whoever takes little, or much, at the moment that counts gains nothing by it."""
    plain = [replace(one, tier=Tier.COMMON, channel_w=0) for one in crowd]
    shares = [left for left in share_out(budget, plain) if left is not None]
    for one, a_w in zip(plain, shares, strict=False):
        for other, b_w in zip(plain, shares, strict=False):
            assert a_w * other.rated_w <= b_w * one.rated_w + one.rated_w * (other.rated_w // PPM + 2) * 2


@given(budgets, st.lists(claims(), min_size=1, max_size=8), st.data())
def test_whoever_wants_more_is_never_left_more(budget: int, crowd: list[Claim], data: st.DataObject) -> None:
    """To take more at the right moment brings no larger share of the line."""
    place = data.draw(st.integers(0, len(crowd) - 1))
    greedy = replace(crowd[place], wanted_w=data.draw(st.integers(crowd[place].wanted_w, crowd[place].rated_w)))
    before = share_out(budget, crowd)[place]
    after = share_out(budget, [*crowd[:place], greedy, *crowd[place + 1 :]])[place]
    if before is not None:
        assert after is not None and after <= before + crowd[place].rated_w // PPM + 2


@given(budgets, crowds, st.randoms(use_true_random=False))
def test_the_order_decides_about_single_watts_only(budget: int, crowd: list[Claim], chance: object) -> None:
    order = list(range(len(crowd)))
    chance.shuffle(order)  # type: ignore[attr-defined]
    shares, shuffled = share_out(budget, crowd), share_out(budget, [crowd[place] for place in order])
    for place, left_w in zip(order, shuffled, strict=True):
        before_w = shares[place]
        assert (before_w is None) is (left_w is None)
        if before_w is not None and left_w is not None:
            assert abs(before_w - left_w) <= crowd[place].rated_w // PPM + 1


@given(budgets, budgets, crowds)
def test_a_line_that_can_carry_more_limits_nobody_further_but_for_single_watts(
    a: int, b: int, crowd: list[Claim]
) -> None:
    less, more = share_out(min(a, b), crowd), share_out(max(a, b), crowd)
    for one, low_w, high_w in zip(crowd, less, more, strict=True):
        if high_w is not None:
            assert low_w is not None and high_w >= low_w - one.rated_w // PPM - 1


@given(st.integers(-(10**9), 10**9), st.integers(PPM + 1, 10 * PPM))
def test_a_branch_that_carries_its_excess_less_is_congested_no_more(flow_w: int, loading_ppm: int) -> None:
    left = abs(flow_w) - excess_w(flow_w, loading_ppm)
    assert 0 <= left * loading_ppm <= abs(flow_w) * PPM


@given(st.integers(0, 10**9), st.integers(0, 10 * PPM), st.integers(0, PPM))
def test_there_is_room_only_below_the_release(rating_w: int, loading_ppm: int, release_ppm: int) -> None:
    room = room_w(rating_w, loading_ppm, release_ppm)
    assert room >= 0 and (room == 0 or loading_ppm < release_ppm)


def test_the_restricted_before_all_and_the_same_share_in_a_tier() -> None:
    def claim(rated_w: int, wanted_w: int, tier: Tier = Tier.COMMON) -> Claim:
        return Claim(tier=tier, rated_w=rated_w, wanted_w=wanted_w, relief_ppm=PPM)

    crowd = [claim(2_000, 1_000), claim(4_000, 4_000), claim(500, 500, Tier.RESTRICTED)]
    assert share_out(5_500 * PPM, crowd) == [None, None, None]
    assert share_out(5_100 * PPM, crowd) == [None, None, 100]
    assert share_out(3_000 * PPM, crowd) == [1_000, 2_000, 0]
    assert share_out(0, crowd) == [0, 0, 0]


# -- interval after interval


RATING_W = 20_000
STEP_PPM = 250_000


@dataclass
class Someone:
    """Whose devices obey."""

    demand_w: int
    rated_w: int
    tier: Tier = Tier.COMMON


@dataclass
class Line:
    """One line, everybody behind it, and the limits for its sake: too much is taken, and a watt less is a watt less."""

    crowd: list[Someone]
    interval: int = 0

    def __post_init__(self) -> None:
        """Nobody is limited."""
        region: Any = SimpleNamespace(
            rules=SimpleNamespace(curtailment=CurtailmentRule(step_ppm=STEP_PPM)),
            limitable_w={(name, Direction.TAKE): one.rated_w for name, one in self.named()},
            ratings_w={"line": RATING_W},
        )
        self.curtailments = Curtailments(Journal(), lambda: region, lambda: self)

    def named(self) -> list[tuple[str, Someone]]:
        return [(f"p{number}", one) for number, one in enumerate(self.crowd)]

    def balance(self, participant: str) -> int:
        return -1 if dict(self.named())[participant].tier is Tier.RESTRICTED else 0

    def holds_at(self, participant: str, kind: RightKind, instant_ms: int) -> bool:
        is_right = kind is RightKind.PRIORITY_PURCHASE
        return is_right and dict(self.named())[participant].tier is Tier.PRIORITY

    def channel_w(self, participant: str, branch: str, instant_ms: int) -> int:
        return 0

    @property
    def allowed_w(self) -> dict[str, int]:
        rows = {name: row.allowed_w for (_, name, _), row in self.curtailments.curtailed.items()}
        return {name: rows.get(name, one.rated_w) for name, one in self.named()}

    def used_w(self) -> dict[str, int]:
        return {name: min(one.demand_w, self.allowed_w[name]) for name, one in self.named()}

    def live(self) -> int:
        """Let an interval go by that began after the last decision; its loading."""
        used_w = self.used_w()
        loading_ppm = sum(used_w.values()) * PPM // RATING_W
        loads = tuple(LineLoad(name, Direction.TAKE, used_w[name], PPM) for name in sorted(used_w))
        start_ms = 1_000 * self.interval
        self.curtailments.close_interval(
            Interval(start_ms=UnixMs(start_ms), end_ms=UnixMs(start_ms + 500)),
            Flows(
                (),
                (BranchFlow("line", sum(used_w.values()), loading_ppm),),
                congestions=(Congestion("line", loads),) if loading_ppm > NEARLY_FULL_PPM else (),
            ),
            start_ms + 600,
        )
        assert list(self.curtailments.broken_invariants()) == []
        self.interval += 1
        return loading_ppm


tiers = st.sampled_from([Tier.RESTRICTED, Tier.COMMON, Tier.PRIORITY])
people = st.integers(1, 30_000).flatmap(
    lambda rated_w: st.builds(Someone, st.integers(0, rated_w), st.just(rated_w), tiers)
)
neighbours = st.lists(people, min_size=1, max_size=6)


@given(neighbours)
def test_one_decision_relieves_a_line_whose_people_obey_and_then_nothing_swings(crowd: list[Someone]) -> None:
    """It stays within its rating, and limits come to rest: between 95 and 100 % nothing moves."""
    line = Line(crowd)
    line.live()
    loadings = [line.live() for _ in range(25)]
    at_rest = line.allowed_w
    assert max(loadings) <= PPM
    for _ in range(5):
        line.live()
        assert line.allowed_w == at_rest


@given(neighbours, st.lists(st.lists(st.tuples(st.integers(0, 30_000), tiers), min_size=6, max_size=6), max_size=12))
def test_whatever_people_do_buy_and_owe_a_limit_rises_by_a_step_at_most_and_a_full_line_is_relieved(
    crowd: list[Someone], days: list[list[tuple[int, Tier]]]
) -> None:
    line = Line(crowd)
    for day in days:
        for one, (demand_w, tier) in zip(crowd, day, strict=False):
            one.demand_w, one.tier = min(demand_w, one.rated_w), tier
        before = line.allowed_w
        loading_ppm = line.live()
        for name, one in line.named():
            assert line.allowed_w[name] - before[name] <= max(1, one.rated_w * STEP_PPM // PPM)
        if loading_ppm > PPM:
            assert sum(line.used_w().values()) <= RATING_W


@given(neighbours)
def test_who_is_limited_stands_behind_whoever_is_not_or_has_as_large_a_share(crowd: list[Someone]) -> None:
    """Once at rest: nobody lacks anything while a lower tier takes something."""
    line = Line(crowd)
    for _ in range(30):
        line.live()
    used_w = line.used_w()
    for name, one in line.named():
        if used_w[name] < one.demand_w:
            assert all(used_w[other] == 0 for other, it in line.named() if it.tier < one.tier)


@given(neighbours)
def test_when_the_need_is_over_everybody_has_everything_back(crowd: list[Someone]) -> None:
    line = Line(crowd)
    line.live()
    for one in crowd:
        one.demand_w = 0
    for _ in range(100):
        line.live()
    assert len(line.curtailments.curtailed) == 0
