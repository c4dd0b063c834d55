"""The chapters of the market's story, before a desk that answers at once: each waits for what is so, not for a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from config.tasks import end
from firmware_sim.demo.children import ChildError
from firmware_sim.demo.market import world as waiting
from firmware_sim.demo.market.chapters import break_promise, go_first, refuse, trade
from firmware_sim.demo.market.desk import Desk
from firmware_sim.demo.market.found import Breach, Progress, Refusal
from firmware_sim.demo.market.scene import BREACHED, FIRST, MARKET, REFUSED, MarketScene
from firmware_sim.demo.market.strategies import Quoted, Trader
from firmware_sim.demo.market.world import World
from firmware_sim.feeders import LANE_BRANCH
from tests.unit.firmware_sim.test_market_story import a_contract, a_summary, somebody

INTERVAL_MS = 5_000
RIGHT = {"kind": "priority_purchase", "start_ms": 0, "end_ms": 10**9}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "ASK_S", 0)


@dataclass
class FakeDesk:
    """Does everything at once, and remembers it."""

    told_of: list[dict[str, Any] | None] = field(default_factory=list)
    """What gateways are told of each contract in turn; None: it came too late."""
    done: list[tuple[str, ...]] = field(default_factory=list)
    quotes: list[Quoted] = field(default_factory=list)
    fails: int = 0
    """Commands that fail at first."""

    async def offer(self, meter: str, *terms: str) -> str:
        if self.fails:
            self.fails -= 1
            raise ChildError("`este-agent trade` ended with status 1: no statement yet")
        self.done.append(("offer", meter, *terms))
        return "ab"

    async def letter(self, meter: str, number: str) -> str:
        return number + "cd"

    async def answer(self, meter: str, number: str) -> str:
        return number + "ef"

    async def counter(self, meter: str, number: str, *changes: str) -> None:
        self.done.append(("counter", meter, *changes))

    async def accept(self, meter: str, number: str) -> None:
        self.done.append(("accept", meter, number))

    async def told(self, meter: str, number: str) -> dict[str, Any]:
        return {"number": number, "contract": self.told_of.pop(0)}

    async def save(self, meter: str, for_s: float) -> None:
        self.done.append(("stop" if for_s > 1 else "run", meter))

    async def transfer(self, meter: str, giver: str, to: str, tokens: int) -> None:
        self.done.append(("transfer", giver, to, str(tokens)))

    async def quote(self, quoted: Quoted) -> None:
        self.quotes.append(quoted)

    async def records(self, meter: str) -> tuple[str, ...]:
        return ("gw-1/7",)


def a_world(desk: FakeDesk, now_ms: int = 1_000_000) -> World:
    traders = (
        Trader(participant="wind", meter="m-wind", power_max_w=40_000),
        Trader(participant="home-1", meter="m-home-1", power_max_w=10_000),
    )
    return World(cast(Desk, desk), MarketScene(60), traders, 1, INTERVAL_MS, INTERVAL_MS, lambda: now_ms)


async def news(world: World, summary: dict[str, Any] | None = None, *contracts: dict[str, Any]) -> None:
    """Let something be heard, and everybody act on it."""
    if summary is not None:
        world.scene.hear(summary)
    world.scene.see(contracts)
    for _ in range(30):
        world.wake()
        await asyncio.sleep(0)


async def test_a_refusal_is_told_with_rule_line_and_watts() -> None:
    told = {"state": "rejected", "rule": "LINE_FULL", "why": f"{LANE_BRANCH}, in the interval from 5 by 8775 W"}
    world = a_world(FakeDesk([told], fails=2))
    await refuse(world)
    assert world.scene.found.refusal == Refusal("abcd", "LINE_FULL", LANE_BRANCH, 8775)
    assert world.scene.chapters[REFUSED].progress is Progress.DONE


async def test_a_contract_that_the_line_would_carry_is_no_refusal() -> None:
    world = a_world(FakeDesk([{"state": "confirmed", "rule": None, "why": ""}]))
    await refuse(world)
    assert world.scene.found.refusal == Refusal("abcd", "", "", 0)


def settled(missing_wh: int) -> dict[str, Any]:
    measured = {"due_wh": 4, "delivered_wh": 4 - missing_wh}
    parties = {"seller": "weir", "buyer": "villa"}
    booked = {"measured": measured, "booked_millionths": {"penalty": 33}}
    return a_contract(contract="abcdef", state="settled", **booked, **parties)


async def test_a_promise_that_came_too_late_to_be_broken_is_made_once_more_further_ahead() -> None:
    confirmed = {"state": "confirmed"}
    desk = FakeDesk([None, confirmed])
    world = a_world(desk)
    await asyncio.gather(break_promise(world), news(world, None, settled(missing_wh=3)))
    assert world.scene.found.breach == Breach("abcdef", "weir", 3, 33)
    starts = [next(term for term in one if term.startswith("--start")) for one in desk.done if one[0] == "offer"]
    assert len(starts) == 2 and starts[0] < starts[1]
    assert [one[0] for one in desk.done if one[0] in ("stop", "run")] == ["stop", "run"] * 2
    assert world.scene.chapters[BREACHED].progress is Progress.DONE


async def test_the_buyer_haggles_and_the_seller_accepts() -> None:
    desk = FakeDesk([{"state": "confirmed"}])
    world = a_world(desk)
    await asyncio.gather(break_promise(world), news(world, None, settled(missing_wh=1)))
    assert ("counter", "m-villa", "--price=22000") in desk.done and ("accept", "m-weir", "abcdef") in desk.done


async def test_rounds_go_on_until_something_was_traded_and_each_is_for_another_interval() -> None:
    desk = FakeDesk()
    world = a_world(desk)
    playing = asyncio.create_task(trade(world))
    people = {"wind": somebody(power_w=-20_000), "home-1": somebody(power_w=5_000)}
    for number in range(1, 5):
        await news(world, a_summary(number * INTERVAL_MS, **people))
        last_ms = max((quote.start_ms for quote in desk.quotes), default=0)
        traded = [a_contract(start_ms=last_ms, state="settled")] if number == 4 else []
        await news(world, a_summary(last_ms, **people), *traded)
    await playing
    starts = [quote.start_ms for quote in desk.quotes if quote.is_sale]
    assert len(starts) == len(set(starts)) == 4 and starts == sorted(starts)
    assert (world.scene.found.quotes, world.scene.found.matches, world.scene.found.settled) == (8, 1, 1)
    assert world.scene.chapters[MARKET].progress is Progress.DONE


async def cold_evening(limited: dict[str, dict[str, Any]]) -> MarketScene:
    """The last chapter, in which these are limited when the lane's cable is full."""
    desk = FakeDesk()
    world = a_world(desk)
    playing = asyncio.create_task(go_first(world))
    rich, poor = somebody(balance=171, power_w=-9_000), somebody(balance=-180, restricted=True)
    villa = somebody(rights=[RIGHT], power_w=2_000)
    await news(world, a_summary(5_000, wind=rich))
    assert ("transfer", "wind", "villa", "161") in desk.done
    await news(world, a_summary(10_000, villa=villa, workshop=poor, wind=rich))
    assert ("stop", "m-engine") in desk.done and ("run", "m-villa") in desk.done
    full = a_summary(15_000, villa=villa | {"power_w": 5_000}, workshop=poor, wind=rich)
    full["branches"][LANE_BRANCH] = 1_200_000
    await news(world, full)
    limits = {name: full["participants"][name] | {"limited": limit} for name, limit in limited.items()}
    await news(world, full | {"interval": {"start_ms": 20_000, "end_ms": 25_000},
                              "participants": full["participants"] | limits})  # fmt: skip
    relieved = a_summary(25_000, **full["participants"] | limits)
    await news(world, relieved)
    try:
        async with asyncio.timeout(10):
            await playing
    finally:
        await end(playing)
    return world.scene


async def test_whoever_owes_is_limited_first_and_the_heat_pump_of_whoever_has_the_right_stays_on() -> None:
    scene = await cold_evening({"workshop": {"branch": LANE_BRANCH, "power_max_w": 6_900}})
    assert scene.found.limited is not None and scene.found.relieved
    assert (scene.found.limited.participant, scene.found.limited.kept_on) == ("workshop", "villa")
    assert scene.chapters[FIRST].progress is Progress.DONE


async def test_a_heat_pump_that_was_limited_as_well_has_not_stayed_on() -> None:
    limit = {"branch": LANE_BRANCH, "power_max_w": 3_000}
    scene = await cold_evening({"villa": limit, "workshop": limit})
    assert scene.found.limited is not None and scene.found.limited.kept_on == ""
    assert scene.found.limited.participant == "villa+workshop"
