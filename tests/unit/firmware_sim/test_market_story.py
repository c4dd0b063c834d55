"""What is heard of the market's story becomes chapters and numbers, on a terminal of any size; what misses is told."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from firmware_sim.demo.market.clues import clues_of
from firmware_sim.demo.market.found import Breach, Found, Limited, Progress, Refusal
from firmware_sim.demo.market.scene import FIRST, MARKET, REFUSED, TITLES, MarketScene
from firmware_sim.demo.market.summary import MarketSummary, market_table, summed_up
from firmware_sim.feeders import LANE_BRANCH

NUMBER = "ab" * 32


def somebody(**changes: Any) -> dict[str, Any]:
    """How somebody stands, as the aggregator publishes it."""
    return {"power_w": 1200, "balance": 80, "restricted": False, "limited": None, "rights": []} | changes


def a_summary(start_ms: int = 5_000, **people: Any) -> dict[str, Any]:
    """What is published at the end of an interval."""
    everybody = {"villa": somebody(), "workshop": somebody(), "wind": somebody(power_w=-9_000)} | people
    return {
        "interval": {"start_ms": start_ms, "end_ms": start_ms + 5_000},
        "branches": {LANE_BRANCH: 900_000},
        "participants": everybody,
    }


def a_contract(**changes: Any) -> dict[str, Any]:
    """One contract, as `este-aggregator contracts` shows it."""
    return {
        "contract": NUMBER, "state": "confirmed", "seller": "wind", "buyer": "home-1", "quantity_wh": 9,
        "price_per_mwh": 16_000,
    } | changes  # fmt: skip


def all_of_it() -> Found:
    """Everything happened."""
    found = Found(quotes=12, settled=2, relieved=True)
    found.trade([a_contract(), a_contract(price_per_mwh=18_000)])
    found.refusal = Refusal(NUMBER, "LINE_FULL", LANE_BRANCH, 8775)
    found.breach = Breach(NUMBER, "weir", 3, 33_000)
    found.limited = Limited("workshop", 6_900, 5_000, "villa", 5_800)
    return found


def summed(found: Found, **changes: Any) -> MarketSummary:
    owed = {"weir": -33_000, "villa": 30_000}
    money = {"owed_millionths": owed, "clearing_millionths": 3_000} | changes.pop("money", {})
    ledger = {"readings_on_chain": 40, "intervals_closed": 9, "periods_settled": 3}
    agent = {"readings_read": 20, "statements_verified": 7}
    return summed_up(found, agents=[agent, agent], ledger=ledger, money=money, audit=changes.pop("audit", "ok"))


def screen(scene: MarketScene, width: int, height: int | None = None) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    console.print(scene.draw(is_whole=height is None), height=height)
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    return shown.splitlines()


def test_a_whole_story_misses_nothing() -> None:
    summary = summed(all_of_it())
    assert summary.is_whole_story and not summary.missing
    assert (summary.matches, summary.energy_traded_wh) == (2, 18)
    assert (summary.price_lowest, summary.price_highest) == (16_000, 18_000)


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ({"quotes": 0}, "people quoted"),
        ({"matches": 0}, "an auction came to contracts"),
        ({"settled": 0}, "a contract of the market was settled"),
        ({"refusal": None}, "a contract was refused for a line's limit"),
        ({"refusal": Refusal(NUMBER, "SELLER_CANNOT", "wind", 5)}, "a contract was refused for a line's limit"),
        ({"breach": None}, "a breach was settled with its penalty"),
        ({"breach": Breach(NUMBER, "weir", 3, 0)}, "a breach was settled with its penalty"),
        ({"limited": Limited("villa", 5, 5, "", 5)}, "whoever owes tokens was limited first"),
        ({"limited": Limited("workshop", 5, 5, "", 5)}, "a heat pump stayed on by right"),
        ({"relieved": False}, "the line was relieved"),
    ],
)
def test_a_part_that_is_missing_is_named(change: dict[str, Any], missing: str) -> None:
    summary = summed(replace(all_of_it(), **change))
    assert missing in summary.missing and not summary.is_whole_story


def test_money_that_does_not_add_up_and_an_audit_that_does_not_fit_are_named() -> None:
    assert "money adds up to 0" in summed(all_of_it(), money={"clearing_millionths": 2_999}).missing
    assert "the audit re-derived everything" in summed(all_of_it(), audit="no").missing


def test_what_people_are_shown_at_the_end_says_each_part() -> None:
    console = Console(width=100, file=io.StringIO())
    console.print(market_table(summed(all_of_it())))
    shown: str = console.file.getvalue()  # type: ignore[attr-defined]
    for said in ("12 quotes", "LINE_FULL", "8775 W", "3 Wh missing", "0.03 ct", "workshop", "villa", "adds up to 0"):
        assert said in shown


def test_a_limit_a_debt_and_a_right_are_news_once() -> None:
    scene = MarketScene(60, clock_s=15 * 3_600)
    right = {"kind": "priority_purchase", "start_ms": 0, "end_ms": 20_000}
    limited = {"branch": LANE_BRANCH, "power_max_w": 6_900}
    scene.hear(a_summary())
    for start_ms in (10_000, 15_000):
        workshop = somebody(balance=-40, restricted=True, limited=limited)
        scene.hear(a_summary(start_ms, villa=somebody(rights=[right]), workshop=workshop))
    assert [event.partition(" ")[0] for event in scene.events] == ["15:00"] * 3
    told = " ".join(scene.events)
    assert "owes 40 tokens" in told and "limited to 6900 W" in told and "right to go first" in told
    assert scene.ever_limited == {"workshop"} and scene.limited_for(LANE_BRANCH) == {"workshop": 6_900}


def test_a_right_is_held_from_its_beginning_to_its_end() -> None:
    scene = MarketScene(60)
    right = {"kind": "priority_purchase", "start_ms": 20_000, "end_ms": 40_000}
    held = []
    for start_ms in (10_000, 15_000, 30_000, 35_000):
        scene.hear(a_summary(start_ms, villa=somebody(rights=[right])))
        held.append(scene.holds_now("villa"))
    assert held == [False, True, True, False]


def test_a_contract_that_is_forgotten_by_the_chain_is_not_by_the_story() -> None:
    scene = MarketScene(60)
    scene.see([a_contract()])
    scene.see([])
    assert scene.traded("wind") == (9, 0) and scene.traded("home-1") == (0, 9)
    scene.see([a_contract(state="rejected")])
    assert scene.traded("wind") == (0, 0)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (140, 40), (60, 22)])
def test_the_screen_fits_the_terminal_and_shows_every_chapter(width: int, height: int) -> None:
    scene = MarketScene(60)
    people = {f"home-{number}": somebody() for number in range(40)}
    scene.hear(a_summary(**people))
    scene.say(MARKET, "15 quotes · 4 contracts", Progress.DONE)
    scene.say(REFUSED, "wind → villa, 20 kW: [red]LINE_FULL[/]")
    for number in range(20):
        scene.tell(f"event {number}")
    lines = screen(scene, width, height)
    assert len(lines) <= height and max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(title in text for title in TITLES)
    assert "LINE_FULL" in text and "[red]" not in text and "event 19" in text and "more" in text
    assert "villa" in text and "workshop" in text


def test_before_anything_was_heard_the_screen_says_what_it_waits_for() -> None:
    assert any("meters are being read" in line for line in screen(MarketScene(60), 80, 24))


def test_names_that_others_chose_are_no_markup() -> None:
    scene = MarketScene(60)
    scene.hear(a_summary(**{"[red]eve": somebody()}))
    scene.hear(a_summary(10_000, **{"[red]eve": somebody(balance=-1, restricted=True)}))
    assert any("[red]eve" in line for line in screen(scene, 120))


def test_clues_name_what_was_found_and_nothing_else() -> None:
    assert ("explain", "villa", "--interval", "T") in [
        arguments for _, arguments in clues_of(all_of_it(), "gw-1/7", "T")
    ]
    bare = [" ".join(arguments) for _, arguments in clues_of(Found(), "", "")]
    assert "contracts" in bare and not [
        line for line in bare if line.startswith(("contracts ", "market quote", "explain"))
    ]


def test_a_chapter_that_has_not_begun_says_nothing() -> None:
    assert MarketScene(60).chapters[FIRST].progress is Progress.WAITING
