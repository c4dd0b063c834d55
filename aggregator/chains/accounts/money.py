"""Obligations in money: who owes how much to the region's clearing account, or is owed by it.

Amounts are millionths of a minor unit (`protocol.money`), so that what energy costs is booked exactly. A row carries
64 bits, 1.8 · 10^13 minor units: as much as 18,000 participants owe, each up to the highest limit of credit
(`config.rules.CREDIT_MAX`). Nobody pays on a chain. What the books say here is what the regulator has a bank carry out.
All accounts add up to 0, the clearing account among them: what one participant gets another one, or the region, gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aggregator.ledger.table import Journal, Table, flat
from config.grid_model import RESERVE
from protocol.canonical import encode

MONEY_TABLE: Final = 61

CLEARING: Final = RESERVE
"""The region's own account; no participant can bear this name."""


AMOUNT_MAX: Final = (1 << 63) - 1
"""Millionths of a minor unit that one account may be owed, or owe, by contracts: 9 · 10^12 minor units."""


@dataclass(frozen=True, slots=True)
class Owed:
    """One account."""

    amount: int
    """Above 0, the account is owed so much; below 0, it owes."""


class Money:
    """Part of the payment chain's state."""

    def __init__(self, journal: Journal) -> None:
        """Nobody owes anything."""
        spell, read = flat(Owed)
        self.accounts: Table[str, Owed] = Table(MONEY_TABLE, journal, spell=spell, read=read)
        self.tables: Mapping[int, Table[Any, Any]] = {MONEY_TABLE: self.accounts}

    def owed_to(self, account: str) -> int:
        """What an account is owed, in millionths of a minor unit; below 0, what it owes."""
        return (self.accounts.get(account) or Owed(0)).amount

    def book(self, about: bytes, amounts: Mapping[str, int]) -> list[bytes]:
        """Post what something brings to every account.

        Args:
            about: digest of the record that brings it about, or of the terms of the contract that it is for.
            amounts: by account, in millionths of a minor unit; they add up to 0.

        Returns:
            A leaf for every account that changes.
        """
        assert sum(amounts.values()) == 0, f"{amounts} do not add up to 0"
        leaves = []
        for account, amount in sorted(amounts.items()):
            if amount:
                after = self.owed_to(account) + amount
                self.accounts.put_or_drop(account, Owed(after), is_kept=after != 0)
                leaves.append(encode(["money", about, account, amount, after]))
        return leaves

    def broken_invariants(self) -> Iterable[str]:
        """All accounts add up to 0."""
        total = sum(owed.amount for _, owed in self.accounts.items())
        if total:
            yield f"obligations in money add up to {total}, and not to 0"
