"""Capacity of a power line is sold by the window, and never twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aggregator.economy.channels import HELD_MAX, Channel, price_of, sold_w
from protocol.channel import ChannelPurchase
from protocol.messages import MessageType, Right, RightKind
from protocol.refusals import RefusalCode
from tests.village import INTERVAL_MS, Village, a_grid, a_grid_document

RATING_W = 138_564
PRICE_PER_KWH = 3_600
"""A kilowatt for a second costs a token."""


@pytest.fixture
def village() -> Village:
    """One period is settled, and the wind turbine has 171 tokens."""
    rules = a_grid_document()["rules"]
    rules["rights"].append({"right": "channel_use", "price": PRICE_PER_KWH})
    village = Village(grid=a_grid(rules=rules))
    village.live(35)
    return village


def next_interval_ms(village: Village) -> int:
    return village.now_ms // INTERVAL_MS * INTERVAL_MS + INTERVAL_MS


def a_channel(village: Village, participant: str = "wind", **changes: Any) -> ChannelPurchase:
    """2 kW of the line, for the next five seconds: ten tokens."""
    start_ms = next_interval_ms(village)
    purchase = ChannelPurchase(
        link=village.link(),
        participant=participant,
        branch="b1",
        power_w=2_000,
        start_ms=start_ms,
        end_ms=start_ms + INTERVAL_MS,
        price_max=100,
    )
    return replace(purchase, **changes)


def buy(village: Village, purchase: ChannelPurchase) -> RefusalCode | None:
    return village.close([village.record(village.sign(purchase, MessageType.CHANNEL))]).outcomes[0].refusal


def test_a_channel_costs_capacity_times_time_and_is_told_with_its_line_and_window(village: Village) -> None:
    reserve = village.five.payment.totals.reserve
    purchase = a_channel(village)
    assert buy(village, purchase) is None
    assert village.five.payment.balance("wind") == 171 - 10
    assert village.five.payment.totals.reserve == reserve + 10
    assert village.five.payment.totals.purchases == 1
    right = Right(RightKind.CHANNEL_USE, purchase.start_ms, purchase.end_ms, "b1", 2_000)
    assert village.five.standings().of("wind").rights == (right,)
    assert village.five.statements.made != ()


def test_it_holds_in_its_window_only_and_is_forgotten_behind_it(village: Village) -> None:
    payment, purchase = village.five.payment, a_channel(village)
    assert buy(village, purchase) is None
    instants = [purchase.start_ms - 1, purchase.start_ms, purchase.end_ms - 1, purchase.end_ms]
    assert [payment.channel_w("wind", "b1", at) for at in instants] == [0, 2_000, 2_000, 0]
    assert payment.channel_w("home", "b1", purchase.start_ms) == 0
    village.live(10)
    assert len(payment.rights.channels) == 0


def test_a_line_is_sold_to_its_rating_and_not_a_watt_beyond(village: Village) -> None:
    start_ms = next_interval_ms(village)
    assert buy(village, a_channel(village, power_w=30_000, price_max=150)) is None
    taken = Channel("home", start_ms, start_ms + 5_000, RATING_W - 30_001)
    village.five.payment.rights.open_channel("b1", taken)
    assert buy(village, a_channel(village, power_w=2)) is RefusalCode.CHANNEL_SOLD
    assert buy(village, a_channel(village, power_w=1)) is None
    assert buy(village, a_channel(village, start_ms=start_ms + 5_000, end_ms=start_ms + 10_000)) is None


def test_channels_that_only_meet_do_not_add_up() -> None:
    channels = [Channel("a", 0, 10, 5), Channel("b", 10, 20, 7), Channel("c", 5, 15, 1)]
    assert [sold_w(channels, *window) for window in ((0, 5), (0, 10), (9, 11), (10, 20), (15, 20), (20, 30))] == [
        5, 6, 8, 8, 7, 0,
    ]  # fmt: skip


def test_a_price_is_rounded_up() -> None:
    assert price_of(1_000, 3_600_000, 7) == 7
    assert price_of(1, 1, 1) == 1


WRONG: dict[str, tuple[dict[str, Any], RefusalCode]] = {
    "of nobody": ({"participant": "nobody"}, RefusalCode.UNKNOWN_PARTICIPANT),
    "of no line": ({"branch": "b9"}, RefusalCode.UNKNOWN_BRANCH),
    "too dear": ({"price_max": 9}, RefusalCode.PRICE_ABOVE_LIMIT),
    "not covered": ({"power_w": 34_000, "price_max": 999, "fee": 2}, RefusalCode.BALANCE_TOO_LOW),
    "wider than the line": ({"power_w": RATING_W + 1, "price_max": 10**9}, RefusalCode.CHANNEL_SOLD),
    "of integers at their limit": ({"power_w": 10**12, "price_max": 2**62}, RefusalCode.CHANNEL_SOLD),
}


@pytest.mark.parametrize(("changes", "code"), WRONG.values(), ids=WRONG)
def test_what_a_channel_may_not_be(changes: dict[str, Any], code: RefusalCode, village: Village) -> None:
    before = village.five.payment.totals
    assert buy(village, a_channel(village, **changes)) is code
    assert village.five.payment.totals == before


WINDOWS: dict[str, tuple[int, int]] = {
    "begun": (-INTERVAL_MS, INTERVAL_MS),
    "empty": (0, 0),
    "backwards": (0, -INTERVAL_MS),
    "not of whole intervals": (0, INTERVAL_MS - 1),
    "off the boundaries": (1, INTERVAL_MS),
    "longer than a day": (0, 86_400_000 + INTERVAL_MS),
    "too far ahead": (8 * 86_400_000, INTERVAL_MS),
    "at the end of time": (2**63 // INTERVAL_MS * INTERVAL_MS - 2**62, INTERVAL_MS),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
def test_windows_that_are_not_sold(window: tuple[int, int], village: Village) -> None:
    start_ms = next_interval_ms(village) + window[0]
    end_ms = max(0, start_ms + window[1])
    assert buy(village, a_channel(village, start_ms=start_ms, end_ms=end_ms)) is RefusalCode.NO_SUCH_CHANNEL


def test_nobody_holds_more_than_a_statement_tells_of(village: Village) -> None:
    for _ in range(HELD_MAX):
        assert buy(village, a_channel(village, power_w=1)) is None
    assert buy(village, a_channel(village, power_w=1)) is RefusalCode.TOO_MANY_CHANNELS


def test_a_region_that_sells_no_channels_sells_none() -> None:
    village = Village()
    village.live(35)
    assert buy(village, a_channel(village)) is RefusalCode.NO_SUCH_RIGHT


def test_a_channel_is_not_bought_by_the_period(village: Village) -> None:
    purchase = village.a_purchase(right=RightKind.CHANNEL_USE, price_max=10_000)
    data = village.sign(purchase, MessageType.PURCHASE)
    assert village.close([village.record(data)]).outcomes[0].refusal is RefusalCode.NO_SUCH_RIGHT
