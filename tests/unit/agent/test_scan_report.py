"""What a scan prints is read as it was meant."""

from __future__ import annotations

import pytest
import yaml

from agent.scan.report import OTHER, PART, SAME, Surveyed, lines_of, once, why_both
from agent.scan.survey import Found, Guess
from config.load import check
from config.settings.agent import AgentSettings
from config.settings.bus import Bus, Parity
from protocol.units import Quantity
from tests.unit.agent.builders import a_profile, settings_document


@pytest.mark.parametrize("serial", ["1705E012", "17041234", "0x17", "1_000", "12:30", "true", "null", "it's"])
def test_a_serial_number_is_text_whatever_it_looks_like(serial: str) -> None:
    guess = Guess(a_profile(), serial, {Quantity.VOLTAGE_L1_MV: 230_000})
    bus = check({"host": "127.0.0.1", "meters": []}, Bus, "bus")
    lines = list(lines_of([Surveyed(bus, [Found(unit=1, guesses=(guess,))])]))
    snippet = [line for line in lines if not line.startswith("#")]
    if serial != "it's":
        assert f"serial: '{serial}'" in snippet[-1], "quoted, for every dialect of YAML"
    (read,) = check(settings_document(**yaml.safe_load("\n".join(snippet))), AgentSettings, "agent.yaml").buses
    assert read.meters[0].serial == serial


def on_a_line(baud: int, *found: Found, parity: Parity = Parity.NONE) -> Surveyed:
    line = {"device": "/dev/ttyUSB0", "baud": baud, "parity": parity.value}
    return Surveyed(check({"serial": line, "meters": []}, Bus, "bus"), found)


def a_found(unit: int = 1, *, serial: str = "17041234", profile: str = "eastron_sdm630") -> Found:
    return Found(unit, (Guess(a_profile(profile), serial, {Quantity.VOLTAGE_L1_MV: 230_000}),))


def test_a_meter_that_answers_at_every_speed_stands_once() -> None:
    slow, fast = once([on_a_line(9600, a_found()), on_a_line(19200, a_found(), parity=Parity.EVEN)])
    assert [found.lines for found in slow.found] == [("9600-8N1", "19200-8E1")]
    assert not fast.found


@pytest.mark.parametrize(
    "other",
    [a_found(2), a_found(serial="9"), a_found(serial="", profile="abb_b23")],
    ids=["another unit", "another serial number", "another profile"],
)
def test_two_meters_of_different_speeds_on_one_line_both_stand(other: Found) -> None:
    slow, fast = once([on_a_line(9600, a_found()), on_a_line(19200, other)])
    assert (len(slow.found), len(fast.found)) == (1, 1)
    assert slow.found[0].lines == ("9600-8N1",)


def test_meters_behind_different_hosts_are_different_ones_whatever_they_tell() -> None:
    surveys = [Surveyed(check({"host": f"10.0.0.{n}", "meters": []}, Bus, "bus"), [a_found(serial="")]) for n in (1, 2)]
    assert [len(survey.found) for survey in once(surveys)] == [1, 1]


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("abb_b23", "abb_a43", PART),
        ("eastron_sdm120", "eastron_sdm230", PART),
        ("eastron_sdm630", "abb_b23", OTHER),
        ("abb_b23", "abb_b23", SAME),
    ],
)
def test_why_two_profiles_remain_is_told_by_what_their_maps_have_in_common(one: str, other: str, why: str) -> None:
    assert why_both(a_profile(one), a_profile(other)) == why
