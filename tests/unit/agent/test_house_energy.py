"""What the house may book: no jump, no glitch and no other meter, whenever the program is started anew."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from agent.house import energy_file
from agent.house.energy import HouseEnergy
from agent.outbox.batching import Boot
from protocol.batch import ClockState
from protocol.units import BootMs, Quantity
from tests.builders import EPOCH_MS
from tests.unit.agent.builders import a_boot, a_profile, a_reading

IMPORTED = Quantity.IMPORTED_WH
METERS = {"house": a_profile()}
HOUR_MS = 3_600_000


class House:
    """A run of the agent after another, and what Home Assistant books of it all."""

    def __init__(self) -> None:
        self.energy = HouseEnergy(METERS)
        self.boot = a_boot()
        self.now_ms = 60_000
        self.told: list[int] = []

    def shows(self, values: Iterable[int], every_ms: int = 1000) -> House:
        for value in values:
            self.now_ms += every_ms
            at = BootMs(self.now_ms)
            self.energy.add(
                a_reading(meter="house", start_ms=at, end_ms=at, values={IMPORTED: value}, words={IMPORTED: b""})
            )
            self.told.append(self.energy.told()["house"][IMPORTED])
        return self

    def kept(self) -> dict[str, Any]:
        kept: dict[str, Any] = json.loads(json.dumps(self.energy.kept(self.boot).to_json()))
        return kept

    def restarts(self, after_ms: int, *, kept: dict[str, Any] | None = None, boot: Boot | None = None) -> House:
        kept = kept or self.kept()
        if boot is None:
            self.now_ms += after_ms
        else:
            self.boot, self.now_ms = boot, 5_000
        self.energy = HouseEnergy(METERS)
        self.energy.restore(kept, self.boot, self.now_ms)
        return self

    def booked(self) -> int:
        """As state class total_increasing has it: rises count, and a fall is a new beginning."""
        pairs = zip(self.told, self.told[1:], strict=False)
        return sum(after - before if after >= before else after for before, after in pairs)


def later_boot(after_ms: int, house: House, **changes: Any) -> Boot:
    """A boot that is 5 s old, `after_ms` after now."""
    return a_boot("later", **{"epoch_ms": EPOCH_MS + house.now_ms + after_ms - 5_000} | changes)


def test_an_honest_register_is_told_as_it_stands() -> None:
    assert House().shows([1000, 1001, 1001, 1003]).told == [1000, 1001, 1001, 1003]


def test_row_1_a_lasting_jump_is_never_booked() -> None:
    """Pains row 1: told as 25568.014 kWh after 1.004, when the tenth reading made the new place believed."""
    house = House().shows([1000, 1002, 1004]).shows(range(25_568_004, 25_568_034))
    assert house.booked() < 4 + 30
    assert house.told[-1] < 1100
    assert house.told == sorted(house.told)


def test_row_1_a_glitch_to_zero_and_another_meter_are_never_booked() -> None:
    house = House().shows([25_568_000, 25_568_001, 0, 25_568_002])
    assert house.booked() == 2
    house.shows(range(7, 40))
    assert house.booked() < 2 + 33
    assert house.told == sorted(house.told)


def test_a_restart_never_tells_less_and_adds_what_flowed_meanwhile() -> None:
    house = House().shows([1000, 1001]).shows(range(25_568_000, 25_568_020))
    before = house.told[-1]
    house.restarts(HOUR_MS).shows([25_568_020 + 3000])
    assert before + 3000 <= house.told[-1] <= before + 3001


def test_a_power_cut_that_lost_the_last_minute_is_made_up_for() -> None:
    house = House().shows([1000])
    kept = house.kept()
    house.shows([1001, 1002, 1003]).restarts(60_000, kept=kept).shows([1003])
    assert house.told == sorted(house.told)


def test_another_boot_goes_on_where_its_clock_tells_how_long_it_was() -> None:
    house = House().shows([1000])
    house.restarts(0, boot=later_boot(HOUR_MS, house)).shows([4000])
    assert house.told == [1000, 4000]


def test_a_jump_over_a_restart_is_not_booked_either() -> None:
    house = House().shows([1000])
    house.restarts(0, boot=later_boot(HOUR_MS, house)).shows(range(25_568_000, 25_568_020))
    assert house.told[-1] < 1100
    assert house.told == sorted(house.told)


def test_a_jump_that_settles_over_a_restart_is_not_booked_either() -> None:
    house = House().shows([1000, 1001]).shows(range(25_568_000, 25_568_005))
    house.restarts(2000).shows(range(25_568_005, 25_568_030))
    assert house.told[-1] < 1100
    assert house.told == sorted(house.told)


@pytest.mark.parametrize("value", [4000, 25_568_000])
def test_where_nobody_knows_how_long_it_was_nothing_is_added(value: int) -> None:
    house = House().shows([1000])
    boot = later_boot(HOUR_MS, house, state=ClockState.UNSYNCHRONIZED)
    house.restarts(0, boot=boot).shows([value] * 20)
    assert house.told == [1000] * 21


def test_a_new_place_is_worth_keeping_at_once() -> None:
    house = House().shows([1000])
    assert house.energy.has_news
    house.kept()
    assert not house.shows([1001, 25_568_000]).energy.has_news
    assert house.shows(range(25_568_001, 25_568_010)).energy.has_news


def test_the_file_is_replaced_whole_and_for_its_owner_alone(tmp_path: Path) -> None:
    assert energy_file.load(tmp_path) is None
    for document in ({"sums": []}, {"sums": [1]}):
        energy_file.save(tmp_path, document)
        assert energy_file.load(tmp_path) == document
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "[]", "{", "1"])
def test_a_file_that_is_none_of_ours_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / energy_file.FILE_NAME).write_text(text)
    with pytest.raises(ValueError):
        energy_file.load(tmp_path)
