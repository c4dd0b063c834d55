"""Tokens from a factor: equation (3) of paper 1, §3.4, the same integer on every node.

    N = ⌊−ϑ (e^(−F) − 1)⌋   for F < 0, a charge
        0                   for 0 ≤ F < F1
        ⌊ξ (e^F − 1)⌋       for F1 ≤ F < F2, at most N_max
        N_max               for F ≥ F2

`libm` may round exp differently on every CPU, so it is not asked. For a rational F other than 0, e^F is
irrational, so the product is never a whole number; with 50 digits more than the integer part has, the floor is certain.
"""

from __future__ import annotations

from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final

from config.rules import TokenRule

EXACT: Final = Context(prec=80, rounding=ROUND_HALF_EVEN, Emin=-999_999, Emax=999_999)
"""Decimal arithmetic with 80 digits; `exp` is correctly rounded in it. Never the thread's own context."""

FACTOR_MIN: Final = Fraction(-20)
"""A factor below counts as this: a charge of 485 million times ϑ is enough, and the arithmetic stays bounded."""


def whole(tokens: Decimal) -> int:
    """Whole tokens, the Gauss bracket: rounded down for both signs, so that half a token owed charges one."""
    return int(tokens.to_integral_value(ROUND_FLOOR))


def tokens_for(factor: Fraction, rule: TokenRule) -> int:
    """Tokens earned, or owed if negative, in one settlement period. Equation (3)."""
    if factor < 0:
        return whole(EXACT.multiply(-rule.penalty, _exp_minus_1(-max(factor, FACTOR_MIN))))
    if factor < Fraction(rule.factor_low):
        return 0
    if factor < Fraction(rule.factor_high):
        return min(rule.tokens_max, whole(EXACT.multiply(rule.reward, _exp_minus_1(factor))))
    return rule.tokens_max


def _exp_minus_1(factor: Fraction) -> Decimal:
    exponent = EXACT.divide(Decimal(factor.numerator), Decimal(factor.denominator))
    return EXACT.subtract(EXACT.exp(exponent), Decimal(1))
