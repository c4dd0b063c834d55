"""The format that other languages are written against says what the code does."""

from __future__ import annotations

import re

from protocol.checkpoint import ChainName
from protocol.messages import MessageType, RightKind
from protocol.refusals import RefusalCode
from protocol.topics import Kind
from protocol.units import ENERGY_REGISTERS, Quantity
from tests.architecture.house import ROOT

GRAMMAR = (ROOT / "docs/spec/este.cddl").read_text(encoding="utf-8")
PROSE = (ROOT / "docs/spec/README.md").read_text(encoding="utf-8")


def rule(name: str) -> str:
    """One rule of the grammar, without its name and its comments."""
    found = re.search(rf"^{name} = (.*?)(?=^\S+ = |^; --|\Z)", GRAMMAR, re.MULTILINE | re.DOTALL)
    assert found, f"docs/spec/este.cddl has no rule {name!r}"
    return re.sub(r";.*", "", found[1])


def test_the_table_of_refusal_codes_is_the_codes() -> None:
    listed = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|.*\| (\w+) \|$", PROSE, re.MULTILINE)
    told = {True: {True: "final", False: "told"}, False: {False: "counted"}}
    assert listed == [(str(c.value), c.name, told[c.is_from_known_author][c.is_final]) for c in RefusalCode]


def test_the_grammar_has_the_refusal_codes_and_no_others() -> None:
    spans = [(int(low), int(high)) for low, high in re.findall(r"(\d+)\.\.(\d+)", rule("refusal-code"))]
    assert {n for low, high in spans for n in range(low, high + 1)} == set(RefusalCode)


def test_the_grammar_has_the_quantities_and_no_others() -> None:
    told = [int(number) for number in re.findall(r": (\d+),", rule("quantity"))]
    assert told == [quantity for quantity in Quantity if quantity not in ENERGY_REGISTERS]


def test_the_grammar_has_the_rights_and_no_others() -> None:
    assert {int(number) for number in re.findall(r"\d+", rule("right-kind"))} == set(RightKind)


def test_the_grammar_names_the_chains_in_their_order() -> None:
    assert re.findall(r"(\w+): log-head", rule("logs")) == [chain.name.lower() for chain in ChainName]


def test_every_type_of_message_that_is_sealed_is_in_the_format() -> None:
    unsealed = {MessageType.SUMMARY}
    for type_ in set(MessageType) - unsealed:
        assert f"este.{type_}" in GRAMMAR, f"docs/spec/este.cddl says nothing of este.{type_}"


def test_the_table_of_topics_is_the_kinds() -> None:
    assert re.findall(r"^\| `(\w+)` \| \w+ → ", PROSE, re.MULTILINE) == [kind.value for kind in Kind]
