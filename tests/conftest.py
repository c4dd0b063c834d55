"""What every test stands on: one way to look for a counterexample, and no test that is quietly skipped."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import settings

PACKAGE_OF = {"mosquitto": "mosquitto", "mbpoll": "mbpoll", "softhsm2": "softhsm2", "go": "golang-go"}
"""Marker of a test that needs a program, and the Debian package that brings it."""

PROGRAM_OF = {"softhsm2": "softhsm2-util"}
"""What the program is called, if not like the marker."""

settings.register_profile("este", deadline=None, print_blob=True)
settings.register_profile("soak", deadline=None, print_blob=True, max_examples=2_000)
settings.load_profile("este")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, never skip, where a program is missing: a skipped test looks green."""
    for marker, package in PACKAGE_OF.items():
        program = PROGRAM_OF.get(marker, marker)
        if item.get_closest_marker(marker) and shutil.which(program) is None:
            pytest.fail(f"{program} is not on PATH; install it: sudo apt-get install {package}", pytrace=False)
