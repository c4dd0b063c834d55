"""A meter profile says where a quantity stands, and who says so."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from config.load import METERS_FOLDER, check, load, load_profiles
from config.meter_profile import BASE_UNITS_PER_UNIT, Grade, MeterProfile, NotAvailable
from config.self_check import Law
from protocol.registers import WordOrder, WordType
from protocol.units import BASE_UNITS, Quantity
from tests.unit.config.documents import a_profile_document, changed, mistakes_in


def a_profile(**changes: Any) -> MeterProfile:
    return check(a_profile_document(**changes), MeterProfile, "acme_one.yaml")


LIMITER = {"address": 0, "type": "u32", "unit": "kW", "scale": 0.1, "lifted": 0xFFFFFFFF}


WRONG: dict[str, tuple[str, Any, str]] = {
    "a name with a space": ("id", "acme one", "a name of letters and digits"),
    "a grade that does not exist": ("grade", "hearsay", "'vendor_manual'"),
    "a table that does not exist": ("table", "coils", "'holding' or 'input'"),
    "a word order that does not exist": ("word_order", "middle_first", "'high_first' or 'low_first'"),
    "more words than Modbus allows": ("words_max", 126, "less than or equal to 125"),
    "a block that ends before it begins": ("blocks", [{"first": 5, "last": 4}], "last address is not below its first"),
    "an address of 17 bits": ("blocks", [{"first": 0, "last": 0x10000}], "less than or equal to 65535"),
    "no power": ("power_max_w", 0, "greater than 0"),
    "a quantity that does not exist": (
        "registers.0.quantity",
        "volts",
        "a quantity of docs/reference/meter-profile.md",
    ),
    "a unit that does not exist": ("registers.0.unit", "hp", "a unit out of W, kW"),
    "a unit of another quantity": ("registers.0.unit", "V", "a unit that turns into W for active_power_w"),
    "a type that does not exist": ("registers.0.type", "u24", "'u16', 'i16'"),
    "a scale of 0": ("registers.0.scale", 0, "a scale other than 0"),
    "an energy register that counts down": ("registers.2.scale", -0.01, "above it for energy"),
    "a register outside all blocks": ("registers.0.address", 0x50, "active_power_w at 0x0050 to lie inside one block"),
    "a register that leaves its block": (
        "registers.0.address",
        0x4F,
        "active_power_w at 0x004f to lie inside one block",
    ),
    "a quantity that stands twice": ("registers.2.quantity", "imported_wh", "each quantity once"),
    "a register of energy that is one of power too": (
        "registers.0",
        {"quantity": "active_power_w", "address": 0x48, "type": "f32", "unit": "W"},
        "active_power_w and imported_wh not to share words at 0x0048",
    ),
    "a counter for both directions": (
        "registers.2",
        {"quantity": "exported_wh", "address": 0x48, "type": "f32", "unit": "kWh"},
        "imported_wh and exported_wh not to share words at 0x0048",
    ),
    "no energy register": (
        "registers",
        [{"quantity": "active_power_w", "address": 0, "type": "f32", "unit": "W"}],
        "at least one energy register",
    ),
    "nothing to read or write": ("registers", [], "registers to read, or a power limit to write"),
    "a register that no answer can hold": ("registers.1.type", "f64", "words_max of at least 4"),
    "a pattern of 0": ("not_available", {"signed": [0]}, "greater than or equal to 1"),
    "a pattern of 65 bits": ("not_available", {"unsigned": [1 << 64]}, "less than 18446744073709551616"),
    "a serial number in Morse": (
        "serial_number",
        {"table": "holding", "address": 0, "words": 2, "spelling": "morse"},
        "'number', 'digits' or 'text'",
    ),
    "a limit in volts": ("power_limit", LIMITER | {"unit": "V"}, "a unit of power, W or kW"),
    "a limit of no scale": ("power_limit", LIMITER | {"scale": 0}, "a scale above 0"),
    "a limit that cannot be lifted": ("power_limit", LIMITER | {"type": "u16"}, "a lifted value that a register"),
    "a set-point that cannot feed in": ("set_point", LIMITER, "a set_point of a type with a sign"),
    "a key that does not exist": ("registers.0.adress", 5, "did you mean 'address'?"),
}


@pytest.mark.parametrize(("path", "value", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_profile_that_cannot_be_right_is_refused_and_told_why(path: str, value: Any, expected: str) -> None:
    document = a_profile_document(words_max=2) if "words_max of" in expected else a_profile_document()
    mistakes = mistakes_in(changed(document, path, value), MeterProfile)
    assert any(expected in mistake for mistake in mistakes.values()), mistakes


def test_a_quantity_in_its_own_unit_counts_base_units() -> None:
    codecs = a_profile().codecs
    assert codecs[Quantity.ACTIVE_POWER_W].scale == 1
    assert codecs[Quantity.IMPORTED_WH].scale == 1000
    assert codecs[Quantity.EXPORTED_WH].scale == Fraction(10)


def test_every_unit_turns_into_a_base_unit() -> None:
    assert {base for base, _ in BASE_UNITS_PER_UNIT.values()} == set(BASE_UNITS.values())


def test_the_word_order_is_that_of_the_meter() -> None:
    profile = a_profile(word_order="low_first")
    assert {codec.order for codec in profile.codecs.values()} == {WordOrder.LOW_FIRST}


def test_energy_registers_are_told_in_the_order_of_the_wire_format() -> None:
    registers = list(reversed(a_profile_document()["registers"]))
    assert a_profile(registers=registers).energy_registers == (Quantity.IMPORTED_WH, Quantity.EXPORTED_WH)


def test_a_register_limit_is_the_tighter_of_meter_and_connection() -> None:
    profile = a_profile()
    assert profile.register_limit(Quantity.IMPORTED_WH, 5000).power_max_w == 5000
    assert profile.register_limit(Quantity.IMPORTED_WH, 50_000).power_max_w == 11_500
    assert profile.register_limit(Quantity.EXPORTED_WH, 5000).resolution_wh == 10, "one count of 0.01 kWh"
    assert profile.register_limit(Quantity.IMPORTED_WH, 5000).resolution_wh == 1


def test_patterns_for_no_value_belong_to_the_registers_whose_bits_they_fill() -> None:
    patterns = NotAvailable(unsigned=(0xFFFF, 0xFFFF_FFFF), signed=(0x8000, 0x7FFF_FFFF, 1 << 63))
    assert patterns.for_type(WordType.U16) == {0xFFFF}
    assert patterns.for_type(WordType.U32) == {0xFFFF_FFFF}
    assert patterns.for_type(WordType.U64) == frozenset()
    assert patterns.for_type(WordType.I16) == {0x8000}
    assert patterns.for_type(WordType.I32) == {0x7FFF_FFFF}
    assert patterns.for_type(WordType.I64) == {1 << 63}
    assert patterns.for_type(WordType.F32) == frozenset()


# -- The digest


def test_comments_and_layout_do_not_change_the_digest(tmp_path: Path) -> None:
    path = METERS_FOLDER / "abb_b23.yaml"
    lines = path.read_text().splitlines()
    bare = "\n".join(line for line in lines if not line.startswith("#"))
    copy = tmp_path / "abb_b23.yaml"
    copy.write_text(
        "# somebody else's comment\n" + bare.replace("0x5000", "20480").replace("scale: 0.01}", "scale: 0.010 }")
    )
    assert copy.read_text() != path.read_text()
    assert load(copy, MeterProfile).digest == load_profiles()["abb_b23"].digest


CHANGES: dict[str, tuple[str, Any]] = {
    "address": ("registers.0.address", 0x000E),
    "type": ("registers.0.type", "i32"),
    "scale": ("registers.0.scale", -1),
    "word order": ("word_order", "low_first"),
    "pattern": ("not_available", {"unsigned": [0xFFFF_FFFF]}),
    "power": ("power_max_w", 11_501),
    "grade": ("grade", "vendor_manual"),
    "law": ("self_checks", [{"law": "slope"}]),
    "refresh": ("refresh_ms", 60_000),
    "fast group": ("fast", ["imported_wh"]),
    "fixed word": ("fixed_words", [{"address": 0, "value": 203, "meaning": "model"}]),
}


@pytest.mark.parametrize(("path", "value"), CHANGES.values(), ids=CHANGES.keys())
def test_whatever_changes_a_value_changes_the_digest(path: str, value: Any) -> None:
    other = check(changed(a_profile_document(), path, value), MeterProfile, "acme_one.yaml")
    assert other.digest != a_profile().digest


# -- The profiles that come with este

PROFILES = load_profiles()


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_a_profile_names_its_manual(profile: MeterProfile) -> None:
    assert profile.manual
    assert profile.manufacturer
    assert profile.model


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_a_profile_says_first_what_it_is_for(profile: MeterProfile) -> None:
    assert (METERS_FOLDER / f"{profile.id}.yaml").read_text().startswith("# ")


def test_no_profile_claims_to_be_checked_against_a_manual_that_was_not_seen() -> None:
    """A profile that reaches this grade names the page, and is pinned by bytes in tests/vectors/registers."""
    graded = {profile.id for profile in PROFILES.values() if profile.grade is Grade.VENDOR_MANUAL}
    assert graded == {"2flow_mag11", "abb_a43"}, "if one more does by now, name it here"


def heats(profile: MeterProfile) -> bool:
    return Quantity.HEAT_POWER_W in profile.codecs


def test_the_library_has_25_electricity_meters_and_4_heat_meters() -> None:
    meters = [profile for profile in PROFILES.values() if profile.registers]
    assert sum(map(heats, meters)) >= 4
    assert len(meters) - sum(map(heats, meters)) >= 25


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_every_meter_that_comes_with_este_can_be_held_to_a_law(profile: MeterProfile) -> None:
    """Pains row 6: a wrong map is found by what the quantities of one meter know of each other."""
    if profile.registers:
        laws = {check.law for check in profile.self_checks}
        assert laws >= ({Law.HEAT} if heats(profile) else {Law.MAINS, Law.SLOPE})


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())
def test_a_meter_tells_its_power_and_its_energy_or_is_none(profile: MeterProfile) -> None:
    """But for one heat meter, whose energy register no public source told: its notes say so."""
    if heats(profile):
        assert Quantity.HEAT_WH in profile.codecs or "E1" in profile.notes
    elif not profile.is_controlled:
        assert Quantity.ACTIVE_POWER_W in profile.codecs
        assert Quantity.IMPORTED_WH in profile.codecs


# -- Laws between registers

POWERS = [
    {"quantity": f"active_power_{which}w", "address": 2 * place, "type": "f32", "unit": "W"}
    for place, which in enumerate(("", "l1_", "l2_", "l3_"))
]
ENERGY = {"quantity": "imported_wh", "address": 0x48, "type": "f32", "unit": "kWh"}


def test_a_law_whose_registers_the_profile_has_is_taken() -> None:
    profile = a_profile(registers=[*POWERS, ENERGY], self_checks=[{"law": "phases"}, {"law": "slope"}])
    assert [check.law for check in profile.self_checks] == [Law.PHASES, Law.SLOPE]


@pytest.mark.parametrize("law", list(Law))
def test_a_law_whose_registers_are_missing_is_refused(law: Law) -> None:
    document = a_profile_document(registers=[ENERGY], self_checks=[{"law": law.value}])
    (found,) = mistakes_in(document, MeterProfile).values()
    assert f"the registers that the law {law.value!r} is about" in found


def test_everything_that_does_not_fit_together_is_told_at_once() -> None:
    document = a_profile_document(
        registers=[*POWERS, ENERGY | {"address": 3}, ENERGY | {"address": 0x60}],
        fixed_words=[{"address": 0x99, "value": 1, "meaning": "model"}],
        fast=["speed"],
    )
    (found,) = mistakes_in(document, MeterProfile).values()
    for part in (
        "imported_wh stands twice",
        "imported_wh at 0x0060 to lie inside one block",
        "active_power_l1_w and imported_wh not to share words at 0x0003",
        "the fixed word at 0x0099 to lie inside one block",
        "only quantities among the fast ones, not 'speed'",
    ):
        assert part in found


def test_two_quantities_may_stand_in_the_same_place() -> None:
    """As on a meter with one phase, whose power is the power of that phase."""
    one = POWERS[1] | {"address": 0}
    assert a_profile(registers=[POWERS[0], one, ENERGY]).codecs.keys() >= {Quantity.ACTIVE_POWER_L1_W}


def test_a_meter_may_say_no_value_with_an_ordinary_float() -> None:
    patterns = NotAvailable(floats=(0x4974_23F0,))
    assert patterns.for_type(WordType.F32) == {0x4974_23F0}
    assert patterns.for_type(WordType.F64) == patterns.for_type(WordType.U32) == frozenset()


def test_a_unit_of_heat_becomes_whole_base_units() -> None:
    heat = {"quantity": "heat_wh", "address": 0, "type": "u32", "unit": "GJ", "scale": 0.001}
    codec = a_profile(registers=[heat]).codecs[Quantity.HEAT_WH]
    assert codec.scale == Fraction(2500, 9)
    assert codec.decode([0, 36]) == 10_000, "36 MJ are 10 kWh"
