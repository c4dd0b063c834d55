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
        )

    def one(self, i: int) -> Deeds:
        """The deeds of one of them."""
        permitted_mg, used_wh = int(self.permitted_mg[i]), int(self.electricity_wh[i])
        clean_wh = int(self.clean_electricity_wh[i])
        return Deeds(
            supply=Supply(emitted_mg=int(self.emitted_mg[i]), permitted_mg=permitted_mg) if permitted_mg else None,
            demand=Demand(electricity_wh=used_wh, clean_electricity_wh=clean_wh) if used_wh else None,
        )


def tokens_of_all(deeds: Sequence[Deeds], carbon: CarbonRule, tokens: TokenRule) -> list[int]:
    """Everybody's tokens, in their order: one by one, or in columns where there are many. The integers are the same."""
    if len(deeds) < MANY:
        return [tokens_of(factors_of(one, carbon), tokens) for one in deeds]
    in_columns: list[int] = tokens_of_many(DeedsOfMany.of(deeds), carbon, tokens).tolist()
    return in_columns


def tokens_of_many(deeds: DeedsOfMany, carbon: CarbonRule, tokens: TokenRule) -> Ints:
    """Tokens awarded, or owed if negative, of everybody: equations (1) to (3) and the cap over both roles."""
    spare_mg = deeds.permitted_mg - deeds.emitted_mg
    supply, unsure_supply = _guess(spare_mg, deeds.permitted_mg, float(carbon.alpha), tokens)
    demand, unsure_demand = _guess(deeds.clean_electricity_wh, deeds.electricity_wh, float(carbon.beta), tokens)
    awarded = np.minimum(np.maximum(supply, 0) + np.maximum(demand, 0), tokens.tokens_max)
    result: Ints = awarded + np.minimum(supply, 0) + np.minimum(demand, 0)
    for i in np.flatnonzero(unsure_supply | unsure_demand).tolist():
        result[i] = tokens_of(factors_of(deeds.one(i), carbon), tokens)
    return result


def _guess(part: Ints, whole: Ints, coefficient: float, rule: TokenRule) -> tuple[Ints, Flags]:
    """Tokens for the factor coefficient · part / whole, and where that is not sure."""
    factor = coefficient * part / np.maximum(whole, 1)
    curve = np.expm1(np.minimum(np.abs(factor), -float(FACTOR_MIN)))
    owes = part < 0
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
    counts = whole > 0
    return np.where(counts, guess, 0.0).astype(np.int64), unsure & counts
