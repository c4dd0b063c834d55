"""Who delivered how much of what was promised in an interval: shared out exactly, each watt-hour to one contract.

What a participant fed in, less what they took (`Metered`), goes to their contracts in the order in which these were
confirmed, so that a fee buys priority in use, too. A contract promises the same power all through its window; what the
other side did not do harms nobody who did not do it either. A contract for clean energy is served with what clean
sources of the seller fed in; what else the buyer takes is no matter of the seller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from operator import add, attrgetter, sub


@dataclass(frozen=True, slots=True)
class Amounts:
    """What became of a contract's energy, in watt-hours. A difference may be below 0."""

    due_wh: int = 0
    """What was to be delivered and taken."""
    delivered_wh: int = 0
    seller_short_wh: int = 0
    """Not fed in, where the buyer would have taken it."""
    buyer_short_wh: int = 0
    """Not taken, where the seller fed it in."""
    surplus_wh: int = 0
    """Fed in by the seller beyond all contracts."""
    extra_wh: int = 0
    """Taken by the buyer beyond all contracts."""

    def plus(self, more: Amounts) -> Amounts:
        """With more of each."""
        return Amounts(*map(add, self.columns, more.columns))

    def minus(self, less: Amounts) -> Amounts:
        """With less of each."""
        return Amounts(*map(sub, self.columns, less.columns))

    @property
    def columns(self) -> tuple[int, ...]:
        """All of them, in their order."""
        return _columns(self)

    @property
    def missing_wh(self) -> int:
        """What was due and did not come, whoever answers for it."""
        return self.due_wh - self.delivered_wh


_columns = attrgetter(*(one.name for one in fields(Amounts)))
NOTHING = Amounts()


@dataclass(frozen=True, slots=True)
class Metered:
    """What meters counted in one network and interval, in watt-hours by participant; who has none is left out."""

    fed_in_wh: Mapping[str, int] = field(default_factory=dict)
    """Exported less imported, where that is above 0."""
    taken_wh: Mapping[str, int] = field(default_factory=dict)
    """Imported less exported, where that is above 0."""
    clean_fed_in_wh: Mapping[str, int] = field(default_factory=dict)
    """By clean sources, and not used by themselves."""


@dataclass(frozen=True, slots=True)
class Due:
    """What one contract promises for one interval."""

    contract: bytes
    seller: str
    buyer: str
    due_wh: int
    clean_only: bool = False


def due_wh(quantity_wh: int, window: tuple[int, int], interval: tuple[int, int]) -> int:
    """How much of an even delivery lies in an interval of its window; over all intervals that is all of it."""
    start_ms, end_ms = window
    length_ms = end_ms - start_ms
    before, after = (quantity_wh * (instant - start_ms) // length_ms for instant in interval)
    return after - before


def share_out(dues: Iterable[Due], metered: Metered) -> dict[bytes, Amounts]:
    """What became of every contract in an interval of one network.

    Args:
        dues: in the order in which the contracts were confirmed.
        metered: what everybody fed in and took.
    """
    left = _Left(metered)
    shared: dict[bytes, Amounts] = {}
    last_of_seller: dict[str, bytes] = {}
    last_of_buyer: dict[str, bytes] = {}
    for due in dues:
        shared[due.contract] = left.serve(due)
        last_of_seller[due.seller] = last_of_buyer[due.buyer] = due.contract
    for seller, contract in last_of_seller.items():
        shared[contract] = shared[contract].plus(Amounts(surplus_wh=left.fed_in.get(seller, 0)))
    for buyer, contract in last_of_buyer.items():
        shared[contract] = shared[contract].plus(Amounts(extra_wh=left.taken.get(buyer, 0)))
    return shared


class _Left:
    """What is not shared out yet."""

    def __init__(self, metered: Metered) -> None:
        self.fed_in, self.taken = dict(metered.fed_in_wh), dict(metered.taken_wh)
        self._clean = dict(metered.clean_fed_in_wh)

    def serve(self, due: Due) -> Amounts:
        """Give a contract what is left for it."""
        offered = self.fed_in.get(due.seller, 0)
        if due.clean_only:
            offered = min(offered, self._clean.get(due.seller, 0))
        seller_short = due.due_wh - min(due.due_wh, offered)
        buyer_short = due.due_wh - min(due.due_wh, self.taken.get(due.buyer, 0))
        delivered = due.due_wh - max(seller_short, buyer_short)
        if delivered:
            self.fed_in[due.seller] -= delivered
            self.taken[due.buyer] -= delivered
            if due.clean_only:
                self._clean[due.seller] -= delivered
        return Amounts(
            due_wh=due.due_wh,
            delivered_wh=delivered,
            seller_short_wh=max(0, seller_short - buyer_short),
            buyer_short_wh=max(0, buyer_short - seller_short),
        )
