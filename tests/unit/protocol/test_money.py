"""Amounts are millionths of a minor unit on the books, whole units where they are moved, and hundredths where read."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.money import MILLIONTHS, millionths_of, said, units_of

amounts = st.integers(-(10**20), 10**20)


@given(amounts)
def test_no_more_is_moved_than_is_owed_and_less_than_a_unit_is_left(amount: int) -> None:
    left = amount - millionths_of(units_of(amount))
    assert abs(left) < MILLIONTHS
    assert left * amount >= 0


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"), (125 * MILLIONTHS, "125"), (-3 * MILLIONTHS, "-3"), (475_000, "0.48"), (-475_000, "-0.48"),
        (1, "0.00"), (1_999_999, "2.00"), (12_344_999, "12.34"),
    ],
)  # fmt: skip
def test_people_read_whole_units_or_two_decimals(amount: int, text: str) -> None:
    assert said(amount) == text


@given(amounts)
def test_what_is_read_is_the_amount_to_half_a_hundredth(amount: int) -> None:
    assert abs(Fraction(said(amount)) * MILLIONTHS - amount) <= Fraction(MILLIONTHS, 200)
