"""What a scan prints is read as it was meant."""

from __future__ import annotations

import pytest
import yaml

from agent.scan.report import Surveyed, lines_of
from agent.scan.survey import Found, Guess
from config.load import check
from config.settings.agent import AgentSettings
from config.settings.bus import Bus
from tests.unit.agent.builders import a_profile, settings_document


@pytest.mark.parametrize("serial", ["1705E012", "17041234", "0x17", "1_000", "12:30", "true", "null", "it's"])
def test_a_serial_number_is_text_whatever_it_looks_like(serial: str) -> None:
    guess = Guess(a_profile(), serial, (230_000,), 50_000)
    bus = check({"host": "127.0.0.1", "meters": []}, Bus, "bus")
    lines = list(lines_of([Surveyed(bus, [Found(unit=1, guesses=(guess,))])]))
    snippet = [line for line in lines if not line.startswith("#")]
    if serial != "it's":
        assert f"serial: '{serial}'" in snippet[-1], "quoted, for every dialect of YAML"
    (read,) = check(settings_document(**yaml.safe_load("\n".join(snippet))), AgentSettings, "agent.yaml").buses
    assert read.meters[0].serial == serial
