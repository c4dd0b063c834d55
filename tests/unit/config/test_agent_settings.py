"""A gateway's key, bound, clock and neighbours, as its settings name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.load import SettingsError
from config.settings.agent import AtBound
from tests.unit.agent.builders import a_settings

CHIP = {"module": "lib/chip.so", "token_label": "este", "key_label": "gateway", "pin_file": "chip.pin"}


def test_a_key_is_in_a_file_or_in_a_chip(tmp_path: Path) -> None:
    """Pains row 11: nothing in software ever stands in for the chip."""
    in_chip = a_settings(tmp_path / "agent.yaml", key_file=None, pkcs11=CHIP)
    assert in_chip.key_file is None
    assert in_chip.pkcs11 is not None
    assert in_chip.pkcs11.pin_file == tmp_path / "chip.pin"
    for both_or_none in ({"pkcs11": CHIP}, {"key_file": None}):
        with pytest.raises(SettingsError, match="either key_file, for a key in a file, or pkcs11, for one in a chip"):
            a_settings(**both_or_none)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"at_bound": "drop"}, "at_bound"),
        ({"clock_wait_max_ms": -1}, "clock_wait_max_ms"),
        ({"metrics": {"port": 9477, "host": "0.0.0.0"}}, "metrics.host"),
        ({"metrics": {}}, "metrics.port"),
        ({"home_assistant": {"prefix": "home/assistant"}}, "home_assistant.prefix"),
        ({"home_assistant": {"every_ms": 10}}, "home_assistant.every_ms"),
        ({"key_file": None, "pkcs11": {"module": "x"}}, "pkcs11.token_label"),
    ],
)
def test_a_mistake_is_told_with_its_place(changes: dict[str, Any], place: str) -> None:
    with pytest.raises(SettingsError, match=rf"agent\.yaml: {place}: expected"):
        a_settings(**changes)


def test_neighbours_are_told_nothing_unless_they_are_named() -> None:
    settings = a_settings()
    assert (settings.home_assistant, settings.metrics, settings.at_bound) == (None, None, AtBound.PAUSE)
    assert a_settings(at_bound="thin").at_bound is AtBound.THIN
