"""What a register that counts energy may do, told as the stories that cost others their customers' money."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.energy_register import EnergyRegister, Place, RegisterLimit, Step, StepKind, advance, first

SECOND_MS = 1000
HOUR_MS = 3_600_000

LIMIT = RegisterLimit(power_max_w=36_000, resolution_wh=1, settle_after=10)
"""A connection that carries 10 Wh a second."""


def told(
    values: list[int], limit: RegisterLimit = LIMIT, every_ms: int = SECOND_MS
) -> tuple[EnergyRegister, list[Step]]:
    """Read the register `every_ms`, and hear what each reading after the first was."""
    register, steps = first(values[0], 0), []
    for n, value in enumerate(values[1:], start=1):
        register, step = advance(register, value, n * every_ms, limit)
        steps.append(step)
    return register, steps


def kinds(steps: list[Step]) -> list[StepKind]:
    return [step.kind for step in steps]


def energy(steps: list[Step]) -> int:
    return sum(step.energy_wh for step in steps)


def test_what_a_register_counted_before_it_was_seen_is_nobodys_energy() -> None:
    assert first(8_567_200, 5) == EnergyRegister(trusted=Place(value_wh=8_567_200, at_ms=5))


def test_a_rise_is_energy_from_the_last_reading_on() -> None:
    register, (step,) = told([1000, 1007])
    assert step == Step(kind=StepKind.RISE, since=Place(value_wh=1000, at_ms=0), energy_wh=7)
    assert register.trusted == Place(value_wh=1007, at_ms=SECOND_MS)


def test_standing_still_is_no_energy_and_no_fault() -> None:
    _, steps = told([1000, 1000, 1000])
    assert kinds(steps) == [StepKind.RISE] * 2
    assert energy(steps) == 0


def test_a_glitch_to_0_and_back_is_no_energy_and_loses_none() -> None:
    """evcc 29286: 25,567 kWh booked when the counter came back."""
    register, steps = told([25_567_000, 25_567_003, 0, 25_567_009])
    assert kinds(steps) == [StepKind.RISE, StepKind.UNEXPLAINED, StepKind.RISE]
    assert [step.energy_wh for step in steps] == [3, 0, 6]
    assert register.doubts == 0


def test_a_glitch_that_stays_a_while_loses_nothing_when_it_ends() -> None:
    register, steps = told([50_000, *[0] * 9, 50_040])
    assert kinds(steps) == [StepKind.UNEXPLAINED] * 9 + [StepKind.RISE]
    assert energy(steps) == 40
    assert register.trusted.value_wh == 50_040


def test_a_step_back_is_no_energy() -> None:
    _, steps = told([5000, 4999, 5000, 5001])
    assert kinds(steps) == [StepKind.UNEXPLAINED, StepKind.RISE, StepKind.RISE]
    assert energy(steps) == 1


def test_a_lifetime_of_energy_in_a_second_is_never_energy() -> None:
    """sem-community 782: 15.5 MWh in 10 seconds."""
    register, steps = told([1000, 15_501_000, *[15_501_000 + n for n in range(1, 20)]])
    assert kinds(steps)[:9] == [StepKind.UNEXPLAINED] * 9
    assert kinds(steps)[9] is StepKind.SETTLED
    assert kinds(steps)[10:] == [StepKind.RISE] * 10
    assert energy(steps) == 19, "what was counted in the new place, and not the way there"
    assert register.trusted.value_wh == 15_501_019


def test_a_new_meter_is_believed_after_as_many_readings_as_the_limit_says() -> None:
    for settle_after in (2, 3, 10):
        limit = replace(LIMIT, settle_after=settle_after)
        _, steps = told([8_000_000, *range(3, 3 + 2 * settle_after)], limit)
        expected = [StepKind.UNEXPLAINED] * (settle_after - 1) + [StepKind.SETTLED] + [StepKind.RISE] * settle_after
        assert kinds(steps) == expected
        assert energy(steps) == 2 * settle_after - 1


def test_a_settled_register_tells_since_when_its_energy_flowed() -> None:
    _, steps = told([8_000_000, *range(3, 13)])
    assert steps[-1] == Step(kind=StepKind.SETTLED, since=Place(value_wh=3, at_ms=SECOND_MS), energy_wh=9)


def test_a_register_that_jumps_about_is_never_believed() -> None:
    _, steps = told([1000, *[10**6 * n for n in range(1, 40)]])
    assert set(kinds(steps)) == {StepKind.UNEXPLAINED}
    assert energy(steps) == 0


def test_a_second_jump_starts_the_doubt_anew() -> None:
    values = [1000, *[500_000] * 9, *[900_000] * 9]
    register, steps = told(values)
    assert set(kinds(steps)) == {StepKind.UNEXPLAINED}
    assert register.doubts == 9
    assert register.doubtful_since == Place(value_wh=900_000, at_ms=10 * SECOND_MS)


def test_a_register_that_wraps_goes_on_counting() -> None:
    limit = replace(LIMIT, modulus_wh=100_000)
    register, steps = told([99_990, 99_997, 4, 11], limit)
    assert kinds(steps) == [StepKind.RISE] * 3
    assert [step.energy_wh for step in steps] == [7, 7, 7]
    assert register.trusted.value_wh == 11


def test_a_wrap_while_a_new_place_is_in_doubt_is_no_negative_energy() -> None:
    limit = replace(LIMIT, modulus_wh=100_000)
    _, steps = told([50_000, *[(99_995 + n) % 100_000 for n in range(10)]], limit)
    assert kinds(steps)[-1] is StepKind.SETTLED
    assert energy(steps) == 9


def test_a_fall_without_a_modulus_is_no_wrap() -> None:
    _, steps = told([99_997, 4])
    assert kinds(steps) == [StepKind.UNEXPLAINED]


def test_a_long_silence_allows_a_long_rise() -> None:
    _, steps = told([1000, 37_000], every_ms=HOUR_MS)
    assert kinds(steps) == [StepKind.RISE]
    assert energy(steps) == 36_000
    _, steps = told([1000, 37_002], every_ms=HOUR_MS)
    assert kinds(steps) == [StepKind.UNEXPLAINED]


def test_a_coarse_register_may_show_a_count_too_early_and_is_booked_as_time_goes_by() -> None:
    limit = RegisterLimit(power_max_w=36_000, resolution_wh=100)
    _, steps = told([1000, 1100, *[1100] * 12], limit)
    assert set(kinds(steps)) == {StepKind.RISE}
    assert [step.energy_wh for step in steps] == [10] * 10 + [0] * 3


def test_reading_more_often_books_no_more_than_the_connection_can_carry() -> None:
    """A gateway that lies cannot turn the tolerance of one count into energy, a millisecond at a time."""
    values = list(range(1000, 6000))
    _, steps = told(values, every_ms=1)
    assert energy(steps) <= LIMIT.power_max_w * len(steps) // HOUR_MS
    assert StepKind.UNEXPLAINED in kinds(steps)


@pytest.mark.parametrize(("rise_wh", "span_ms", "allowed"), [(10, 1000, True), (11, 1000, True), (12, 1000, False)])
def test_a_limit_allows_what_flows_in_the_span_and_one_count(rise_wh: int, span_ms: int, allowed: bool) -> None:
    assert LIMIT.allows(rise_wh, span_ms) is allowed
    assert LIMIT.carries(rise_wh, span_ms) is (rise_wh <= 10)
