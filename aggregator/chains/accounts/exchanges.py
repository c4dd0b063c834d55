"""Rates of tokens and money, what everybody changed today, and what was paid out. Part of the payment chain.

Rates and payouts are records of the regulator. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aggregator.chains.accounts.money import CLEARING, Money
from aggregator.economy.exchange import RATE_MAX, Changed, Rate, rate_at
from aggregator.ledger.table import Journal, Table, flat
from protocol.canonical import Value, decode, encode, fields_of
from protocol.errors import EncodingError
from protocol.fields import integer, items, name, row, text, uint
from protocol.link import Link
from protocol.money import millionths_of, said
from protocol.refusals import RefusalCode, Refused

RATES_TABLE: Final = 59
CHANGED_TABLE: Final = 62

AHEAD_MAX_MS: Final = 10 * 366 * 86_400_000
"""A rate holds from ten years from now on at most: nothing can be announced behind a slip of the pen in a year."""
PAYOUTS_MAX: Final = 100_000
"""Of one record."""
REFERENCE_MAX: Final = 35
"""Characters, as ISO 20022 has them (Max35Text)."""
BYTES_MAX: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class RateRecord:
    """What tokens are worth in money from an instant on."""

    link: Link
    from_ms: int
    rate: Rate

    def encode(self) -> bytes:
        """Spell the record."""
        return encode(self.link.to_fields() | {5: self.from_ms, 6: self.rate.brings, 7: self.rate.costs})

    @classmethod
    def decode(cls, payload: bytes) -> RateRecord:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one, or of tokens that bring more than they cost.
        """
        fields = fields_of(decode(payload, size_max=BYTES_MAX), tuple(range(1, 8)), "rate")
        rate = Rate(uint(fields[6], "brings", RATE_MAX), uint(fields[7], "costs", RATE_MAX))
        if not 0 < rate.costs >= rate.brings:
            raise EncodingError("rate: tokens cost something, and not less than they bring")
        return cls(Link.from_fields(fields), uint(fields[5], "from"), rate)


@dataclass(frozen=True, slots=True)
class Payout:
    """Money has moved outside the chain, for what was owed."""

    link: Link
    reference: str
    """Of the settlement file, by which a bank's statement names it."""
    amounts: tuple[tuple[str, int], ...]
    """In rising order of participant, minor units: above 0 they were paid, below 0 they have paid."""

    def encode(self) -> bytes:
        """Spell the record."""
        rows: list[Value] = [list(pair) for pair in self.amounts]
        return encode(self.link.to_fields() | {5: self.reference, 6: rows})

    @classmethod
    def decode(cls, payload: bytes) -> Payout:
        """Read the record.

        Raises:
            EncodingError: not the one spelling of one.
        """
        fields = fields_of(decode(payload, size_max=BYTES_MAX), tuple(range(1, 7)), "payout")
        amounts = tuple(map(_read_amount, items(fields[6], "amounts", PAYOUTS_MAX)))
        names = [participant for participant, _ in amounts]
        if not names or names != sorted(set(names)):
            raise EncodingError("payout: each participant once, in the order of their names, at least one")
        return cls(Link.from_fields(fields), text(fields[5], "reference", REFERENCE_MAX), amounts)


class Exchanges:
    """What tokens are worth, and who changed how many today."""

    def __init__(self, journal: Journal) -> None:
        """No rate is in force."""
        spell, read = flat(Rate)
        self.rates: Table[int, Rate] = Table(RATES_TABLE, journal, spell=spell, read=read)
        spell_changed, read_changed = flat(Changed)
        self.changed: Table[str, Changed] = Table(CHANGED_TABLE, journal, spell=spell_changed, read=read_changed)
        self.tables: Mapping[int, Table[Any, Any]] = {RATES_TABLE: self.rates, CHANGED_TABLE: self.changed}

    def rate_at(self, instant_ms: int) -> Rate | None:
        """The rate in force."""
        return rate_at(dict(self.rates.items()), instant_ms)

    def announce(self, record: RateRecord, time_ms: int) -> None:
        """Take up a rate that is to hold; those that no longer can are forgotten.

        Raises:
            Refused: it does not lie ahead, or too far, or not behind the last one.
        """
        last_ms = max(self.rates, default=0)
        if not max(time_ms, last_ms) < record.from_ms <= time_ms + AHEAD_MAX_MS:
            raise Refused(
                RefusalCode.RATE_NOT_AHEAD, f"from {record.from_ms}, at {time_ms}, the last is from {last_ms}"
            )
        over = [from_ms for from_ms, _ in self.rates.items() if from_ms <= time_ms]
        for from_ms in over[:-1]:
            self.rates.remove(from_ms)
        self.rates.put(record.from_ms, record.rate)

    def changed_by(self, participant: str, day: int) -> Changed:
        """What somebody has bought and sold on a day."""
        return (self.changed.get(participant) or Changed(day)).on(day)

    def keep(self, participant: str, changed: Changed) -> None:
        """Remember what somebody has bought and sold on a day."""
        self.changed.put_or_drop(participant, changed, is_kept=bool(changed.bought or changed.sold))


def pay_out(payout: Payout, about: bytes, money: Money) -> list[bytes]:
    """Take off the books what has moved outside, whole minor units; `about` is the record's digest.

    Raises:
        Refused: it is not what the books say.
    """
    for participant, amount in payout.amounts:
        owed = 0 if participant == CLEARING else money.owed_to(participant)  # the region pays itself nothing
        if amount * owed <= 0 or millionths_of(abs(amount)) > abs(owed):
            raise Refused(RefusalCode.NOT_WHAT_IS_OWED, f"{amount} for {participant}, who is owed {said(owed)}")
    amounts = {participant: -millionths_of(amount) for participant, amount in payout.amounts}
    return money.book(about, amounts | {CLEARING: -sum(amounts.values())})


def _read_amount(value: Value) -> tuple[str, int]:
    participant, amount = row(value, "amount", 2)
    if not integer(amount, "amount"):
        raise EncodingError("payout: an amount of 0 moves nothing")
    return name(participant, "participant"), amount
