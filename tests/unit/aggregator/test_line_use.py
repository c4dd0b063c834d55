"""A line is asked for what contracts carry over it and for what holders of channels leave unused, and never more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aggregator.economy.channels import Channel
from aggregator.economy.contracts.line_use import LineUse, Pair, Window
from aggregator.economy.contracts.profile import Peak
from protocol.units import PPM

ALL = (0, 10)


def used(*contracts: tuple[str, str, int], window: Window = ALL) -> LineUse:
    use = LineUse()
    for seller, buyer, watts in contracts:
        use.add((seller, buyer), window, watts * PPM)
    return use


def asked(use: LineUse, *channels: tuple[str, int], pair: Pair = ("", ""), more: int = 0) -> int:
    sold = [Channel(who, *ALL, watts) for who, watts in channels]
    return use.peak(ALL, sold, pair, more * PPM).level // PPM


def test_what_is_sold_is_kept_free_beside_what_others_promise() -> None:
    assert asked(used(("wind", "home", 30)), ("shop", 50)) == 80


def test_a_holder_s_contracts_use_the_holder_s_channel() -> None:
    for seller, buyer in (("shop", "home"), ("wind", "shop")):
        use = used((seller, buyer, 30))
        assert asked(use, ("shop", 50)) == 50
        assert asked(use, ("shop", 50), pair=(seller, buyer), more=20) == 50
        assert asked(use, ("shop", 50), pair=(seller, buyer), more=21) == 51


def test_a_contract_of_two_holders_uses_one_channel_and_the_other_stays_free() -> None:
    """Else the two could not both be served when the contract has ended."""
    assert asked(used(("shop", "home", 30)), ("shop", 50), ("home", 50)) == 100


def test_a_channel_counts_in_its_window_only() -> None:
    use = used(("wind", "home", 30), window=(0, 5))
    assert use.peak((0, 20), [Channel("shop", 5, 10, 20)]) == Peak(30 * PPM, 0)
    assert use.peak((0, 20), [Channel("shop", 4, 10, 20)]) == Peak(50 * PPM, 4)
    assert use.peak((6, 20), [Channel("shop", 4, 10, 20)]) == Peak(20 * PPM, 6)


def test_what_is_taken_back_leaves_nothing_behind() -> None:
    use = used(("wind", "home", 30), ("wind", "home", -30))
    assert (asked(use), use._of) == (0, {})


NAMES = st.sampled_from("abc")
WINDOWS = st.tuples(st.integers(0, 12), st.integers(1, 8)).map(lambda w: (w[0], w[0] + w[1]))
CONTRACTS = st.lists(
    st.tuples(st.tuples(NAMES, NAMES).filter(lambda p: p[0] != p[1]), WINDOWS, st.integers(1, 9)), max_size=8
)
CHANNELS = st.lists(
    st.builds(lambda who, w, watts: Channel(who, *w, watts), NAMES, WINDOWS, st.integers(1, 9)), max_size=5
)


def plainly(contracts: list[tuple[Pair, Window, int]], channels: list[Channel], at: int) -> int:
    """The same, from the words: all contracts, and what everybody's channels have left of theirs."""
    on = [(pair, watts) for pair, (start, end), watts in contracts if start <= at < end]
    bought = {who: sum(one.power_w for one in channels if one.participant == who and one.covers(at)) for who in "abc"}
    left = dict(bought)
    for (seller, buyer), watts in on:
        left[seller if bought[seller] else buyer] -= watts
    return sum(watts for _, watts in on) + sum(max(0, watts) for watts in left.values())


@given(CONTRACTS, CHANNELS, WINDOWS, st.integers(0, 9))
def test_the_peak_is_what_adding_up_instant_by_instant_says(
    contracts: list[tuple[Pair, Window, int]], channels: list[Channel], window: Window, more: int
) -> None:
    use = LineUse()
    for pair, span, watts in contracts:
        use.add(pair, span, watts * PPM)
    peak = use.peak(window, channels, ("a", "b"), more * PPM)
    with_it = [*contracts, (("a", "b"), window, more)]
    levels = [plainly(with_it, channels, at) for at in range(*window)]
    assert peak == Peak(max(levels) * PPM, window[0] + levels.index(max(levels)))


@given(CONTRACTS, CHANNELS, st.data())
def test_of_what_fits_every_part_fits(
    contracts: list[tuple[Pair, Window, int]], channels: list[Channel], data: st.DataObject
) -> None:
    part = data.draw(st.lists(st.sampled_from(contracts), unique_by=id)) if contracts else []
    whole, less = LineUse(), LineUse()
    for use, some in ((whole, contracts), (less, part)):
        for pair, span, watts in some:
            use.add(pair, span, watts * PPM)
    for at in range(20):
        assert less.peak((at, at + 1), channels).level <= whole.peak((at, at + 1), channels).level
