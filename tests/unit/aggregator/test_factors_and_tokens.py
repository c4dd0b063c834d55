"""Equations (1) to (3) against tables worked out by hand (tests/vectors/tokens)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from aggregator.chains.periods.carbon import FactorRow, factor_leaf, with_factors
from aggregator.economy.factors import Demand, Supply, demand_factor, supply_factor
from aggregator.economy.settlement import Factors, tokens_of
from aggregator.economy.tokens import FACTOR_MIN, tokens_for
from config.rules import CarbonRule, TokenRule

VECTORS = Path(__file__).parents[2] / "vectors" / "tokens"


def cases(name: str) -> list[Any]:
    document = yaml.safe_load((VECTORS / name).read_text())
    shared = document.get("rule", {})
    return [pytest.param(shared | case, id=case["name"]) for case in document["cases"]]


def a_token_rule(**changes: Any) -> TokenRule:
    rule = {"penalty": "50", "reward": "100", "factor_low": "0.2", "factor_high": "1.2", "tokens_max": 200}
    return TokenRule.model_validate(rule | changes)


@pytest.mark.parametrize("case", cases("supply.yaml"))
def test_the_supply_factor_is_equation_1(case: dict[str, Any]) -> None:
    rule = CarbonRule.model_validate({"alpha": case["alpha"], "beta": 0, "gamma": 0, "sigma": 0})
    supply = Supply(emitted_mg=case["emitted_mg"], permitted_mg=case["permit_mg"])
    assert supply_factor(supply, rule) == Fraction(*case["factor"])


def test_a_factor_whose_terms_need_more_than_64_bits_still_has_a_leaf() -> None:
    rule = CarbonRule.model_validate({"alpha": "0.123456789013", "beta": 0, "gamma": 0, "sigma": 0})
    deeds = FactorRow("gas", 0, emitted_mg=1, permitted_mg=100_000_007_000, fed_in_wh=1, used_wh=0, clean_wh=0)
    row = with_factors(deeds, rule)
    assert row.factors.supply == Fraction("0.123456789013") * Fraction(100_000_006_999, 100_000_007_000)
    assert row.factors.supply is not None and row.factors.supply.denominator > 1 << 64
    assert str(row.supply_factor).encode() in factor_leaf(row)


@pytest.mark.parametrize("case", cases("demand.yaml"))
def test_the_demand_factor_is_equation_2(case: dict[str, Any]) -> None:
    coefficients = {name: case.get(name, 0) for name in ("beta", "gamma", "sigma")}
    points = {"demand_response": case["response"]} if "response" in case else {}
    rule = CarbonRule.model_validate({"alpha": 0} | coefficients | points)
    amounts = ("electricity_wh", "clean_electricity_wh", "heat_wh", "clean_heat_wh", "response_wh")
    demand = Demand(**{name: case.get(name, 0) for name in amounts})
    assert demand_factor(demand, rule) == Fraction(*case["factor"])


@pytest.mark.parametrize("case", cases("tokens.yaml"))
def test_tokens_are_equation_3(case: dict[str, Any]) -> None:
    rule = a_token_rule(**{name: case[name] for name in TokenRule.model_fields})
    assert tokens_for(Fraction(*case["factor"]), rule) == case["tokens"]


def test_both_roles_are_awarded_on_their_own_and_capped_together() -> None:
    rule = a_token_rule(tokens_max=200)
    assert tokens_of(Factors(supply=Fraction(1), demand=Fraction(1, 2)), rule) == 200  # 171 + 64, capped


def test_a_charge_in_one_role_is_not_hidden_by_the_cap_on_the_other() -> None:
    rule = a_token_rule(tokens_max=200)
    assert tokens_of(Factors(supply=Fraction(-3, 5), demand=Fraction(2)), rule) == 200 - 42


def test_whoever_did_nothing_gets_nothing() -> None:
    assert tokens_of(Factors(supply=None, demand=None), a_token_rule()) == 0


def test_a_factor_beyond_all_measure_is_charged_as_the_lowest_that_counts() -> None:
    rule = a_token_rule(penalty=Decimal(1))
    assert tokens_for(Fraction(-(10**9)), rule) == tokens_for(FACTOR_MIN, rule)
    assert tokens_for(FACTOR_MIN, rule) == -485_165_195  # −(e^20 − 1), e^20 = 485165195.4097…
