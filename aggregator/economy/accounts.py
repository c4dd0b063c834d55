"""Token accounts by double entry: what one side is debited, the other is credited, in the same movement.

Participants and the region's reserve hold tokens. Two more sides close the books: tokens that are minted come from
*issue*, tokens that are charged go to *burn*. So minted − burned is always the sum of all accounts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class MovementKind(IntEnum):
    """Why tokens move."""

    AWARD = 1
    """Issue → participant, for a factor above the threshold."""
    CHARGE = 2
    """Participant → burn, for a factor below 0."""
    OVERFLOW = 3
    """Participant → reserve: what exceeds the ceiling."""
    PURCHASE = 4
    """Participant → reserve: the price of a right."""
    ADJUSTMENT_UP = 5
    """Issue → participant: a settled period should have brought more."""
    ADJUSTMENT_DOWN = 6
    """Participant → burn: a settled period should have brought less."""
    RETURN = 7
    """Reserve → participant: what would not have exceeded the ceiling."""
    SENT = 8
    """Participant → reserve, on the way to another participant, who gets it in the movement that follows."""
    RECEIVED = 9
    """Reserve → participant: what another one has sent."""
    FEE = 10
    """Participant → reserve: what was offered for a record's place in a block."""
    REDEEMED = 11
    """Participant → reserve: what was changed for money."""
    BOUGHT = 12
    """Reserve → participant: what was bought with money."""
    FINE = 13
    """Issue → participant: a charge that is paid in money instead."""
    DEPOSIT = 14
    """Participant → reserve: what is put down with a dispute."""
    DEPOSIT_RETURNED = 15
    """Reserve → participant: the dispute was not without reason."""


CEILING: Final = frozenset({MovementKind.OVERFLOW, MovementKind.RETURN})
"""The kinds that the ceiling brings about."""


@dataclass(frozen=True, slots=True)
class Movement:
    """One posting, with the balance that it leaves behind."""

    kind: MovementKind
    participant: str
    amount: int
    """Tokens, above 0; the kind says which way."""
    balance: int
    """Of the participant, afterwards."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What has been issued and burned since genesis."""

    minted: int = 0
    burned: int = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """What a movement does to each side of the books; the four always add up to 0."""

    participant: int
    reserve: int
    minted: int
    burned: int


def effect_of(kind: MovementKind, amount: int) -> Effect:
    """Which sides a movement touches, and by how much."""
    assert amount > 0, f"a movement of {amount} tokens moves nothing, or backwards"
    match kind:
        case MovementKind.AWARD | MovementKind.ADJUSTMENT_UP | MovementKind.FINE:
            return Effect(participant=amount, reserve=0, minted=amount, burned=0)
        case MovementKind.CHARGE | MovementKind.ADJUSTMENT_DOWN:
            return Effect(participant=-amount, reserve=0, minted=0, burned=amount)
        case MovementKind.OVERFLOW | MovementKind.PURCHASE | MovementKind.SENT | MovementKind.FEE:
            return Effect(participant=-amount, reserve=amount, minted=0, burned=0)
        case MovementKind.REDEEMED | MovementKind.DEPOSIT:
            return Effect(participant=-amount, reserve=amount, minted=0, burned=0)
        case MovementKind.RETURN | MovementKind.RECEIVED | MovementKind.BOUGHT | MovementKind.DEPOSIT_RETURNED:
            return Effect(participant=amount, reserve=-amount, minted=0, burned=0)


def settle(balance: int, tokens: int, ceiling: int, participant: str) -> list[Movement]:
    """The movements that a period's tokens bring to one account.

    Args:
        balance: before.
        tokens: earned, or owed if negative.
        ceiling: what the account may hold.
        participant: whose account.
    """
    if tokens < 0:
        return [Movement(MovementKind.CHARGE, participant, -tokens, balance + tokens)]
    return receive(MovementKind.AWARD, tokens, balance, ceiling, participant) if tokens else []


def receive(kind: MovementKind, tokens: int, balance: int, ceiling: int, participant: str) -> list[Movement]:
    """The movements by which an account gets tokens: what exceeds its ceiling goes on to the reserve."""
    balance += tokens
    movements = [Movement(kind, participant, tokens, balance)]
    if balance > ceiling:
        movements.append(Movement(MovementKind.OVERFLOW, participant, balance - ceiling, ceiling))
    return movements


def pay(parts: Mapping[MovementKind, int], balance: int, participant: str) -> list[Movement]:
    """The movements by which tokens leave an account, in the order of `parts`; a part of 0 moves nothing."""
    movements = []
    for kind, amount in parts.items():
        if amount:
            balance -= amount
            movements.append(Movement(kind, participant, amount, balance))
    return movements
