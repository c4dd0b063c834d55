"""A settlement: what everybody is owed as of a block, for a bank, as CSV and as ISO 20022 pain.001.001.09.

Pure: the same ledger and the same accounts give the same bytes, so a file that is made twice is known by its reference,
and a bank pays it once. A bank is told what to pay; what is to be collected is told in the CSV, for people.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final
from xml.etree import ElementTree

from aggregator.chains.accounts.exchanges import REFERENCE_MAX
from config.bank_accounts import BankAccount, BankAccounts
from protocol.errors import EsteError
from protocol.fields import is_name
from protocol.money import units_of

NAMESPACE: Final = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
COLUMNS: Final = ("reference", "participant", "name", "iban", "direction", "amount", "currency", "minor_units")
PAY: Final = "pay"
COLLECT: Final = "collect"
AMOUNT_MAX: Final = 10**18 - 1
"""Minor units of one amount, and of all together: 18 digits in ISO 20022."""


Part = tuple[str, "str | Sequence[Part]"]
"""An element, with its text or with what is inside it, in its order."""


class BankFileError(EsteError):
    """A settlement file cannot be made, or is none."""


@dataclass(frozen=True, slots=True)
class Payment:
    """What one participant is owed, or owes."""

    account: BankAccount
    amount: int
    """Minor units; above 0 they are to be paid, below 0 to be collected from."""


@dataclass(frozen=True, slots=True)
class SettlementFile:
    """What a bank is to move, as of one block."""

    reference: str
    """The same for the same block: a bank refuses what it has had."""
    made_ms: int
    """When the block was closed, UTC."""
    bank: BankAccounts
    payments: tuple[Payment, ...]
    """In the order of the participants' names."""

    @property
    def to_pay(self) -> list[Payment]:
        """Those that a bank is told to pay."""
        return [payment for payment in self.payments if payment.amount > 0]

    def amount(self, minor_units: int) -> str:
        """An amount as people and banks write it, without sign."""
        decimals = self.bank.decimals
        whole, rest = divmod(abs(minor_units), 10**decimals)
        return f"{whole}.{rest:0{decimals}}" if decimals else str(whole)


def settlement_file(
    owed: Mapping[str, int], bank: BankAccounts, *, region: str, height: int, made_ms: int
) -> SettlementFile:
    """Draw up what is to be moved.

    Args:
        owed: millionths of a minor unit by participant; below 0, they owe. What is less than a minor unit of it stays
            on the books.
        bank: whose account is whose.
        region: of the ledger.
        height: of the block that it is as of.
        made_ms: when that was closed, UTC.

    Raises:
        BankFileError: somebody has no account in the file, or there is more than a bank can be told.
    """
    accounts = {account.participant: account for account in bank.accounts}
    open_items = {participant: units for participant, amount in sorted(owed.items()) if (units := units_of(amount))}
    if missing := sorted(set(open_items) - set(accounts)):
        raise BankFileError(f"no bank account is known of {', '.join(missing)}")
    if sum(map(abs, open_items.values())) > AMOUNT_MAX:
        raise BankFileError("more than 18 digits of money: no bank can be told")
    tail = f"-{height}"
    reference = re.sub(r"[^A-Za-z0-9.-]", "-", region)[: REFERENCE_MAX - len(tail)] + tail
    payments = tuple(Payment(accounts[participant], amount) for participant, amount in open_items.items())
    return SettlementFile(reference, made_ms, bank, payments)


def to_csv(settlement: SettlementFile) -> bytes:
    """One row for each amount. `paid` takes it back: rows that a bank did not carry out are deleted before."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for payment in settlement.payments:
        account, direction = payment.account, PAY if payment.amount > 0 else COLLECT
        amount, currency = settlement.amount(payment.amount), settlement.bank.currency
        names = (settlement.reference, account.participant, _unarmed(account.name), account.iban)
        writer.writerow([*names, direction, amount, currency, payment.amount])
    return text.getvalue().encode()


def read_csv(data: bytes) -> tuple[str, dict[str, int]]:
    """The reference of a settlement file, and what it moves, in minor units by participant.

    Raises:
        BankFileError: it is none, or tells of two settlements, or of somebody twice.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(data.decode()), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BankFileError(f"no settlement file: {error}") from error
    amounts: dict[str, int] = {}
    references = {row.get("reference") for row in rows}
    if not rows or tuple(rows[0]) != COLUMNS or len(references) != 1:
        raise BankFileError("expected the rows of one settlement file, as este-aggregator bank-file writes them")
    for row in rows:
        participant, text = row["participant"], row["minor_units"]
        if not participant or not is_name(participant) or not text or not re.fullmatch(r"-?[1-9][0-9]{0,17}", text):
            raise BankFileError(f"a row that este-aggregator bank-file has not written: {participant!r:.40}")
        if participant in amounts:
            raise BankFileError(f"{participant} stands there twice")
        amounts[participant] = int(text)
    return str(references.pop()), amounts


def to_pain_001(settlement: SettlementFile, on: date) -> bytes:
    """A customer credit transfer initiation: one payment instruction with a transfer for everybody who is owed.

    Raises:
        BankFileError: nobody is to be paid.
    """
    transfers = settlement.to_pay
    if not transfers:
        raise BankFileError("nobody is owed money: there is nothing to tell a bank")
    bank, total = settlement.bank, settlement.amount(sum(payment.amount for payment in transfers))
    made = datetime.fromtimestamp(settlement.made_ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    counts: list[Part] = [("NbOfTxs", str(len(transfers))), ("CtrlSum", total)]
    agent: list[Part] = [("BICFI", bank.bic)] if bank.bic else [("Othr", [("Id", "NOTPROVIDED")])]
    instruction: list[Part] = [
        ("PmtInfId", settlement.reference),
        ("PmtMtd", "TRF"),
        *counts,
        *([("PmtTpInf", [("SvcLvl", [("Cd", "SEPA")])])] if bank.currency == "EUR" else []),
        ("ReqdExctnDt", [("Dt", on.isoformat())]),
        ("Dbtr", [("Nm", bank.name)]),
        ("DbtrAcct", [("Id", [("IBAN", bank.iban)]), ("Ccy", bank.currency)]),
        ("DbtrAgt", [("FinInstnId", agent)]),
        ("ChrgBr", "SLEV"),
        *(("CdtTrfTxInf", _transfer(settlement, number, one)) for number, one in enumerate(transfers, start=1)),
    ]
    header: list[Part] = [
        ("MsgId", settlement.reference),
        ("CreDtTm", made),
        *counts,
        ("InitgPty", [("Nm", bank.name)]),
    ]
    root = ElementTree.Element("Document", {"xmlns": NAMESPACE})
    initiation = ElementTree.SubElement(root, "CstmrCdtTrfInitn")
    _add(initiation, [("GrpHdr", header), ("PmtInf", instruction)])
    for amount in root.iter("InstdAmt"):
        amount.set("Ccy", bank.currency)
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, encoding="UTF-8", xml_declaration=True)
    return data + b"\n"


def _transfer(settlement: SettlementFile, number: int, payment: Payment) -> list[Part]:
    account = payment.account
    return [
        ("PmtId", [("EndToEndId", _numbered(settlement.reference, number))]),
        ("Amt", [("InstdAmt", settlement.amount(payment.amount))]),
        ("Cdtr", [("Nm", account.name)]),
        ("CdtrAcct", [("Id", [("IBAN", account.iban)])]),
        ("RmtInf", [("Ustrd", f"{settlement.reference} {account.participant}")]),
    ]


def _numbered(reference: str, number: int) -> str:
    """An identification of at most 35 characters that no other transfer of the file has."""
    tail = f".{number}"
    return reference[-(REFERENCE_MAX - len(tail)) :] + tail


def _add(parent: ElementTree.Element, parts: Iterable[Part]) -> None:
    for tag, content in parts:
        element = ElementTree.SubElement(parent, tag)
        if isinstance(content, str):
            element.text = content
        else:
            _add(element, content)


def _unarmed(text: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[0] in "=+-@" else text
