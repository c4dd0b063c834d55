"""From what everybody did in a settlement period to what everybody is awarded or owes.

A prosumer is both: each role's factor is worked out and turned into tokens on its own. N_max caps all that one
participant is awarded in a period; charges are not capped.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from aggregator.economy.factors import Demand, Supply, demand_factor, supply_factor
from aggregator.economy.tokens import tokens_for
from config.rules import CarbonRule, TokenRule


@dataclass(frozen=True, slots=True)
class Deeds:
    """What one participant did in a settlement period, role by role."""

    supply: Supply | None
    """None for whoever fed nothing in, or has no permit to be measured by."""
    demand: Demand | None
    """None for whoever used nothing."""
    relief_tokens: int = 0
    """Earned by relieving congested branches (`aggregator.economy.congestion`), before the cap."""


@dataclass(frozen=True, slots=True)
class Factors:
    """One participant's carbon factors in a settlement period, role by role."""

    supply: Fraction | None
    demand: Fraction | None


def factors_of(deeds: Deeds, rule: CarbonRule) -> Factors:
    """Equations (1) and (2)."""
    return Factors(
        supply=supply_factor(deeds.supply, rule) if deeds.supply else None,
        demand=demand_factor(deeds.demand, rule) if deeds.demand else None,
    )


def tokens_of(factors: Factors, rule: TokenRule, relief_tokens: int = 0) -> int:
    """Tokens awarded, or owed if negative, both roles together. Equation (3), and the cap over all that is earned."""
    earned = [tokens_for(factor, rule) for factor in (factors.supply, factors.demand) if factor is not None]
    award = min(rule.tokens_max, relief_tokens + sum(tokens for tokens in earned if tokens > 0))
    return award + sum(tokens for tokens in earned if tokens < 0)
