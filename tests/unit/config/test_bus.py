"""One bus setting, three ways to a meter: TCP, a serial server, a serial port. Each mistake is one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.load import check, load
from config.settings.agent import AgentSettings
from config.settings.bus import Bus, Framing, Parity
from tests.unit.config.documents import an_agent_document, mistakes_in

METER = {"id": "m-9", "unit": 1, "profile": "eastron_sdm630"}
SERIAL = {"device": "/dev/ttyUSB0", "baud": 9600}


def a_bus(**changes: Any) -> Bus:
    return check({"meters": [METER]} | changes, Bus, "agent.yaml")


def test_a_host_speaks_modbus_tcp_unless_told_otherwise() -> None:
    assert (a_bus(host="h").framing, a_bus(host="h").place) == (Framing.TCP, "h:502")
    assert a_bus(host="h", port=4001, framing="rtu").framing is Framing.RTU


def test_a_serial_port_speaks_rtu() -> None:
    bus = a_bus(serial=SERIAL | {"parity": "even", "stop_bits": 2}, turnaround_ms=20)
    assert bus.serial is not None
    assert (bus.framing, bus.serial.parity, bus.place) == (Framing.RTU, Parity.EVEN, "/dev/ttyUSB0")


def test_what_is_written_back_is_read_the_same() -> None:
    for bus in (a_bus(host="h"), a_bus(host="h", framing="rtu"), a_bus(serial=SERIAL)):
        assert check(bus.model_dump(mode="json"), Bus, "agent.yaml") == bus


def test_a_device_is_found_from_the_folder_of_the_settings(tmp_path: Path) -> None:
    file = tmp_path / "bus.yaml"
    file.write_text("serial: {device: run/bus-1, baud: 9600, parity: none}\n")
    assert load(file, Bus).place == str(tmp_path / "run/bus-1")


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "no way to it": ({}, "", "either host, for a TCP connection, or serial, for a port of this machine"),
    "two ways to it": ({"host": "h", "serial": SERIAL}, "", "either host, for a TCP connection, or serial"),
    "serial with TCP frames": ({"serial": SERIAL, "framing": "tcp"}, "", "framing rtu, or none told"),
    "a framing nobody knows": ({"host": "h", "framing": "ascii"}, ".framing", "'tcp' or 'rtu'"),
    "no speed": ({"serial": {"device": "/dev/ttyUSB0"}}, ".serial.baud", "a value"),
    "a speed that no meter has": ({"serial": SERIAL | {"baud": 9601}}, ".serial.baud", "9600, 19200"),
    "a parity nobody knows": ({"serial": SERIAL | {"parity": "mark"}}, ".serial.parity", "'none', 'even' or 'odd'"),
    "three stop bits": ({"serial": SERIAL | {"stop_bits": 3}}, ".serial.stop_bits", "less than or equal to 2"),
    "a misspelt key": ({"serial": SERIAL | {"stopbits": 1}}, ".serial.stopbits", "did you mean 'stop_bits'?"),
    "a turn-around of minutes": (
        {"host": "h", "turnaround_ms": 60_000},
        ".turnaround_ms",
        "less than or equal to 1000",
    ),
    "everybody's unit on a serial line": (
        {"serial": SERIAL, "meters": [METER | {"unit": 0}]},
        "",
        "units from 1 to 247, as on every serial line, got unit 0",
    ),
    "a unit that no serial frame has": (
        {"host": "h", "framing": "rtu", "meters": [METER | {"unit": 255}]},
        "",
        "units from 1 to 247, as on every serial line, got unit 255",
    ),
}


@pytest.mark.parametrize(("bus", "key_path", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_told_with_its_place(bus: dict[str, Any], key_path: str, expected: str) -> None:
    mistakes = mistakes_in(an_agent_document(buses=[bus]), AgentSettings)
    assert expected in mistakes[f"buses.0{key_path}"]


def test_one_serial_port_is_one_bus() -> None:
    document = an_agent_document(buses=[{"serial": SERIAL}, {"serial": SERIAL | {"baud": 19200}}])
    assert "each bus once, with all its meters" in str(mistakes_in(document, AgentSettings))
