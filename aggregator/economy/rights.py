"""What tokens buy, and who goes first.

A right is bought for one settlement period, ahead of it; whoever wants to go first month after month buys one in each.
The order of priority is drawn up when a period is settled and holds until the next one is: holders of a right come
first, participants who owe tokens come last, and among equals the larger balance, then the name, decides, so that every
node draws up the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from config.rules import RightPrice
from protocol.messages import RightKind

RightKey = tuple[str, int, int]
"""Whose right it is, the number of its kind, and the start of the settlement period that it was bought for."""


@dataclass(frozen=True, slots=True)
class HeldRight:
    """A right that somebody holds in one settlement period, from its start."""

    end_ms: int
    """End of that period, UTC; does not belong to it."""


def price_of(kind: RightKind, prices: Iterable[RightPrice]) -> int | None:
    """What a right costs, or None where the region does not sell it."""
    return next((entry.price for entry in prices if entry.kind is kind), None)


def priority_order(balances: Mapping[str, int], holders: Set[str]) -> list[str]:
    """All participants, first to last.

    Args:
        balances: tokens of every participant.
        holders: those who hold a priority right in the period to come.
    """
    return sorted(balances, key=lambda name: (balances[name] < 0, name not in holders, -balances[name], name))
