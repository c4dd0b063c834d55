"""A settlement file tells a bank exactly what is owed, in the form that banks have published."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.regulator.money.bank_file import (
    AMOUNT_MAX,
    BankFileError,
    SettlementFile,
    read_csv,
    settlement_file,
    to_csv,
    to_pain_001,
)
from config.bank_accounts import BankAccounts
from config.load import SettingsError, check
from protocol.money import MILLIONTHS, millionths_of
from tests.vector_files import read_vectors

SCHEMA = read_vectors("iso20022/pain_001_001_09.yaml")
IBANS = {"gas": "DE02500105170137075030", "home": "DE02120300000000202051", "wind": "GB82 WEST 1234 5698 7654 32"}
"""Examples that banks print; none is anybody's."""
DAY = date(2026, 12, 1)


def a_bank(**changes: Any) -> BankAccounts:
    """The file of a region's regulator."""
    accounts = [{"participant": name, "name": f"{name} & <Sons>", "iban": iban} for name, iban in IBANS.items()]
    document = {"name": "Stadtwerke Köln", "iban": "DE89370400440532013000", "accounts": accounts}
    return check(document | changes, BankAccounts, "bank.yaml")


def a_settlement(owed: dict[str, int] | None = None, **changes: Any) -> SettlementFile:
    where: dict[str, Any] = {"region": "village", "height": 42, "made_ms": 1_790_000_000_123}
    amounts = {"wind": 12_345, "home": 1, "gas": -250} if owed is None else owed
    owed_in_full = {name: millionths_of(units) for name, units in amounts.items()}
    return settlement_file(owed_in_full, changes.pop("bank", a_bank()), **where | changes)


def faults(element: ElementTree.Element, path: str) -> Iterator[str]:
    """Where a document departs from the published schema."""
    tags = [child.tag.partition("}")[2] for child in element]
    if path not in SCHEMA["elements"]:
        pattern = SCHEMA["texts"].get(path.rpartition("/")[2], "(?!)")
        if tags or not re.fullmatch(pattern, element.text or ""):
            yield f"{path}: {element.text!r}"
        return
    allowed = re.sub(r"(\w+)", r"(<\1>)", SCHEMA["elements"][path]).replace(" ", "")
    if not re.fullmatch(allowed, "".join(f"<{tag}>" for tag in tags)):
        yield f"{path}: {tags}"
    for tag, child in zip(tags, element, strict=True):
        yield from faults(child, f"{path}/{tag}")


def texts(document: bytes, tag: str) -> list[str]:
    root = ElementTree.fromstring(document)
    return [element.text or "" for element in root.iter(f"{{{SCHEMA['namespace']}}}{tag}")]


@pytest.mark.parametrize("bic", [None, "COBADEFFXXX"])
def test_every_element_stands_where_the_published_schema_has_it(bic: str | None) -> None:
    document = to_pain_001(a_settlement(bank=a_bank(bic=bic), region="x_" * 32), DAY)
    root = ElementTree.fromstring(document)
    assert root.tag == f"{{{SCHEMA['namespace']}}}Document"
    assert list(faults(root, "Document")) == []


def test_a_document_that_departs_from_the_schema_is_seen() -> None:
    document = to_pain_001(a_settlement(), DAY)
    for wrong in (document.replace(b"MsgId", b"MsgID"), document.replace(b"SLEV", b"DEBT")):
        assert list(faults(ElementTree.fromstring(wrong), "Document")) != []


def test_a_bank_pays_who_is_owed_and_nobody_else() -> None:
    document = to_pain_001(a_settlement(), DAY)
    assert texts(document, "InstdAmt") == ["0.01", "123.45"]
    assert texts(document, "NbOfTxs") == ["2", "2"]
    assert texts(document, "CtrlSum") == ["123.46", "123.46"]
    assert texts(document, "IBAN") == ["DE89370400440532013000", IBANS["home"], IBANS["wind"].replace(" ", "")]
    assert texts(document, "Ustrd") == ["village-42 home", "village-42 wind"]
    assert b'<InstdAmt Ccy="EUR">' in document
    assert b"wind &amp; &lt;Sons&gt;" in document


def test_the_same_block_gives_the_same_bytes_and_another_one_another_reference() -> None:
    assert to_pain_001(a_settlement(), DAY) == to_pain_001(a_settlement(), DAY)
    references = {a_settlement(height=height, region="r" * 64).reference for height in (42, 43, 10**15)}
    assert len(references) == 3 and all(len(reference) <= 35 for reference in references)


def test_where_nobody_is_owed_there_is_nothing_to_tell_a_bank() -> None:
    with pytest.raises(BankFileError, match="nobody is owed"):
        to_pain_001(a_settlement({"gas": -1}), DAY)


def test_no_more_is_moved_than_is_owed_and_less_than_a_unit_stays_on_the_books() -> None:
    owed = {"wind": 2 * MILLIONTHS - 1, "gas": -2 * MILLIONTHS + 1, "home": MILLIONTHS - 1, "nobody": -1}
    settlement = settlement_file(owed, a_bank(), region="village", height=42, made_ms=0)
    moved = {payment.account.participant: payment.amount for payment in settlement.payments}
    assert moved == {"wind": 1, "gas": -1}


def test_whose_account_is_not_known_is_not_passed_over() -> None:
    with pytest.raises(BankFileError, match="no bank account is known of sun"):
        a_settlement({"wind": 1, "sun": 1})


def test_more_than_a_bank_can_be_told_is_not_told() -> None:
    with pytest.raises(BankFileError, match="18 digits"):
        a_settlement({"wind": AMOUNT_MAX, "gas": -1})


def test_people_read_both_directions_and_no_spreadsheet_finds_a_formula() -> None:
    accounts = [{"participant": "gas", "name": "=1+1", "iban": IBANS["gas"]}]
    rows = to_csv(a_settlement({"gas": -250}, bank=a_bank(accounts=accounts))).decode().splitlines()
    assert rows == [
        "reference,participant,name,iban,direction,amount,currency,minor_units",
        "village-42,gas,'=1+1,DE02500105170137075030,collect,2.50,EUR,-250",
    ]


@pytest.mark.parametrize(("currency", "decimals", "amount"), [("JPY", 0, "12345"), ("KWD", 3, "12.345")])
def test_a_currency_has_its_own_minor_units(currency: str, decimals: int, amount: str) -> None:
    settlement = a_settlement({"wind": 12_345}, bank=a_bank(currency=currency, decimals=decimals))
    assert texts(to_pain_001(settlement, DAY), "InstdAmt") == [amount]
    assert texts(to_pain_001(settlement, DAY), "Cd") == []


@given(st.dictionaries(st.sampled_from(sorted(IBANS)), st.integers(-(10**16), 10**16).filter(bool), min_size=1))
def test_what_is_written_is_read_again_to_the_unit(owed: dict[str, int]) -> None:
    settlement = a_settlement(owed)
    assert read_csv(to_csv(settlement)) == (settlement.reference, owed)
    paid = sum(amount for amount in owed.values() if amount > 0)
    if paid:
        (total, _) = texts(to_pain_001(settlement, DAY), "CtrlSum")
        assert int(total.replace(".", "")) == paid


GOOD = to_csv(a_settlement()).decode()
BROKEN = {
    "nothing": "",
    "another table": "a,b\n1,2\n",
    "no rows": GOOD.splitlines()[0] + "\n",
    "two settlements": GOOD + GOOD.splitlines()[1].replace("village-42,gas", "village-43,sun") + "\n",
    "somebody twice": GOOD + GOOD.splitlines()[1] + "\n",
    "an amount of nothing": GOOD.replace(",-250", ",0"),
    "an amount with a point": GOOD.replace(",-250", ",-2.50"),
    "an amount without end": GOOD.replace(",-250", "," + "9" * 19),
    "a name with a slash": GOOD.replace("village-42,gas", "village-42,g/s"),
    "a row that is cut off": GOOD[:-30],
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_what_is_no_settlement_file_is_not_taken_for_paid(text: str) -> None:
    with pytest.raises(BankFileError):
        read_csv(text.encode())


def test_bytes_that_are_no_text_are_no_settlement_file() -> None:
    with pytest.raises(BankFileError):
        read_csv(b"\xff\xfe")


WRONG: dict[str, dict[str, Any]] = {
    "check digits that do not hold": {"iban": "DE88370400440532013000"},
    "an IBAN in small letters": {"iban": "de89370400440532013000"},
    "a BIC that is too short": {"bic": "COBADE"},
    "a currency by its sign": {"currency": "€"},
    "a holder without name": {"name": ""},
    "a name that SEPA has no room for": {"name": "x" * 71},
    "a name with a line break": {"name": "a\nb"},
    "somebody twice": {"accounts": [{"participant": "gas", "name": "g", "iban": IBANS["gas"]}] * 2},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_file_of_accounts_that_cannot_be_right_is_not_read(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        a_bank(**changes)
