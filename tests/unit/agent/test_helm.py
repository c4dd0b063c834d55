"""A contract that delivers is an instruction: what can be set is set, in order, and a limit always wins."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agent.bus.control import FREE, DevicePlan, Grant, device_plan_for
from agent.bus.helm import Helm, Moment
from config.settings.bus import DeviceAddress
from protocol.batch import ClockState
from protocol.contract import CARRIERS
from protocol.contract_news import ContractNews, ContractState
from protocol.duty import Duty
from protocol.limits import Direction, Limit
from tests.builders import EPOCH_MS, a_clock, a_digest, a_standing, a_statement
from tests.unit.agent.builders import a_profile

AGE_MAX_MS = 100_000
START_MS = EPOCH_MS + 60_000
END_MS = START_MS + 50_000


def a_device(name: str = "battery", profile: str = "este_power_controller", **changes: Any) -> DevicePlan:
    """A battery of 5 kW that contracts of borja set."""
    found = a_profile(profile)
    address = {"id": name, "unit": 9, "profile": profile, "power_min_w": 0, "power_max_w": 5000}
    return device_plan_for(DeviceAddress(**address | {"contracts_of": "borja"} | changes), {found.id: found})


def news(power_w: int = 3000, **changes: Any) -> ContractNews:
    """Borja sells 3 kW, and the window has begun."""
    contract = ContractNews(a_digest("contract"), ContractState.DELIVERING, START_MS, power_w, START_MS, END_MS)
    return replace(contract, **changes)


def due(power_w: int = 3000, **changes: Any) -> Duty:
    """Borja is to feed in 3 kW until the window ends."""
    return replace(Duty("electricity", max(0, power_w), max(0, -power_w), END_MS), **changes)


def a_moment(
    *duties: Duty,
    contracts: tuple[ContractNews, ...] = (),
    limits: tuple[Limit, ...] = (),
    after_ms: int = 0,
    **changes: Any,
) -> Moment:
    """So long after the window began; the statement was made then."""
    standing = a_standing(participant="borja", contracts=contracts, duties=duties or (due(),), limits=limits)
    statement = a_statement(time_ms=START_MS, standings=(standing,))
    return replace(Moment(statement, heard_ms=60_000, now_ms=60_000 + after_ms, clock=a_clock()), **changes)


def granted(*devices: DevicePlan, moment: Moment | None) -> list[Grant]:
    helm = Helm(devices, AGE_MAX_MS)
    return [helm.granted(device, moment) for device in devices]


def set_w(*devices: DevicePlan, moment: Moment | None) -> list[int | None]:
    return [grant.set_w for grant in granted(*devices, moment=moment)]


def test_a_seller_s_device_feeds_in_what_was_promised() -> None:
    assert set_w(a_device(), moment=a_moment()) == [-3000]


def test_a_buyer_s_device_takes_what_was_promised() -> None:
    assert set_w(a_device(), moment=a_moment(due(-3000))) == [3000]


def test_contracts_of_both_kinds_are_set_off() -> None:
    assert set_w(a_device(), moment=a_moment(due(3000, take_w=1000))) == [-2000]


BINDING = {
    ContractState.CONFIRMED,
    ContractState.DELIVERING,
    ContractState.TERMINATED,
    ContractState.DISPUTED,
    ContractState.ARBITRATED,
}


def told_numbers(state: ContractState, **changes: Any) -> list[str]:
    told = Helm([a_device()], AGE_MAX_MS).told(a_moment(contracts=(news(state=state),), **changes))
    assert told is not None
    return list(json.loads(told)[0]["contracts"])


@pytest.mark.parametrize("state", ContractState)
def test_people_are_told_of_what_is_left_of_every_contract_that_binds(state: ContractState) -> None:
    expected = [a_digest("contract").hex()[:12]] if state in BINDING else []
    assert told_numbers(state) == told_numbers(state, after_ms=49_999) == expected
    assert told_numbers(state, after_ms=-1) == []


def test_a_contract_of_another_carrier_is_not_named_as_what_sets_a_device() -> None:
    told = Helm([a_device()], AGE_MAX_MS).driven(a_moment(contracts=(news(carrier="heat"),)))
    assert [one.contracts for one in told] == [()]


@pytest.mark.parametrize(("after_ms", "told"), [(-1, None), (0, -3000), (49_999, -3000), (50_000, None)])
def test_it_begins_and_ends_with_the_window_whatever_the_last_statement_said(after_ms: int, told: int | None) -> None:
    assert set_w(a_device(), moment=a_moment(due(0, until_ms=START_MS), due(), after_ms=after_ms)) == [told]


def test_one_duty_follows_the_other_without_a_further_statement() -> None:
    duties = (due(), due(-1000, until_ms=END_MS + 10_000))
    told = [set_w(a_device(), moment=a_moment(*duties, after_ms=after_ms)) for after_ms in (49_999, 50_000, 60_000)]
    assert told == [[-3000], [1000], [None]]


@pytest.mark.parametrize("carrier", [carrier for carrier in CARRIERS if carrier != "electricity"])
def test_no_contract_of_another_carrier_sets_an_electric_device(carrier: str) -> None:
    assert granted(a_device(), moment=a_moment(due(carrier=carrier))) == [FREE]


def test_what_a_statement_tells_people_of_contracts_sets_nothing() -> None:
    assert set_w(a_device(), moment=a_moment(due(), contracts=(news(), news()))) == [-3000]


def test_where_the_clock_is_not_sure_the_statement_says_what_time_it_is() -> None:
    unsure = a_clock(state=ClockState.UNSYNCHRONIZED, epoch_ms=0)
    assert set_w(a_device(), moment=a_moment(after_ms=49_999, clock=unsure)) == [-3000]
    assert set_w(a_device(), moment=a_moment(after_ms=50_000, clock=unsure)) == [None]


def test_after_a_start_of_the_machine_an_old_statement_sets_nothing_until_the_clock_is_sure() -> None:
    unsure, limit = a_clock(state=ClockState.UNSYNCHRONIZED, epoch_ms=0), Limit("battery", 1000)
    assert set_w(a_device(), moment=a_moment(is_of_this_boot=False)) == [-3000]
    held = granted(a_device(), moment=a_moment(limits=(limit,), is_of_this_boot=False, clock=unsure))
    assert held == [Grant(1000, 1000)]


def test_a_silent_aggregator_sets_a_device_free() -> None:
    long = due(until_ms=END_MS + 10**9)
    assert set_w(a_device(), moment=a_moment(long, after_ms=AGE_MAX_MS)) == [-3000]
    assert granted(a_device(), moment=a_moment(long, after_ms=AGE_MAX_MS + 1)) == [FREE]
    assert granted(a_device(), moment=None) == [FREE]


def test_nobody_s_device_is_set_unless_the_settings_name_them() -> None:
    assert set_w(a_device(contracts_of=None), a_device("other", contracts_of="ana"), moment=a_moment()) == [None, None]


def test_what_one_device_cannot_do_the_next_one_does() -> None:
    devices = (a_device(), a_device("engine"), a_device("third"))
    assert set_w(*devices, moment=a_moment(due(7000))) == [-5000, -2000, None]


def test_a_device_that_only_takes_is_not_told_to_feed_in() -> None:
    devices = (a_device("heat-pump", direction="takes"), a_device())
    assert set_w(*devices, moment=a_moment()) == [None, -3000]


def test_a_limit_wins_and_the_next_device_does_the_rest() -> None:
    limit = Limit("battery", 1000, direction=Direction.FEED_IN)
    devices = (a_device(), a_device("engine"))
    assert granted(*devices, moment=a_moment(limits=(limit,))) == [
        Grant(feed_in_w=1000, set_w=-1000),
        Grant(set_w=-2000),
    ]


def test_a_limit_of_what_is_taken_does_not_stand_in_the_way_of_what_is_fed_in() -> None:
    limit = Limit("battery", 0, direction=Direction.TAKE)
    assert granted(a_device(), moment=a_moment(limits=(limit,))) == [Grant(take_w=0, set_w=-3000)]


def test_no_contract_sets_a_device_below_what_the_settings_promise() -> None:
    assert set_w(a_device(power_min_w=1500), moment=a_moment(due(-1000))) == [1500]


LACKING = {
    "rated": ([a_device()], (), 2000, "the devices that can be set are rated for no more"),
    "limited": ([a_device()], (Limit("battery", 1000),), 6000, "battery is held to 1000 W"),
    "nobody": ([], (), 7000, "no device has this participant under contracts_of"),
    "no set-point": ([a_device(profile="este_power_limiter")], (), 7000, "battery: no set_point in the profile"),
    "other way": ([a_device(direction="takes")], (), 7000, "battery: not in this direction"),
}


@pytest.mark.parametrize(("devices", "limits", "missing_w", "why"), LACKING.values(), ids=LACKING)
def test_why_a_promise_is_not_kept_is_told(
    devices: list[DevicePlan], limits: tuple[Limit, ...], missing_w: int, why: str
) -> None:
    (driven,) = Helm(devices, AGE_MAX_MS).driven(a_moment(due(7000), limits=limits))
    assert (driven.participant, driven.power_w, driven.missing_w, driven.why) == ("borja", 7000, missing_w, why)


def test_people_are_told_which_contract_sets_which_device_until_when() -> None:
    told = Helm([a_device()], AGE_MAX_MS).told(a_moment(contracts=(news(),)))
    assert told is not None and json.loads(told) == [
        {
            "participant": "borja",
            "contracts": [a_digest("contract").hex()[:12]],
            "power_w": 3000,
            "until_ms": END_MS,
            "devices": {"battery": -3000},
            "missing_w": 0,
            "why": None,
        }
    ]
    assert Helm([a_device()], AGE_MAX_MS).told(a_moment(after_ms=50_000)) is None
