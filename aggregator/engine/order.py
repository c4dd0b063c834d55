"""The order of a block: who goes first among the records that wait, and whether a block kept to it.

    1. what the proposing node itself signs: nobody else can send it, and what time has made due waits for nobody
    2. what has waited `STARVED_AFTER` blocks or longer, and the regulator's word: longest first, then by arrival
    3. the rest: by fee, highest first, then longest first, then by arrival

Only the first record in each author's queue competes, as what it is: nobody overtakes themselves, and a fee moves its
own record only. So every beginning of an order is in order by itself, and whoever has nothing but a block can see
whether it was kept to: `broken_order` puts the block's records in order again, by what it says of their waiting and by
what the last block says of accounts. A fee counts while the payer's account covers it beside all that they have in the
block already.

A record waits for at most `STARVED_AFTER` + ⌈pending_max / entries_max⌉ blocks, its own among them, whatever others
pay: from `STARVED_AFTER` on, only what was there before it can go first (docs/adr/0032).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from operator import ge
from typing import Final, NamedTuple

from aggregator.economy.bids import Bid
from aggregator.ledger.record import Record, Role

STARVED_AFTER: Final = 10
"""Blocks. No fee goes before a record that has waited so long. Part of the format: every node has the same."""

BidOf = Callable[[Record], Bid]
"""What a record offers, as the block before has left things."""


class _Rank(NamedTuple):
    """Where a record stands among the first of all queues; the lowest goes next."""

    kind: int
    fee: int
    waited: int
    arrival: int


@dataclass(slots=True)
class _Waiting:
    """A record that waits, with what counts for its place."""

    record: Record
    waited: int
    arrival: int
    bid: Bid


def by_number(records: Iterable[Record]) -> list[Record]:
    """Records in the order in which they came, but each author's among themselves in the order of their numbers.

    What somebody sent in order may arrive out of order, over several nodes.
    """
    arrived = list(records)
    queues: dict[str, list[Record]] = {}
    for record in arrived:
        queues.setdefault(record.author.name, []).append(record)
    in_order = {name: iter(sorted(queue, key=_sequence)) for name, queue in queues.items()}
    return [next(in_order[record.author.name]) for record in arrived]


def in_order(records: Sequence[Record], waited: Sequence[int], bid_of: BidOf) -> Iterator[int]:
    """The order of a block, as places in `records`; take as many of them as the block holds.

    Args:
        records: each author's in the order of their numbers, and all of them, as far as that, in the order of arrival.
        waited: how many blocks closed without each of them.
        bid_of: what a record offers.
    """
    if _is_as_it_came(records, waited):
        yield from range(len(records))
        return
    queues: dict[str, list[_Waiting]] = {}
    for arrival in range(len(records) - 1, -1, -1):
        record = records[arrival]
        waiting = _Waiting(record, waited[arrival], arrival, bid_of(record))
        queues.setdefault(record.author.name, []).append(waiting)
    left: dict[str, int] = {}
    """Tokens that the block so far leaves in the accounts that it draws on."""
    first = [(_rank(queue[-1], left), name) for name, queue in queues.items()]
    heapify(first)
    while first:
        rank, name = heappop(first)
        queue = queues[name]
        now = _rank(queue[-1], left)
        if now != rank:  # the block draws on that account meanwhile: the fee counts no more
            heappush(first, (now, name))
            continue
        waiting = queue.pop()
        bid = waiting.bid
        if _is_covered(bid, left):
            left[bid.payer] = left.get(bid.payer, bid.balance) - bid.cost
        yield waiting.arrival
        if queue:
            heappush(first, (_rank(queue[-1], left), name))


def is_contested(record: Record) -> bool:
    """Whether a record may go before others that came earlier: while none does, the order is that of arrival."""
    return record.author.role is not Role.GATEWAY or getattr(record.message, "fee", 0) > 0


def broken_order(records: Sequence[Record], waited: Sequence[int], bid_of: BidOf) -> str | None:
    """Which record of a block stands where it should not, in words; None if the block kept to the order.

    Args:
        records: of the block, as they stand in it.
        waited: how many blocks each of them had waited, as the block says.
        bid_of: what a record offers, as the block before has left things.
    """
    numbers: dict[str, int] = {}
    for record in records:
        link = record.link
        if link.sequence <= numbers.get(link.author, 0):
            return f"record {link.sequence} of {link.author} stands behind a later one"
        numbers[link.author] = link.sequence
    for place, following in enumerate(in_order(records, waited, bid_of)):
        if place != following:
            ours, theirs = records[following].link, records[place].link
            return (
                f"record {theirs.sequence} of {theirs.author} stands at place {place},"
                f" where record {ours.sequence} of {ours.author} comes first"
            )
    return None


def _is_as_it_came(records: Sequence[Record], waited: Sequence[int]) -> bool:
    """Whether the order of arrival is the order of the block, as it is wherever nobody pays: seen without a heap."""
    own = 0
    while own < len(records) and records[own].author.role is Role.AGGREGATOR:
        own += 1
    rest = waited[own:]
    return not any(map(is_contested, records[own:])) and all(map(ge, rest, rest[1:]))


def _rank(waiting: _Waiting, left: dict[str, int]) -> _Rank:
    role = waiting.record.author.role
    if role is Role.AGGREGATOR:
        return _Rank(1, 0, 0, waiting.arrival)
    if role is Role.REGULATOR or waiting.waited >= STARVED_AFTER:
        return _Rank(2, 0, -waiting.waited, waiting.arrival)
    fee = waiting.bid.fee if _is_covered(waiting.bid, left) else 0
    return _Rank(3, -fee, -waiting.waited, waiting.arrival)


def _is_covered(bid: Bid, left: dict[str, int]) -> bool:
    return bid.cost <= left.get(bid.payer, bid.balance)


def _sequence(record: Record) -> int:
    return record.link.sequence
