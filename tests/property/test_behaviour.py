"""What must hold for any relief, any baseline, and any history of a storage."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aggregator.economy.baseline import LIKE_DAYS, baseline_wh, with_value
from aggregator.economy.congestion import accumulate, relief_w
from config.rules import CongestionRule

watts = st.integers(1, 10**9)
millionths = st.integers(0, 5_000_000)
energies = st.integers(-(10**9), 10**9)


@st.composite
def rules(draw: st.DrawFn) -> CongestionRule:
    steps = sorted(draw(st.sets(watts, min_size=1, max_size=5)))
    factors = sorted(draw(st.lists(millionths, min_size=len(steps), max_size=len(steps))))
    table = [[at, f"{factor // 10**6}.{factor % 10**6:06}"] for at, factor in zip(steps, factors, strict=True)]
    threshold = draw(st.integers(1, 9_999_999))
    return CongestionRule.model_validate(
        {"steps": table, "threshold": f"{threshold // 10**6}.{threshold % 10**6:06}", "award": draw(watts)}
    )


@given(rules(), watts, watts)
def test_more_relief_never_earns_less(rule: CongestionRule, a: int, b: int) -> None:
    low, high = sorted((a, b))
    assert 0 <= rule.factor_ppm(low) <= rule.factor_ppm(high)


@given(rules(), st.lists(st.integers(-5_000_000, 50_000_000), max_size=20))
def test_what_is_not_awarded_is_carried_over_to_the_millionth(rule: CongestionRule, periods: list[int]) -> None:
    carried = awards = 0
    for relief_ppm in periods:
        total = accumulate(carried, relief_ppm, rule)
        assert total.awards >= 0 and total.carried_ppm < rule.threshold_ppm
        carried, awards = total.carried_ppm, awards + total.awards
    assert carried + awards * rule.threshold_ppm == sum(periods)


@given(rules(), st.lists(st.integers(0, 5_000_000), max_size=20))
def test_how_relief_is_cut_into_periods_does_not_matter(rule: CongestionRule, periods: list[int]) -> None:
    carried = awards = 0
    for relief_ppm in periods:
        total = accumulate(carried, relief_ppm, rule)
        carried, awards = total.carried_ppm, awards + total.awards
    at_once = accumulate(0, sum(periods), rule)
    assert (carried, awards) == (at_once.carried_ppm, at_once.awards)


@given(energies, energies, st.integers(-(10**6), 10**6), st.sampled_from([1_000, 5_000, 900_000]))
def test_relief_grows_with_the_departure_that_relieves(a: int, b: int, share_ppm: int, interval_ms: int) -> None:
    low, high = sorted((a, b), key=lambda departure: departure * share_ppm)
    assert 0 <= relief_w(low, share_ppm, interval_ms) <= relief_w(high, share_ppm, interval_ms)


@given(st.lists(energies, min_size=3, max_size=30), st.integers(0, 10**9))
def test_a_baseline_lies_between_its_values_and_within_the_connections(days: list[int], bound_wh: int) -> None:
    values: tuple[int, ...] = ()
    for net_wh in days:
        values = with_value(values, net_wh, bound_wh)
    mean = baseline_wh(values)
    assert mean is not None and len(values) == min(len(days), LIKE_DAYS)
    assert -bound_wh <= min(values) <= mean <= max(values) <= bound_wh


@given(st.lists(st.integers(0, 10**6), min_size=10, max_size=30), st.integers(0, 10**6))
def test_what_is_wasted_on_one_day_raises_a_baseline_by_a_tenth_of_it_at_most(days: list[int], wasted_wh: int) -> None:
    honest: tuple[int, ...] = ()
    for net_wh in days[:-1]:
        honest = with_value(honest, net_wh, 10**9)
    before = baseline_wh(with_value(honest, days[-1], 10**9))
    after = baseline_wh(with_value(honest, days[-1] + wasted_wh, 10**9))
    assert before is not None and after is not None
    assert before <= after <= before + -(-wasted_wh // LIKE_DAYS)
