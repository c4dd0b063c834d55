"""Equations (1) to (3) with their numbers put in: what a factor is, and what it is worth."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from aggregator.economy.factors import Demand, Supply, avoided, demand_factor, supply_factor
from aggregator.economy.settlement import Deeds
from aggregator.economy.tokens import tokens_for
from config.rules import CarbonRule, TokenRule

DIGITS: Final = 4
"""Behind the point, where a fraction is shown; the fraction itself stands beside it."""


@dataclass(frozen=True, slots=True)
class RoleFactor:
    """One role's factor, its tokens, and the lines that lead there."""

    role: str
    """``supply`` or ``demand``."""
    factor: str
    """The fraction, exactly, such as ``-7/20``."""
    tokens: int
    """Before the cap over both roles."""
    lines: tuple[str, ...]
    """Each equation: as it stands, with its numbers, and what it gives."""


def role_factors(deeds: Deeds, carbon: CarbonRule, tokens: TokenRule) -> tuple[RoleFactor, ...]:
    """What both roles of somebody are worth, as far as they have them."""
    found = []
    if deeds.supply is not None:
        factor = supply_factor(deeds.supply, carbon)
        found.append(_role("supply", factor, _supply_lines(deeds.supply, carbon, factor), tokens))
    if deeds.demand is not None:
        factor = demand_factor(deeds.demand, carbon)
        found.append(_role("demand", factor, _demand_lines(deeds.demand, carbon, factor), tokens))
    return tuple(found)


def decimal(value: Fraction) -> str:
    """A fraction as people read it, rounded."""
    return f"{float(value):.{DIGITS}f}".replace("-", "−")


def energy(energy_wh: int) -> str:
    """Watt-hours as people read them."""
    return f"{energy_wh:,} Wh".replace("-", "−")


def _role(role: str, factor: Fraction, lines: tuple[str, ...], rule: TokenRule) -> RoleFactor:
    earned = tokens_for(factor, rule)
    fraction = f"{factor.numerator}/{factor.denominator}"
    return RoleFactor(role, fraction, earned, (*lines, _token_line(factor, earned, rule)))


def _supply_lines(supply: Supply, rule: CarbonRule, factor: Fraction) -> tuple[str, ...]:
    permitted, emitted = f"{supply.permitted_mg / 1000:,.3f} g", f"{supply.emitted_mg / 1000:,.3f} g"
    return (
        "(1)  F = α · (S_permit − S) / S_permit",
        f"       = {rule.alpha} · ({permitted} − {emitted}) / {permitted}",
        f"       = {decimal(factor)}",
    )


def _demand_lines(demand: Demand, rule: CarbonRule, factor: Fraction) -> tuple[str, ...]:
    response = avoided(demand.response_wh, rule.demand_response)
    return (
        "(2)  F = β · P_clean_el / P_el + γ · P_clean_heat / P_heat + σ · f(P_dr)",
        f"       = {rule.beta} · {_share(demand.clean_electricity_wh, demand.electricity_wh)}",
        f"       + {rule.gamma} · {_share(demand.clean_heat_wh, demand.heat_wh)}",
        f"       + {rule.sigma} · f({energy(demand.response_wh)}) where f = {decimal(response)}",
        f"       = {decimal(factor)}",
    )


def _share(part_wh: int, whole_wh: int) -> str:
    return f"{energy(part_wh)} / {energy(whole_wh)}" if whole_wh else "0 (none used)"


def _token_line(factor: Fraction, earned: int, rule: TokenRule) -> str:
    shown = decimal(abs(factor))
    if factor < 0:
        return f"(3)  N = ⌊−ϑ (e^(−F) − 1)⌋ = ⌊−{rule.penalty} (e^{shown} − 1)⌋ = {earned}".replace("= -", "= −")
    if factor < Fraction(rule.factor_low):
        return f"(3)  N = 0, since F = {shown} is below F1 = {rule.factor_low}"
    if factor < Fraction(rule.factor_high) and earned == rule.tokens_max:
        return f"(3)  N = N_max = {rule.tokens_max}, which ⌊ξ (e^F − 1)⌋ = ⌊{rule.reward} (e^{shown} − 1)⌋ is not below"
    if factor < Fraction(rule.factor_high):
        return f"(3)  N = ⌊ξ (e^F − 1)⌋ = ⌊{rule.reward} (e^{shown} − 1)⌋ = {earned}"
    return f"(3)  N = N_max = {rule.tokens_max}, since F = {shown} is not below F2 = {rule.factor_high}"
