"""Tokens of a million participants in exact integers, beside the bare expression in floats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from aggregator.economy.settlement import Deeds, factors_of, tokens_of
from aggregator.economy.tokens_many import DeedsOfMany, tokens_of_many
from benchmarks.figure import Figure, cpu_seconds
from config.rules import CarbonRule, TokenRule

PARTICIPANTS: Final = 1_000_000
CHECKED: Final = 2_000
"""Participants whose tokens are also reckoned one by one, in exact rationals."""
CARBON: Final = CarbonRule.model_validate(
    {"alpha": 1, "beta": 1, "gamma": 1, "sigma": 1, "demand_response": [[0, 0], [10_000, 0.5]]}
)
RESPONSE: Final = ([0, 10_000], [0.0, 0.5])
TOKENS: Final = TokenRule.model_validate(
    {"penalty": 50, "reward": 100, "factor_low": 0.2, "factor_high": 1.2, "tokens_max": 200}
)


def measure() -> Iterator[Figure]:
    """Time both, and see that ours is exact."""
    deeds = _deeds()
    exact = tokens_of_many(deeds, CARBON, TOKENS)
    wrong = sum(_tokens_of(deeds.one(i)) != int(exact[i]) for i in range(CHECKED))
    assert not wrong, f"{wrong} of {CHECKED} participants differ from the exact reckoning"
    bare_s = cpu_seconds(lambda: _bare(deeds), rounds=5)
    exact_s = cpu_seconds(lambda: tokens_of_many(deeds, CARBON, TOKENS), rounds=5)
    note = (
        f"bare numpy {bare_s * 1e3:.0f} ms, exact {exact_s * 1e3:.0f} ms; "
        f"{CHECKED} of them reckoned again one by one: equal; bare floats differ for {(_bare(deeds) != exact).sum()}"
    )
    yield Figure(f"settlement of {PARTICIPANTS:,}: time, in bare numpy's", exact_s / bare_s, 3, "×", note=note)


def _tokens_of(one: Deeds) -> int:
    return tokens_of(factors_of(one, CARBON), TOKENS, one.relief_tokens)


def _deeds() -> DeedsOfMany:
    chance = np.random.default_rng(1)
    used = chance.integers(0, 500_000, PARTICIPANTS)
    clean = (used * chance.random(PARTICIPANTS)).astype(np.int64)
    permit = np.where(chance.random(PARTICIPANTS) < 0.3, chance.integers(1, 10**9, PARTICIPANTS), 0)
    emitted = (permit * chance.random(PARTICIPANTS) * 2).astype(np.int64)
    heat = np.where(chance.random(PARTICIPANTS) < 0.5, chance.integers(0, 500_000, PARTICIPANTS), 0)
    clean_heat = (heat * chance.random(PARTICIPANTS)).astype(np.int64)
    response = np.where(chance.random(PARTICIPANTS) < 0.1, chance.integers(0, 10_000, PARTICIPANTS), 0)
    relief_tokens = np.where(chance.random(PARTICIPANTS) < 0.05, 20, 0)
    return DeedsOfMany(emitted, permit, used, clean, heat, clean_heat, response, relief_tokens)


def _bare(deeds: DeedsOfMany) -> NDArray[Any]:
    """Formulas (1) to (3), written down plainly."""
    supply = (deeds.permitted_mg - deeds.emitted_mg) / np.maximum(deeds.permitted_mg, 1)
    demand = deeds.clean_electricity_wh / np.maximum(deeds.electricity_wh, 1)
    demand = demand + deeds.clean_heat_wh / np.maximum(deeds.heat_wh, 1) + np.interp(deeds.response_wh, *RESPONSE)
    from_supply = np.where(deeds.permitted_mg > 0, _bare_tokens(supply), 0)
    from_demand = np.where(deeds.is_consumer, _bare_tokens(demand), 0)
    earned = np.minimum(np.maximum(from_supply, 0) + np.maximum(from_demand, 0) + deeds.relief_tokens, 200)
    tokens: NDArray[Any] = earned + np.minimum(from_supply, 0) + np.minimum(from_demand, 0)
    return tokens.astype(np.int64)


def _bare_tokens(factor: NDArray[Any]) -> NDArray[Any]:
    below = np.floor(-50.0 * (np.exp(-factor) - 1))
    above = np.where(factor < 1.2, np.floor(100.0 * (np.exp(factor) - 1)), 200)
    tokens: NDArray[Any] = np.where(factor < 0, below, np.where(factor < 0.2, 0, above))
    return tokens
