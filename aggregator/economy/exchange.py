"""What tokens are worth in money, and how much may be changed in a day. Integers only.

A rate has two sides: what tokens bring is never more than what they cost, and both are rounded against whoever changes
them. So nobody gains by changing to and fro.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

PER: Final = 1000
"""Tokens that a rate is told for."""
RATE_MAX: Final = 10**9


@dataclass(frozen=True, slots=True)
class Rate:
    """What 1,000 tokens are worth, in minor money units."""

    brings: int
    """When they are given: for a bill, or sold."""
    costs: int
    """When they are got: bought, or owed and paid in money. Not below what they bring."""

    def money_for(self, tokens: int) -> int:
        """What tokens bring, rounded down."""
        return tokens * self.brings // PER

    def price_of(self, tokens: int) -> int:
        """What tokens cost, rounded up."""
        return -(-tokens * self.costs // PER)


@dataclass(frozen=True, slots=True)
class Changed:
    """What somebody has bought and sold on one day."""

    day: int
    """Days since 1970, as long as the rules say that a day is."""
    bought: int = 0
    sold: int = 0

    def on(self, day: int) -> Changed:
        """The same, or nothing yet on another day."""
        return self if self.day == day else Changed(day)

    def after(self, bought: int, sold: int) -> Changed:
        """What it comes to with more of it."""
        return replace(self, bought=self.bought + bought, sold=self.sold + sold)


def rate_at(rates: Mapping[int, Rate], instant_ms: int) -> Rate | None:
    """The rate in force: the last that has begun, or None.

    Args:
        rates: by the instant from which each holds, UTC.
        instant_ms: when.
    """
    begun = [from_ms for from_ms in rates if from_ms <= instant_ms]
    return rates[max(begun)] if begun else None
