"""The page of all meters is what the profiles say."""

from __future__ import annotations

from config.load import load_profiles
from tests.architecture.house import ROOT
from tests.architecture.meter_library import PAGE, page


def test_the_page_of_meters_is_what_the_profiles_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run .venv/bin/python -m tests.architecture.meter_library"


def test_every_profile_in_doubt_is_on_the_page_of_conflicts() -> None:
    """Whoever writes of another map in a profile's notes has to list the conflict, so that somebody can settle it."""
    conflicts = (ROOT / "docs/reference/register-map-conflicts.md").read_text(encoding="utf-8")
    for profile in load_profiles().values():
        if "register-map-conflicts" in profile.notes or "public map" in profile.notes.lower():
            assert f"`{profile.id}`" in conflicts, profile.id
