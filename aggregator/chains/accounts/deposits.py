"""Tokens that parties have put down with their disputes. Part of the payment chain's state.

A deposit lies in the region's reserve as long as the dispute is open, and is not for sale there. What becomes of it is
said by whoever settles the contract: it goes back, or it stays in the reserve.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aggregator.economy.accounts import Movement, MovementKind, pay, receive
from aggregator.ledger.table import Journal, Table, WatchedTable, flat

DEPOSITS_TABLE: Final = 66


@dataclass(frozen=True, slots=True)
class Deposit:
    """What a party has put down."""

    participant: str
    tokens: int


class Deposits:
    """Deposits, by the digest of the terms of the disputed contract."""

    def __init__(self, journal: Journal) -> None:
        """Nobody has put anything down."""
        spell, read = flat(Deposit)
        self.rows: WatchedTable[bytes, Deposit] = WatchedTable(
            DEPOSITS_TABLE, journal, spell=spell, read=read, watch=self._watch
        )
        self.tables: Mapping[int, Table[Any, Any]] = {DEPOSITS_TABLE: self.rows}
        self.held = 0
        """Tokens, all together."""

    def put_down(self, contract: bytes, deposit: Deposit, balance: int) -> list[Movement]:
        """Keep tokens apart as long as a contract is disputed; the movements are to be posted.

        `balance` is that of the participant, who holds so much.
        """
        self.rows.put(contract, deposit)
        return pay({MovementKind.DEPOSIT: deposit.tokens}, balance, deposit.participant)

    def give_back(self, contract: bytes, balance: int, ceiling: int) -> list[Movement]:
        """Let a deposit go back; the movements are to be posted."""
        deposit = self.rows[contract]
        self.rows.remove(contract)
        return receive(MovementKind.DEPOSIT_RETURNED, deposit.tokens, balance, ceiling, deposit.participant)

    def forfeit(self, contract: bytes) -> None:
        """Leave a deposit to the reserve, in which it lies."""
        self.rows.remove(contract)

    def _watch(self, _: bytes, before: Deposit | None, after: Deposit | None) -> None:
        self.held += (after.tokens if after else 0) - (before.tokens if before else 0)
