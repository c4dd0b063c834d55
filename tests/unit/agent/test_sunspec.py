"""A SunSpec device's chain becomes a profile: addresses and powers of ten resolved, what is not implemented left out.

The devices here are laid out by hand from the tables of the standard, apart from este's own map of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.library import sunspec
from agent.library.sunspec import Found, profiles_of, walk, write_profiles
from config.load import SettingsError, load_profile, load_profiles
from config.meter_profile import MeterProfile
from config.self_check import Law
from protocol.errors import DeviceError, OperatorError
from protocol.units import Quantity
from tests.unit.agent.sunspec_devices import Device, a_battery_701, a_float_meter, a_meter, an_inverter


async def chain_of(device: Device) -> tuple[Found, ...]:
    return await walk(device.read)


async def profile_of(device: Device, folder: Path, *, energy_only: bool = False) -> MeterProfile:
    list(write_profiles(await chain_of(device), folder, energy_only=energy_only))
    (name,) = names_in(folder)
    return load_profile(folder / f"{name}.yaml")


def names_in(folder: Path, pattern: str = "*.yaml") -> list[str]:
    return sorted(path.stem for path in folder.glob(pattern))


def value(profile: MeterProfile, device: Device, quantity: Quantity) -> int | None:
    register = next(register for register in profile.registers if register.id is quantity)
    return profile.codecs[quantity].decode(device.words(register.address, register.type.words))


def holds(profile: MeterProfile, device: Device) -> bool:
    """Whether every word that the profile rests on is as it was."""
    return all(device.words(word.address, 1) == [word.value] for word in profile.fixed_words)


@pytest.mark.parametrize("base", [40_000, 0, 50_000])
async def test_the_chain_is_found_where_it_may_begin(base: int) -> None:
    assert [found.number for found in await chain_of(a_meter(base=base))] == [1, 203]


async def test_a_meter_with_scale_factors_is_read_in_base_units(tmp_path: Path) -> None:
    device = a_meter()
    profile = await profile_of(device, tmp_path)
    assert value(profile, device, Quantity.VOLTAGE_L1_MV) == 230_100
    assert value(profile, device, Quantity.ACTIVE_POWER_W) == -1_250
    assert value(profile, device, Quantity.FREQUENCY_MHZ) == 49_980
    assert value(profile, device, Quantity.IMPORTED_WH) == 12_345_670
    assert value(profile, device, Quantity.EXPORTED_WH) == 678_250


async def test_what_is_not_implemented_is_left_out(tmp_path: Path) -> None:
    """0x8000 in a point, 0x8000 as a power of ten, and a float that is no number."""
    profile = await profile_of(a_meter(), tmp_path)
    assert Quantity.VOLTAGE_L3_MV not in profile.codecs, "the point itself"
    assert Quantity.REACTIVE_POWER_VAR not in profile.codecs, "its power of ten"
    (tmp_path / f"{profile.id}.yaml").unlink()
    floats = await profile_of(a_float_meter(), tmp_path)
    assert Quantity.CURRENT_L2_MA not in floats.codecs
    assert Quantity.CURRENT_L1_MA in floats.codecs


async def test_a_float_meter_needs_no_powers_of_ten(tmp_path: Path) -> None:
    device = a_float_meter()
    profile = await profile_of(device, tmp_path)
    assert value(profile, device, Quantity.ACTIVE_POWER_W) == -1_250
    assert value(profile, device, Quantity.IMPORTED_WH) == 12_345_500
    assert [word.meaning for word in profile.fixed_words] == ["number of the model", "length of the model"]


async def test_what_an_inverter_generates_is_exported(tmp_path: Path) -> None:
    device = an_inverter()
    profile = await profile_of(device, tmp_path)
    assert value(profile, device, Quantity.ACTIVE_POWER_W) == -4_300
    assert value(profile, device, Quantity.EXPORTED_WH) == 9_876_000
    assert profile.energy_registers == (Quantity.EXPORTED_WH,)


async def test_a_battery_inverter_tells_both_ways_and_its_state_of_charge(tmp_path: Path) -> None:
    device = a_battery_701()
    profile = await profile_of(device, tmp_path)
    assert value(profile, device, Quantity.EXPORTED_WH) == 7_000_000_123
    assert value(profile, device, Quantity.IMPORTED_WH) == 8_000_000_456
    assert value(profile, device, Quantity.STATE_OF_CHARGE_PPM) == 555_000
    assert value(profile, device, Quantity.ACTIVE_POWER_W) == 2_000, "it charges"


async def test_the_device_tells_its_serial_number_and_the_profile_is_named_after_it(tmp_path: Path) -> None:
    profile = await profile_of(a_meter(), tmp_path)
    assert profile.id == "sunspec_em_24_sn_0815_203"
    assert (profile.manufacturer, profile.model) == ("Acme", "EM 24")
    assert profile.serial_number is not None
    assert profile.serial_number.address == 40_002 + 50


async def test_every_power_of_ten_that_the_profile_rests_on_is_fixed(tmp_path: Path) -> None:
    device = a_meter()
    profile = await profile_of(device, tmp_path)
    assert all(device.words(word.address, 1) == [word.value] for word in profile.fixed_words)
    told = {word.meaning for word in profile.fixed_words}
    assert {"number of the model", "power of ten of exported_wh", "power of ten of active_power_w"} <= told


async def test_a_device_that_changes_the_power_of_ten_of_its_power_is_read_for_its_energy_all_the_same(
    tmp_path: Path,
) -> None:
    device = a_meter()
    whole, energy = await profile_of(device, tmp_path), await profile_of(device, tmp_path / "e", energy_only=True)
    (power,) = (word for word in whole.fixed_words if word.meaning == "power of ten of active_power_w")
    device.set(power.address, power.value + 1)
    assert not holds(whole, device)
    assert holds(energy, device)
    assert {register.quantity for register in energy.registers} == {"imported_wh", "exported_wh"}
    assert value(energy, device, Quantity.EXPORTED_WH) == value(whole, device, Quantity.EXPORTED_WH)


async def test_not_so_when_the_power_of_ten_of_energy_changes(tmp_path: Path) -> None:
    device = a_meter()
    profile = await profile_of(device, tmp_path, energy_only=True)
    (power,) = (word for word in profile.fixed_words if word.meaning.startswith("power of ten"))
    device.set(power.address, power.value + 1)
    assert not holds(profile, device)


async def test_the_profile_can_be_held_to_its_laws(tmp_path: Path) -> None:
    profile = await profile_of(a_meter(), tmp_path)
    assert {check.law for check in profile.self_checks} == {Law.MAINS, Law.PHASES, Law.APPARENT, Law.SLOPE}


async def test_a_profile_is_never_overwritten(tmp_path: Path) -> None:
    first = list(write_profiles(await chain_of(a_meter()), tmp_path))
    assert first[-1].endswith("then have it admitted")
    assert list(write_profiles(await chain_of(a_meter()), tmp_path))[-1].endswith("stands already")
    with pytest.raises(OperatorError, match="expected no file, or the same profile, got another one"):
        list(write_profiles(await chain_of(a_meter(energy_factor=2)), tmp_path))


async def test_two_meters_in_one_device_become_two_profiles(tmp_path: Path) -> None:
    device = a_meter(copies=2)
    list(write_profiles(await chain_of(device), tmp_path))
    assert names_in(tmp_path) == [
        "sunspec_em_24_sn_0815_203",
        "sunspec_em_24_sn_0815_203_2",
    ]


async def test_of_several_batteries_none_is_taken_for_the_state_of_charge(tmp_path: Path) -> None:
    device = a_battery_701(batteries=2)
    told = list(write_profiles(await chain_of(device), tmp_path))
    assert "2 batteries (model 802): the state of charge of none of them is read" in told
    (name,) = names_in(tmp_path)
    profile = load_profiles((tmp_path,))[name]
    assert Quantity.STATE_OF_CHARGE_PPM not in profile.codecs
    assert value(profile, device, Quantity.EXPORTED_WH) == 7_000_000_123


async def test_what_makes_no_profile_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(sunspec.profiles_of(await chain_of(a_meter(copies=2))))
    wrong = texts[1].replace("grade: one_source", "grade: perfect")
    monkeypatch.setattr(sunspec, "profiles_of", lambda _, **__: [texts[0], wrong])
    with pytest.raises(SettingsError, match="grade"):
        list(write_profiles(await chain_of(a_meter()), tmp_path))
    assert not names_in(tmp_path, "*")


# -- Devices that are none


async def test_a_device_without_the_mark_is_told() -> None:
    with pytest.raises(DeviceError, match='"SunS" stands at none of 40000, 0, 50000'):
        await chain_of(Device(40_000, [1, 2, 3]))


async def test_a_chain_without_an_end_is_left() -> None:
    loop = [0x5375, 0x6E53] + [7, 0] * 100
    with pytest.raises(DeviceError, match="without an end"):
        await chain_of(Device(40_000, loop))


async def test_a_model_that_would_leave_the_address_space_is_told() -> None:
    with pytest.raises(DeviceError, match="ends behind the last address"):
        await chain_of(Device(50_000, [0x5375, 0x6E53, 1, 0xFFF0]))


async def test_a_chain_has_to_begin_with_who_the_device_is() -> None:
    chain = [Found(203, 2, [203, 105, *[0] * 105])]
    with pytest.raises(DeviceError, match="does not begin with model 1"):
        list(profiles_of(chain))


async def test_a_model_that_is_too_short_is_told() -> None:
    common = (await chain_of(a_meter()))[0]
    with pytest.raises(DeviceError, match="model 203 at 70 has 50 words where SunSpec has 105"):
        list(profiles_of([common, Found(203, 70, [203, 50, *[0] * 50])]))


async def test_a_device_that_measures_nothing_gets_no_profile(tmp_path: Path) -> None:
    common = (await chain_of(a_meter()))[0]
    told = list(write_profiles([common, Found(120, 70, [120, 26, *[0] * 26])], tmp_path))
    assert told == ["models 1, 120", "none of them measures energy: nothing written"]


async def test_a_name_with_quotes_and_bytes_that_are_no_text_makes_a_profile_all_the_same(tmp_path: Path) -> None:
    device = a_meter(maker='Ac"me\\ \x07', model="", serial="")
    profile = await profile_of(device, tmp_path)
    assert profile.manufacturer == 'Ac"me\\'
    assert profile.model == "unknown"


def test_the_map_is_where_the_standard_says() -> None:
    """A few offsets and powers of ten, as printed in sunspec/models."""
    from config.sunspec_map import sunspec_map

    printed = {
        (103, "exported_wh"): (24, 26),
        (203, "imported_wh"): (46, 54),
        (203, "active_power_w"): (18, 22),
        (213, "imported_wh"): (68, None),
        (701, "imported_wh"): (23, 120),
        (701, "voltage_l3_mv"): (93, 114),
        (802, "state_of_charge_ppm"): (11, 56),
    }
    for (number, quantity), place in printed.items():
        model = sunspec_map().model_of(number)
        assert model is not None
        (point,) = [point for point in model.points if point.quantity == quantity]
        assert (point.offset, point.factor) == place


def test_every_point_of_the_map_lies_inside_its_model_and_is_a_quantity() -> None:
    from config.sunspec_map import sunspec_map

    for model in sunspec_map().models:
        for point in model.points:
            assert point.quantity.upper() in Quantity.__members__
            assert max(point.offset + point.type.words, (point.factor or 0) + 1) <= 2 + model.length
            assert (point.factor is None) == (point.type[0] == "f")
