"""The demo tells of the cable, the tank and the meter what the aggregator found, and where that can be followed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from firmware_sim.demo.chapters import Chapters
from firmware_sim.demo.clues import clues_of, goes_down, relief_tokens
from firmware_sim.demo.story import Bypass, Call, Plot
from firmware_sim.demo.view import EXPLAINED_MIN, Scene, Summary

INTERVAL_MS = 4_000
PLOT = Plot(
    branch="b-2-4",
    called={"home-5": "m-home-5", "home-7": "m-home-7"},
    liar="m-home-3",
    liar_name="home-3",
    interval_ms=INTERVAL_MS,
    day_ms=24_000,
)
CALL = Call(branch="b-2-4", participants=("home-5", "home-7"), start_ms=88_000, end_ms=92_000)
TOLD = Summary(
    *(5_000, 5_000, 0, 0, 30, 5, 5_000, 80, 24, 160, 4),
    audit="ok",
    intervals_congested=6,
    relief_paid_to=("home-7",),
    relief_tokens=20,
    heat_clean_percent=54,
    tank_clean_percent=41,
    meters_contradicted=("m-home-3",),
    meter_bypassed="m-home-3",
    explanations=EXPLAINED_MIN,
    is_whole_story=True,
)


def news(start_ms: int = 0, **changes: Any) -> dict[str, Any]:
    """An interval as it is published, in which nothing is remarkable."""
    tank = {"energy_wh": 50, "clean_wh": 0, "charged_wh": 0, "discharged_wh": 0}
    return {
        "interval": {"start_ms": start_ms},
        "branches": {"b-2-4": 800_000},
        "heat": {"used_wh": 20, "clean_wh": 0},
        "storages": {"tank": tank | changes.pop("tank", {})},
        "findings": [],
        "participants": {"home-7": {"relief_ppm": 0}},
    } | changes


def heard(*summaries: dict[str, Any]) -> tuple[Chapters, list[str]]:
    chapters = Chapters(PLOT)
    return chapters, [new for summary in summaries for new in chapters.hear(summary)]


def test_nothing_is_told_before_anything_was_heard() -> None:
    assert Chapters(PLOT).lines() == ()
    assert Chapters().hear(news()) == []


def test_a_cable_above_its_rating_is_news_once_and_counted_each_time() -> None:
    over = {"branches": {"b-2-4": 1_170_000}}
    chapters, told = heard(news(), news(4_000, **over), news(8_000, **over), news(12_000))
    assert told == ["cable b-2-4 is congested: 117 % of its rating"]
    assert chapters.congested == 2
    assert "b-2-4 at  80 % of its rating · behind it: home-5 and home-7" in chapters.lines()[0]


def test_who_is_called_and_who_has_relieved_the_cable_is_told() -> None:
    chapters, _ = heard(news())
    chapters.see(CALL)
    assert "home-5 and home-7 are called to take less this evening" in chapters.lines()[0]
    (told,) = chapters.hear(news(88_000, participants={"home-7": {"relief_ppm": 1_000_000}}))
    assert "home-7 has relieved the cable" in told
    assert "relieved by home-7" in chapters.lines()[0]


def test_what_the_tank_gives_is_as_clean_as_what_it_holds() -> None:
    giving = {"discharged_wh": 16, "clean_wh": 25}
    chapters, told = heard(news(), news(4_000, tank=giving, heat={"used_wh": 15, "clean_wh": 7}))
    assert (chapters.given_wh, chapters.clean_given_wh, chapters.drawn[4_000]) == (16, 8, 8)
    assert (chapters.heat_wh, chapters.clean_heat_wh) == (35, 7)
    assert len(told) == 1
    assert "tank holds 50 Wh, 50 % clean · the houses' heat: 46 % clean" in chapters.lines()[1]


def test_heat_that_comes_while_the_tank_is_filled_is_no_clue() -> None:
    chapters, _ = heard(news(4_000, tank={"discharged_wh": 16, "charged_wh": 3, "clean_wh": 25}))
    assert chapters.drawn == {}


def test_a_meter_that_cannot_be_right_is_told_with_both_powers() -> None:
    found = {"findings": [["impossible_reading", "m-home-3", -2_850, -7_127], ["unbalanced", "heat", 3, 2, 1]]}
    chapters, told = heard(news(4_000, **found), news(8_000, **found))
    assert told == ["[red]m-home-3 shows 2.9 kW used; physics says 7.1 kW used[/]"]
    assert chapters.liars["m-home-3"].start_ms == 4_000
    assert "earns nothing" in chapters.lines()[2]


def test_a_clue_leads_to_each_thread_in_periods_that_are_settled() -> None:
    found = {"findings": [["impossible_reading", "m-home-3", -2_850, -7_127]]}
    giving = {"discharged_wh": 16, "clean_wh": 25}
    chapters, _ = heard(news(), news(40_000, **found), news(44_000, tank=giving), news(100_000, tank=giving))
    chapters.see(CALL)
    clues = clues_of(PLOT, chapters, ("heat-1", "heat-2"), 96_000)
    assert [clue.arguments[1::2] for clue in clues] == [
        ("home-5", "1970-01-01T00:01:28Z"),
        ("home-7", "1970-01-01T00:01:28Z"),
        ("heat-1", "1970-01-01T00:00:44Z"),
        ("home-3", "1970-01-01T00:00:40Z"),
    ]
    assert clues_of(PLOT, chapters, ("heat-1",), 40_000) == []


def test_an_explanation_goes_down_if_it_adds_up_and_ends_at_signed_readings() -> None:
    line = {"meters": [{"batches": [{"sequence": 1}]}]}
    assert goes_down({"adds_up": True, "intervals": [line]})
    assert not goes_down({"adds_up": False, "intervals": [line]})
    assert not goes_down({"adds_up": True, "intervals": [{"meters": [{"batches": []}]}]})
    assert relief_tokens({"relief": None}) == 0
    assert relief_tokens({"relief": {"tokens": 20}}) == 20


def test_a_story_that_was_told_misses_nothing() -> None:
    assert TOLD.missing == []


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"intervals_congested": 0}, "a cable was congested"),
        ({"relief_tokens": 0}, "somebody was paid for relieving it"),
        ({"heat_clean_percent": 0}, "the houses' heat had a clean share"),
        ({"tank_clean_percent": 0}, "the tank gave clean heat"),
        ({"meters_contradicted": ()}, "the meter that a wire was led past was found"),
        ({"meters_contradicted": ("m-home-3", "m-home-4")}, "no honest meter was accused"),
        ({"explanations": EXPLAINED_MIN - 1}, "each of it is explained down to its readings"),
    ],
)
def test_a_thread_that_is_missing_is_named_but_only_of_a_demo_that_was_long_enough(
    change: dict[str, Any], want: str
) -> None:
    assert replace(TOLD, **change).missing == [want]
    assert replace(TOLD, **change, is_whole_story=False).missing == []


def test_the_screen_has_a_line_for_each_thread() -> None:
    scene = Scene(120)
    scene.chapters.plot = PLOT
    scene.chapters.see(Bypass(meter="m-home-3", for_s=60))
    scene.chapters.hear(news())
    assert scene.chapters.has_bypass
    assert [line.split("[/]")[0] for line in scene.draw().story] == [
        "[bold cyan]cable",
        "[bold cyan]heat",
        "[bold cyan]meter",
    ]
