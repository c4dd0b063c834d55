"""A region's months begin at one instant on every machine, whatever zones it has been given."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest

from aggregator.economy.periods import period_of
from config.rules import TimeRule
from config.time_zone import zone_of

NOVEMBER = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1000


@pytest.fixture
def machine_of_its_own(tmp_path: Path) -> Iterator[None]:
    """A machine whose Berlin lies in Japan."""
    (tmp_path / "Europe").mkdir()
    tokyo = resources.files("tzdata").joinpath("zoneinfo", "Asia", "Tokyo").read_bytes()
    (tmp_path / "Europe/Berlin").write_bytes(tokyo)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    zone_of.cache_clear()
    yield
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache()
    zone_of.cache_clear()


@pytest.mark.usefixtures("machine_of_its_own")
def test_a_month_begins_alike_on_every_machine() -> None:
    rule = TimeRule(interval_ms=900_000, grace_ms=0, time_zone="Europe/Berlin")
    begins = datetime.fromtimestamp(period_of(NOVEMBER, rule, 0).span.start_ms / 1000, tz=UTC)
    assert begins == datetime(2026, 10, 31, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "winter_h", "summer_h"),
    [("Etc/UTC", 0, 0), ("Europe/Berlin", 1, 2), ("Asia/Shanghai", 8, 8), ("America/Argentina/Buenos_Aires", -3, -3)],
)
def test_a_zone_has_its_hours(name: str, winter_h: int, summer_h: int) -> None:
    for month, hours in ((1, winter_h), (7, summer_h)):
        assert datetime(2026, month, 1, tzinfo=zone_of(name)).utcoffset() == timedelta(hours=hours)


@pytest.mark.parametrize("name", ["", "Europe", "Europe/Nowhere", "../zoneinfo/Etc/UTC", "/etc/localtime", "Etc//UTC"])
def test_what_is_no_zone_is_none(name: str) -> None:
    with pytest.raises(zoneinfo.ZoneInfoNotFoundError):
        zone_of(name)
