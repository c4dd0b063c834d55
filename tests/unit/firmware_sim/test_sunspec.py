"""A simulated SunSpec device holds the words that the standard asks for, laid out without the agent's map of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from agent.library.sunspec import Found, profiles_of, walk
from config.load import read_profile
from config.meter_profile import MeterProfile
from config.settings.fleet import FleetSettings
from config.sunspec_map import sunspec_map
from firmware_sim.fleet import Fleet
from firmware_sim.meter import UJ_PER_WH, Measured, Shown
from firmware_sim.scenario import Connection, compose
from firmware_sim.sunspec import BASES, Chain, chain_words, factor_for
from firmware_sim.sunspec_models import POINTS, model_words, points
from protocol.errors import DeviceError
from protocol.units import Quantity

LENGTHS = {1: 66, 103: 50, 113: 60, 120: 26, 203: 105, 213: 124, 701: 153, 802: 62}
"""As the standard prints them."""

SAME_POINT = {
    "current_l1_ma": ("AphA", "A1"),
    "current_l2_ma": ("AphB", "A2"),
    "current_l3_ma": ("AphC", "A3"),
    "voltage_l1_mv": ("PhVphA", "V1"),
    "voltage_l2_mv": ("PhVphB", "V2"),
    "voltage_l3_mv": ("PhVphC", "V3"),
    "active_power_w": ("W",),
    "active_power_l1_w": ("WphA", "W1", "WL1"),
    "active_power_l2_w": ("WphB", "W2", "WL2"),
    "active_power_l3_w": ("WphC", "W3", "WL3"),
    "apparent_power_va": ("VA",),
    "reactive_power_var": ("VAr", "VAR", "Var"),
    "frequency_mhz": ("Hz",),
    "exported_wh": ("WH", "TotWhExp", "TotWhInj"),
    "imported_wh": ("TotWhImp", "TotWhAbs"),
    "state_of_charge_ppm": ("SoC",),
}
"""Where the simulator's tables have what a profile calls by these names; whichever of them a model has."""


def a_fleet(**changes: int) -> Fleet:
    return Fleet(compose(FleetSettings.model_validate({"meters": 4, "sunspec": 3} | changes)))


def connection(fleet: Fleet, chain: Chain) -> Connection:
    return next(c for c in fleet.scenario.connections if c.site.sunspec and c.site.sunspec.chain is chain)


def words_of(fleet: Fleet, chain: Chain, measured: Measured | None = None) -> list[int]:
    here = connection(fleet, chain)
    assert here.site.sunspec is not None and here.serial is not None
    return chain_words(here.site.sunspec, measured or fleet.measured(here.site.meter), here.serial)


async def walked(words: list[int], base: int) -> tuple[Found, ...]:
    """As este-agent sunspec walks it."""

    async def read(address: int, count: int) -> list[int]:
        if not base <= address <= base + len(words) - count:
            raise DeviceError("Modbus exception 2: it has no such address", retry=False)
        return words[address - base : address - base + count]

    return await walk(read)


async def a_profile(words: list[int], chain: Chain, model: int) -> tuple[MeterProfile, Mapping[int, int]]:
    base = BASES[chain]
    texts = profiles_of(await walked(words, base))
    named = {text.partition("\nid: ")[2].partition("\n")[0]: text for text in texts}
    name = next(name for name in named if name.endswith(f"_{model}"))
    return read_profile(named[name], Path(f"{name}.yaml")), dict(enumerate(words, start=base))


def decoded(profile: MeterProfile, at: Mapping[int, int]) -> dict[Quantity, int | None]:
    return {
        register.id: profile.codecs[register.id].decode([at[register.address + i] for i in range(register.type.words)])
        for register in profile.registers
    }


@pytest.mark.parametrize("number", POINTS)
def test_every_model_is_as_long_as_the_standard_says(number: int) -> None:
    assert model_words(number, {})[:2] == [number, LENGTHS[number]]


@pytest.mark.parametrize("number", [number for number in POINTS if sunspec_map().model_of(number)])
def test_two_tables_written_apart_put_every_point_at_the_same_offset(number: int) -> None:
    """The simulator lists all points in order, and counts; config/sunspec.yaml has offsets."""
    model = sunspec_map().model_of(number)
    assert model is not None
    ours = {point.name: point.offset for point in points(number)}
    for point in model.points:
        assert point.offset in [ours[name] for name in SAME_POINT[point.quantity] if name in ours], point.quantity
        if point.factor is not None:
            factors = [name for name, offset in ours.items() if offset == point.factor]
            assert factors and factors[0].endswith("_SF"), point.quantity


def test_a_point_that_a_device_does_not_have_says_so() -> None:
    words = dict(zip(("number", "length", *(p.name for p in points(120))), model_words(120, {}), strict=True))
    assert words["WRtg"] == 0xFFFF
    assert words["WRtg_SF"] == 0x8000
    assert words["VArRtgQ1"] == 0x8000
    assert model_words(213, {})[2:4] == [0x7FC0, 0], "a float is not a number"
    assert model_words(203, {})[38:40] == [0, 0], "an accumulator has counted nothing"


def test_a_value_for_a_point_that_a_model_does_not_have_is_a_mistake() -> None:
    with pytest.raises(KeyError, match="model 103 has no Watts"):
        model_words(103, {"Watts": 1})


def test_an_accumulator_begins_again_at_0() -> None:
    assert model_words(203, {"TotWhImp": (1 << 32) + 5})[46:48] == [0, 5]


@pytest.mark.parametrize(
    ("chain", "models"),
    [(Chain.HYBRID, [1, 120, 103, 203]), (Chain.FLOATING, [1, 113, 213]), (Chain.BATTERY, [1, 701, 802])],
)
async def test_a_chain_ends(chain: Chain, models: list[int]) -> None:
    words = words_of(a_fleet(), chain)
    assert words[:2] == [0x5375, 0x6E53] and words[-2:] == [0xFFFF, 0]
    found = await walked(words, BASES[chain])
    assert [model.number for model in found] == models


@pytest.mark.parametrize(("chain", "model"), [(Chain.HYBRID, 203), (Chain.FLOATING, 213), (Chain.BATTERY, 701)])
async def test_the_agents_own_profile_reads_the_truth_at_the_connection(chain: Chain, model: int) -> None:
    fleet = a_fleet()
    fleet.step(1_000)
    here = connection(fleet, chain)
    profile, at = await a_profile(words_of(fleet, chain), chain, model)
    assert profile.id == here.profile, "so the grid file can name it before it is written"
    read, truth = decoded(profile, at), fleet.measured(here.site.meter)
    assert read[Quantity.IMPORTED_WH] == pytest.approx(truth[Shown.IMPORTED_UJ] / UJ_PER_WH, abs=1.5)
    assert read[Quantity.EXPORTED_WH] == pytest.approx(truth[Shown.EXPORTED_UJ] / UJ_PER_WH, abs=1.5)
    assert read[Quantity.ACTIVE_POWER_W] == pytest.approx(truth[Shown.ACTIVE_POWER_MW] / 1_000, abs=1)
    assert read[Quantity.CURRENT_L3_MA] == pytest.approx(truth[Shown.CURRENT_L3_MA], abs=10)
    assert read[Quantity.VOLTAGE_L2_MV] == pytest.approx(truth[Shown.VOLTAGE_L2_MV], abs=100)
    if chain is Chain.BATTERY:
        assert read[Quantity.STATE_OF_CHARGE_PPM] == pytest.approx(truth[Shown.STATE_OF_CHARGE_PPM], abs=1_000)


@pytest.mark.parametrize(("chain", "model"), [(Chain.HYBRID, 103), (Chain.FLOATING, 113)])
async def test_the_inverters_own_model_tells_what_it_makes(chain: Chain, model: int) -> None:
    fleet = a_fleet()
    profile, at = await a_profile(words_of(fleet, chain), chain, model)
    read, truth = decoded(profile, at), fleet.measured(connection(fleet, chain).site.meter)
    assert read[Quantity.ACTIVE_POWER_W] == pytest.approx(-truth[Shown.MADE_POWER_MW] / 1_000, abs=1)
    assert read[Quantity.EXPORTED_WH] == pytest.approx(truth[Shown.MADE_UJ] / UJ_PER_WH, abs=1.5)
    assert truth[Shown.MADE_POWER_MW] > 5_000_000, "it is noon"


def test_the_inverters_power_of_ten_follows_its_power_and_that_of_its_energy_stays() -> None:
    fleet = a_fleet()
    noon = fleet.measured(connection(fleet, Chain.HYBRID).site.meter)
    at = {point.name: 70 + point.offset + 28 for point in points(103)}
    found = []
    for made_mw in (9_000_000, 300_000, 3_000_000, 400_000_000):
        words = words_of(fleet, Chain.HYBRID, {**noon, Shown.MADE_POWER_MW: made_mw})
        factor = words[at["W_SF"]] - (words[at["W_SF"]] >> 15 << 16)
        assert words[at["W"]] * 10 ** (factor + 3) == pytest.approx(made_mw, rel=1e-3)
        assert words[at["WH_SF"]] == 0
        found.append(factor)
    assert found == [0, -2, -1, 2]


def test_a_power_of_ten_is_the_finest_that_fits() -> None:
    assert [factor_for(milli) for milli in (0, 327_670, 327_680, 3_276_700, 32_767_499, 32_767_500)] == [
        -2, -2, -1, -1, 0, 1,
    ]  # fmt: skip


def test_what_an_inverter_made_is_what_it_showed() -> None:
    fleet = a_fleet()
    meter = connection(fleet, Chain.HYBRID).site.meter
    before = fleet.measured(meter)
    fleet.step(250)
    assert fleet.measured(meter)[Shown.MADE_UJ] - before[Shown.MADE_UJ] == before[Shown.MADE_POWER_MW] * 250


def test_a_battery_is_as_full_as_what_it_took_says() -> None:
    """Over a day at 96 times the speed: energy follows real time, so it is multiplied by as much."""
    fleet = Fleet(compose(FleetSettings(meters=4, sunspec=3)), speed=96)
    site = connection(fleet, Chain.BATTERY).site
    assert site.sunspec is not None
    begun = fleet.measured(site.meter)
    for _ in range(360):
        fleet.step(2_500)
        now = fleet.measured(site.meter)
        taken = {key: now[key] - begun[key] for key in (Shown.IMPORTED_UJ, Shown.EXPORTED_UJ)}
        taken_wh = 96 * (taken[Shown.IMPORTED_UJ] - taken[Shown.EXPORTED_UJ]) / UJ_PER_WH
        charged = (now[Shown.STATE_OF_CHARGE_PPM] - begun[Shown.STATE_OF_CHARGE_PPM]) / 1e6
        assert charged * site.sunspec.capacity_wh == pytest.approx(taken_wh, abs=0.02 * site.sunspec.capacity_wh)
        assert 100_000 < now[Shown.STATE_OF_CHARGE_PPM] < 900_000
