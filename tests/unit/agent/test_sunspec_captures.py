"""What real SunSpec devices answered decodes to what obeys the laws of physics."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from agent.library.doctor import Look, Verdict, judge
from agent.library.sunspec import Found, profiles_of
from config.load import read_profile
from protocol.units import Quantity
from tests.unit.agent.sunspec_devices import a_meter
from tests.vector_files import read_vectors

DEVICES = read_vectors("sunspec/solaredge.yaml")["devices"]


def decoded(device: dict[str, Any]) -> tuple[Any, dict[Quantity, int | None]]:
    data = bytes.fromhex(device["words"])
    words = [device["model"], len(data) // 2, *struct.unpack(f">{len(data) // 2}H", data)]
    common = Found(1, 40_002, a_meter().words(40_002, 68))
    (text,) = profiles_of([common, Found(device["model"], 40_070, words)])
    profile = read_profile(text, Path(text.partition("\nid: ")[2].partition("\n")[0] + ".yaml"))
    return profile, {
        register.id: profile.codecs[register.id].decode(words[register.address - 40_070 : register.last + 1 - 40_070])
        for register in profile.registers
    }


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: str(device["model"]))
def test_a_captured_model_decodes_to_its_values(device: dict[str, Any]) -> None:
    _, values = decoded(device)
    assert {quantity.name.lower(): value for quantity, value in values.items()} == device["values"]


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: str(device["model"]))
def test_a_captured_model_obeys_the_laws_of_its_profile(device: dict[str, Any]) -> None:
    profile, values = decoded(device)
    found = {finding.check: finding.verdict for finding in judge(profile, Look(0, values), Look(0, values))}
    assert found["mains"] is found["apparent"] is Verdict.HOLDS
    assert found.get("phases", Verdict.HOLDS) is Verdict.HOLDS


def test_phases_that_flow_both_ways_may_have_less_apparent_power_in_total_than_voltage_times_current() -> None:
    """The captured meter adds its phases up as vectors: 476 VA, though 0.5 A to 4.7 A flow in each of them."""
    profile, values = decoded(DEVICES[1])
    findings = {finding.check: finding for finding in judge(profile, Look(0, values), Look(0, values))}
    assert "the phases flow both ways" in findings["apparent"].says
    one_way = {**values, Quantity.ACTIVE_POWER_L2_W: 123, Quantity.ACTIVE_POWER_L3_W: 1000}
    findings = {finding.check: finding for finding in judge(profile, Look(0, one_way), Look(0, one_way))}
    assert findings["apparent"].verdict is Verdict.FAILS
