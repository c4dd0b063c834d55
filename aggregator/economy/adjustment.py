"""Making up for a settled period whose factors have been restated.

The account is put where it would stand if the period had been settled with its true factors in the first place: its
settlements are gone through once more, each with the ceiling of its own period, and what moved between them (the prices
of rights, what was given and received) stays as it was, as far as the account may hold it: what was above the ceiling
when it was received went to the reserve, and stays there. What all that takes is posted as movements of today; nothing
that was posted is taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aggregator.economy.accounts import Movement, MovementKind, settle


@dataclass(frozen=True, slots=True)
class Settled:
    """What one settlement period did to one account."""

    opening: int = 0
    """The balance before."""
    tokens: int = 0
    """Earned, or owed if negative."""
    relief_tokens: int = 0
    """What relief brought, before the cap. It stays: later changes of relief count in the period that runs then."""

    def closing(self, ceiling: int) -> int:
        """The balance after."""
        movements = settle(self.opening, self.tokens, ceiling, "")
        return movements[-1].balance if movements else self.opening


def settle_again(
    periods: Sequence[Settled], ceilings: Sequence[int], tokens: int, balance: int
) -> tuple[list[Settled], int]:
    """Go through one account's settlements again, from a restated one on.

    Args:
        periods: the restated period, and those settled since, in their order.
        ceilings: what the account might hold, in each.
        tokens: what the restated period should have brought.
        balance: of today.

    Returns:
        The periods as they should have been, and the balance that follows.
    """
    again = [replace(periods[0], tokens=tokens)]
    openings = [*(period.opening for period in periods[1:]), balance]
    for i, (period, ceiling) in enumerate(zip(periods, ceilings, strict=True)):
        moved = openings[i] - period.closing(ceiling)
        opening = min(ceiling, again[i].closing(ceiling) + moved)  # what others gave may be too much now
        if i + 1 < len(periods):
            again.append(replace(periods[i + 1], opening=opening))
    return again, opening


def adjust(balance: int, tokens: int, after: int, participant: str) -> list[Movement]:
    """The movements that bring an account from where it stands to where it should.

    Args:
        balance: of today.
        tokens: by how much more, or less if negative, the period should have brought.
        after: the balance that should follow; what is between is the ceiling's doing, then or now.
        participant: whose account.
    """
    movements = []
    if tokens:
        kind = MovementKind.ADJUSTMENT_UP if tokens > 0 else MovementKind.ADJUSTMENT_DOWN
        balance += tokens
        movements.append(Movement(kind, participant, abs(tokens), balance))
    if balance != after:
        kind = MovementKind.OVERFLOW if balance > after else MovementKind.RETURN
        movements.append(Movement(kind, participant, abs(balance - after), after))
    return movements
