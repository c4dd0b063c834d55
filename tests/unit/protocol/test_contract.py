"""The terms of a contract have one spelling, whose digest is its number; prices are exact, to the millionth."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.carriers import Carrier
from protocol.canonical import Value, decode, encode
from protocol.contract import (
    CARRIERS,
    PRICE_MAX,
    QUANTITY_MAX_WH,
    TERMS_BYTES_MAX,
    WINDOW_MAX_MS,
    Terms,
    price_of,
    rounded,
)
from protocol.crypto import digest_of
from protocol.errors import EncodingError, OversizedError
from protocol.fields import UINT_MAX
from protocol.money import millionths_of
from protocol.units import PPM
from tests.unit.protocol.mutation import Path, paths_in, with_field, without_field

HOUR_MS = 3_600_000


def some_terms(**changes: Any) -> Terms:
    """Terms of a delivery of 2 kWh at 25 ct/kWh within an hour."""
    plain: dict[str, Any] = {
        "region": "village",
        "seller": "wind",
        "buyer": "home",
        "carrier": "electricity",
        "quantity_wh": 2000,
        "price_per_mwh": 25_000,
        "start_ms": 10 * HOUR_MS,
        "end_ms": 11 * HOUR_MS,
        "expires_ms": 9 * HOUR_MS,
        "nonce": bytes(range(16)),
    }
    return Terms(**plain | changes)


SPELLED = some_terms().encode()
FIELDS = decode(SPELLED, size_max=TERMS_BYTES_MAX)

WRONG: dict[str, tuple[int, Value]] = {
    "a region with a space": (1, "sun vale"),
    "no seller": (2, ""),
    "a buyer of bytes": (3, b"home"),
    "a carrier that does not exist": (4, len(CARRIERS)),
    "a carrier by its name": (4, "heat"),
    "no energy": (5, 0),
    "less than no energy": (5, -1),
    "more energy than there may be": (5, QUANTITY_MAX_WH + 1),
    "a price below nothing": (6, -1),
    "a price that could overflow": (6, PRICE_MAX + 1),
    "a start before 1970": (7, -1),
    "an end at the start": (8, 10 * HOUR_MS),
    "an end before the start": (8, 9 * HOUR_MS),
    "more than a day": (8, 10 * HOUR_MS + WINDOW_MAX_MS + 1),
    "clean as a number": (9, 1),
    "a penalty above the price": (10, PPM + 1),
    "a termination fee above the price": (11, PPM + 1),
    "a fee below nothing": (12, -1),
    "an expiry beyond 63 bits": (13, UINT_MAX + 1),
    "a nonce of 15 bytes": (14, bytes(15)),
    "an answer to a digest of 31 bytes": (15, bytes(31)),
}


@pytest.mark.parametrize("changes", [{}, {"clean_only": True}, {"answers": digest_of(b"x")}, {"carrier": "hydrogen"}])
def test_terms_survive_being_spelled_and_read(changes: dict[str, Any]) -> None:
    terms = some_terms(**changes)
    assert Terms.decode(terms.encode()) == terms


def test_the_number_of_some_terms_is_the_digest_of_its_one_spelling() -> None:
    terms = some_terms()
    assert terms.digest == digest_of(terms.encode())
    assert some_terms(nonce=bytes(16)).digest != terms.digest


@pytest.mark.parametrize(("key", "value"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_meant_is_not_read(key: int, value: Value) -> None:
    with pytest.raises(EncodingError):
        Terms.decode(with_field(SPELLED, (key,), value))


@pytest.mark.parametrize("path", paths_in(SPELLED), ids=str)
def test_every_field_is_asked_for_and_has_one_type(path: Path) -> None:
    others: list[Value] = [None, [], {}]
    for other in others:
        with pytest.raises(EncodingError):
            Terms.decode(with_field(SPELLED, path, other))
    with pytest.raises(EncodingError):
        Terms.decode(without_field(SPELLED, path))


def test_terms_of_another_length_are_not_parsed() -> None:
    with pytest.raises(OversizedError):
        Terms.decode(bytes(TERMS_BYTES_MAX + 1))
    with pytest.raises(EncodingError):
        Terms.decode(encode(FIELDS | {16: 0}))


def test_the_longest_terms_fit() -> None:
    long = "x" * 64
    terms = some_terms(
        region=long, seller=long, buyer=long, quantity_wh=QUANTITY_MAX_WH, price_per_mwh=PRICE_MAX, fee=UINT_MAX,
        start_ms=UINT_MAX - WINDOW_MAX_MS, end_ms=UINT_MAX, expires_ms=UINT_MAX, penalty_ppm=PPM, termination_ppm=PPM,
    )  # fmt: skip
    assert len(terms.encode()) <= TERMS_BYTES_MAX
    assert Terms.decode(terms.encode()) == terms
    assert terms.price <= UINT_MAX


def test_carriers_are_those_of_networks_in_their_order() -> None:
    assert list(CARRIERS) == [carrier.value for carrier in Carrier]


def test_a_price_is_per_megawatt_hour() -> None:
    assert price_of(1000, 25_000) == millionths_of(25)  # ct for a kilowatt-hour
    assert some_terms().price == millionths_of(50)


@given(st.lists(st.integers(1, 1_000), min_size=1), st.integers(0, PRICE_MAX))
def test_slices_cost_what_the_whole_costs(slices: list[int], price_per_mwh: int) -> None:
    """At 25 ct/kWh, 19 Wh are 0.475 ct: a contract of so much used to be free."""
    assert sum(price_of(energy_wh, price_per_mwh) for energy_wh in slices) == price_of(sum(slices), price_per_mwh)
    assert price_of(19, 25_000) * 1_000 == price_of(19_000, 25_000) == millionths_of(475)


def test_the_dearest_contract_fits_63_bits() -> None:
    assert price_of(QUANTITY_MAX_WH, PRICE_MAX) == 10**18 <= UINT_MAX


@given(st.integers(-(10**24), 10**24), st.integers(1, 10**12))
def test_rounding_is_that_of_exact_fractions(dividend: int, divisor: int) -> None:
    assert rounded(dividend, divisor) == round(Fraction(dividend, divisor))
