"""The demo tells what happens to people's rights, on a terminal of any size; its last screen is what was counted."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from firmware_sim.demo.view import Scene, Summary, picture_of, summary_table

RUNNING = {"kind": "priority_purchase", "start_ms": 0, "end_ms": 30_000}
TO_COME = {"kind": "priority_purchase", "start_ms": 30_000, "end_ms": 60_000}


def a_summary(height: int, *rights: dict[str, Any]) -> dict[str, Any]:
    """What the aggregator publishes at the end of an interval, with one participant."""
    anna = {
        "power_w": 1200,
        "clean_ppm": 250_000,
        "balance": 80,
        "restricted": False,
        "rank": 1,
        "relief_ppm": 0,
        "supply_factor_ppm": None,
        "demand_factor_ppm": 250_000,
        "rights": list(rights),
    }
    return {
        "height": height,
        "interval": {"start_ms": 5_000, "end_ms": 10_000},
        "readings_on_chain": 10,
        "intervals_closed": 2,
        "periods_settled": 0,
        "tokens": {"minted": 100, "burned": 0, "reserve": 0},
        "losses_w": 3,
        "heat": {"used_wh": 0, "clean_wh": 0},
        "storages": {},
        "branches": {},
        "findings": [],
        "participants": {"anna": anna},
    }


def a_village(homes: int, *, gas: int = 0, height: int = 2, **changes: Any) -> dict[str, Any]:
    """Homes that hold and await a right, and a gas engine with a balance; the one of lowest rank."""
    summary = a_summary(height, RUNNING, TO_COME) | changes
    anna = summary["participants"]["anna"]
    summary["participants"] = {f"home-{n}": anna | {"rank": n, "power_w": 1200 * n} for n in range(1, homes + 1)}
    engine = {"rank": homes + 1, "balance": gas, "restricted": gas < 0, "rights": [], "power_w": -7200}
    summary["participants"]["gas"] = anna | engine | {"clean_ppm": None, "supply_factor_ppm": -410_000 if gas else None}
    return summary


def screen(scene: Scene, width: int = 140, height: int | None = None) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(scene.draw(is_whole=height is None), height=height)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    return shown


def test_a_right_that_runs_and_one_to_come_are_told_apart() -> None:
    scene = Scene(90)
    scene.hear(a_summary(2, RUNNING, TO_COME))
    assert "purchase, next purchase" in screen(scene)


def test_buying_ahead_while_a_right_runs_is_news() -> None:
    scene = Scene(90)
    scene.hear(a_summary(2, RUNNING))
    scene.hear(a_summary(3, RUNNING, TO_COME))
    assert list(scene.events) == ["anna bought priority purchase for the next period"]


def test_a_right_that_ends_is_none() -> None:
    scene = Scene(90)
    scene.hear(a_summary(2, RUNNING, TO_COME))
    scene.hear(a_summary(3, TO_COME))
    assert not scene.events


SIZES = [(80, 24), (100, 30), (120, 40), (60, 15), (200, 60)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("homes", [4, 11, 39, 999])
def test_it_fits_the_terminal_and_the_story_is_on_it(width: int, height: int, homes: int) -> None:
    scene = Scene(90)
    scene.hear(a_village(homes))
    scene.hear(a_village(homes, gas=-26, height=3, periods_settled=1))
    lines = screen(scene, width, height).splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    heading, first = (line.split() for line in lines[1:3])
    assert heading[:2] == ["rank", "participant"] and heading[-2:] == ["tokens", "rights"]
    assert first[:2] == [str(homes + 1), "gas"] and first[-2:] == ["-26", "limited"]
    assert any("gas owes 26 tokens: its devices are limited" in line for line in lines)
    assert any("readings" in line and "100 minted, 0 charged" in line for line in lines)
    people = [line for line in lines if line.split()[1:2] and line.split()[1].startswith(("home-", "gas"))]
    hidden = homes + 1 - len([line for line in people if line.split()[0].isdigit()])
    assert (f"+{hidden} more" in lines) == bool(hidden)


def test_bars_give_way_first_then_words_are_short_then_factors_go() -> None:
    scene = Scene(90)
    scene.hear(a_village(11))
    seen = {width: screen(scene, width, 24) for width in (140, 100, 80, 60)}
    assert "purchase, next purchase" in seen[140] and "buy, buy+1" not in seen[140]
    assert all("buy, buy+1" in seen[width] for width in (100, 80, 60))
    assert {width for width, text in seen.items() if "█" in text} == {140, 100}
    assert {width for width, text in seen.items() if "demand" in text} == {140, 100, 80}


def test_the_same_screen_fits_again_when_the_terminal_has_changed() -> None:
    scene = Scene(90)
    scene.hear(a_village(99))
    drawn = Live(scene.draw(), screen=True).get_renderable()  # once
    for width, height in SIZES:
        console = Console(width=width, height=height, file=io.StringIO())
        console.print(drawn)
        lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
        assert lines == [line.rstrip() for line in screen(scene, width, height).splitlines()]
        assert any(line.startswith("+") for line in lines) and lines[height - 1].startswith("╰")


def test_who_owes_comes_first_then_who_is_about_to_then_the_others_by_rank() -> None:
    village = a_village(3)
    village["participants"]["home-3"] |= {"restricted": True, "balance": -3}
    village["participants"]["home-2"] |= {"demand_factor_ppm": -10_000}
    scene = Scene(90)
    scene.hear(village)
    assert [line.split()[1] for line in screen(scene).splitlines()[2:6]] == ["home-3", "home-2", "home-1", "gas"]


def test_what_many_bought_is_one_line_and_who_owes_is_told_last() -> None:
    before, after = a_village(20), a_village(20, gas=-5, height=3, periods_settled=1)
    for name in before["participants"]:
        before["participants"][name]["rights"] = []
    scene = Scene(90)
    scene.hear(before)
    scene.hear(after)
    assert list(scene.events) == [
        "[bold]period 1 settled[/]",
        "home-1, home-2 +18 more bought priority purchase for the next period",
        "[red]gas owes 5 tokens: its devices are limited[/]",
    ]


def test_the_last_screen_is_what_the_ledger_says() -> None:
    scene = Scene(90, elapsed_s=20)
    scene.hear(a_village(1))
    right = {"participant": "home-1", "kind": 2, "start_ms": 30_000, "end_ms": 60_000}
    factors = {"supply_factor_ppm": None, "demand_factor_ppm": 500_000}
    standings: list[dict[str, Any]] = [
        {"participant": "home-1", "balance": 217, "rank": 1, "rights": [right], **factors},
        {"participant": "gas", "balance": -9, "rank": 2, "rights": [], **factors},
    ]
    totals = {"readings_on_chain": 4321, "intervals_closed": 9, "periods_settled": 1}
    scene.finish({"height": 77, "tokens_minted": 555, "tokens_charged": 44, **totals}, standings)
    shown = screen(scene)
    assert "block 77 · 4321 readings on the chain · 9 intervals · 1 periods · tokens: 555 minted, 44 charged" in shown
    assert "217  next purchase" in shown and "-9  limited" in shown
    assert "gas owes 9 tokens" in shown and "0 s left" in shown
    assert "4321" in picture_of(scene) and "217" in picture_of(scene)


def test_a_demo_that_ended_before_its_first_interval_has_a_last_screen_too() -> None:
    scene = Scene(90)
    scene.finish({}, [])
    assert "0 s left" in screen(scene)


@pytest.mark.parametrize(("pairs", "lines"), [(1, 20), (2, 10)])
def test_what_was_counted_may_stand_in_pairs(pairs: int, lines: int) -> None:
    console = Console(width=80, file=io.StringIO())
    console.print(summary_table(Summary(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, "ok"), pairs=pairs))
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    assert len(shown.splitlines()) == lines
    assert "readings lost" in shown and "ok" in shown
