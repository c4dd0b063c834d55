"""What every test stands on: one way to look for a counterexample, and no test that is quietly skipped."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

REMEDY_OF = {
    "cometbft": "make cometbft",
    "go": "sudo apt-get install golang-go",
    "mosquitto": "sudo apt-get install mosquitto",
    "netns": "sudo apt-get install iproute2",
    "mbpoll": "sudo apt-get install mbpoll",
    "softhsm2": "sudo apt-get install softhsm2",
}
"""Marker of a test that needs a program, and what brings it."""

PROGRAM_OF = {"netns": "ip", "softhsm2": "softhsm2-util"}
"""What the program is called, if not like the marker."""

BESIDE_PYTHON = str(Path(sys.executable).parent)
"""Where `make cometbft` puts what it builds."""

settings.register_profile("este", deadline=None, print_blob=True)
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=2_000)
settings.load_profile("este")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, never skip, where a program is missing: a skipped test looks green."""
    for marker, remedy in REMEDY_OF.items():
        program = PROGRAM_OF.get(marker, marker)
        if (
            item.get_closest_marker(marker) is None
            or shutil.which(program)
            or shutil.which(program, path=BESIDE_PYTHON)
        ):
            continue
        pytest.fail(f"{program} is not here; get it with: {remedy}", pytrace=False)
