"""Settings of the programs: what would fail later, or be a surprise, is refused when the file is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.load import check
from config.model import Model
from config.settings.agent import AgentSettings
from config.settings.aggregator import AggregatorSettings
from config.settings.fleet import FleetSettings
from protocol.messages import RightKind
from tests.unit.config.documents import Document, an_agent_document, changed, mistakes_in


def an_aggregator_document(**changes: Any) -> Document:
    document: Document = {
        "region": "sunvale",
        "name": "hub",
        "data": "data",
        "key_file": "hub.pem",
        "broker": {"host": "localhost"},
    }
    return document | changes


PROGRAMS: dict[str, tuple[type[Model], Document]] = {
    "agent": (AgentSettings, an_agent_document()),
    "aggregator": (AggregatorSettings, an_aggregator_document()),
    "fleet": (FleetSettings, {}),
}


@pytest.mark.parametrize(("kind", "document"), PROGRAMS.values(), ids=PROGRAMS.keys())
def test_settings_that_are_right_are_read_and_frozen(kind: type[Model], document: Document) -> None:
    settings = check(document, kind, "settings.yaml")
    with pytest.raises(ValueError, match="frozen"):
        settings.region = "elsewhere"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("kind", "document"), PROGRAMS.values(), ids=PROGRAMS.keys())
def test_no_environment_variable_changes_what_is_in_force(
    kind: type[Model], document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = check(document, kind, "settings.yaml")
    for field in kind.model_fields:
        monkeypatch.setenv(field.upper(), "7")
        monkeypatch.setenv(f"ESTE_{field.upper()}", "7")
    assert check(document, kind, "settings.yaml") == before


def test_a_standing_order_knows_its_right() -> None:
    settings = check(an_agent_document(), AgentSettings, "agent.yaml")
    assert settings.standing_orders[0].kind is RightKind.PRIORITY_PURCHASE


METER = {"id": "m-1", "unit": 1, "profile": "acme_one"}
DEVICE = {"id": "d-1", "unit": 9, "profile": "este_power_limiter", "power_min_w": 0, "power_max_w": 9000}

WRONG: dict[str, tuple[str, Any, str]] = {
    "a gateway by the aggregator's name": ("gateway", "aggregator", "a gateway name other than the reserved"),
    "a gateway with a slash": ("gateway", "gw/1", "a name of letters and digits"),
    "a folder without name": ("data", "", "the path of a file or folder"),
    "a folder in numbers": ("data", 5, "the path of a file or folder"),
    "a host with a space": ("broker.host", "broker local", "a host name or address"),
    "a host that is a URL": ("broker.host", "mqtt://broker", "a host name or address"),
    "no host": ("broker.host", "", "a host name or address"),
    "port 0": ("broker", {"host": "h", "port": 0}, "greater than or equal to 1"),
    "a port of 17 bits": ("broker", {"host": "h", "port": 65_536}, "less than or equal to 65535"),
    "a certificate without its key": (
        "broker.tls",
        {"ca_file": "ca.pem", "certificate_file": "c.pem"},
        "certificate_file and key_file together",
    ),
    "polling faster than a bus can": ("poll_every_ms", 99, "greater than or equal to 100"),
    "a quantity that does not exist": ("quantities", ["volts"], "a quantity of docs/reference/meter-profile.md"),
    "a quantity by half its name": ("quantities", ["active_power"], "(did you mean 'active_power_w'?)"),
    "a batch of nothing": ("batch", {"readings_max": 0}, "greater than or equal to 1"),
    "a batch larger than the format allows": ("batch", {"readings_max": 4097}, "less than or equal to 4096"),
    "nothing in flight": ("in_flight_max", 0, "greater than or equal to 1"),
    "an outbox too small for a batch": ("outbox_bytes_max", 1000, "greater than or equal to 1048576"),
    "a Modbus unit of 9 bits": ("buses.0.meters.0.unit", 256, "less than or equal to 255"),
    "a meter that stands twice": ("buses.0.meters.1.id", "m-1", "each meter and device once"),
    "a device with a meter's name": (
        "buses.0",
        {"host": "h", "meters": [METER], "devices": [DEVICE | {"id": "m-1"}]},
        "each meter and device once",
    ),
    "a bus that stands twice": (
        "buses",
        [{"host": "h", "meters": [METER]}, {"host": "h", "devices": [DEVICE]}],
        "each bus once, with all its meters",
    ),
    "a right that does not exist": ("standing_orders.0.right", "free_lunch", "a right out of priority_generation"),
    "an order for nothing": ("standing_orders.0.price_max", 0, "greater than 0"),
}


@pytest.mark.parametrize(("path", "value", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_gateway_that_cannot_be_right_is_refused_and_told_why(path: str, value: Any, expected: str) -> None:
    mistakes = mistakes_in(changed(an_agent_document(), path, value), AgentSettings)
    assert any(expected in mistake for mistake in mistakes.values()), mistakes


def test_a_bus_may_have_two_ports_behind_one_host() -> None:
    buses = [{"host": "h", "port": port, "meters": [METER | {"id": f"m-{port}"}]} for port in (502, 503)]
    assert len(check(an_agent_document(buses=buses), AgentSettings, "agent.yaml").buses) == 2


def test_limits_outlast_a_few_intervals_of_a_quarter_of_an_hour_without_a_statement() -> None:
    interval_and_grace_ms = 900_000 + 60_000
    assert check(an_agent_document(), AgentSettings, "agent.yaml").statement_age_max_ms > 3 * interval_and_grace_ms


def test_a_path_is_taken_as_a_path() -> None:
    settings = check(an_aggregator_document(data=Path("/var/lib/este")), AggregatorSettings, "hub.yaml")
    assert settings.data == Path("/var/lib/este")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": "hub/1"}, "a name of letters and digits"),
        ({"verify_threads": 0}, "greater than or equal to 1"),
        ({"pending_max": 0}, "greater than or equal to 1"),
        ({"blocks": {"entries_max": 0}}, "greater than or equal to 1"),
        ({"blocks": {"age_max_ms": 5}}, "greater than or equal to 10"),
    ],
    ids=lambda part: str(part)[:40],
)
def test_an_aggregator_that_cannot_be_right_is_refused_and_told_why(changes: Document, expected: str) -> None:
    mistakes = mistakes_in(an_aggregator_document(**changes), AggregatorSettings)
    assert any(expected in mistake for mistake in mistakes.values()), mistakes


@pytest.mark.parametrize("changes", [{"meters": 3}, {"units_per_port": 248}, {"speed": 0}], ids=str)
def test_a_fleet_out_of_its_bounds_is_refused(changes: Document) -> None:
    assert mistakes_in(changes, FleetSettings)
