"""Pains row 6: a wrong register map is found, because the quantities of one meter know each other.

Each test breaks a right meter in a way in which public maps were wrong (mbmd #154, #297, #63 and others).
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.library.doctor import Finding, Look, Verdict, judge, lines
from config.meter_profile import MeterProfile
from protocol.units import Quantity
from tests.unit.agent.builders import a_profile

SDM630 = a_profile("eastron_sdm630")
EM24 = a_profile("carlo_gavazzi_em24")
IEM3150 = a_profile("schneider_iem3150")
HEAT = a_profile("onicon_system10")

MINUTE_MS = 60_000

HOUSE = {
    Quantity.VOLTAGE_L1_MV: 230_000,
    Quantity.VOLTAGE_L2_MV: 231_000,
    Quantity.VOLTAGE_L3_MV: 229_000,
    Quantity.CURRENT_L1_MA: 10_000,
    Quantity.CURRENT_L2_MA: 4_000,
    Quantity.CURRENT_L3_MA: 2_000,
    Quantity.ACTIVE_POWER_L1_W: 2_250,
    Quantity.ACTIVE_POWER_L2_W: 900,
    Quantity.ACTIVE_POWER_L3_W: 450,
    Quantity.ACTIVE_POWER_W: 3_600,
    Quantity.APPARENT_POWER_VA: 3_682,
    Quantity.REACTIVE_POWER_VAR: 300,
    Quantity.FREQUENCY_MHZ: 49_980,
    Quantity.IMPORTED_WH: 1_000_000,
    Quantity.EXPORTED_WH: 20_000,
}

BOILER = {
    Quantity.HEAT_POWER_W: 11_500,
    Quantity.HEAT_FLOW_LPH: 250,
    Quantity.SUPPLY_TEMPERATURE_CENTIC: 7_000,
    Quantity.RETURN_TEMPERATURE_CENTIC: 3_000,
    Quantity.HEAT_WH: 5_000_000,
    Quantity.COOLING_WH: 0,
    Quantity.HEAT_VOLUME_L: 40_000,
}


def looks(
    profile: MeterProfile = SDM630,
    *,
    shown: dict[Quantity, int] = HOUSE,
    minutes: int = 10,
    imported_wh: int = 600,
    exported_wh: int = 0,
    **changes: int | None,
) -> tuple[MeterProfile, Look, Look]:
    """A house that takes 3,600 W, seen twice; `changes` are what its meter shows instead, both times."""
    first: dict[Quantity, int | None] = {q: value for q, value in shown.items() if q in profile.codecs}
    first |= {Quantity[name.upper()]: value for name, value in changes.items()}
    second = dict(first)
    for quantity, wh in ((Quantity.IMPORTED_WH, imported_wh), (Quantity.EXPORTED_WH, exported_wh)):
        before = first.get(quantity)
        if before is not None:
            second[quantity] = before + wh
    return profile, Look(0, first), Look(minutes * MINUTE_MS, second)


def finding(check: str, *seen: Any) -> Finding:
    return next(found for found in judge(*seen) if found.check == check)


def test_a_right_meter_passes_every_check() -> None:
    found = judge(*looks())
    assert [f.check for f in found] == ["values", "mains", "phases", "apparent", "slope"]
    assert {f.verdict for f in found} == {Verdict.HOLDS}


def test_pains_row_6_an_address_that_is_off_by_one_is_no_public_grid() -> None:
    """mbmd #154: a manual that counts from 1. The float is then made of two halves."""
    halves = struct.unpack(">f", struct.pack(">2H", 0x8000, 0x4366))[0]
    found = finding("mains", *looks(voltage_l1_mv=round(halves * 1000)))
    assert found.verdict is Verdict.FAILS
    assert "a wrong address, word order, type or scale" in found.says


def test_pains_row_6_swapped_words_are_no_public_grid() -> None:
    swapped = struct.unpack(">i", struct.pack(">2H", 2300, 0))[0] * 100
    assert finding("mains", *looks(EM24, voltage_l1_mv=swapped)).verdict is Verdict.FAILS


def test_pains_row_6_import_and_export_exchanged_are_seen_by_the_slope() -> None:
    found = finding("slope", *looks(imported_wh=0, exported_wh=600))
    assert found.verdict is Verdict.FAILS
    assert "import and export are exchanged" in found.says


def test_pains_row_6_a_turned_sign_of_power_is_seen_by_the_slope() -> None:
    """SolarEdge's meters show what is fed in as positive."""
    found = finding("slope", *looks(active_power_w=-3_600))
    assert found.verdict is Verdict.FAILS
    assert "the sign of power is turned" in found.says


def test_pains_row_6_a_total_that_is_partial_is_seen_by_the_slope() -> None:
    """The register of another tariff, or a counter that was stopped, for the total."""
    found = finding("slope", *looks(imported_wh=0))
    assert found.verdict is Verdict.FAILS
    assert "it does not count" in found.says


def test_pains_row_6_a_phase_in_the_place_of_the_total_is_seen_by_the_phases() -> None:
    found = finding("phases", *looks(active_power_w=2_250))
    assert found == Finding("phases", Verdict.FAILS, "2250 + 900 + 450 = 3600 W, in total 2250 W")


def test_pains_row_6_a_total_of_the_other_sign_is_seen_by_the_phases() -> None:
    found = finding("phases", *looks(active_power_w=-3_600))
    assert found.says.endswith("a sign is turned")


@pytest.mark.parametrize("factor", [10, 100, 1000])
def test_pains_row_6_a_scale_that_is_wrong_is_named(factor: int) -> None:
    assert f"about {factor} times" in finding("apparent", *looks(apparent_power_va=3_682 * factor)).says
    assert f"about {factor} times" in finding("slope", *looks(imported_wh=600 * factor)).says


def test_a_meter_without_apparent_power_cannot_do_more_than_voltage_times_current() -> None:
    assert finding("apparent", *looks(EM24)).verdict is Verdict.HOLDS
    assert finding("apparent", *looks(EM24, active_power_w=36_000)).verdict is Verdict.FAILS


# -- What cannot be told


def test_a_house_in_which_little_flows_proves_nothing() -> None:
    little = dict.fromkeys(("active_power_l1_w", "active_power_l2_w", "active_power_l3_w"), 5)
    little |= dict.fromkeys(("current_l1_ma", "current_l2_ma", "current_l3_ma"), 20)
    found = judge(*looks(active_power_w=15, apparent_power_va=14, imported_wh=2, **little))
    assert {f.check for f in found if f.verdict is Verdict.OPEN} == {"phases", "apparent", "slope"}


def test_a_counter_that_is_coarse_asks_for_patience_and_says_how_much() -> None:
    found = finding("slope", *looks(EM24, minutes=1, imported_wh=0))
    assert found.verdict is Verdict.OPEN
    assert "one step of the counter is 100 Wh, so wait at least 108 s" in found.says
    assert finding("slope", *looks(EM24, minutes=10, imported_wh=600)).verdict is Verdict.HOLDS


def test_a_float_counts_in_steps_that_grow() -> None:
    """Above 65,536 kWh one step of a float32 is 1/128 kWh."""
    old = HOUSE | {Quantity.IMPORTED_WH: 100_000_000}
    assert "one step of the counter is 7.8125 Wh" in finding("slope", *looks(shown=old, minutes=0, imported_wh=0)).says


def test_a_value_that_is_missing_is_told_and_fails_only_where_it_matters() -> None:
    assert finding("values", *looks(reactive_power_var=None)).verdict is Verdict.OPEN
    assert finding("values", *looks(active_power_w=None)).verdict is Verdict.FAILS
    assert finding("phases", *looks(active_power_l2_w=None)).verdict is Verdict.OPEN
    assert finding("slope", *looks(active_power_w=None)).verdict is Verdict.OPEN


def test_a_phase_that_is_not_connected_is_no_mistake() -> None:
    assert finding("mains", *looks(voltage_l2_mv=0, voltage_l3_mv=0)).verdict is Verdict.HOLDS
    assert finding("mains", *looks(voltage_l1_mv=0)).verdict is Verdict.FAILS


def test_a_meter_without_an_export_register_stands_still_while_power_is_fed_in() -> None:
    assert finding("slope", *looks(IEM3150, active_power_w=-3_600, imported_wh=0)).verdict is Verdict.OPEN
    assert finding("slope", *looks(IEM3150, active_power_w=-3_600, imported_wh=600)).verdict is Verdict.FAILS


# -- Heat


def test_a_heat_meter_is_held_to_what_water_can_carry() -> None:
    profile, first, second = looks(HEAT, shown=BOILER)
    second.values[Quantity.HEAT_WH] += 1_917  # type: ignore[index, operator]
    found = judge(profile, first, second)
    assert [f.check for f in found] == ["values", "slope", "heat"]
    assert {f.verdict for f in found} == {Verdict.HOLDS}


def test_pains_row_6_a_flow_in_cubic_metres_is_seen_by_the_heat() -> None:
    found = finding("heat", *looks(HEAT, shown=BOILER, heat_flow_lph=250_000))
    assert found.verdict is Verdict.FAILS
    assert "about 1000 times" in found.says


# -- Whatever a meter shows

anything = st.none() | st.integers(-(2**31), 2**31 - 1)


@given(
    st.sampled_from([SDM630, EM24, IEM3150, HEAT]),
    st.lists(anything, min_size=30, max_size=30),
    st.integers(0, 10**9),
)
def test_every_check_gets_a_verdict_whatever_the_meter_shows(
    profile: MeterProfile, shown: list[int | None], span_ms: int
) -> None:
    quantities = list(profile.codecs)
    first, second = (dict(zip(quantities, part, strict=False)) for part in (shown[:15], shown[15:]))
    found = judge(profile, Look(0, first), Look(span_ms, second))
    assert [f.check for f in found] == ["values", *(check.law.value for check in profile.self_checks)]
    assert all(f.says for f in found)


@given(st.integers(-20_000, 20_000), st.integers(1, 600))
def test_a_meter_that_counts_what_flows_never_fails(power_w: int, minutes: int) -> None:
    moved = power_w * minutes // 60
    seen = looks(minutes=minutes, active_power_w=power_w, imported_wh=max(0, moved), exported_wh=max(0, -moved))
    assert finding("slope", *seen).verdict is not Verdict.FAILS


def test_findings_are_counted_below_their_list() -> None:
    told = list(lines(judge(*looks(active_power_w=2_250))))
    assert told[-1] == "3 holds, 2 fails, 0 open"
    assert told[2].startswith("fails  phases")
