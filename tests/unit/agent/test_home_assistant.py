"""What Home Assistant is told is what its manual asks for, and nothing that it would book as energy by mistake."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from agent.house import home_assistant
from agent.house.home_assistant import Live, kilowatt_hours, messages, spelled
from agent.outbox.memory import MeterSeen
from protocol.batch import Quality
from protocol.units import BootMs, Quantity
from tests.unit.agent.builders import a_boot, a_profile, a_reading, a_slow_reading
from tests.unit.agent.test_status import SEEN

PREFIX = "homeassistant"
METERS = {"house": a_profile(), "roof": a_profile()}

DISCOVERY_TOPIC = re.compile(r"homeassistant/(sensor|binary_sensor)/[a-zA-Z0-9_-]+/config")
"""home-assistant.io/integrations/mqtt, "Discovery topic"."""

CLASSES = {
    ("power", "measurement", "W"),
    ("energy", "total_increasing", "kWh"),
    (None, "measurement", "tokens"),
    (None, None, None),
    ("problem", None, None),
}
"""home-assistant.io/integrations/sensor: device classes with their units, and state classes that go with them."""


IMPORTED = Quantity.IMPORTED_WH
LIVE = Live(
    now_ms=65_000,
    poll_every_ms=1000,
    readings={"house": a_reading()},
    energies={"house": {IMPORTED: 1000, Quantity.EXPORTED_WH: 0}},
)
BASE = "este-home/sunvale/gw-1/meter/house"


def told(live: Live = LIVE, **changes: Any) -> dict[str, bytes]:
    return messages(replace(SEEN, **changes), live, METERS, PREFIX)


def configs(messages_: dict[str, bytes]) -> dict[str, Any]:
    return {topic: json.loads(data) for topic, data in messages_.items() if topic.endswith("/config")}


def test_every_configuration_stands_where_discovery_looks() -> None:
    found = configs(told())
    assert len(found) == 3 + 3 * len(SEEN.statement.standings if SEEN.statement else ())
    assert all(DISCOVERY_TOPIC.fullmatch(topic) for topic in found)


def test_every_configuration_has_what_home_assistant_requires() -> None:
    for topic, config in configs(told()).items():
        assert config["unique_id"] == topic.split("/")[2]
        assert config["device"]["identifiers"], "a device needs an identifier"
        assert config["availability"][0]["topic"] == "este-home/sunvale/gw-1/availability"
        assert config["availability_mode"] == "all"
        assert config["origin"]["name"] == "este"
        found = (config.get("device_class"), config.get("state_class"), config.get("unit_of_measurement"))
        assert found in CLASSES


def test_every_announced_state_is_told() -> None:
    messages_ = told()
    for config in configs(messages_).values():
        assert config["state_topic"] in messages_


def test_no_two_entities_share_a_name_or_a_topic() -> None:
    found = list(configs(told()).values())
    for key in ("unique_id", "state_topic"):
        assert len({config[key] for config in found}) == len(found)


def test_values_are_in_home_assistant_s_units() -> None:
    messages_ = told(meters=[MeterSeen("house", a_boot(), a_reading(), None)])
    base = "este-home/sunvale/gw-1/meter/house"
    assert messages_[f"{base}/power"] == b"3600"
    assert messages_[f"{base}/energy_imported"] == b"1.000"
    assert messages_[f"{base}/availability"] == b"online"


def test_a_participant_has_balance_priority_and_restriction() -> None:
    base = "este-home/sunvale/gw-1/participant/borja"
    messages_ = told()
    found = [messages_[f"{base}/{key}"] for key in ("balance", "priority", "restricted")]
    assert found == [b"-7", b"2", b"ON"]


def test_an_unexplained_step_is_no_energy_here_either() -> None:
    """Pains row 1: a glitch was booked as 9,113 kWh by Home Assistant (core #138077)."""
    glitch = a_reading(quality=Quality.UNEXPLAINED_STEP, values={Quantity.ACTIVE_POWER_W: 5, IMPORTED: 25_568_014})
    messages_ = told(replace(LIVE, readings={"house": glitch}), meters=[MeterSeen("house", a_boot(), glitch, None)])
    assert messages_[f"{BASE}/energy_imported"] == b"1.000"
    assert messages_[f"{BASE}/power"] == b"5"


@pytest.mark.parametrize(
    ("live", "refresh_ms", "shown"),
    [
        (replace(LIVE, now_ms=60_040 + 60_000), None, b"online"),
        (replace(LIVE, now_ms=60_040 + 60_001), None, b"offline"),
        (replace(LIVE, now_ms=60_040 + 86_400_000), None, b"offline"),
        (replace(LIVE, now_ms=60_040 + 300_000), 60_000, b"online"),
        (replace(LIVE, now_ms=60_040 + 300_001), 60_000, b"offline"),
        (replace(LIVE, now_ms=60_040 + 4_500_000, poll_every_ms=900_000), None, b"online"),
        (replace(LIVE, is_paused=True), None, b"offline"),
        (replace(LIVE, readings={}), None, b"offline"),
    ],
    ids=["a minute", "more", "a day", "five renewals", "more than five", "five polls", "paused", "of an earlier run"],
)
def test_only_what_was_read_lately_is_shown(live: Live, refresh_ms: int | None, shown: bytes) -> None:
    meters = {"house": a_profile(refresh_ms=refresh_ms) if refresh_ms else a_profile()}
    assert messages(SEEN, live, meters, PREFIX)[f"{BASE}/availability"] == shown


@pytest.mark.parametrize(("age_ms", "told_w"), [(300_000, b"1200"), (300_001, b"None")], ids=["five times", "longer"])
def test_power_that_is_read_more_rarely_is_the_newest_that_is_known_until_it_is_old(age_ms: int, told_w: bytes) -> None:
    now_ms = 400_000
    reading = a_reading(end_ms=BootMs(now_ms), values={IMPORTED: 1000})
    slow = a_slow_reading(0, end_ms=BootMs(now_ms - age_ms), values={Quantity.ACTIVE_POWER_W: 1200})
    live = replace(LIVE, now_ms=now_ms, slow_every_ms=60_000, readings={"house": reading})
    messages_ = told(live, meters=[MeterSeen("house", a_boot(), reading, None, slow)])
    assert messages_[f"{BASE}/power"] == told_w
    assert messages_[f"{BASE}/availability"] == b"online"


def test_a_meter_that_cannot_be_read_is_not_available() -> None:
    messages_ = told(
        meters=[MeterSeen("house", a_boot(), a_reading(), "silent"), MeterSeen("roof", None, None, "silent")]
    )
    assert messages_["este-home/sunvale/gw-1/meter/house/availability"] == b"offline"
    assert messages_["este-home/sunvale/gw-1/meter/roof/availability"] == b"offline"


def test_a_meter_that_the_settings_do_not_name_any_more_is_not_told() -> None:
    assert not any("/cellar" in topic for topic in told(meters=[MeterSeen("cellar", a_boot(), a_reading(), None)]))


def test_energy_is_exact() -> None:
    assert [kilowatt_hours(wh) for wh in (0, 7, 1000, 123_456_789, -1500)] == [
        *("0.000", "0.007", "1.000", "123456.789", "-1.500")
    ]


def test_two_names_never_become_one() -> None:
    assert len({spelled(name) for name in ("a.b", "a_b", "a-b", "a..b", "a.b.")}) == 5
    assert spelled("plain_name-1") == "plain_name-1"


def test_words_are_home_assistant_s_own() -> None:
    assert (home_assistant.ONLINE, home_assistant.GONE) == (b"online", b"offline")
