"""A million participants' tokens at once: the same integers as `aggregator.economy.tokens`, found faster.

The one place in this room where floats are allowed, and how they are held: double arithmetic gives a guess, and
wherever the guess lies within `GUARD` of a whole token or of a threshold, far above any CPU's rounding, it is thrown
away and worked out exactly. Signs are taken from integers, never from floats.

Shapes: (n) participants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from aggregator.economy.factors import Demand, Supply
from aggregator.economy.settlement import Deeds, factors_of, tokens_of
from aggregator.economy.tokens import FACTOR_MIN
from config.rules import CarbonRule, TokenRule

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

MANY: Final = 1000
"""From so many participants on, columns are faster."""

GUARD: Final = 1e-9
"""Relative distance to a whole token or a threshold within which a float is not believed."""


@dataclass(frozen=True, slots=True)
class DeedsOfMany:
    """What n participants did in a settlement period."""

    emitted_mg: Ints
    permitted_mg: Ints
    """0 for whoever is not measured as a supplier."""
    electricity_wh: Ints
    clean_electricity_wh: Ints
    heat_wh: Ints
    clean_heat_wh: Ints
    response_wh: Ints
    relief_tokens: Ints

    @classmethod
    def of(cls, deeds: Sequence[Deeds]) -> Self:
        """Stand everybody's deeds in columns."""

        def column(read: Callable[[Deeds], int]) -> Ints:
            return np.fromiter(map(read, deeds), dtype=np.int64, count=len(deeds))

        return cls(
            emitted_mg=column(lambda one: one.supply.emitted_mg if one.supply else 0),
            permitted_mg=column(lambda one: one.supply.permitted_mg if one.supply else 0),
            electricity_wh=column(lambda one: one.demand.electricity_wh if one.demand else 0),
            clean_electricity_wh=column(lambda one: one.demand.clean_electricity_wh if one.demand else 0),
            heat_wh=column(lambda one: one.demand.heat_wh if one.demand else 0),
            clean_heat_wh=column(lambda one: one.demand.clean_heat_wh if one.demand else 0),
            response_wh=column(lambda one: one.demand.response_wh if one.demand else 0),
            relief_tokens=column(lambda one: one.relief_tokens),
        )

    @property
    def is_consumer(self) -> Flags:
        """Who used or avoided anything."""
        return (self.electricity_wh > 0) | (self.heat_wh > 0) | (self.response_wh > 0)

    def one(self, i: int) -> Deeds:
        """The deeds of one of them."""
        permitted_mg = int(self.permitted_mg[i])
        demand = Demand(
            electricity_wh=int(self.electricity_wh[i]),
            clean_electricity_wh=int(self.clean_electricity_wh[i]),
            heat_wh=int(self.heat_wh[i]),
            clean_heat_wh=int(self.clean_heat_wh[i]),
            response_wh=int(self.response_wh[i]),
        )
        return Deeds(
            supply=Supply(emitted_mg=int(self.emitted_mg[i]), permitted_mg=permitted_mg) if permitted_mg else None,
            demand=demand if demand.electricity_wh or demand.heat_wh or demand.response_wh else None,
            relief_tokens=int(self.relief_tokens[i]),
        )


def tokens_of_all(deeds: Sequence[Deeds], carbon: CarbonRule, tokens: TokenRule) -> list[int]:
    """Everybody's tokens, in their order: one by one, or in columns where there are many. The integers are the same."""
    if len(deeds) < MANY:
        return [tokens_of(factors_of(one, carbon), tokens, one.relief_tokens) for one in deeds]
    in_columns: list[int] = tokens_of_many(DeedsOfMany.of(deeds), carbon, tokens).tolist()
    return in_columns


def tokens_of_many(deeds: DeedsOfMany, carbon: CarbonRule, tokens: TokenRule) -> Ints:
    """Tokens awarded, or owed if negative, of everybody: equations (1) to (3) and the cap over all that is earned."""
    spare_mg = deeds.permitted_mg - deeds.emitted_mg
    supply_factor = _share(float(carbon.alpha), spare_mg, deeds.permitted_mg)
    supply, unsure_supply = _guess(supply_factor, spare_mg < 0, deeds.permitted_mg > 0, tokens)
    nobody_owes = np.zeros(len(spare_mg), dtype=np.bool_)
    demand, unsure_demand = _guess(_demand_factor(deeds, carbon), nobody_owes, deeds.is_consumer, tokens)
    awarded = np.minimum(np.maximum(supply, 0) + np.maximum(demand, 0) + deeds.relief_tokens, tokens.tokens_max)
    result: Ints = awarded + np.minimum(supply, 0) + np.minimum(demand, 0)
    for i in np.flatnonzero(unsure_supply | unsure_demand).tolist():
        one = deeds.one(i)
        result[i] = tokens_of(factors_of(one, carbon), tokens, one.relief_tokens)
    return result


def _demand_factor(deeds: DeedsOfMany, rule: CarbonRule) -> Floats:
    """Equation (2). None of its terms is below 0, so nothing cancels out; one that counts 0 for all is left out."""
    factor = _share(float(rule.beta), deeds.clean_electricity_wh, deeds.electricity_wh)
    if deeds.heat_wh.any():
        factor = factor + _share(float(rule.gamma), deeds.clean_heat_wh, deeds.heat_wh)
    points_wh, values = zip(*rule.demand_response, strict=True)
    if rule.sigma and any(values):
        avoided: Floats = np.interp(deeds.response_wh, points_wh, [float(value) for value in values])
        factor = factor + float(rule.sigma) * avoided
    return factor


def _share(coefficient: float, part: Ints, whole: Ints) -> Floats:
    factor: Floats = coefficient * part / np.maximum(whole, 1)
    return factor


def _guess(factor: Floats, owes: Flags, counts: Flags, rule: TokenRule) -> tuple[Ints, Flags]:
    """Tokens for factors, and where they are not sure; 0 for whoever has none that counts."""
    curve = np.expm1(np.minimum(np.abs(factor), -float(FACTOR_MIN)))
    exact = np.where(owes, -float(rule.penalty), float(rule.reward)) * curve
    low, high = float(rule.factor_low), float(rule.factor_high)
    earns = factor >= low
    guess = np.floor(exact)
    unsure = np.abs(exact - np.rint(exact)) <= GUARD * np.maximum(np.abs(exact), 1.0)
    unsure &= owes | earns
    unsure |= np.abs(factor - low) <= GUARD * max(low, 1.0)
    unsure |= np.abs(factor - high) <= GUARD * high
    guess = np.where(owes, guess, np.where(earns, np.minimum(guess, rule.tokens_max), 0.0))
    guess = np.where(factor >= high, rule.tokens_max, guess)
    return np.where(counts, guess, 0.0).astype(np.int64), unsure & counts
