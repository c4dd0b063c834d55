"""What a settlement period is due to bring to everybody, before anybody has signed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.chains.congestion.relief import DueRelief
from aggregator.chains.periods.adjusting import movement_leaf
from aggregator.economy.accounts import Movement, MovementKind


@dataclass(frozen=True, slots=True)
class DueSettlement:
    """A settlement period whose factors are drawn up and whose tokens are not."""

    start_ms: int
    end_ms: int
    factors_root: bytes
    movements: tuple[Movement, ...]
    tokens: Mapping[str, int]
    """What everybody with factors earns, or owes if negative."""
    relief: Mapping[str, DueRelief]
    """What relieving congested branches brings to everybody with factors."""

    @property
    def minted(self) -> int:
        """Tokens that it mints."""
        return sum(movement.amount for movement in self.movements if movement.kind is MovementKind.AWARD)

    @property
    def charged(self) -> int:
        """Tokens that it charges."""
        return sum(movement.amount for movement in self.movements if movement.kind is MovementKind.CHARGE)

    @property
    def leaves(self) -> list[bytes]:
        """One leaf per movement, and one per participant whose relief has added up to something else."""
        moved = [movement_leaf(movement, self.start_ms) for movement in self.movements]
        return moved + [due.leaf(self.start_ms) for due in self.relief.values() if due.is_news]
