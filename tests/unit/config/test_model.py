"""Settings are frozen, strict, and have one spelling in bytes."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.grid_model import Grid
from config.load import check, load_profiles
from config.meter_profile import MeterProfile
from config.model import Model, spell_decimal
from protocol.canonical import decode, encode
from tests.unit.config.documents import a_grid_document, a_profile_document

MODELS: dict[str, Model] = {
    "grid": check(a_grid_document(), Grid, "grid.yaml"),
    "profile": check(a_profile_document(), MeterProfile, "acme_one.yaml"),
    **load_profiles(),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_a_model_survives_being_packed_and_unpacked(model: Model) -> None:
    packed = decode(encode(model.pack()), size_max=1 << 20)
    assert type(model).unpack(packed) == model
    assert encode(type(model).unpack(packed).pack()) == encode(model.pack())


def test_a_packed_model_holds_nothing_that_has_no_spelling() -> None:
    def kinds(value: Any) -> set[type]:
        return {type(value)} | {kind for item in (value if type(value) is list else []) for kind in kinds(item)}

    assert kinds(MODELS["grid"].pack()) <= {list, bool, int, str, type(None)}


@pytest.mark.parametrize("wrong", [None, 5, "x", {}, [], [1] * 10, {1: 2}], ids=repr)
def test_what_no_model_was_packed_to_is_refused_in_one_way(wrong: Any) -> None:
    for kind in (Grid, MeterProfile):
        with pytest.raises(ValidationError):
            kind.unpack(wrong)


def paths(value: Any, way: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    if type(value) is not list:
        return []
    return [found for n, item in enumerate(value) for found in ((*way, n), *paths(item, (*way, n)))]


@pytest.mark.parametrize("model", [MODELS["grid"], MODELS["profile"]], ids=["grid", "profile"])
def test_no_packed_field_may_be_of_another_type(model: Model) -> None:
    packed = model.pack()
    for way in paths(packed):
        for other in (object(), b"bytes", {1: 2}, True, [[]]):
            broken = decode(encode(packed), size_max=1 << 20)
            parent = broken
            for step in way[:-1]:
                parent = parent[step]
            if type(parent[way[-1]]) is type(other) is bool:
                continue
            parent[way[-1]] = other
            with pytest.raises(ValidationError):
                type(model).unpack(broken)


REGISTERS = list(MeterProfile.model_fields).index("registers")


def test_a_second_spelling_of_a_decimal_is_refused() -> None:
    packed = MODELS["profile"].pack()
    assert packed[REGISTERS][2][4] == "0.01"
    for other in ("0.010", "0.01000", ".01"):
        packed[REGISTERS][2][4] = other
        with pytest.raises(ValidationError):
            MeterProfile.unpack(packed)


def test_an_integer_for_a_decimal_is_a_second_spelling() -> None:
    packed = MODELS["profile"].pack()
    assert packed[REGISTERS][0][4] == "1"
    packed[REGISTERS][0][4] = 1
    with pytest.raises(ValidationError):
        MeterProfile.unpack(packed)


def test_a_model_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MODELS["profile"].id = "other"  # type: ignore[attr-defined]


decimals = st.decimals(-(10**12) + 1, 10**12 - 1, places=12)


@given(decimals)
def test_a_decimal_has_one_spelling(value: Decimal) -> None:
    text = spell_decimal(value)
    assert Decimal(text) == value
    assert spell_decimal(Decimal(text)) == spell_decimal(value * 1) == text
    assert "E" not in text
    assert text in ("0", text.rstrip("0")) or "." not in text
    assert text != "-0"


def test_the_spelling_of_a_decimal_does_not_depend_on_the_thread() -> None:
    value = Decimal("123456789012.123456789012")
    with localcontext(prec=3):
        assert spell_decimal(value) == "123456789012.123456789012"


@pytest.mark.parametrize(
    ("value", "text"),
    [("0", "0"), ("-0", "0"), ("0.000", "0"), ("-0.0", "0"), ("1.50", "1.5"), ("100", "100"), ("1E+2", "100")],
)
def test_a_decimal_is_spelled_without_exponent_and_without_zeros_at_its_end(value: str, text: str) -> None:
    assert spell_decimal(Decimal(value)) == text
