"""Whoever sends rubbish gets one line in the log, and then one in ten seconds."""

from __future__ import annotations

import pytest

from aggregator.service import repeats
from aggregator.service.repeats import SUM_UP_MS, Repeats


def test_the_first_is_told_at_once_and_the_others_are_summed_up() -> None:
    rubbish: Repeats[str] = Repeats()
    assert [rubbish.is_news("UNKNOWN_KEY", 1000) for _ in range(500)] == [True, *[False] * 499]
    assert list(rubbish.summed_up(1000 + SUM_UP_MS - 1)) == []
    assert list(rubbish.summed_up(1000 + SUM_UP_MS)) == [("UNKNOWN_KEY", 499)]
    assert list(rubbish.summed_up(1000 + SUM_UP_MS)) == []


def test_what_goes_on_is_told_every_ten_seconds() -> None:
    rubbish: Repeats[str] = Repeats()
    told = 0
    for now_ms in range(0, 10 * SUM_UP_MS, 100):
        told += rubbish.is_news("MALFORMED", now_ms)
        told += len(list(rubbish.summed_up(now_ms)))
    assert told == 10


def test_after_ten_quiet_seconds_it_is_news_again() -> None:
    rubbish: Repeats[str] = Repeats()
    assert rubbish.is_news("MALFORMED", 0)
    assert list(rubbish.summed_up(SUM_UP_MS)) == []
    assert rubbish.is_news("MALFORMED", SUM_UP_MS + 1)


def test_each_kind_is_told_by_itself() -> None:
    rubbish: Repeats[str] = Repeats()
    assert rubbish.is_news("UNKNOWN_KEY", 0)
    assert rubbish.is_news("MALFORMED", 1)


def test_kinds_without_number_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "KINDS_MAX", 3)
    rubbish: Repeats[int] = Repeats()
    assert [rubbish.is_news(kind, 0) for kind in range(5)] == [True, True, True, False, False]
    list(rubbish.summed_up(SUM_UP_MS))
    assert rubbish.is_news(4, SUM_UP_MS)
