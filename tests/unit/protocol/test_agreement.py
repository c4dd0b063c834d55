"""Offers, agreements, and what is said about a contract later: one spelling each, and nothing else is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aggregator.chains.contracts.orders import Approval, Arbitration, Freeze
from aggregator.economy.contracts.bill import Party
from protocol.agreement import (
    AGREEMENT_BYTES_MAX,
    OFFER_BYTES_MAX,
    REASON_MAX,
    Agreement,
    Dispute,
    Termination,
    read_offer,
    seal_offer,
)
from protocol.canonical import Value, encode
from protocol.envelope import Envelope, seal
from protocol.errors import EncodingError, OversizedError, SignatureError
from protocol.fields import UINT_MAX
from tests.builders import a_key, a_link
from tests.unit.protocol.mutation import Path, paths_in, with_field, without_field
from tests.unit.protocol.test_contract import some_terms

OFFER = seal_offer(some_terms(), a_key())
LONG = "x" * (REASON_MAX + 1)

RECORDS: dict[str, tuple[Any, Callable[[bytes], Any], dict[int, list[Value]]]] = {
    "agreement": (
        Agreement.to(a_link(), OFFER),
        Agreement.decode,
        {5: [b"", OFFER[:-1], OFFER + b"\x00", "offer", [OFFER]]},
    ),
    "termination": (
        Termination(a_link(), bytes(32), "wind", "no wind"),
        Termination.decode,
        {5: [bytes(31), "x"], 6: ["", "a b"], 7: [LONG, b"x"]},
    ),
    "dispute": (
        Dispute(a_link(), bytes(32), "home", "no wind"),
        Dispute.decode,
        {5: [bytes(33)], 6: [7], 7: [LONG]},
    ),
    "arbitration": (
        Arbitration(a_link(), bytes(32), 700, Party.BUYER, "tested"),
        Arbitration.decode,
        {5: [b""], 6: [-1, UINT_MAX + 1], 7: [3, -1, "seller"], 8: [LONG]},
    ),
    "approval": (Approval(a_link(), bytes(32), "large"), Approval.decode, {5: [bytes(31)], 6: [LONG]}),
    "freeze": (
        Freeze(a_link(), "wind", True, "an inquiry"),
        Freeze.decode,
        {5: ["two words"], 6: [1, 0], 7: [LONG]},
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_survives_being_spelled_and_read(name: str) -> None:
    record, decode, _ = RECORDS[name]
    assert decode(record.encode()) == record


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        (name, key, value)
        for name, (_, _, wrong) in RECORDS.items()
        for key, values in wrong.items()
        for value in values
    ],
)
def test_what_cannot_be_meant_is_not_read(name: str, key: int, value: Value) -> None:
    record, decode, _ = RECORDS[name]
    with pytest.raises(EncodingError):
        decode(with_field(record.encode(), (key,), value))


@pytest.mark.parametrize(
    ("name", "path"), [(name, path) for name, (record, _, _) in RECORDS.items() for path in paths_in(record.encode())]
)
def test_every_field_is_asked_for_and_has_one_type(name: str, path: Path) -> None:
    record, decode, _ = RECORDS[name]
    for broken in (without_field(record.encode(), path), with_field(record.encode(), path, {})):
        with pytest.raises(EncodingError):
            decode(broken)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_without_end_is_not_parsed(name: str) -> None:
    with pytest.raises(OversizedError):
        RECORDS[name][1](bytes(AGREEMENT_BYTES_MAX + 1))


def test_an_offer_is_signed_for_its_region() -> None:
    envelope, terms = read_offer(OFFER)
    assert terms == some_terms()
    envelope.verify(a_key().public_key, terms.region)
    with pytest.raises(SignatureError):
        envelope.verify(a_key().public_key, "elsewhere")
    assert len(OFFER) <= OFFER_BYTES_MAX


def test_another_message_is_no_offer() -> None:
    other = seal(a_key(), region="village", type_="transfer", payload=some_terms().encode())
    with pytest.raises(EncodingError, match="transfer"):
        read_offer(other)
    with pytest.raises(EncodingError):
        read_offer(seal(a_key(), region="village", type_="offer", payload=encode({})))


def test_an_agreement_holds_the_very_bytes_that_were_offered() -> None:
    agreement = Agreement.to(a_link(), OFFER)
    assert agreement.offer == Envelope.parse(OFFER)
    assert OFFER in agreement.encode()
