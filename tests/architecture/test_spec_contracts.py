"""What the format says of contracts is what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest

from aggregator.chains.contracts.orders import Approval, Arbitration, Freeze
from aggregator.economy.contracts.bill import Bill, Party
from aggregator.economy.contracts.delivery import Amounts
from aggregator.economy.contracts.states import State
from protocol.agreement import Agreement, Dispute, Termination, seal_offer
from protocol.canonical import Value, decode
from protocol.contract import CARRIERS, TERMS_BYTES_MAX, Terms
from protocol.contract_news import NEWS_MAX, NEWS_PER_STATEMENT_MAX, ContractNews
from protocol.duty import DUTIES_MAX, DUTIES_PER_STATEMENT_MAX, Duty
from tests.architecture.test_spec import GRAMMAR, keys, labels, rule, texts
from tests.builders import a_key, a_link
from tests.contract_village import EVEN_W, Market, settled
from tests.unit.protocol.test_contract import some_terms

RECORDS: dict[str, Any] = {
    "agreement": Agreement.to(a_link(), seal_offer(some_terms(), a_key())),
    "termination": Termination(a_link(), bytes(32), "wind", ""),
    "dispute": Dispute(a_link(), bytes(32), "wind", ""),
    "arbitration": Arbitration(a_link(), bytes(32), 0, Party.NOBODY, ""),
    "approval": Approval(a_link(), bytes(32), ""),
    "freeze": Freeze(a_link(), "wind", True, ""),
}


@pytest.fixture(scope="module")
def leaves() -> dict[str, list[Value]]:
    """Every kind of leaf about a contract."""
    market = Market()
    market.live_even(2)
    settled(market, market.made(), wind=-EVEN_W // 2)
    found: dict[str, list[Value]] = {}
    for block in market.blocks:
        for leaf in block.leaves:
            word, *rest = decode(leaf.body, size_max=1 << 16)
            found.setdefault(word, []).append(rest)
    return found


@pytest.mark.parametrize("type_", RECORDS)
def test_a_record_has_the_keys_of_the_grammar(type_: str) -> None:
    assert list(decode(RECORDS[type_].encode(), size_max=1 << 12)) == keys(type_)


def test_terms_have_the_keys_of_the_grammar() -> None:
    known = [int(key) for key in re.findall(r"^    (\d+) => ", rule("terms"), re.MULTILINE)]
    assert list(decode(some_terms().encode(), size_max=TERMS_BYTES_MAX)) == known
    assert len(known) == len(fields(Terms))


def test_carriers_are_those_of_the_grammar() -> None:
    assert texts("carrier-name") == list(CARRIERS)


@pytest.mark.parametrize("word", ["contract", "delivered", "bill", "money"])
def test_leaves_are_as_the_grammar_says(word: str, leaves: dict[str, list[Value]]) -> None:
    assert f'"{word}"' in rule(f"{word}-leaf")
    assert {len(row) for row in leaves[word]} == {len(labels(f"{word}-leaf"))}


def test_the_columns_of_leaves_are_those_of_the_code() -> None:
    assert labels("delivered-leaf")[2:] == [field.name for field in fields(Amounts)]
    assert labels("bill-leaf")[1:] == [field.name for field in fields(Bill)]


def test_the_grammar_has_the_states() -> None:
    told = GRAMMAR.partition("contract-state = 1..12")[2].partition("limit = ")[0]
    found = {int(number): name for number, name in re.findall(r"(\d+): (\w+)", told)}
    assert found == {state.value: state.name.lower() for state in State}


def test_news_of_a_contract_have_the_fields_of_the_grammar() -> None:
    assert labels("contract-news") == [field.name for field in fields(ContractNews)]
    bounds = re.search(r"\? 8 => \[1\*(\d+) contract-news\]", rule("standing"))
    assert bounds is not None and int(bounds[1]) == NEWS_MAX
    assert f"{NEWS_PER_STATEMENT_MAX} divided by" in GRAMMAR


def test_duties_have_the_fields_and_bounds_of_the_grammar() -> None:
    assert labels("duty") == [field.name for field in fields(Duty)]
    bounds = re.search(r"\? 9 => \[1\*(\d+) duty\]", rule("standing"))
    assert bounds is not None and int(bounds[1]) == DUTIES_MAX * len(CARRIERS)
    assert f"the first {DUTIES_MAX} at most, and at most {DUTIES_PER_STATEMENT_MAX} divided by" in GRAMMAR


def test_who_answers_is_numbered_as_in_the_grammar() -> None:
    numbers = re.findall(r"7 => ([\d /]+),", rule("arbitration"))
    assert [int(number) for number in numbers[0].split(" / ")] == [party.value for party in Party]
