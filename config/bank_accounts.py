"""Whose bank account is whose: what a settlement file needs and no record holds. A file of the regulator's alone."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from config.model import Listed, Model, Name, mistake

NAME_MAX: Final = 70
"""Characters of a holder's name, as SEPA has it (EPC132-08): half of what ISO 20022 allows."""

_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}")
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?")


def _to_iban(value: str) -> str:
    """An IBAN without spaces, whose check digits hold (ISO 13616, ISO 7064 MOD 97-10)."""
    iban = value.replace(" ", "")
    digits = "".join(str(int(letter, 36)) for letter in iban[4:] + iban[:4]) if _IBAN.fullmatch(iban) else "0"
    if int(digits) % 97 != 1:
        raise mistake("an IBAN, whose check digits hold")
    return iban


def _to_bic(value: str) -> str:
    if not _BIC.fullmatch(value):
        raise mistake("a BIC of 8 or 11 letters and digits (ISO 9362)")
    return value


def _to_holder(value: str) -> str:
    if not 0 < len(value.strip()) == len(value) <= NAME_MAX or not value.isprintable():
        raise mistake(f"a name of 1 to {NAME_MAX} characters that can be printed")
    return value


def _to_currency(value: str) -> str:
    if not re.fullmatch(r"[A-Z]{3}", value):
        raise mistake("a currency of three capital letters (ISO 4217), such as EUR")
    return value


Holder = Annotated[str, AfterValidator(_to_holder)]
Iban = Annotated[str, AfterValidator(_to_iban)]
Bic = Annotated[str, AfterValidator(_to_bic)]


class BankAccount(Model):
    """One participant's account."""

    participant: Name
    name: Holder
    iban: Iban


class BankAccounts(Model):
    """The region's own account, and everybody's."""

    name: Holder
    """Who pays and collects: the holder of the region's account."""
    iban: Iban
    bic: Bic | None = None
    """Of the region's bank; within SEPA a bank finds it by itself."""
    currency: Annotated[str, AfterValidator(_to_currency)] = "EUR"
    decimals: Annotated[int, Field(ge=0, le=4)] = 2
    """How many digits of an amount are minor units: 2 for cents."""
    accounts: Annotated[tuple[BankAccount, ...], Listed] = ()

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [account.participant for account in self.accounts]
        for name in names:
            if names.count(name) > 1:
                raise mistake("every participant once", f"{name} twice")
        return self
