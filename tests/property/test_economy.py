"""What must hold for any history of factors, tokens and energy."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.chains.metering.registers import credit, per_interval
from aggregator.economy.accounts import effect_of, settle
from aggregator.economy.periods import Period, period_of
from aggregator.economy.tokens import tokens_for
from aggregator.economy.tokens_many import DeedsOfMany, tokens_of_all, tokens_of_many
from config.rules import CarbonRule, TimeRule, TokenRule
from protocol.energy_register import EnergyRegister, Place, RegisterLimit

RULE = TokenRule.model_validate(
    {"penalty": "50", "reward": "100", "factor_low": "0.2", "factor_high": "1.2", "tokens_max": 200}
)
CARBON = CarbonRule.model_validate({"alpha": 1, "beta": 1, "gamma": 1, "sigma": 1})

factors = st.fractions(min_value=-10, max_value=10, max_denominator=10**9)
amounts = st.integers(0, 10**9)


@given(factors, factors)
def test_more_contribution_never_earns_less(a: Fraction, b: Fraction) -> None:
    low, high = sorted((a, b))
    assert tokens_for(low, RULE) <= tokens_for(high, RULE)


@given(factors)
def test_tokens_have_the_sign_of_the_factor(factor: Fraction) -> None:
    tokens = tokens_for(factor, RULE)
    assert tokens < 0 if factor < 0 else tokens >= 0


@given(st.lists(st.integers(-500, 500)), st.integers(1, 500))
def test_supply_is_conserved_through_any_settlements(periods: list[int], ceiling: int) -> None:
    balance = reserve = minted = burned = 0
    for tokens in periods:
        for movement in settle(balance, tokens, ceiling, "somebody"):
            effect = effect_of(movement.kind, movement.amount)
            balance, reserve = balance + effect.participant, reserve + effect.reserve
            minted, burned = minted + effect.minted, burned + effect.burned
            assert balance == movement.balance
        assert minted - burned == balance + reserve
        assert balance <= ceiling


part = st.integers(0, 10**6)
"""Of a whole, in millionths."""
deeds = st.tuples(
    amounts, st.integers(0, 10**9), amounts, part, amounts, part, st.integers(0, 30_000), st.integers(0, 90)
)
RESPONSE = ((100, Decimal("0.05")), (10_000, Decimal("0.4")), (20_000, Decimal("1.3")))


def in_columns(rows: list[tuple[int, ...]]) -> DeedsOfMany:
    return DeedsOfMany(
        emitted_mg=np.array([row[0] for row in rows]),
        permitted_mg=np.array([row[1] for row in rows]),
        electricity_wh=np.array([row[2] for row in rows]),
        clean_electricity_wh=np.array([row[2] * row[3] // 10**6 for row in rows]),
        heat_wh=np.array([row[4] for row in rows]),
        clean_heat_wh=np.array([row[4] * row[5] // 10**6 for row in rows]),
        response_wh=np.array([row[6] for row in rows]),
        relief_tokens=np.array([row[7] for row in rows]),
    )


@settings(max_examples=300)
@given(st.lists(deeds, min_size=1, max_size=30), st.sampled_from(["1", "0.7", "0.333333333333", "2.5"]))
def test_many_at_once_earn_the_same_integers_as_one_by_one(rows: list[tuple[int, ...]], coefficient: str) -> None:
    names = ("alpha", "beta", "gamma", "sigma")
    carbon = CARBON.model_copy(update=dict.fromkeys(names, Decimal(coefficient)) | {"demand_response": RESPONSE})
    many = in_columns(rows)
    one_by_one = [many.one(i) for i in range(len(rows))]
    assert tokens_of_many(many, carbon, RULE).tolist() == tokens_of_all(one_by_one, carbon, RULE)
    assert DeedsOfMany.of(one_by_one).one(0) == one_by_one[0]


@given(st.integers(0, 3), st.integers(0, 999), st.booleans())
def test_thresholds_are_exact_in_columns_too(which: int, offset: int, is_heat: bool) -> None:
    """Factors of exactly 0, F1 and F2, and their neighbours, where a float could go either way."""
    whole = 10**9
    part = [0, 200_000_000, 1_200_000_000 % whole, 333_333_333][which] + offset - 500
    part = min(max(part, 0), whole)
    used, nothing = (whole, part), (0, 0)
    row = (0, 0, *(nothing if is_heat else used), *(used if is_heat else nothing), 0, 0)
    many = DeedsOfMany(*(np.array([value]) for value in row))
    assert tokens_of_many(many, CARBON, RULE).tolist() == tokens_of_all([many.one(0)], CARBON, RULE)


steps = st.lists(st.tuples(st.integers(1, 40_000), st.integers(-2_000_000, 400)), min_size=1, max_size=40)


@given(steps, st.sampled_from([1_000, 5_000, 7_000, 900_000]))
def test_intervals_sum_to_what_was_credited_and_never_to_more_than_flowed(
    moves: list[tuple[int, int]], interval_ms: int
) -> None:
    limit = RegisterLimit(power_max_w=36_000, resolution_wh=1)
    at_ms, value, instants, values = 10_000, 5_000_000, [], []
    for span_ms, rise in moves:
        at_ms, value = at_ms + span_ms, max(0, value + rise)
        instants.append(at_ms)
        values.append(value)
    start = EnergyRegister(trusted=Place(value_wh=5_000_000, at_ms=10_000))
    register, curve = credit(start, instants, values, limit)
    cut = per_interval(curve, interval_ms, 0)
    credited = curve.rise_wh
    assert sum(energy for _, energy in cut) == credited
    assert all(energy >= 0 for _, energy in cut)
    carried = 36_000 * (at_ms - 10_000) // 3_600_000 + len(moves)
    assert credited <= carried
    assert [start for start, _ in cut] == sorted({start for start, _ in cut})
    middle = at_ms // 2 - at_ms // 2 % interval_ms
    later = per_interval(curve, interval_ms, middle)
    assert [one for one in later if one[0] >= middle] == [one for one in cut if one[0] >= middle]
    assert sum(energy for _, energy in later) == credited
    del register


@given(steps, st.data())
def test_how_readings_are_cut_into_batches_does_not_matter(moves: list[tuple[int, int]], data: st.DataObject) -> None:
    limit = RegisterLimit(power_max_w=36_000, resolution_wh=1)
    at_ms, value, instants, values = 0, 3_000_000, [], []
    for span_ms, rise in moves:
        at_ms, value = at_ms + span_ms, max(0, value + rise)
        instants.append(at_ms)
        values.append(value)
    cut = data.draw(st.integers(0, len(instants)))
    start = EnergyRegister(trusted=Place(value_wh=3_000_000, at_ms=0))
    whole, whole_curve = credit(start, instants, values, limit)
    register, total = start, dict.fromkeys((), 0)
    for part in (slice(0, cut), slice(cut, None)):
        if instants[part]:
            register, curve = credit(register, instants[part], values[part], limit)
            for interval, energy in per_interval(curve, 5_000, 0):
                total[interval] = total.get(interval, 0) + energy
    assert register == whole
    in_one = {interval: energy for interval, energy in per_interval(whole_curve, 5_000, 0) if energy}
    assert {interval: energy for interval, energy in total.items() if energy} == in_one


instants = st.integers(1_600_000_000_000, 2_000_000_000_000)
time_rules = st.builds(
    lambda interval_ms, zone: TimeRule(interval_ms=interval_ms, grace_ms=0, time_zone=zone),
    st.sampled_from([60_000, 900_000, 3_600_000, 86_400_000]),
    st.sampled_from(
        ["Etc/UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Asia/Shanghai"]
    ),
) | st.builds(
    lambda interval_ms, count: TimeRule(interval_ms=interval_ms, grace_ms=0, period_ms=interval_ms * count),
    st.sampled_from([5_000, 900_000]),
    st.integers(1, 3_000),
)


@given(time_rules, instants, st.integers(0, 40_000_000_000))
def test_every_instant_has_one_period_and_periods_leave_no_gap(rule: TimeRule, begin: int, later: int) -> None:
    begin_ms = begin - begin % rule.interval_ms

    def at(instant_ms: int) -> Period:
        return period_of(instant_ms, rule, begin_ms)

    period = at(begin_ms + later)
    span = period.span
    assert span.start_ms <= begin_ms + later < span.end_ms
    assert (span.end_ms - begin_ms) % rule.interval_ms == 0
    assert at(span.start_ms) == at(span.end_ms - 1) == period
    assert at(span.end_ms).span.start_ms == span.end_ms
