"""A right or a restriction becomes a number in a register, within what the settings promise."""

from __future__ import annotations

from typing import Any

import pytest

from agent.bus.control import (
    DevicePlan,
    StatementAge,
    command_for,
    device_plan_for,
    granted_w,
    is_obeyed,
    see_that_each_has_its_own_limit,
)
from config.load import load_profiles
from config.settings.bus import DeviceAddress
from protocol.batch import ClockState
from protocol.errors import OperatorError
from protocol.limits import Limit
from protocol.messages import Statement
from tests.builders import EPOCH_MS, a_clock, a_standing, a_statement
from tests.unit.agent.builders import a_profile

LIMITER = a_profile("este_power_limiter")


def a_device(limit: dict[str, Any] | None = None, **changes: Any) -> DevicePlan:
    profile = a_profile("este_power_limiter", power_limit=limit) if limit else LIMITER
    address = {"id": "heat-pump", "unit": 9, "profile": profile.id, "power_min_w": 500, "power_max_w": 9000} | changes
    return device_plan_for(DeviceAddress(**address), {profile.id: profile})


def limited_to(*watts: int, device: str = "heat-pump") -> Statement:
    owing = [a_standing(participant=f"p-{w}", balance=-1, limits=(Limit(device, w),)) for w in watts]
    return a_statement(standings=tuple(owing))


class TestGranted:
    """What a statement holds a device to."""

    def test_without_a_statement_a_device_is_free(self) -> None:
        assert granted_w(a_device(), None) is None

    def test_a_statement_that_does_not_name_it_leaves_it_free(self) -> None:
        assert granted_w(a_device(), limited_to(2000, device="charger")) is None

    def test_a_limit_is_what_it_says(self) -> None:
        assert granted_w(a_device(), limited_to(2000)) == 2000

    def test_no_statement_holds_it_below_what_the_settings_promise(self) -> None:
        assert granted_w(a_device(power_min_w=1500), limited_to(0)) == 1500

    def test_nor_above_what_it_can_do(self) -> None:
        assert granted_w(a_device(power_max_w=3000), limited_to(10_000)) == 3000

    def test_of_two_limits_the_lower_one_holds(self) -> None:
        assert granted_w(a_device(), limited_to(4000, 2000)) == 2000


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


class TestCommand:
    """What is written."""

    def test_a_limit_in_watts_is_two_words(self) -> None:
        assert command_for(a_device(), 0x1_0002).words == (1, 2)

    def test_lifting_writes_what_the_profile_says(self) -> None:
        assert command_for(a_device(), None).words == (0xFFFF, 0xFFFF)

    def test_a_coarse_register_rounds_down(self) -> None:
        device = a_device({"address": 4, "type": "u16", "unit": "kW", "scale": "0.1", "lifted": 0xFFFF})
        command = command_for(device, 1299)
        assert (command.power_w, command.words) == (1200, (12,))

    def test_but_never_below_what_the_settings_promise(self) -> None:
        device = a_device({"address": 4, "type": "u16", "unit": "kW", "scale": "1", "lifted": 0xFFFF}, power_min_w=1500)
        command = command_for(device, 1500)
        assert (command.power_w, command.words) == (2000, (2,))

    def test_it_is_obeyed_when_it_reads_back_the_same(self) -> None:
        command = command_for(a_device(), 2000)
        assert is_obeyed(command, [0, 2000])
        assert not is_obeyed(command, [0, 2001])


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

    def test_a_profile_without_a_limit(self) -> None:
        with pytest.raises(OperatorError, match="one of este_power_limiter"):
            device_plan_for(
                DeviceAddress(id="d", unit=1, profile="abb_b23", power_min_w=0, power_max_w=1), load_profiles()
            )


def test_no_two_devices_are_told_different_things_through_one_register() -> None:
    see_that_each_has_its_own_limit([a_device(), a_device(id="charger", unit=10)])
    with pytest.raises(OperatorError, match="charger: unit: expected another unit than that of heat-pump"):
        see_that_each_has_its_own_limit([a_device(), a_device(id="charger")])
