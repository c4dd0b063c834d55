"""What participants order with their tokens: a right for themselves, or tokens for somebody else.

Each order is looked at whole before anything is written: it is refused with the first rule that it breaks, or it is a
*deal*, with every movement that it brings about. So the same rule says what a block does with an order, and whether
its fee is to be believed while it waits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from aggregator.chains.asset import Region
from aggregator.economy.accounts import Movement, MovementKind, pay, receive
from aggregator.economy.bids import Bid
from aggregator.economy.rights import HeldRight, RightKey, price_of
from aggregator.ledger.record import Record
from protocol.messages import Purchase
from protocol.refusals import RefusalCode, Refused
from protocol.transfer import Transfer

ORDERS: Final = (Purchase, Transfer)
"""The messages that are orders."""


class Books(Protocol):
    """What an order is judged by."""

    def balance(self, participant: str) -> int:
        """Tokens of a participant; below 0 is owed."""

    def holds(self, key: RightKey) -> bool:
        """Whether a right is somebody's already."""


@dataclass(frozen=True, slots=True)
class Deal:
    """An order that breaks no rule, and what it brings about."""

    bid: Bid
    movements: tuple[Movement, ...]
    period_start_ms: int
    """Of the settlement period that it belongs to: a right's own, or the one that runs."""
    bought: tuple[RightKey, HeldRight] | None = None


def deal_of(record: Record, region: Region, books: Books, time_ms: int) -> Deal:
    """Judge an order by the books as they stand.

    Raises:
        Refused: with the first rule that it breaks.
    """
    match record.message:
        case Purchase() as purchase:
            return _purchase(purchase, record.author.name, region, books, time_ms)
        case Transfer() as transfer:
            return _transfer(transfer, record.author.name, region, books, time_ms)
    raise AssertionError(f"a {record.type} is no order")


def _purchase(purchase: Purchase, gateway: str, region: Region, books: Books, time_ms: int) -> Deal:
    participant, fee = purchase.participant, purchase.fee
    _see_who_speaks(gateway, participant, region)
    price = price_of(purchase.right, region.rules.rights)
    if price is None:
        raise Refused(RefusalCode.NO_SUCH_RIGHT, f"{purchase.right.name.lower()} is not sold here")
    if price > purchase.price_max:
        raise Refused(RefusalCode.PRICE_ABOVE_LIMIT, f"it costs {price}, above the limit of {purchase.price_max}")
    following = region.period_of(region.period_of(time_ms).span.end_ms).span
    key = (participant, purchase.right.value, int(following.start_ms))
    if books.holds(key):
        detail = f"{participant} holds it for the period from {following.start_ms}"
        raise Refused(RefusalCode.RIGHT_ALREADY_HELD, detail)
    balance = books.balance(participant)
    if balance < price + fee:
        detail = f"it costs {price} and a fee of {fee}, the balance is {balance}"
        raise Refused(RefusalCode.BALANCE_TOO_LOW, detail)
    movements = pay({MovementKind.FEE: fee, MovementKind.PURCHASE: price}, balance, participant)
    bid = Bid(participant, fee, price + fee, balance)
    return Deal(bid, tuple(movements), following.start_ms, (key, HeldRight(following.end_ms)))


def _transfer(transfer: Transfer, gateway: str, region: Region, books: Books, time_ms: int) -> Deal:
    sender, receiver, amount, fee = transfer.sender, transfer.receiver, transfer.amount, transfer.fee
    _see_who_speaks(gateway, sender, region)
    if receiver not in region.gateways_of:
        raise Refused(RefusalCode.UNKNOWN_RECEIVER, f"no participant {receiver} on the asset chain")
    if receiver == sender:
        raise Refused(RefusalCode.TO_ONESELF, f"{sender} to {receiver}")
    balance = books.balance(sender)
    if balance < amount + fee:
        raise Refused(RefusalCode.NOT_COVERED, f"{amount} and a fee of {fee}, the balance is {balance}")
    movements = pay({MovementKind.FEE: fee, MovementKind.SENT: amount}, balance, sender)
    ceiling = region.rules.accounts.ceiling
    movements += receive(MovementKind.RECEIVED, amount, books.balance(receiver), ceiling, receiver)
    period = region.period_of(time_ms).span
    return Deal(Bid(sender, fee, amount + fee, balance), tuple(movements), period.start_ms)


def _see_who_speaks(gateway: str, participant: str, region: Region) -> None:
    """See that a gateway signs for one of its own.

    Raises:
        Refused: there is no such participant, or none of their meters hangs on the gateway.
    """
    if participant not in region.gateways_of:
        raise Refused(RefusalCode.UNKNOWN_PARTICIPANT, f"no participant {participant} on the asset chain")
    if gateway not in region.gateways_of[participant]:
        raise Refused(RefusalCode.NOT_THEIR_PARTICIPANT, f"{gateway} does not speak for {participant}")
