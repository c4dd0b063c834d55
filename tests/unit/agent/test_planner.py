"""Fewest requests, never more than the meter allows."""

from __future__ import annotations

import pytest

from agent.bus.planner import Groups, ReadRequest, plan, plan_groups, serial_request
from config.load import load_profiles
from config.meter_profile import MeterProfile, Table
from protocol.units import ENERGY_REGISTERS, Quantity
from tests.unit.agent.builders import WANTED, a_profile

READABLE = [profile for profile in load_profiles().values() if profile.registers]


def test_what_the_rules_need_of_an_sdm630_comes_in_one_request() -> None:
    needed = {*WANTED, *ENERGY_REGISTERS}
    assert plan(a_profile(), needed) == (ReadRequest(Table.INPUT, 0x0000, 0x4C),)


def test_everything_that_an_sdm630_profile_knows_comes_in_one_request_of_at_most_80_words() -> None:
    (request,) = plan(a_profile(), set(Quantity))
    assert request.words <= 80


def test_pains_row_4_all_49_values_of_an_sdm630_come_in_3_requests() -> None:
    """49 single reads take 3.19 s at 9600 baud with 40 ms turn-around, three requests 0.47 s.

    The public map had 49 values; by now it has 52, and all of them come in the same three requests.
    """
    profile = a_profile("eastron_sdm630_full")
    assert len(profile.registers) == 52
    assert plan(profile, set(Quantity)) == (
        ReadRequest(Table.INPUT, 0x0000, 80),
        ReadRequest(Table.INPUT, 0x00EA, 16),
        ReadRequest(Table.INPUT, 0x0156, 40),
    )


def test_pains_row_4_no_meter_is_asked_once_per_value() -> None:
    """Over the whole library, one request brings more than four values."""
    requests = sum(len(plan(profile, set(Quantity))) for profile in READABLE)
    assert sum(len(profile.registers) for profile in READABLE) > 4 * requests


# -- Fast and slow


def test_energy_and_power_are_fast_and_the_rest_is_slow() -> None:
    groups = plan_groups(a_profile("schneider_iem3000"), set(Quantity))
    assert groups == Groups(
        fast=(ReadRequest(Table.HOLDING, 0x0BF3, 2), ReadRequest(Table.HOLDING, 0x0C83, 8)),
        slow=(ReadRequest(Table.HOLDING, 0x0BB7, 112),),
    )


def test_what_a_fast_answer_holds_anyway_is_not_asked_for_again() -> None:
    """Power at 0x0034 and energy at 0x0048 of an SDM630 have frequency between them."""
    groups = plan_groups(a_profile(), {*WANTED, *ENERGY_REGISTERS, Quantity.FREQUENCY_MHZ})
    assert groups.fast == (ReadRequest(Table.INPUT, 0x0034, 24),)
    assert groups.slow == (ReadRequest(Table.INPUT, 0x0000, 2),), "voltage only"


def test_energy_is_fast_whatever_the_profile_says() -> None:
    groups = plan_groups(a_profile(fast=[]), {*WANTED, *ENERGY_REGISTERS})
    assert groups.fast == (ReadRequest(Table.INPUT, 0x0048, 4),)


def test_where_nothing_is_fast_everything_is() -> None:
    """This heat meter counts no energy that must be; without anything fast it would be silent in most cycles."""
    profile = a_profile("kamstrup_multical_403", fast=[])
    assert plan_groups(profile, set(Quantity)) == Groups(fast=plan(profile, set(Quantity)))


@pytest.mark.parametrize("profile", READABLE, ids=lambda profile: profile.id)
def test_both_groups_together_bring_every_register(profile: MeterProfile) -> None:
    groups = plan_groups(profile, set(Quantity))
    asked = groups.fast + groups.slow
    assert all(any(request.holds(register) for request in asked) for register in profile.registers)
    fast = [register for register in profile.registers if register.quantity in profile.fast]
    assert all(any(request.holds(register) for request in groups.fast) for register in fast)


# -- Words that have to stay as they are

FIXED = [{"address": 0x0058, "value": 203, "meaning": "model"}]


def test_fixed_words_are_read_along() -> None:
    profile = a_profile("eastron_sdm120", fixed_words=FIXED)
    assert plan(profile, {Quantity.VOLTAGE_L1_MV}) == (
        ReadRequest(Table.INPUT, 0x0000, 2),
        ReadRequest(Table.INPUT, 0x0058, 1),
    )
    assert plan(profile, {Quantity.IMPORTED_WH}) == (ReadRequest(Table.INPUT, 0x0048, 17),)


def test_fixed_words_alone_are_not_worth_a_question() -> None:
    assert plan(a_profile("eastron_sdm120", fixed_words=FIXED), {Quantity.HEAT_WH}) == ()


def test_a_gap_inside_a_block_is_read_along() -> None:
    voltage_and_frequency = {Quantity.VOLTAGE_L1_MV, Quantity.FREQUENCY_MHZ}
    assert plan(a_profile(), voltage_and_frequency) == (ReadRequest(Table.INPUT, 0x0000, 0x48),)


def test_a_gap_between_blocks_is_not() -> None:
    profile = a_profile("abb_b23")
    assert plan(profile, {Quantity.IMPORTED_WH, Quantity.VOLTAGE_L1_MV}) == (
        ReadRequest(Table.HOLDING, 0x5000, 4),
        ReadRequest(Table.HOLDING, 0x5B00, 2),
    )


def test_what_the_meter_does_not_have_is_not_asked_for() -> None:
    assert plan(a_profile("eastron_sdm120"), {Quantity.VOLTAGE_L3_MV}) == ()


@pytest.mark.parametrize("profile", READABLE, ids=lambda profile: profile.id)
def test_no_request_is_larger_than_the_meter_gives_or_reaches_out_of_a_block(profile: MeterProfile) -> None:
    for request in plan(profile, set(Quantity)):
        assert request.words <= profile.words_max
        assert any(block.first <= request.address and request.last <= block.last for block in profile.blocks)


@pytest.mark.parametrize("profile", READABLE, ids=lambda profile: profile.id)
def test_every_register_of_the_profile_is_in_some_answer(profile: MeterProfile) -> None:
    requests = plan(profile, set(Quantity))
    assert all(any(request.holds(register) for request in requests) for register in profile.registers)


def test_a_register_is_cut_out_of_the_answer_where_it_stands() -> None:
    profile = a_profile()
    frequency = next(register for register in profile.registers if register.id is Quantity.FREQUENCY_MHZ)
    request = ReadRequest(Table.INPUT, 0x0034, 24)
    answer = list(range(0x34, 0x34 + 24))
    assert request.cut(frequency, answer) == [0x46, 0x47]


def test_a_smaller_words_max_takes_more_requests() -> None:
    profile = a_profile(words_max=40)
    assert len(plan(profile, set(Quantity))) == 2


def test_the_serial_number_is_asked_for_where_the_profile_has_it() -> None:
    assert serial_request(a_profile()) == ReadRequest(Table.HOLDING, 0xFC00, 2)
    assert serial_request(a_profile("carlo_gavazzi_em24")) is None
