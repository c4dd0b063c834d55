"""One table says what may become of a contract; the documentation's diagram is that table."""

from __future__ import annotations

import re

import pytest

from aggregator.economy.contracts.states import (
    BINDING,
    FINAL,
    MAKER,
    NEXT_STATE,
    RESPONSIBLE,
    Maker,
    State,
    Step,
    steps_from,
)
from tests.contract_flow import PAGE, PICTURE, PLACES, mermaid, page_with, svg


def test_every_state_can_be_reached_from_an_offer() -> None:
    reached, before = {State.OFFERED}, set[State]()
    while reached != before:
        before = set(reached)
        reached |= {end for (begin, _), end in NEXT_STATE.items() if begin in before}
    assert reached == set(State)


def test_a_contract_ends_rejected_or_settled_and_in_no_other_way() -> None:
    assert {State.REJECTED, State.SETTLED} == FINAL
    ends = {state for state in State if State.SETTLED in reach(state) or state is State.REJECTED}
    assert ends == set(State)


def reach(state: State) -> set[State]:
    found = {state}
    while more := {end for (begin, _), end in NEXT_STATE.items() if begin in found} - found:
        found |= more
    return found


def test_every_step_has_a_maker_and_leads_somewhere() -> None:
    assert set(MAKER) == set(Step) == {step for _, step in NEXT_STATE}


def test_nobody_but_a_party_ends_or_disputes_and_nobody_but_the_regulator_decides() -> None:
    assert {MAKER[step] for step in (Step.TERMINATE, Step.DISPUTE)} == {Maker.PARTY}
    assert [step for step, maker in MAKER.items() if maker is Maker.REGULATOR] == [Step.ARBITRATE, Step.APPROVE]


def test_what_binds_can_be_ended_early() -> None:
    assert {state for state in State if Step.TERMINATE in steps_from(state)} == BINDING


def test_somebody_answers_for_every_way_to_fail() -> None:
    assert set(RESPONSIBLE) == {State.REJECTED, State.BREACHED, State.TERMINATED, State.ARBITRATED}
    assert {maker.said for maker in Maker} >= {"either party", "the regulator", "the other party"}


def test_the_picture_shows_every_state() -> None:
    assert set(PLACES) == set(State)


@pytest.mark.parametrize("step", Step)
def test_the_diagram_says_who_makes_a_step(step: Step) -> None:
    assert f"| {step.name.lower()} | {MAKER[step].said} |" in mermaid()


def test_the_documentation_shows_the_table_as_it_is() -> None:
    assert PICTURE.read_text(encoding="utf-8") == svg(), "run: python -m tests.contract_flow"
    assert PAGE.read_text(encoding="utf-8") == page_with(mermaid()), "run: python -m tests.contract_flow"


def test_what_the_papers_draw_is_told_in_the_words_of_the_table() -> None:
    _, _, rest = PAGE.read_text(encoding="utf-8").partition("## The papers' figures, and this one\n")
    cells = [line.split(" | ")[1] for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    named = {word for cell in cells for word in re.findall(r"`(\w+)`", cell)}
    states, steps = ({one.name.lower() for one in kind} for kind in (State, Step))
    assert named <= states | steps
    assert states <= named | {"confirmed"}
