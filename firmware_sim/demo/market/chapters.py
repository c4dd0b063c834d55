"""The chapters, as they are played: each does something, waits for what comes of it, and puts down what it found.

A chapter never waits for a time, but until something is so; how long the whole may take is the runner's business. What
is told is what chains and gateways say: nothing is put there but by commands.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from firmware_sim.demo.children import ChildError
from firmware_sim.demo.market.desk import Desk, window
from firmware_sim.demo.market.scene import BREACHED, FIRST, MARKET, REFUSED, Breach, Limited, MarketScene, Progress
from firmware_sim.demo.market.scene import Refusal as Refused
from firmware_sim.demo.market.strategies import MS_PER_HOUR, Trader, round_of
from firmware_sim.feeders import LANE_BRANCH
from firmware_sim.lane import ENGINE, VILLA, WEIR, WORKSHOP
from protocol.units import PPM

WIND: Final = "wind"

ROUNDS: Final = 3
"""Of quotes, each for another interval."""
AT_ONCE: Final = 2
"""Commands that run beside each other: a small machine has no more hands."""
SIGNED_MS: Final = 5_000
"""Before a gate closes: in that time a quote is surely signed, and in a block."""
AGREED_MS: Final = 15_000
"""Before a window begins: in that time people come to terms; where they do not, they try once more."""

CARS_W: Final = 20_000
CARS_IN: Final = 24
"""Intervals from now until two cars are to be charged: nothing else is traded for so late."""
CARS_INTERVALS: Final = 2
WEIR_W: Final = 960
"""Less than anybody lives on in the villa."""
WEIR_INTERVALS: Final = 3
WEIR_PRICE: Final = 26_000
VILLA_PRICE: Final = 22_000
PENALTY_PPM: Final = 500_000

LONG_S: Final = 3_600.0
MOMENT_S: Final = 0.001
KEPT_TOKENS: Final = 10
GIVEN_MIN: Final = 100

LOOK_S: Final = 0.1
"""Between two looks at what was heard."""
ASK_S: Final = 0.7
"""Between two commands that ask for the same."""

T = TypeVar("T")


@dataclass(slots=True)
class World:
    """What chapters act in."""

    desk: Desk
    scene: MarketScene
    traders: tuple[Trader, ...]
    seed: int
    interval_ms: int
    gate_ms: int
    now_ms: Callable[[], int]

    async def until(self, is_so: Callable[[], T]) -> T:
        """Wait until something is so; what it is then."""
        while not (found := is_so()):
            await asyncio.sleep(LOOK_S)
        return found

    async def asked(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again and again, until there is an answer; a command that fails is given again, too."""
        while True:
            try:
                if found := await ask():
                    return found
            except ChildError as error:
                self.scene.tell(f"[dim]again: {str(error).splitlines()[-1][:160]}[/]")
            await asyncio.sleep(ASK_S)

    async def done(self, do: Callable[[], Awaitable[object]]) -> None:
        """Do something; if it cannot be done yet, a little later."""

        async def once() -> bool:
            await do()
            return True

        await self.asked(once)

    def start_after(self, ahead_ms: int) -> int:
        """Start of the first interval that begins so much later."""
        return -(-(self.now_ms() + ahead_ms) // self.interval_ms) * self.interval_ms

    def contract(self, number: str) -> dict[str, Any] | None:
        """The contract whose number begins like this, once it is on the chain."""
        return next((one for key, one in self.scene.contracts.items() if key.startswith(number)), None)

    def stands(self, number: str, *states: str) -> dict[str, Any] | None:
        """The same, if it is in one of these states."""
        found = self.contract(number)
        return found if found and found["state"] in states else None


async def trade(world: World) -> None:
    """People quote, auctions are cleared within what the lines carry, and what was bought is delivered."""
    scene, found, hands = world.scene, world.scene.found, asyncio.Semaphore(AT_ONCE)
    heard_ms, starts = 0, list[int]()
    scene.say(MARKET, "the first quotes wait for the first readings")

    async def quote(quoted: Any) -> None:
        async with hands:
            await world.desk.quote(quoted)
        found.quotes += 1

    for number in range(1, ROUNDS + 1):
        latest = await world.until(lambda: scene.latest if _is_lively(scene, heard_ms) else None)
        assert latest is not None
        heard_ms = latest["interval"]["start_ms"]
        start_ms = max(world.start_after(world.gate_ms + SIGNED_MS), max(starts, default=0) + world.interval_ms)
        starts.append(start_ms)
        quotes = round_of(
            world.traders, latest["participants"], start_ms=start_ms, interval_ms=world.interval_ms,
            seed=world.seed, number=number,
        )  # fmt: skip
        await asyncio.gather(*map(quote, quotes))
        scene.say(MARKET, f"{found.quotes} quotes; the auction is cleared when its gate closes")

        async def cleared(start_ms: int = start_ms) -> dict[str, Any] | str | None:
            is_over = world.now_ms() > start_ms + world.interval_ms
            return await world.desk.prices(start_ms) or ("nothing" if is_over else None)

        price = await world.asked(cleared)
        if isinstance(price, dict):
            found.trade(price)
            scene.tell(f"auction {number}: {len(quotes)} quotes, {price['quantity_wh']} Wh at {ct(price['last'])}")
        scene.say(MARKET, _market_line(scene))
    names = {VILLA, WEIR}
    settled = await world.until(
        lambda: [
            one for one in scene.contracts.values()
            if one["state"] == "settled" and not names & {one["seller"], one["buyer"]}
        ]
    )  # fmt: skip
    found.settled = len(settled)
    scene.say(MARKET, _market_line(scene), Progress.DONE)


def _is_lively(scene: MarketScene, heard_ms: int) -> bool:
    """Whether an interval was published that began after `heard_ms`, and in which power was measured."""
    latest = scene.latest
    if latest is None or latest["interval"]["start_ms"] <= heard_ms:
        return False
    return any(one["power_w"] for one in latest["participants"].values())


def _market_line(scene: MarketScene) -> str:
    found = scene.found
    prices = f" at {ct(found.low or 0)} to {ct(found.high or 0)}" if found.low is not None else ""
    return f"{found.quotes} quotes · {found.matches} contracts · {found.traded_wh} Wh{prices}"


async def agree(world: World) -> None:
    """Two contracts are agreed on in sealed letters: one that the line does not carry, and one that is not kept."""
    scene = world.scene
    for name in (VILLA, WIND, WEIR):
        await world.done(lambda name=name: world.desk.open_letterbox(meter(name)))  # type: ignore[misc]
    await refuse(world)
    await breach(world)
    assert scene.found.breach is not None


async def refuse(world: World) -> None:
    """The wind sells power for two cars to the villa, and the lane's cable does not carry it."""
    scene, desk = world.scene, world.desk
    scene.say(REFUSED, f"wind offers the villa {CARS_W // 1000} kW for two cars")
    start_ms = world.start_after(CARS_IN * world.interval_ms)
    end_ms = start_ms + CARS_INTERVALS * world.interval_ms
    wh = CARS_W * (end_ms - start_ms) // MS_PER_HOUR
    number = await bargain(world, WIND, VILLA, f"--wh={wh}", "--price=24000", *window(start_ms, end_ms))
    scene.say(REFUSED, "both have signed; the verdict is the network's")
    contract = await world.until(lambda: world.stands(number, "rejected", "confirmed"))
    said = contract["rejected_because"]
    rule, _, rest = said.partition(": ")
    by_w = re.search(r"by (\d+) W", rest)
    scene.found.refusal = Refused(contract["contract"], rule, rest.partition(",")[0], int(by_w[1]) if by_w else 0)
    found = scene.found.refusal
    scene.say(
        REFUSED, f"wind → villa, {CARS_W // 1000} kW: [red]{rule}[/], {found.branch}, by {found.by_w} W", Progress.DONE
    )
    scene.tell(f"[red]{rule}[/]: the contract is rejected, and both gateways are told why")


async def breach(world: World) -> None:
    """The weir sells to the villa, after some haggling; then its turbine stands still."""
    scene, desk = world.scene, world.desk
    length_ms = WEIR_INTERVALS * world.interval_ms
    wh = WEIR_W * length_ms // MS_PER_HOUR
    agreed = None
    while agreed is None:
        start_ms = world.start_after(AGREED_MS)
        end_ms = start_ms + length_ms
        terms = (f"--wh={wh}", f"--price={WEIR_PRICE}", f"--penalty-ppm={PENALTY_PPM}", *window(start_ms, end_ms))
        scene.say(BREACHED, f"weir offers the villa {wh} Wh at {ct(WEIR_PRICE)}")
        number = await bargain(world, WEIR, VILLA, *terms, counter=f"--price={VILLA_PRICE}")
        agreed = await world.until(lambda: world.contract(number) or world.now_ms() > end_ms)
    await world.done(lambda: desk.save(meter(WEIR), LONG_S))
    scene.tell("driftwood blocks the weir: its turbine stands still")
    scene.say(BREACHED, f"weir → villa: {wh} Wh at {ct(VILLA_PRICE)}; then [red]its turbine stands still[/]")
    contract = await world.until(lambda: world.stands(number, "settled"))
    await world.done(lambda: desk.save(meter(WEIR), MOMENT_S))
    measured, booked = contract["measured"], contract["booked"]
    missing_wh = measured["due_wh"] - measured["delivered_wh"]
    scene.found.breach = Breach(contract["contract"], WEIR, missing_wh, booked["penalty"])
    line = f"{missing_wh} of {wh} Wh are missing: [red]weir pays villa a penalty of {money(booked['penalty'])}[/]"
    scene.say(BREACHED, line, Progress.DONE)
    scene.tell("the breach is settled, by what both meters said")


async def bargain(world: World, seller: str, buyer: str, *terms: str, counter: str = "") -> str:
    """Come to terms in sealed letters; how the contract's number begins."""
    desk, scene = world.desk, world.scene
    who = (f"--seller={seller}", f"--buyer={buyer}")
    await world.asked(lambda: desk.offer(meter(seller), *who, *terms))
    letter = await world.asked(lambda: desk.letter(meter(buyer), seller))
    number, last = letter["number"], buyer
    if counter:
        await world.done(lambda: desk.counter(meter(buyer), number, counter))
        scene.tell(f"{buyer} answers {seller}: {counter.removeprefix('--price=')} per MWh, or nothing")
        letter = await world.asked(lambda: desk.letter(meter(seller), buyer))
        number, last = letter["number"], seller
    await world.done(lambda: desk.accept(meter(last), number))
    scene.tell(f"{last} accepts: both have signed contract {number[:8]}")
    return str(number)


async def go_first(world: World) -> None:
    """The villa buys the right to go first, the workshop owes tokens; then the lane's cable carries too much."""
    scene, desk = world.scene, world.desk
    for name in (VILLA, WORKSHOP):
        await world.done(lambda name=name: desk.save(meter(name), LONG_S))  # type: ignore[misc]
    scene.say(FIRST, "a mild afternoon: the heat pumps in the lane stand still")
    await world.until(lambda: scene.balance(WIND) >= GIVEN_MIN)
    given = scene.balance(WIND) - KEPT_TOKENS
    await world.done(lambda: desk.transfer(meter(WIND), WIND, VILLA, given))
    scene.tell(f"wind gives the villa, which has a share in it, {given} tokens")
    await world.until(lambda: scene.person(VILLA).get("rights"))
    scene.say(FIRST, "villa has bought the right to go first; workshop's engine emits too much")
    await world.until(lambda: scene.balance(WORKSHOP) < 0)
    scene.say(FIRST, f"workshop owes {-scene.balance(WORKSHOP)} tokens; villa's right is about to begin")
    await world.until(lambda: scene.holds_now(VILLA))
    before_w = scene.person(VILLA)["power_w"]
    await world.done(lambda: desk.save(meter(ENGINE), LONG_S))
    for name in (VILLA, WORKSHOP):
        await world.done(lambda name=name: desk.save(meter(name), MOMENT_S))  # type: ignore[misc]
    scene.tell("it is getting cold: both heat pumps in the lane go on")
    scene.say(FIRST, f"it is getting cold, and both heat pumps run: how much does {LANE_BRANCH} carry?")
    await world.until(lambda: scene.loading_ppm(LANE_BRANCH) > PPM)
    scene.tell(f"[red]{LANE_BRANCH} carries {scene.loading_ppm(LANE_BRANCH) * 100 // PPM} % of its rating[/]")
    limited = await world.until(lambda: limited_for(scene, LANE_BRANCH))
    (first, limit_w), *_ = limited.items()
    assert scene.latest is not None
    scene.say(FIRST, f"[red]{first} owes, and is limited first[/], to {limit_w} W; villa is not")
    at_ms = scene.latest["interval"]["start_ms"]
    await world.until(lambda: scene.latest and scene.latest["interval"]["start_ms"] > at_ms
                      and scene.loading_ppm(LANE_BRANCH) <= PPM)  # fmt: skip
    is_kept = VILLA not in limited_for(scene, LANE_BRANCH) and scene.person(VILLA)["power_w"] > before_w
    kept_w = scene.person(VILLA)["power_w"]
    scene.found.limited = Limited(first, limit_w, at_ms, VILLA if is_kept else "", kept_w)
    scene.found.relieved = True
    line = f"[green]villa's heat pump stays on[/] ({kept_w / 1000:.1f} kW); {first} is held to {limit_w / 1000:.1f} kW"
    scene.say(FIRST, line, Progress.DONE)


def limited_for(scene: MarketScene, branch: str) -> dict[str, int]:
    """Who is limited for a line's sake, and to what."""
    people = (scene.latest or {}).get("participants", {})
    return {
        name: int(one["limited"]["power_max_w"])
        for name, one in people.items()
        if one["limited"] and one["limited"]["branch"] == branch
    }


def meter(name: str) -> str:
    """The meter by which somebody of the story trades."""
    return f"m-{name}"


def ct(per_mwh: int) -> str:
    """A price for people, in cents."""
    return f"{per_mwh / 1000:.1f} ct/kWh"


def money(millionths: int) -> str:
    """Money for people, in cents."""
    return f"{millionths / PPM:.3f} ct"
