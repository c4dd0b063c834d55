"""What must hold for any congested branch and whoever loads it."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from aggregator.economy.curtailment import Load, Tier, curtail, excess_w, release, room_w, tiers_of
from protocol.units import PPM

watts = st.integers(0, 10**8)
millionths = st.integers(1, PPM)


@st.composite
def crowds(draw: st.DrawFn) -> list[Load]:
    """Up to eight participants, each with some power of one tier, or of two."""
    loads: list[Load] = []
    for number in range(draw(st.integers(0, 8))):
        tier = draw(st.sampled_from([Tier.RESTRICTED, Tier.COMMON, Tier.PRIORITY]))
        loads += tiers_of(draw(watts), draw(millionths), f"p{number}", tier, draw(st.sampled_from([0, 5_000, 10**7])))
    return loads


def power_of(loads: list[Load]) -> dict[str, int]:
    return {name: sum(one.power_w for one in loads if one.participant == name) for name in names(loads)}


def names(loads: list[Load]) -> list[str]:
    return sorted({load.participant for load in loads})


def relief_of(given_up: dict[str, int], loads: list[Load]) -> int:
    """By how many millionths of a watt the branch carries less."""
    relief = {load.participant: load.relief_ppm for load in loads}
    return sum(by_w * relief[name] for name, by_w in given_up.items())


@given(watts, crowds())
def test_nobody_gives_up_more_than_they_have_and_nobody_less_than_nothing(needed_w: int, loads: list[Load]) -> None:
    power = power_of(loads)
    assert all(0 < by_w <= power[name] for name, by_w in curtail(needed_w, loads).items())


@given(watts, crowds())
def test_it_is_enough_or_all_there_is(needed_w: int, loads: list[Load]) -> None:
    given_up = curtail(needed_w, loads)
    everything = {name: power for name, power in power_of(loads).items() if power}
    assert relief_of(given_up, loads) >= needed_w * PPM or given_up == everything


@given(watts, crowds())
def test_it_is_no_more_than_the_branch_needs(needed_w: int, loads: list[Load]) -> None:
    """One watt less of somebody, and it would not be enough."""
    given_up = curtail(needed_w, loads)
    if given_up:
        finest = max(load.relief_ppm for load in loads if load.participant in given_up)
        assert relief_of(given_up, loads) - finest < needed_w * PPM


@given(watts, crowds())
def test_nobody_is_touched_while_a_tier_before_theirs_has_power_left(needed_w: int, loads: list[Load]) -> None:
    left = dict(curtail(needed_w, loads))
    touched: list[Tier] = []
    spared: list[Tier] = []
    for load in sorted(loads, key=lambda load: load.tier):
        mine = min(left.get(load.participant, 0), load.power_w)
        left[load.participant] = left.get(load.participant, 0) - mine
        touched += [load.tier] if mine else []
        spared += [load.tier] if mine < load.power_w else []
    assert not touched or not spared or max(touched) <= min(spared)


@given(watts, crowds(), st.randoms())
def test_the_order_decides_about_single_watts_only(needed_w: int, loads: list[Load], chance: Random) -> None:
    shuffled = list(loads)
    chance.shuffle(shuffled)
    one, other = curtail(needed_w, loads), curtail(needed_w, shuffled)
    assert all(abs(one.get(name, 0) - other.get(name, 0)) <= 2 for name in names(loads))


@given(watts, watts, crowds())
def test_more_congestion_never_spares_anybody_but_a_watt_of_rounding(a: int, b: int, loads: list[Load]) -> None:
    low, high = sorted((a, b))
    less, more = curtail(low, loads), curtail(high, loads)
    assert all(more.get(name, 0) >= by_w - 2 for name, by_w in less.items())


@given(watts, crowds())
def test_what_is_given_back_fits_and_nobody_gets_more_than_they_lack(free_w: int, loads: list[Load]) -> None:
    given_back, lacked = release(free_w, loads), power_of(loads)
    assert relief_of(given_back, loads) <= free_w * PPM
    assert all(0 < by_w <= lacked[name] for name, by_w in given_back.items())


@given(crowds())
def test_where_there_is_room_for_all_everybody_has_everything_back(loads: list[Load]) -> None:
    everything = {name: power for name, power in power_of(loads).items() if power}
    assert release(sum(load.power_w for load in loads), loads) == everything


@given(st.integers(-(10**9), 10**9), st.integers(PPM + 1, 10 * PPM))
def test_a_branch_that_carries_its_excess_less_is_congested_no_more(flow_w: int, loading_ppm: int) -> None:
    left = abs(flow_w) - excess_w(flow_w, loading_ppm)
    assert 0 <= left * loading_ppm <= abs(flow_w) * PPM


@given(st.integers(0, 10**9), st.integers(0, 10 * PPM), st.integers(0, PPM))
def test_there_is_room_only_below_the_release(rating_w: int, loading_ppm: int, release_ppm: int) -> None:
    room = room_w(rating_w, loading_ppm, release_ppm)
    assert room >= 0 and (room == 0 or loading_ppm < release_ppm)


def test_whoever_owes_tokens_is_covered_by_nothing() -> None:
    assert list(tiers_of(100, PPM, "gas", Tier.RESTRICTED, 60)) == [Load("gas", 100, PPM, Tier.RESTRICTED)]
    covered = list(tiers_of(100, PPM, "gas", Tier.COMMON, 60))
    assert covered == [Load("gas", 40, PPM, Tier.COMMON), Load("gas", 60, PPM, Tier.CHANNEL)]


def test_the_same_share_of_everybody_in_a_tier_and_the_restricted_before_all() -> None:
    loads = [Load("a", 1000, PPM, Tier.COMMON), Load("b", 3000, PPM, Tier.COMMON), Load("c", 500, PPM, Tier.RESTRICTED)]
    assert curtail(400, loads) == {"c": 400}
    assert curtail(1500, loads) == {"c": 500, "a": 250, "b": 750}
    assert curtail(9999, loads) == {"c": 500, "a": 1000, "b": 3000}
