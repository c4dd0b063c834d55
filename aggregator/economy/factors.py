"""Carbon contribution factors: equations (1) and (2) of paper 1, §3.4, exactly.

Factors are fractions of integers, never rounded: what a participant did stands on the chain in watt-hours and
milligrams, and the factor follows from it. Rounding happens once, in equation (3) (`aggregator.economy.tokens`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from config.rules import CarbonRule

MG_PER_GRAM: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """What somebody fed in during a settlement period, by what it emitted."""

    emitted_mg: int
    """S: actual emission."""
    permitted_mg: int
    """S_permit: permitted emission, above 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What somebody used during a settlement period, by where it came from."""

    electricity_wh: int = 0
    """P_el: all electricity used."""
    clean_electricity_wh: int = 0
    """P_clean_el: the part that tracing shows to come from clean sources."""
    heat_wh: int = 0
    clean_heat_wh: int = 0
    response_wh: int = 0
    """P_dr: baseline minus metered energy in called events."""


def supply_factor(supply: Supply, rule: CarbonRule) -> Fraction:
    """F = α · (S_permit − S) / S_permit. Equation (1)."""
    return Fraction(rule.alpha) * Fraction(supply.permitted_mg - supply.emitted_mg, supply.permitted_mg)


def demand_factor(demand: Demand, rule: CarbonRule) -> Fraction:
    """F = β · P_clean_el / P_el + γ · P_clean_heat / P_heat + σ · f(P_dr). Equation (2).

    A term whose denominator is 0 counts 0.
    """
    return (
        Fraction(rule.beta) * _share(demand.clean_electricity_wh, demand.electricity_wh)
        + Fraction(rule.gamma) * _share(demand.clean_heat_wh, demand.heat_wh)
        + Fraction(rule.sigma) * avoided(demand.response_wh, rule.demand_response)
    )


def avoided(response_wh: int, points: Sequence[tuple[int, Decimal]]) -> Fraction:
    """f of equation (2): piecewise linear through `points` (Wh, value), flat before the first and after the last."""
    low_wh, low = points[0]
    if response_wh <= low_wh:
        return Fraction(low)
    for high_wh, high in points[1:]:
        if response_wh <= high_wh:
            return Fraction(low) + (Fraction(high) - Fraction(low)) * Fraction(response_wh - low_wh, high_wh - low_wh)
        low_wh, low = high_wh, high
    return Fraction(low)


def _share(part_wh: int, whole_wh: int) -> Fraction:
    assert 0 <= part_wh <= whole_wh, f"{part_wh} Wh cannot be a part of {whole_wh} Wh"
    return Fraction(part_wh, whole_wh) if whole_wh else Fraction(0)
