"""Whatever a register shows: no energy from nothing, none lost on the way, and never more than the wires carry."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.energy_register import MS_PER_HOUR, EnergyRegister, Place, RegisterLimit, Step, StepKind, advance, first

limits = st.builds(
    RegisterLimit,
    power_max_w=st.sampled_from([1, 230, 11_000, 36_000, 50_000_000]),
    resolution_wh=st.sampled_from([1, 10, 100]),
    modulus_wh=st.none() | st.sampled_from([1000, 10**8]),
    settle_after=st.integers(2, 5),
)

spans_ms = st.sampled_from([1, 40, 1000, 1000, 1000, 60_000, MS_PER_HOUR])

Readings = list[tuple[int, int]]
"""(instant, value), in time."""


@st.composite
def any_readings(draw: st.DrawFn) -> Readings:
    """Small steps most of the time, and now and then anything."""
    value, at_ms, readings = draw(st.integers(0, 10**8)), 0, []
    for _ in range(draw(st.integers(1, 40))):
        readings.append((at_ms, value))
        step = draw(st.integers(0, 20) | st.sampled_from([0, 0, 1, 1, 1]) | st.integers(-(10**8), 10**8))
        value, at_ms = max(0, value + step), at_ms + draw(spans_ms)
    return readings


def judged(readings: Readings, limit: RegisterLimit) -> Iterator[tuple[int, EnergyRegister, EnergyRegister, Step]]:
    """(instant, before, after, step) of every reading after the first."""
    register = first(readings[0][1], readings[0][0])
    for at_ms, value in readings[1:]:
        before = register
        register, step = advance(before, value, at_ms, limit)
        yield at_ms, before, register, step


@given(any_readings(), limits)
def test_energy_is_never_negative_and_unexplained_steps_have_none(readings: Readings, limit: RegisterLimit) -> None:
    for _, _, _, step in judged(readings, limit):
        assert step.energy_wh >= 0
        assert step.kind is not StepKind.UNEXPLAINED or step.energy_wh == 0


@given(any_readings(), limits)
def test_no_more_is_booked_than_the_connection_can_carry(readings: Readings, limit: RegisterLimit) -> None:
    """From the first reading to any other, and from any step's own beginning to any later reading."""
    steps = list(judged(readings, limit))
    for begin, (_, _, _, opening) in enumerate(steps):
        booked = 0
        for at_ms, _, _, step in steps[begin:]:
            booked += step.energy_wh
            assert booked * MS_PER_HOUR <= limit.power_max_w * (at_ms - opening.since.at_ms)


@given(any_readings(), limits)
def test_all_that_is_booked_is_the_registers_own_rise_but_the_unexplained(
    readings: Readings, limit: RegisterLimit
) -> None:
    steps = list(judged(readings, limit))
    booked = sum(step.energy_wh for *_, step in steps)
    settled = [(before, step) for _, before, _, step in steps if step.kind is StepKind.SETTLED]
    unexplained = sum(step.since.value_wh - before.trusted.value_wh for before, step in settled)
    reached_wh = steps[-1][2].trusted.value_wh if steps else readings[0][1]
    rise = reached_wh - readings[0][1] - unexplained
    assert booked == rise if limit.modulus_wh is None else (booked - rise) % limit.modulus_wh == 0


@given(any_readings(), limits)
def test_what_is_trusted_never_runs_ahead_of_what_is_shown_or_of_the_clock(
    readings: Readings, limit: RegisterLimit
) -> None:
    values = dict(readings)
    for at_ms, _, after, step in judged(readings, limit):
        assert after.trusted.at_ms <= at_ms
        if step.kind is not StepKind.UNEXPLAINED and limit.modulus_wh is None:
            assert values[at_ms] - limit.resolution_wh <= after.trusted.value_wh <= values[at_ms]


@given(any_readings(), limits)
def test_a_step_tells_whether_anything_changed(readings: Readings, limit: RegisterLimit) -> None:
    for _, before, after, step in judged(readings, limit):
        assert step.since == (before.doubtful_since if step.kind is StepKind.SETTLED else before.trusted)
        assert (after.doubts > 0) is (step.kind is StepKind.UNEXPLAINED)
        assert after.doubts < limit.settle_after
        if step.kind is StepKind.UNEXPLAINED:
            assert after.trusted == before.trusted


@st.composite
def honest_readings(draw: st.DrawFn) -> tuple[Readings, RegisterLimit]:
    """A real meter: its power stays within the connection, its display counts in steps, rounded down."""
    limit = RegisterLimit(
        power_max_w=draw(st.sampled_from([230, 11_000, 36_000])), resolution_wh=draw(st.sampled_from([1, 10, 100]))
    )
    spans = draw(st.lists(spans_ms, min_size=1, max_size=60))
    powers_w = [draw(st.integers(0, limit.power_max_w)) for _ in spans]
    instants = accumulate(spans, initial=0)
    flowed = accumulate((span * power for span, power in zip(spans, powers_w, strict=True)), initial=draw(counts))
    count = limit.resolution_wh * MS_PER_HOUR
    return [(at, energy // count * limit.resolution_wh) for at, energy in zip(instants, flowed, strict=True)], limit


counts = st.integers(0, 10**6).map(lambda wh: wh * MS_PER_HOUR + wh % MS_PER_HOUR)


@given(honest_readings())
def test_an_honest_register_is_never_doubted_and_at_most_one_count_behind(
    case: tuple[Readings, RegisterLimit],
) -> None:
    readings, limit = case
    booked = 0
    values = dict(readings)
    for at_ms, _, _, step in judged(readings, limit):
        assert step.kind is StepKind.RISE
        booked += step.energy_wh
        assert 0 <= values[at_ms] - readings[0][1] - booked <= limit.resolution_wh


@given(honest_readings(), st.data())
def test_glitches_to_0_lose_nothing_once_the_register_is_back(
    case: tuple[Readings, RegisterLimit], data: st.DataObject
) -> None:
    readings, limit = case
    assume(readings[0][1] > 0)  # else a glitch to 0 is no fall but a register that is read late
    glitched = [
        (at, 0) if 0 < n < len(readings) - 1 and n % limit.settle_after and data.draw(st.booleans()) else (at, value)
        for n, (at, value) in enumerate(readings)
    ]
    with_glitches = sum(step.energy_wh for *_, step in judged(glitched, limit))
    without = sum(step.energy_wh for *_, step in judged(readings, limit))
    assert without - limit.resolution_wh <= with_glitches <= readings[-1][1] - readings[0][1]


@given(honest_readings(), st.integers(1, 10**9), st.data())
def test_a_jump_never_becomes_energy(case: tuple[Readings, RegisterLimit], jump_wh: int, data: st.DataObject) -> None:
    """From some reading on, the register shows more than it counted: another meter, or another owner's idea."""
    readings, limit = case
    begin = data.draw(st.integers(1, len(readings)))
    jumped = [(at, value + jump_wh * (n >= begin)) for n, (at, value) in enumerate(readings)]
    booked = sum(step.energy_wh for *_, step in judged(jumped, limit))
    assert booked * MS_PER_HOUR <= limit.power_max_w * (readings[-1][0] - readings[0][0])
    if begin < len(readings):
        at_ms, value = jumped[begin]
        if not limit.allows(value - jumped[begin - 1][1], MS_PER_HOUR * 24 + at_ms):
            assert booked <= readings[-1][1] - readings[0][1]


@given(honest_readings(), st.integers(0, 10**6))
def test_a_new_meter_is_believed_after_settle_after_readings_in_a_row(
    case: tuple[Readings, RegisterLimit], start_wh: int
) -> None:
    readings, limit = case
    old = EnergyRegister(trusted=Place(value_wh=10**12, at_ms=-1))
    new = [(at, value - readings[0][1] + start_wh) for at, value in readings]
    register, kinds = old, []
    for at_ms, value in new:
        register, step = advance(register, value, at_ms, limit)
        kinds.append(step.kind)
    settled = kinds.index(StepKind.SETTLED) if StepKind.SETTLED in kinds else len(kinds)
    assert settled == min(limit.settle_after - 1, len(kinds))
    assert set(kinds[:settled]) <= {StepKind.UNEXPLAINED}
    assert set(kinds[settled + 1 :]) <= {StepKind.RISE}
