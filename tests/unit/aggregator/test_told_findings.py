"""Every finding is told as a sentence that holds all its amounts."""

from __future__ import annotations

import re

import pytest

from aggregator.chains.intervals.findings import Finding, FindingKind
from aggregator.views.findings import FOUND, found


@pytest.mark.parametrize("kind", FindingKind)
def test_every_kind_of_finding_has_a_sentence(kind: FindingKind) -> None:
    amounts = tuple(range(1_000, 1_000 + len(set(re.findall(r"\{[012]\}", FOUND[kind])))))
    said = found(Finding(kind, "m-home", amounts))
    assert said.startswith("m-home: ")
    assert all(f"{amount:,}" in said for amount in amounts)
    assert "_" not in said


def test_a_check_meter_that_was_not_heard_is_told_without_amounts() -> None:
    said = found(Finding(FindingKind.UNMETERED, "m-head"))
    assert said == "m-head: was not heard; 0 is supposed"


def test_what_has_fewer_amounts_than_its_sentence_is_told_all_the_same() -> None:
    assert found(Finding(FindingKind.OVERDRAWN, "tank", (5,))) == "tank: overdrawn 5"


def test_a_meter_wired_the_wrong_way_round_is_told_in_words_instead_of_signs() -> None:
    said = found(Finding(FindingKind.IMPOSSIBLE_READING, "m-sun", (-5_000, 5_000)))
    assert said == "m-sun: says 5,000 W imported, where all others say 5,000 W exported: it earns nothing"
    assert "says 0 W, where" in found(Finding(FindingKind.AMBIGUOUS_READING, "m-sun", (0, 5_000)))


def test_a_balance_that_does_not_add_up_shows_all_of_its_sum() -> None:
    said = found(Finding(FindingKind.UNBALANCED, "heat", (100, 130, -40)))
    assert said == "heat: fed in 100 Wh, taken 130 Wh, lost 10 Wh: −40 Wh unexplained"
