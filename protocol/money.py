"""Amounts of money: integers in millionths of a minor unit (of a cent, where the currency has cents).

Prices are minor units per MWh, energy is watt-hours, so their product is an amount without rounding
(`protocol.contract.price_of`). Only where money leaves the books, for a bank, is it rounded: towards nothing, so that
no more is moved than is owed, and what is left stays on the books.
"""

from __future__ import annotations

from typing import Final

MILLIONTHS: Final = 1_000_000
"""Of a minor unit: what amounts are counted in."""

_SHOWN: Final = 100
"""People see hundredths of a minor unit at most."""


def millionths_of(units: int) -> int:
    """Whole minor units as an amount."""
    return units * MILLIONTHS


def units_of(amount: int) -> int:
    """The whole minor units in an amount: what can be moved of it. The rest, less than one, is left out."""
    units = abs(amount) // MILLIONTHS
    return units if amount >= 0 else -units


def said(amount: int) -> str:
    """An amount in minor units as people read it: whole, or with two decimals; half a hundredth away from nothing."""
    hundredths = (2 * abs(amount) * _SHOWN + MILLIONTHS) // (2 * MILLIONTHS)
    units, rest = divmod(hundredths, _SHOWN)
    sign = "-" if amount < 0 else ""
    return f"{sign}{units}" if amount % MILLIONTHS == 0 else f"{sign}{units}.{rest:02}"
