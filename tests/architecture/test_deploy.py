"""What runs on a gateway under systemd: hardened, watched, allowed what it needs, and installed from pinned locks."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from agent.exits import EXIT_PIN_REFUSED
from tests.architecture.house import ROOT, report

UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
AGENT = ROOT / "deploy/systemd/este-agent.service"
LOCKS = {"requirements-agent.lock", "requirements-agent-hsm.lock"}

HARDENED = {
    "CapabilityBoundingSet": "",
    "NoNewPrivileges": "true",
    "ProtectSystem": "strict",
    "ProtectHome": "true",
    "ProtectKernelModules": "true",
    "ProtectKernelTunables": "true",
    "PrivateTmp": "true",
    "RestrictNamespaces": "true",
    "RestrictSUIDSGID": "true",
    "MemoryDenyWriteExecute": "true",
    "UMask": "0077",
    "User": "este",
    "Restart": "always",
}


def directives(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in unit.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_gives_away_nothing_that_the_program_does_not_need(unit: Path) -> None:
    found = directives(unit)
    report(
        f"{unit.name} is hardened.",
        [f"{name}={wanted}" for name, wanted in HARDENED.items() if found[name] != [wanted]],
    )


def test_the_agent_s_unit_waits_for_ready_and_watches_over_it() -> None:
    found = directives(AGENT)
    assert found["Type"] == ["notify"]
    assert int(found["WatchdogSec"][0]) >= 30, "a memory card may take seconds for one write"


def test_row_9_the_agent_may_ask_the_kernel_for_the_clock_s_error() -> None:
    """ProtectClock=true forbids adjtimex(2) altogether: then every clock would count as unsynchronized."""
    found = directives(AGENT)
    assert "ProtectClock" not in found
    assert any({"adjtimex", "clock_adjtime"} <= set(line.split()) for line in found["SystemCallFilter"])
    assert found["ProcSubset"] == ["all"], "the boot id is in /proc/sys"


def test_row_11_a_chip_that_refused_its_pin_is_not_asked_again_by_systemd() -> None:
    """A smart card is blocked for good after three tries."""
    assert directives(AGENT)["RestartPreventExitStatus"] == [str(EXIT_PIN_REFUSED)]


def test_the_agent_s_unit_allows_serial_adapters_and_no_other_device() -> None:
    found = directives(AGENT)
    assert found["DevicePolicy"] == ["closed"]
    assert "dialout" in found["SupplementaryGroups"][0].split()
    assert {line.split()[0] for line in found["DeviceAllow"]} >= {"char-ttyUSB", "char-ttyACM", "char-ttyAMA"}


def pinned(lock: str) -> set[str]:
    return set(re.findall(r"^(\S+==\S+)", (ROOT / lock).read_text(), re.MULTILINE))


def test_the_lock_for_a_key_in_a_chip_is_the_agent_s_and_what_the_chip_needs() -> None:
    with_chip, without = pinned("requirements-agent-hsm.lock"), pinned("requirements-agent.lock")
    assert without <= with_chip
    assert {name.partition("==")[0] for name in with_chip - without} == {"asn1crypto", "python-pkcs11"}
