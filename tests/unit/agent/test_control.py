"""A right or a restriction becomes a number in a register, within what the settings promise."""

from __future__ import annotations

from typing import Any

import pytest

from agent.bus.control import (
    FREE,
    DevicePlan,
    Grant,
    Lever,
    StatementAge,
    command_for,
    device_plan_for,
    limits_of,
    see_that_each_has_its_own_limit,
)
from config.load import load_profiles
from config.settings.bus import DeviceAddress
from protocol.batch import ClockState
from protocol.errors import OperatorError
from protocol.limits import Direction, Limit
from protocol.messages import Statement
from tests.builders import EPOCH_MS, a_clock, a_standing, a_statement
from tests.unit.agent.builders import a_profile

LIMITER = a_profile("este_power_limiter")


def a_device(limit: dict[str, Any] | None = None, **changes: Any) -> DevicePlan:
    profile = a_profile("este_power_limiter", power_limit=limit) if limit else LIMITER
    address = {"id": "heat-pump", "unit": 9, "profile": profile.id, "power_min_w": 500, "power_max_w": 9000} | changes
    return device_plan_for(DeviceAddress(**address), {profile.id: profile})


def a_battery(profile_changes: dict[str, Any] | None = None, **changes: Any) -> DevicePlan:
    profile = a_profile("este_power_controller", **(profile_changes or {}))
    address = {"id": "battery", "unit": 9, "profile": profile.id, "power_min_w": 0, "power_max_w": 9000} | changes
    return device_plan_for(DeviceAddress(**address), {profile.id: profile})


def limited_to(*watts: int, device: str = "heat-pump") -> Statement:
    owing = [a_standing(participant=f"p-{w}", balance=-1, limits=(Limit(device, w),)) for w in watts]
    return a_statement(standings=tuple(owing))


class TestGranted:
    """What a statement holds a device to."""

    def test_a_statement_that_does_not_name_it_leaves_it_free(self) -> None:
        assert limits_of(a_device(), limited_to(2000, device="charger")) == FREE

    def test_a_limit_without_a_direction_holds_both_ways(self) -> None:
        assert limits_of(a_device(), limited_to(2000)) == Grant(2000, 2000)

    def test_a_limit_holds_its_own_direction_and_no_other(self) -> None:
        for way, grant in ((Direction.TAKE, Grant(take_w=2000)), (Direction.FEED_IN, Grant(feed_in_w=2000))):
            standing = a_standing(limits=(Limit("heat-pump", 2000, direction=way),))
            assert limits_of(a_device(), a_statement(standings=(standing,))) == grant

    def test_no_statement_holds_it_below_what_the_settings_promise(self) -> None:
        assert limits_of(a_device(power_min_w=1500), limited_to(0)) == Grant(1500, 1500)

    def test_nor_above_what_it_can_do(self) -> None:
        assert limits_of(a_device(power_max_w=3000), limited_to(10_000)) == Grant(3000, 3000)

    def test_of_two_limits_the_lower_one_holds(self) -> None:
        assert limits_of(a_device(), limited_to(4000, 2000)) == Grant(2000, 2000)


class TestStatementAge:
    """A silent aggregator must not leave a house cold."""

    AGE = StatementAge(made_ms=EPOCH_MS + 60_000, heard_ms=60_000)

    def test_a_statement_is_fresh_until_its_age_is_over(self) -> None:
        assert not self.AGE.is_stale(160_000, a_clock(), 100_000)
        assert self.AGE.is_stale(160_001, a_clock(), 100_000)

    def test_one_that_was_old_when_it_was_heard_is_stale(self) -> None:
        old = StatementAge(made_ms=EPOCH_MS - 200_000, heard_ms=60_000)
        assert old.is_stale(60_000, a_clock(), 100_000)

    def test_a_clock_that_nobody_set_cannot_keep_it_fresh(self) -> None:
        in_1970 = a_clock(state=ClockState.UNSYNCHRONIZED, epoch_ms=0)
        assert self.AGE.is_stale(160_001, in_1970, 100_000)

    def test_nor_make_it_stale(self) -> None:
        in_2100 = a_clock(state=ClockState.UNSYNCHRONIZED, epoch_ms=4 * 10**12)
        assert not self.AGE.is_stale(60_000, in_2100, 100_000)


def words_of(device: DevicePlan, grant: Grant) -> list[tuple[int, ...]]:
    return [order.words for order in command_for(device, grant).orders]


class TestCommand:
    """What is written."""

    def test_a_limit_in_watts_is_two_words(self) -> None:
        assert words_of(a_device(), Grant(take_w=0x1_0002)) == [(1, 2)]

    def test_lifting_writes_what_the_profile_says(self) -> None:
        assert words_of(a_device(), FREE) == [(0xFFFF, 0xFFFF)]

    def test_a_register_for_both_ways_holds_the_lower_limit(self) -> None:
        assert words_of(a_device(), Grant(3000, 2000)) == [(0, 2000)]

    def test_registers_of_their_own_hold_each_way_alone(self) -> None:
        """A battery that may not charge still feeds in: the other way is not touched."""
        lifted, no_set_point = (0xFFFF, 0xFFFF), (0x7FFF, 0xFFFF)
        assert words_of(a_battery(), Grant(take_w=0)) == [(0, 0), lifted, no_set_point]
        assert words_of(a_battery(), Grant(feed_in_w=500)) == [lifted, (0, 500), no_set_point]

    def test_a_set_point_below_0_feeds_in(self) -> None:
        *_, taking = words_of(a_battery(), Grant(set_w=3000))
        *_, feeding = words_of(a_battery(), Grant(set_w=-3000))
        assert (taking, feeding) == ((0, 3000), (0xFFFF, 0x1_0000 - 3000))
        command = command_for(a_battery(), Grant(take_w=4000, set_w=-3000))
        assert (command.power_w, command.set_w) == (4000, -3000)

    def test_a_coarse_register_rounds_down(self) -> None:
        device = a_device({"address": 4, "type": "u16", "unit": "kW", "scale": "0.1", "lifted": 0xFFFF})
        command = command_for(device, Grant(take_w=1299))
        assert (command.power_w, command.orders[0].words) == (1200, (12,))

    def test_but_never_below_what_the_settings_promise(self) -> None:
        device = a_device({"address": 4, "type": "u16", "unit": "kW", "scale": "1", "lifted": 0xFFFF}, power_min_w=1500)
        command = command_for(device, Grant(take_w=1500))
        assert (command.power_w, command.orders[0].words) == (2000, (2,))

    def test_a_coarse_set_point_rounds_up_since_at_least_so_much_is_promised_but_not_beyond_the_device(self) -> None:
        coarse = {"address": 4, "type": "i16", "unit": "kW", "scale": "1", "lifted": 0x7FFF}
        battery = a_battery(power_max_w=4500, profile_changes={"set_point": coarse})
        told = [command_for(battery, Grant(set_w=watts)).set_w for watts in (-2001, 2001, -4100)]
        assert told == [-3000, 3000, -4000]

    def test_it_is_obeyed_when_it_reads_back_the_same(self) -> None:
        (order,) = command_for(a_device(), Grant(take_w=2000)).orders
        assert order.is_obeyed([0, 2000])
        assert not order.is_obeyed([0, 2001])


class TestPlan:
    """Settings that cannot work are refused before anything is written."""

    def test_bounds_that_cross(self) -> None:
        with pytest.raises(OperatorError, match="power_max_w"):
            a_device(power_min_w=9001)

    def test_more_than_the_register_holds(self) -> None:
        with pytest.raises(OperatorError, match="what its register can hold"):
            a_device({"address": 4, "type": "u16", "unit": "W", "scale": "1", "lifted": 0xFFFF}, power_max_w=70_000)

    def test_a_limit_that_would_mean_no_limit(self) -> None:
        with pytest.raises(OperatorError, match="what its register can hold"):
            a_device({"address": 4, "type": "u16", "unit": "W", "scale": "1", "lifted": 9000})

    def test_a_set_point_that_would_mean_none(self) -> None:
        with pytest.raises(OperatorError, match="what its register can hold"):
            a_battery(
                profile_changes={"set_point": {"address": 6, "type": "i16", "unit": "W", "scale": "1", "lifted": 9000}}
            )

    def test_every_lever_is_found_in_the_profile(self) -> None:
        assert list(a_device().levers) == [Lever.EITHER]
        assert list(a_battery().levers) == [Lever.TAKE, Lever.FEED_IN, Lever.SET]
        assert a_battery().can_be_set and not a_device().can_be_set

    def test_a_profile_without_a_limit(self) -> None:
        with pytest.raises(OperatorError, match="one of este_power_controller, este_power_limiter"):
            device_plan_for(
                DeviceAddress(id="d", unit=1, profile="abb_b23", power_min_w=0, power_max_w=1), load_profiles()
            )


def test_no_two_devices_are_told_different_things_through_one_register() -> None:
    see_that_each_has_its_own_limit([a_device(), a_device(id="charger", unit=10)])
    with pytest.raises(OperatorError, match="charger: unit: expected another unit than that of heat-pump"):
        see_that_each_has_its_own_limit([a_device(), a_device(id="charger")])
