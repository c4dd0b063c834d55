"""What a contract costs whom: price, rent, penalty, imbalance, early termination. It adds up to 0.

What was delivered is paid at the contract's price, and with it the rent of a full line, if the market found one. For
what was not, whoever answers for it pays the penalty to the other. What was fed in or taken beyond all contracts is
settled with the region's clearing account at the imbalance price, so that the same watt-hour is never paid twice.

Amounts are millionths of a minor money unit. What energy costs is exact, so a contract costs what its slices cost; a
share of that, for penalty and early termination, is rounded once over the whole window, to the nearest millionth.
Energy of a contract and what it lacks are `QUANTITY_MAX_WH` at most, all together: so are price, penalty and
termination 10^18 at most, all together, and fit 63 bits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from operator import attrgetter, sub
from typing import Final

from aggregator.economy.contracts.delivery import Amounts
from protocol.contract import Terms, price_of, rounded
from protocol.units import PPM


class Party(IntEnum):
    """Who answers for something."""

    NOBODY = 0
    SELLER = 1
    BUYER = 2


@dataclass(frozen=True, slots=True)
class Bill:
    """Who owes whom how much for one contract, in millionths of a minor unit. A difference may be below 0."""

    price: int = 0
    """The buyer, to the seller, for what was delivered."""
    penalty: int = 0
    """The seller, to the buyer; below 0, the other way round."""
    termination: int = 0
    """Likewise."""
    surplus: int = 0
    """The clearing account, to the seller, for what was fed in beyond all contracts; below 0 after arbitration, if the
    seller's meters counted less than was ruled to be delivered."""
    extra: int = 0
    """The buyer, to the clearing account, for what was taken beyond all contracts; below 0 likewise."""
    rent: int = 0
    """The buyer, to the clearing account, for what was delivered over a full line; below 0, the other way round."""

    @property
    def lines(self) -> tuple[int, ...]:
        """All of them, in their order."""
        return _lines(self)

    @property
    def seller(self) -> int:
        """What the seller gets, all in all; below 0 owes."""
        return self.price - self.penalty - self.termination + self.surplus

    @property
    def buyer(self) -> int:
        """What the buyer gets, all in all; below 0 owes."""
        return self.penalty + self.termination - self.price - self.extra - self.rent

    @property
    def clearing(self) -> int:
        """What the clearing account gets, all in all."""
        return self.extra + self.rent - self.surplus

    def minus(self, other: Bill) -> Bill:
        """What has to be made up for where `other` is in the books already."""
        return Bill(*map(sub, self.lines, other.lines))


_lines = attrgetter(*(one.name for one in fields(Bill)))
NO_BILL: Final = Bill()


@dataclass(frozen=True, slots=True)
class Prices:
    """What the region's rules say of contracts' money."""

    imbalance_per_mwh: int
    """In minor units, as all prices."""
    tolerance_ppm: int
    """What may be missing without penalty, of what was due."""

    def is_fulfilled(self, amounts: Amounts) -> bool:
        """Whether no more is missing than may be."""
        return amounts.missing_wh * PPM <= amounts.due_wh * self.tolerance_ppm


def bill_of(
    terms: Terms, amounts: Amounts, prices: Prices, ended_by: Party = Party.NOBODY, rent_per_mwh: int = 0
) -> Bill:
    """What a contract comes to.

    Args:
        terms: as agreed.
        amounts: what became of its energy.
        prices: of its region, when its window began.
        ended_by: who ended it before all of it was due; they pay for the rest.
        rent_per_mwh: what the buyer pays to the region beyond the contract's price, in minor units.
    """
    penalty = 0
    if not prices.is_fulfilled(amounts):
        by_seller = share_of(price_of(amounts.seller_short_wh, terms.price_per_mwh), terms.penalty_ppm)
        penalty = by_seller - share_of(price_of(amounts.buyer_short_wh, terms.price_per_mwh), terms.penalty_ppm)
    rest = share_of(price_of(terms.quantity_wh - amounts.due_wh, terms.price_per_mwh), terms.termination_ppm)
    termination = {Party.SELLER: rest, Party.BUYER: -rest, Party.NOBODY: 0}[ended_by]
    return Bill(
        price=price_of(amounts.delivered_wh, terms.price_per_mwh),
        penalty=penalty,
        termination=termination,
        surplus=price_of(amounts.surplus_wh, prices.imbalance_per_mwh),
        extra=price_of(amounts.extra_wh, prices.imbalance_per_mwh),
        rent=price_of(amounts.delivered_wh, rent_per_mwh),
    )


def arbitrated(amounts: Amounts, delivered_wh: int, responsible: Party) -> Amounts:
    """What the regulator says of a contract's energy, instead of what was measured of it.

    A ruling moves what counts as delivered, not the meters: the seller's delivered and surplus energy still add up to
    what they fed in, the buyer's delivered and extra energy to what they took. So every watt-hour is paid once, and
    what is ruled beyond the meters is bought, or sold, at the imbalance price. A wrong meter is corrected instead, and
    the intervals are stated once more.
    """
    missing = amounts.due_wh - delivered_wh
    more = delivered_wh - amounts.delivered_wh
    return Amounts(
        due_wh=amounts.due_wh,
        delivered_wh=delivered_wh,
        seller_short_wh=missing if responsible is Party.SELLER else 0,
        buyer_short_wh=missing if responsible is Party.BUYER else 0,
        surplus_wh=amounts.surplus_wh - more,
        extra_wh=amounts.extra_wh - more,
    )


def share_of(amount: int, ppm: int) -> int:
    """A part of an amount, rounded to the nearest millionth, and half of one to the even one."""
    return rounded(amount * ppm, PPM)
