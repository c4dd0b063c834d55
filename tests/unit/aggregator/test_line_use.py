"""A line is asked for what contracts carry over it and for what holders of channels leave unused, and never more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st

from aggregator.economy.channels import Channel
from aggregator.economy.contracts.line_use import Use, peak_beside
from aggregator.economy.contracts.profile import Peak, Profile
from protocol.units import PPM

Pair = tuple[str, str]
Window = tuple[int, int]
Contract = tuple[Pair, Window, int]

ALL = (0, 10)


def peak(contracts: Iterable[Contract], channels: Sequence[Channel], window: Window, pair: Pair, more: int) -> Peak:
    """The peak, where the contracts of holders are told apart from all."""
    line, uses = Profile(), []
    holders = {one.participant for one in channels}
    for (seller, buyer), (start_ms, end_ms), watts in contracts:
        line.add(start_ms, end_ms, watts * PPM)
        if not holders.isdisjoint((seller, buyer)):
            uses.append(Use(seller, buyer, start_ms, end_ms, watts * PPM))
    return peak_beside(line, uses, channels, Use(*pair, *window, more * PPM))


def asked(*contracts: tuple[str, str, int], pair: Pair = ("", ""), more: int = 0, **channels: int) -> int:
    """The most that is asked of the line; contracts and channels hold all the time."""
    sold = [Channel(who, *ALL, watts) for who, watts in channels.items()]
    made = [((seller, buyer), ALL, watts) for seller, buyer, watts in contracts]
    return peak(made, sold, ALL, pair, more).level // PPM


def test_what_is_sold_is_kept_free_beside_what_others_promise() -> None:
    assert asked(("wind", "home", 30), shop=50) == 80


def test_a_holder_s_contracts_use_the_holder_s_channel() -> None:
    for pair in (("shop", "home"), ("wind", "shop")):
        assert asked((*pair, 30), shop=50) == 50
        assert asked((*pair, 30), pair=pair, more=20, shop=50) == 50
        assert asked((*pair, 30), pair=pair, more=21, shop=50) == 51


def test_a_contract_of_two_holders_uses_one_channel_and_the_other_stays_free() -> None:
    """Else the two could not both be served when the contract has ended."""
    assert asked(("shop", "home", 30), shop=50, home=50) == 100


def test_a_channel_counts_in_its_window_only() -> None:
    made = [(("wind", "home"), (0, 5), 30)]
    for channel, window, expected in (
        ((5, 10), (0, 20), Peak(30 * PPM, 0)),
        ((4, 10), (0, 20), Peak(50 * PPM, 4)),
        ((4, 10), (6, 20), Peak(20 * PPM, 6)),
    ):
        assert peak(made, [Channel("shop", *channel, 20)], window, ("", ""), 0) == expected


NAMES = st.sampled_from("abc")
WINDOWS = st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda w: (w[0], w[0] + w[1]))
CONTRACTS = st.lists(
    st.tuples(st.tuples(NAMES, NAMES).filter(lambda p: p[0] != p[1]), WINDOWS, st.integers(1, 9)), max_size=8
)
CHANNELS = st.lists(
    st.builds(lambda who, w, watts: Channel(who, w[0], w[1], watts), NAMES, WINDOWS, st.integers(1, 9)), max_size=5
)


def plainly(contracts: list[Contract], channels: list[Channel], at: int) -> int:
    """The same, from the words: all contracts, and what everybody's channels have left of theirs."""
    on = [(pair, watts) for pair, (start, end), watts in contracts if start <= at < end]
    bought = {who: sum(one.power_w for one in channels if one.participant == who and one.covers(at)) for who in "abc"}
    left = dict(bought)
    for (seller, buyer), watts in on:
        left[seller if bought[seller] else buyer] -= watts
    return sum(watts for _, watts in on) + sum(max(0, watts) for watts in left.values())


@given(CONTRACTS, CHANNELS, WINDOWS, st.integers(0, 9))
def test_the_peak_is_what_adding_up_instant_by_instant_says(
    contracts: list[Contract], channels: list[Channel], window: Window, more: int
) -> None:
    with_it = [*contracts, (("a", "b"), window, more)]
    levels = [plainly(with_it, channels, at) for at in range(*window)]
    found = peak(contracts, channels, window, ("a", "b"), more)
    assert found == Peak(max(levels) * PPM, window[0] + levels.index(max(levels)))


@given(CONTRACTS, CHANNELS, st.data())
def test_of_what_fits_every_part_fits(contracts: list[Contract], channels: list[Channel], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.booleans(), min_size=len(contracts), max_size=len(contracts)))
    part = [contract for contract, is_kept in zip(contracts, kept, strict=True) if is_kept]
    for at in range(20):
        of_all, of_part = (peak(some, channels, (at, at + 1), ("", ""), 0).level for some in (contracts, part))
        assert of_part <= of_all
