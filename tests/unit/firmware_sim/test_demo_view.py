"""The demo tells what happens to people's rights: which run, which are to come, and when one was bought."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from firmware_sim.demo.view import Scene

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
        "participants": {"anna": anna},
    }


def screen(scene: Scene) -> str:
    console = Console(width=140, file=io.StringIO())
    console.print(scene.draw())
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
