"""What must hold in every region, whatever the seed, the pace and the limits."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from config.settings.fleet import FleetSettings
from firmware_sim.curves import DAY_S, GasEngineCurve, HouseholdCurve, PvCurve
from firmware_sim.device import Held, Household, Plant
from firmware_sim.firmware import FIRMWARE, PER_UNIT, Format, Printed
from firmware_sim.fleet import Fleet, Truth
from firmware_sim.meter import Shown
from firmware_sim.modbus_server import from_words, to_words
from firmware_sim.scenario import Scenario, compose

Step = tuple[int, dict[str, int | None]]
"""How long, in milliseconds, and the limits that are set before it, in watts."""

seeds = st.integers(0, 2**32)
sizes = st.integers(4, 40)
limits = st.dictionaries(st.sampled_from(["l-gas", "l-home-1"]), st.none() | st.integers(0, 2**32 - 2), max_size=2)
steps = st.lists(st.tuples(st.integers(1, 3_600_000), limits), min_size=1, max_size=12)
times_s = st.floats(0, 3 * DAY_S)
limits_w = st.integers(0, 50_000)


def a_region(meters: int, seed: int) -> Scenario:
    return compose(FleetSettings(meters=meters, seed=seed))


def live(scenario: Scenario, steps: Sequence[Step]) -> list[Truth]:
    """The truth at the beginning and after each step."""
    fleet = Fleet(scenario)
    truths = [fleet.truth()]
    for span_ms, limits in steps:
        for limiter, power_w in limits.items():
            fleet.limit(limiter, power_w)
        fleet.step(span_ms)
        truths.append(fleet.truth())
    return truths


def total(truth: Truth, shown: Shown) -> int:
    return sum(measured[shown] for measured in truth.meters.values())


@given(sizes, seeds, steps)
@settings(max_examples=40)
def test_the_books_of_the_network_balance_to_the_last_microjoule(meters: int, seed: int, steps: list[Step]) -> None:
    first, *later = live(a_region(meters, seed), steps)
    for truth in later:
        exported_uj = total(truth, Shown.EXPORTED_UJ) - total(first, Shown.EXPORTED_UJ)
        imported_uj = total(truth, Shown.IMPORTED_UJ) - total(first, Shown.IMPORTED_UJ)
        assert exported_uj == imported_uj + truth.losses_uj
        assert -total(truth, Shown.ACTIVE_POWER_MW) == truth.losses_mw >= 0


@given(sizes, seeds, steps)
@settings(max_examples=40)
def test_the_registers_balance_up_to_one_count_each(meters: int, seed: int, steps: list[Step]) -> None:
    scenario = a_region(meters, seed)
    first, *_, last = live(scenario, steps)
    left_over = -Fraction(last.losses_uj)
    count_uj = Fraction(0)
    for connection in scenario.connections:
        for printed in FIRMWARE[connection.site.model].registers:
            if printed.shown not in (Shown.IMPORTED_UJ, Shown.EXPORTED_UJ):
                continue
            before, after = (shown_uj(printed, truth.meters[connection.site.meter]) for truth in (first, last))
            left_over += (after - before) if printed.shown is Shown.EXPORTED_UJ else (before - after)
            count_uj += resolution_uj(printed, after)
    assert abs(left_over) <= count_uj


def shown_uj(printed: Printed, measured: dict[Shown, int]) -> Fraction:
    """What whoever reads the register believes to have flowed."""
    words = to_words(printed.count(measured[printed.shown]), printed.format)
    return Fraction(from_words(words, printed.format)) * PER_UNIT[printed.unit] / printed.counts_per_unit


def resolution_uj(printed: Printed, value_uj: Fraction) -> Fraction:
    """One count of an integer, or one step of a float32."""
    if printed.format is Format.FLOAT32:
        return max(Fraction(1), value_uj / 2**23)
    return Fraction(PER_UNIT[printed.unit], printed.counts_per_unit)


@given(sizes, seeds, steps)
@settings(max_examples=40)
def test_counters_never_fall_and_are_the_sum_of_what_was_shown(meters: int, seed: int, steps: list[Step]) -> None:
    truths = live(a_region(meters, seed), steps)
    for before, after, (span_ms, _) in zip(truths, truths[1:], steps, strict=False):
        for meter, measured in after.meters.items():
            flowed_uj = before.meters[meter][Shown.ACTIVE_POWER_MW] * span_ms
            imported_uj = measured[Shown.IMPORTED_UJ] - before.meters[meter][Shown.IMPORTED_UJ]
            exported_uj = measured[Shown.EXPORTED_UJ] - before.meters[meter][Shown.EXPORTED_UJ]
            assert min(imported_uj, exported_uj) == 0
            assert imported_uj - exported_uj == flowed_uj


@given(sizes, seeds, steps)
@settings(max_examples=20)
def test_the_same_region_lived_twice_is_the_same(meters: int, seed: int, steps: list[Step]) -> None:
    assert live(a_region(meters, seed), steps) == live(a_region(meters, seed), steps)


@given(seeds, st.lists(st.integers(1, 60_000), min_size=1, max_size=20))
@settings(max_examples=20)
def test_power_depends_on_the_time_and_not_on_the_pace(seed: int, spans_ms: list[int]) -> None:
    scenario = a_region(8, seed)
    paced, at_once = Fleet(scenario), Fleet(scenario)
    for span_ms in spans_ms:
        paced.step(span_ms)
    at_once.step(sum(spans_ms))
    for meter in paced.truth().meters:
        assert paced.measured(meter)[Shown.ACTIVE_POWER_MW] == at_once.measured(meter)[Shown.ACTIVE_POWER_MW]


@given(seeds, times_s, limits_w)
def test_a_plant_never_feeds_in_more_than_its_limit(seed: int, t_s: float, limit_w: int) -> None:
    engine = Plant(curve=GasEngineCurve(f"{seed}/gas", 32_000), reactive_share=0.1)
    free_mw = engine.flow(t_s).active_mw
    limited_mw = engine.flow(t_s, Held.both(limit_w)).active_mw
    assert limited_mw == max(free_mw, -1_000 * limit_w)


@given(seeds, times_s, limits_w, st.booleans())
def test_a_household_buys_no_more_than_its_limit_or_what_it_cannot_shed(
    seed: int, t_s: float, limit_w: int, has_roof: bool
) -> None:
    habits = HouseholdCurve(f"{seed}/home", base_w=3_000, heat_pump_w=5_000)
    roof = PvCurve(str(seed), 12_000, 0) if has_roof else None
    house = Household(habits=habits, roof=roof, reactive_share=0.2)
    free_mw = house.flow(t_s).active_mw
    least_mw = free_mw - round(1_000 * habits.heat_pump_load_w(t_s))
    limited_mw = house.flow(t_s, Held.both(limit_w)).active_mw
    assert limited_mw == min(free_mw, max(1_000 * limit_w, least_mw))


@given(seeds, times_s, limits_w, limits_w)
def test_a_tighter_limit_never_lets_more_through(seed: int, t_s: float, a_w: int, b_w: int) -> None:
    tight_w, wide_w = sorted((a_w, b_w))
    house = Household(habits=HouseholdCurve(f"{seed}/home", 3_000, 5_000), roof=None, reactive_share=0.2)
    assert house.flow(t_s, Held.both(tight_w)).active_mw <= house.flow(t_s, Held.both(wide_w)).active_mw
