"""The chapters, as they are played: each does something, waits for what comes of it, and puts down what it found.

A chapter never waits for a time, but until something is so; how long the whole may take is the runner's business. What
is told is what chains and gateways say: nothing is put there but by commands.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import Any, Final

from firmware_sim.demo.market.desk import window
from firmware_sim.demo.market.found import Breach, Limited, Progress, Refusal
from firmware_sim.demo.market.scene import BREACHED, FIRST, MARKET, REFUSED, MarketScene
from firmware_sim.demo.market.strategies import MS_PER_HOUR, Quoted, round_of
from firmware_sim.demo.market.summary import ct, ct_per_kwh
from firmware_sim.demo.market.world import World
from firmware_sim.feeders import LANE_BRANCH
from firmware_sim.lane import ENGINE, VILLA, WEIR, WORKSHOP
from protocol.units import PPM

WIND: Final = "wind"

ROUNDS: Final = 3
"""Of quotes, each for another interval."""
AT_ONCE: Final = 2
"""Commands that run beside each other: a small machine has no more hands."""
SIGNED_MS: Final = 8_000
"""Before a gate closes: by then a round is signed and in a block, on a machine that is not busy."""
SLACK: Final = 2
"""The next round is given at least so many times what one took on this machine."""
LIVELY_MIN: Final = 3
"""Traders whose power is known before anybody quotes."""
AGREED_MS: Final = 15_000
"""Before a window begins: in that time people come to terms; where they do not, they take twice as long next time."""

CARS_W: Final = 20_000
CARS_PRICE: Final = 24_000
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
"""Longer than anybody watches."""
MOMENT_S: Final = 0.001
GIVEN_MIN: Final = 100
KEPT_TOKENS: Final = 10
"""What the wind keeps of its tokens."""

_EXCESS: Final = re.compile(r"by (\d+) W")


async def trade(world: World) -> None:
    """People quote, auctions are cleared within what the lines carry, and what was bought is delivered."""
    scene, found = world.scene, world.scene.found
    scene.say(MARKET, "the first quotes wait for the first readings")
    heard_ms, last_ms, ahead_ms, number = 0, 0, world.gate_ms + SIGNED_MS, 0
    while number < ROUNDS or not found.matches:
        latest = await world.until(partial(_lively, world, heard_ms))
        heard_ms, number = latest["interval"]["start_ms"], number + 1
        last_ms = max(world.start_after(ahead_ms), last_ms + world.interval_ms)
        quotes = round_of(
            world.traders, latest["participants"], start_ms=last_ms, interval_ms=world.interval_ms,
            seed=world.seed, number=number,
        )  # fmt: skip
        scene.say(MARKET, f"{len(quotes)} people quote for the {_ordinal(number)} auction")
        begun_ms = world.now_ms()
        await _quote_all(world, quotes)
        ahead_ms = max(ahead_ms, world.gate_ms + SLACK * (world.now_ms() - begun_ms))
        scene.say(MARKET, f"{found.quotes} quotes; the auction is cleared when its gate closes")
        await world.done(partial(_note_records, world, quotes[0].meter))
        await world.until(partial(_is_cleared, scene, last_ms))
        sold = [one for one in _of_market(scene) if one["start_ms"] == last_ms]
        wh, dearest = sum(one["quantity_wh"] for one in sold), max((one["price_per_mwh"] for one in sold), default=0)
        traded = f"{wh} Wh at {ct_per_kwh(dearest)}" if sold else "nothing is traded"
        scene.tell(f"auction {number}: {len(quotes)} quotes, {traded}")
        found.trade(_of_market(scene))
        scene.say(MARKET, _market_line(scene))
    found.settled = await world.until(lambda: sum(one["state"] == "settled" for one in _of_market(scene)))
    found.trade(_of_market(scene))
    scene.say(MARKET, _market_line(scene), Progress.DONE)


def _lively(world: World, heard_ms: int) -> dict[str, Any] | None:
    """The interval that was published last, if it began after `heard_ms`, and power was measured in it."""
    latest = world.scene.latest
    if latest is None or latest["interval"]["start_ms"] <= heard_ms:
        return None
    measured = sum(bool(latest["participants"][one.participant]["power_w"]) for one in world.traders)
    return latest if measured >= min(LIVELY_MIN, len(world.traders)) else None


async def _quote_all(world: World, quotes: list[Quoted]) -> None:
    hands = asyncio.Semaphore(AT_ONCE)

    async def quote(quoted: Quoted) -> None:
        async with hands:
            await world.done(lambda: world.desk.quote(quoted))
        world.scene.found.quotes += 1

    await asyncio.gather(*map(quote, quotes))


async def _note_records(world: World, meter_of_one: str) -> None:
    """Keep what quotes were signed as, to look at one of them afterwards."""
    world.scene.found.records += await world.desk.records(meter_of_one)


def _of_market(scene: MarketScene) -> list[dict[str, Any]]:
    """Contracts that auctions came to: the villa, which makes all others, does not quote."""
    return [one for one in scene.contracts.values() if one["buyer"] != VILLA and one["state"] != "rejected"]


def _is_cleared(scene: MarketScene, start_ms: int) -> bool:
    """Whether an auction has come to contracts, or its interval is over without any."""
    return scene.at_ms >= start_ms or any(one["start_ms"] == start_ms for one in _of_market(scene))


def _market_line(scene: MarketScene) -> str:
    found = scene.found
    prices = f" at {ct_per_kwh(found.low)} to {ct_per_kwh(found.high)}" if found.low and found.high else ""
    return f"{found.quotes} quotes · {found.matches} contracts · {found.traded_wh} Wh{prices}"


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")


async def agree(world: World) -> None:
    """Two contracts are agreed on in sealed letters: one that the line does not carry, and one that is not kept."""
    for name in (VILLA, WIND, WEIR):
        await world.done(partial(world.desk.open_letterbox, meter(name)))
    await refuse(world)
    await break_promise(world)


async def refuse(world: World) -> None:
    """The wind sells power for two cars to the villa, and the lane's cable does not carry it."""
    scene = world.scene
    scene.say(REFUSED, f"wind offers the villa {CARS_W // 1000} kW, to charge two cars tonight")
    start_ms = world.start_after(CARS_IN * world.interval_ms)
    end_ms = start_ms + CARS_INTERVALS * world.interval_ms
    wh = CARS_W * (end_ms - start_ms) // MS_PER_HOUR
    number = await bargain(world, WIND, VILLA, f"--wh={wh}", f"--price={CARS_PRICE}", *window(start_ms, end_ms))
    scene.say(REFUSED, "both have signed; the verdict is the network's")
    told = (await world.asked(lambda: world.desk.told(meter(VILLA), number)))["contract"] or {"rule": "", "why": ""}
    rule, excess = told["rule"] or "", _EXCESS.search(told["why"])
    found = Refusal(number, rule, told["why"].partition(",")[0], int(excess[1]) if excess else 0)
    scene.found.refusal = found
    why = f"[red]{rule}[/], {found.branch}, by {found.by_w / 1000:.1f} kW"
    scene.say(REFUSED, f"wind → villa, {CARS_W // 1000} kW: {why}", Progress.DONE)
    scene.tell(f"[red]{rule}[/]: the contract is rejected, and both gateways are told why")


async def break_promise(world: World) -> None:
    """The weir sells to the villa, after some haggling; then its turbine stands still."""
    scene, ahead_ms = world.scene, AGREED_MS
    while (found := await _broken(world, ahead_ms)) is None:
        scene.tell("[dim]that was too late for its window: once more[/]")
        ahead_ms *= 2
    scene.found.breach = found
    line = f"{found.missing_wh} Wh are missing: [red]weir pays villa a penalty of {ct(found.penalty_millionths)}[/]"
    scene.say(BREACHED, line, Progress.DONE)
    scene.tell("the breach is settled by what both meters said; the weir runs again")


async def _broken(world: World, ahead_ms: int) -> Breach | None:
    """A contract for a window that begins so much later, and how it was broken; None if it came too late for that."""
    scene, desk = world.scene, world.desk
    start_ms, length_ms = world.start_after(ahead_ms), WEIR_INTERVALS * world.interval_ms
    wh = WEIR_W * length_ms // MS_PER_HOUR
    terms = (f"--wh={wh}", f"--price={WEIR_PRICE}", f"--penalty-ppm={PENALTY_PPM}")
    scene.say(BREACHED, f"weir offers the villa {wh} Wh at {ct_per_kwh(WEIR_PRICE)}")
    number = await bargain(world, WEIR, VILLA, *terms, *window(start_ms, start_ms + length_ms), counter=VILLA_PRICE)
    await world.done(lambda: desk.save(meter(WEIR), LONG_S))
    scene.tell("driftwood blocks the weir: its turbine stands still")
    scene.say(BREACHED, f"weir → villa: {wh} Wh at {ct_per_kwh(VILLA_PRICE)}; then [red]its turbine stands still[/]")
    told = (await world.asked(lambda: desk.told(meter(VILLA), number)))["contract"]
    is_made = told is not None and told["state"] != "rejected"
    contract = await world.until(lambda: world.stands(number, "settled")) if is_made else None
    await world.done(lambda: desk.save(meter(WEIR), MOMENT_S))
    if contract is None:
        return None
    missing_wh = contract["measured"]["due_wh"] - contract["measured"]["delivered_wh"]
    return Breach(number, WEIR, missing_wh, contract["booked_millionths"]["penalty"]) if missing_wh else None


async def bargain(world: World, seller: str, buyer: str, *terms: str, counter: int = 0) -> str:
    """Come to terms in sealed letters; the contract's number. The buyer answers with another price, if one is given."""
    desk, scene = world.desk, world.scene
    who = (f"--seller={seller}", f"--buyer={buyer}")
    offered = await world.asked(lambda: desk.offer(meter(seller), *who, *terms))
    number, last = await world.asked(lambda: desk.letter(meter(buyer), offered)), buyer
    if counter:
        await world.done(lambda: desk.counter(meter(buyer), number, f"--price={counter}"))
        scene.tell(f"{buyer} answers: {ct_per_kwh(counter)}, or nothing")
        number, last = await world.asked(lambda: desk.answer(meter(seller), number)), seller
    agreed = number
    await world.done(lambda: desk.accept(meter(last), agreed))
    scene.tell(f"{last} accepts: both have signed contract {agreed[:8]}")
    return agreed


async def go_first(world: World) -> None:
    """The villa buys the right to go first, the workshop owes tokens; then the lane's cable carries too much."""
    scene, desk = world.scene, world.desk
    for name in (VILLA, WORKSHOP):
        await world.done(partial(desk.save, meter(name), LONG_S))
    scene.say(FIRST, "a mild afternoon: the heat pumps in the lane stand still")
    await world.until(lambda: scene.balance(WIND) >= GIVEN_MIN)
    given = scene.balance(WIND) - KEPT_TOKENS
    await world.done(lambda: desk.transfer(meter(WIND), WIND, VILLA, given))
    scene.tell(f"wind gives {given} tokens to the villa, which has a share in it")
    await world.until(lambda: scene.person(VILLA).get("rights"))
    scene.say(FIRST, "villa has bought the right to go first; workshop's engine emits too much")
    await world.until(lambda: scene.balance(WORKSHOP) < 0)
    scene.say(FIRST, f"workshop owes {-scene.balance(WORKSHOP)} tokens; villa's right is about to begin")
    await world.until(lambda: scene.holds_now(VILLA))
    before_w = scene.person(VILLA)["power_w"]
    await world.done(lambda: desk.save(meter(ENGINE), LONG_S))
    for name in (VILLA, WORKSHOP):
        await world.done(partial(desk.save, meter(name), MOMENT_S))
    scene.tell("it is getting cold: both heat pumps in the lane go on")
    scene.say(FIRST, f"it is getting cold, both heat pumps run: what does {LANE_BRANCH} carry?")
    await congest(world, before_w)


async def congest(world: World, before_w: int) -> None:
    """See who is limited when the lane's cable carries too much, and whose heat pump goes on.

    Args:
        world: the heat pumps are on.
        before_w: what the villa used without its own.
    """
    scene = world.scene
    await world.until(lambda: scene.loading_ppm(LANE_BRANCH) > PPM)
    scene.tell(f"[red]{LANE_BRANCH} carries {scene.loading_ppm(LANE_BRANCH) * 100 // PPM} % of its rating[/]")
    limited = await world.until(lambda: scene.limited_for(LANE_BRANCH))
    at_ms = scene.at_ms
    first, limit_w = next(iter(limited.items()))
    scene.say(FIRST, f"[red]{first} owes, and is limited first[/], to {limit_w / 1000:.1f} kW; villa is not")
    await world.until(lambda: scene.at_ms > at_ms and scene.loading_ppm(LANE_BRANCH) <= PPM)
    kept_w = scene.person(VILLA)["power_w"]
    is_kept = VILLA not in scene.ever_limited and kept_w > before_w
    scene.found.limited = Limited("+".join(limited), limit_w, at_ms, VILLA if is_kept else "", kept_w)
    scene.found.relieved = True
    went = "[green]villa's heat pump stays on[/]" if is_kept else "[red]villa's heat pump did not stay on[/]"
    scene.say(FIRST, f"{went}: {kept_w / 1000:.1f} kW; {first} is held to {limit_w / 1000:.1f} kW", Progress.DONE)


def meter(name: str) -> str:
    """The meter by which somebody of the story trades."""
    return f"m-{name}"
