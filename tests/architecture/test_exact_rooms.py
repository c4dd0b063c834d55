"""Ledger, chains and economy come to the same bits on every node: what a machine can see of that in their text."""

from __future__ import annotations

import ast

import pytest

from tests.architecture.exactness import orders_of_sets, roundings, unlike_from_node_to_node
from tests.architecture.house import modules, report
from tests.architecture.test_tidy import EXACT_ROOMS


def test_nothing_in_the_exact_rooms_depends_on_the_machine_its_country_or_its_python() -> None:
    findings = [
        module.at(node, why) for module in modules(*EXACT_ROOMS) for node, why in unlike_from_node_to_node(module.tree)
    ]
    report("Nothing that nodes must agree on is asked of the machine.", findings)


def test_every_rounding_in_the_exact_rooms_says_how() -> None:
    findings = [module.at(node, why) for module in modules(*EXACT_ROOMS) for node, why in roundings(module.tree)]
    report("A rounding says which way: //, or a Decimal with a rounding of its own.", findings)


@pytest.mark.parametrize(
    "line",
    [
        "touched = set()\nfor x in touched: pass",
        "touched: set[int]\nfor x in touched: pass",
        "def f(a: frozenset[int]) -> list[int]: return [x for x in a]",
        "def f(a: frozenset[int]) -> list[int]: return [*a]",
        "self.seen = {1}\nfor x in self.seen: pass",
        "x = ','.join({'a', 'b'})",
        "x = next(iter({1, 2}))",
        "x = list(map(f, a.keys() - b.keys()))",
        "x = list(a.union(b))",
        "x = dict.fromkeys(set(a))",
        "x = list(enumerate(set(a)))",
        "s = {1, 2}\nx = s.pop()",
        "def f() -> object: yield from {1, 2}",
        "x = {y: 1 for y in set(z)}",
    ],
)
def test_an_order_of_a_set_is_seen(line: str) -> None:
    assert list(orders_of_sets(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        "x = sorted({1, 2})",
        "for x in sorted(set(y)): pass",
        "x = {y + 1 for y in set(z)}",
        "x = sum(y for y in set(z))",
        "x = any(y for y in {1, 2})",
        "x = min({1, 2})",
        "for x in [1, 2]: pass",
        "touched = []\nfor x in touched: pass",
        "x = [1, 2].pop()",
        "for x in a - b: pass",
    ],
)
def test_what_keeps_no_order_of_a_set_is_left_alone(line: str) -> None:
    assert not list(orders_of_sets(ast.parse(line)))


@pytest.mark.parametrize(
    "line",
    [
        *("import locale", "from os import environ", "import random", "from time import time", "import sys"),
        *("x.popitem()", "decimal.getcontext()", "x = y.casefold()", "x = t.strftime('%c')", "x = f'{y:n}'", "vars(x)"),
    ],
)
def test_what_differs_from_node_to_node_is_seen(line: str) -> None:
    assert list(unlike_from_node_to_node(ast.parse(line)))


@pytest.mark.parametrize(
    "line", ["import math", "from aggregator.ledger.block import Block", "x = f'{y:,}'", "x.pop(k)"]
)
def test_what_is_alike_everywhere_is_left_alone(line: str) -> None:
    assert not list(unlike_from_node_to_node(ast.parse(line)))


def test_a_rounding_is_seen() -> None:
    assert list(roundings(ast.parse("x = round(y)")))
