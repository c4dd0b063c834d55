"""What must hold for any line and whoever loads it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from aggregator.economy.curtailment import Claim, excess_w, room_w, share_out
from protocol.limits import Tier
from protocol.units import PPM

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
