"""What contracts ask of the payment chain, which lies downstream of them: tokens and money of the parties."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from aggregator.chains.accounts.deposits import Deposits
from aggregator.chains.accounts.rights import Rights
from aggregator.economy.accounts import Movement


class Purse(Protocol):
    """What contracts ask of the payment chain."""

    def balance(self, participant: str) -> int:
        """Tokens of a participant; below 0 is owed."""

    def take_fee(self, participant: str, fee: int, time_ms: int) -> Iterable[bytes]:
        """Let a participant pay a fee that the account holds; the leaves say so."""

    def book_money(self, about: bytes, amounts: Mapping[str, int]) -> Iterable[bytes]:
        """Post what contracts bring to every account, in millionths of a minor unit; `about` says by which record."""

    def money_owed_to(self, participant: str) -> int:
        """What an account is owed, in millionths of a minor unit; below 0, what it owes."""

    def credit_left(self, participant: str) -> int:
        """What a participant may still come to owe, in millionths of a minor unit; below 0, nothing."""

    @property
    def rights(self) -> Rights:
        """Who has bought which capacity of which line."""

    @property
    def deposits(self) -> Deposits:
        """What was put down with disputes that are open."""

    def move(self, movements: Iterable[Movement], time_ms: int) -> Iterable[bytes]:
        """Post movements of tokens; the leaves say so."""
