"""The page docs/reference/meters.md, drawn from the profiles themselves.

After a profile is added or changed:

    .venv/bin/python -m tests.architecture.meter_library
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from config.load import load_profiles
from config.meter_profile import Grade, MeterProfile
from protocol.units import Quantity
from tests.architecture.house import ROOT
from tests.vector_files import FOLDER, read_vectors

PAGE: Final = ROOT / "docs/reference/meters.md"

INTRODUCTION: Final = """\
# Meters

The meter profiles that come with este. This page is drawn from them:

    .venv/bin/python -m tests.architecture.meter_library

What a profile may say is in [Meter profile](meter-profile.md); where public sources contradict each other, in
[Conflicts between register maps](register-map-conflicts.md). For a SunSpec device (models 101 to 103, 111 to 113, 201
to 204, 211 to 214, 701 and 802), `este-agent sunspec` writes a profile.

How far a map may be trusted:

- `vendor_manual`: checked against bytes or tables of the maker's own document;
- `two_sources`: two independent public maps agree;
- `one_source`: one public map says so. Let `este-agent doctor` look at the meter before its energy is settled;
- `simulated`: exists in este's own simulator only.

*Bytes* tells what pins a profile in the tests: bytes that the maker *published*, or bytes *reckoned* from the map.
*Step* is the smallest step of the energy counter; a float's grows with it.
"""


def page() -> str:
    """The whole page."""
    profiles = list(load_profiles().values())
    heat = [profile for profile in profiles if Quantity.HEAT_POWER_W in profile.codecs]
    other = [profile for profile in profiles if not profile.registers]
    electricity = [profile for profile in profiles if profile not in heat and profile not in other]
    grades = ", ".join(f"{sum(p.grade is grade for p in electricity + heat)} `{grade.value}`" for grade in Grade)
    parts = [INTRODUCTION, f"{len(electricity)} electricity meters and {len(heat)} heat meters: {grades}."]
    for title, some in (("Electricity", electricity), ("Heat", heat), ("Limiters", other)):
        parts.append(f"\n## {title}\n\n" + "\n".join(_table(some)))
    return "\n".join(parts) + "\n"


def _table(profiles: list[MeterProfile]) -> Iterator[str]:
    yield "| profile | meter | grade | bytes | values | export | serial | step |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for profile in sorted(profiles, key=lambda profile: profile.id):
        link = f"[`{profile.id}`](../../config/meters/{profile.id}.yaml)"
        name = f"{profile.manufacturer} {profile.model}"
        export = "yes" if Quantity.EXPORTED_WH in profile.codecs else "–"
        serial = "yes" if profile.serial_number else "–"
        cells = (link, name, f"`{profile.grade.value}`", _bytes(profile), str(len(profile.registers)))
        yield f"| {' | '.join((*cells, export, serial, _step(profile)))} |"


def _bytes(profile: MeterProfile) -> str:
    if not (FOLDER / f"registers/{profile.id}.yaml").exists():
        return "–"
    return read_vectors(f"registers/{profile.id}.yaml").get("bytes", "published")


def _step(profile: MeterProfile) -> str:
    for quantity in profile.always:
        codec = profile.codecs[quantity]
        if quantity is not Quantity.HEAT_POWER_W:
            return "float" if codec.type[0] == "f" else f"{float(codec.scale):g} Wh"
    return "–"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
