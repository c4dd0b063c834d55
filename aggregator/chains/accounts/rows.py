"""Rows of the payment chain's state: everybody's tokens, the other sides of the books, and the order of priority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ACCOUNTS_TABLE: Final = 50
RANKS_TABLE: Final = 53


@dataclass(frozen=True, slots=True)
class Account:
    """One participant's tokens."""

    balance: int = 0


@dataclass(frozen=True, slots=True)
class PaymentTotals:
    """The other sides of the books, and what has been settled."""

    minted: int = 0
    burned: int = 0
    reserve: int = 0
    settled_until_ms: int = 0
    periods: int = 0
    purchases: int = 0
    transfers: int = 0
    fees: int = 0
    """Tokens that were paid to go first; they are part of the reserve."""
    adjustments: int = 0
    exchanges: int = 0
    overflow: int = 0
    """Tokens of the reserve that exceeded somebody's ceiling: a restatement may give them back, so none is sold."""


@dataclass(frozen=True, slots=True)
class Rank:
    """A place in the order of priority."""

    place: int
