"""What participants order with their tokens: a right or a channel, tokens for somebody else, money for them.

Each order is looked at whole before anything is written: it is refused with the first rule that it breaks, or it is a
*deal*, with every movement that it brings about. So the same rule says what a block does with an order, and whether
its fee is to be believed while it waits.
"""

from __future__ import annotations

from typing import Final

from aggregator.chains.accounts.channel_orders import channel_deal
from aggregator.chains.accounts.deals import Books, Deal, see_that_covered, see_who_speaks
from aggregator.chains.accounts.exchange_orders import exchange_deal
from aggregator.chains.region import Region
from aggregator.economy.accounts import MovementKind, pay, receive
from aggregator.economy.bids import Bid
from aggregator.economy.rights import HeldRight, price_of
from aggregator.ledger.record import Record
from protocol.channel import ChannelPurchase
from protocol.exchange import Exchange
from protocol.messages import RightKind
from protocol.purchase import Purchase
from protocol.refusals import RefusalCode, Refused
from protocol.transfer import Transfer

ORDERS: Final = (Purchase, Transfer, ChannelPurchase, Exchange)
"""The messages that are orders."""


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
        case ChannelPurchase() as purchase:
            return channel_deal(purchase, record.author.name, region, books, time_ms)
        case Exchange() as exchange:
            return exchange_deal(exchange, record.author.name, region, books, time_ms)
    raise AssertionError(f"a {record.type} is no order")


def _purchase(purchase: Purchase, gateway: str, region: Region, books: Books, time_ms: int) -> Deal:
    participant, fee = purchase.participant, purchase.fee
    see_who_speaks(gateway, participant, region)
    price = price_of(purchase.right, region.rules.rights)
    if price is None or purchase.right is RightKind.CHANNEL_USE:
        raise Refused(RefusalCode.NO_SUCH_RIGHT, f"{purchase.right.name.lower()} is not sold here")
    if price > purchase.price_max:
        raise Refused(RefusalCode.PRICE_ABOVE_LIMIT, f"it costs {price}, above the limit of {purchase.price_max}")
    following = region.period_of(region.period_of(time_ms).span.end_ms).span
    key = (participant, purchase.right.value, int(following.start_ms))
    if key in books.rights.held:
        detail = f"{participant} holds it for the period from {following.start_ms}"
        raise Refused(RefusalCode.RIGHT_ALREADY_HELD, detail)
    balance = books.balance(participant)
    see_that_covered(price, fee, balance)
    movements = pay({MovementKind.FEE: fee, MovementKind.PURCHASE: price}, balance, participant)
    bid = Bid(participant, fee, price + fee, balance)
    return Deal(bid, tuple(movements), following.start_ms, (key, HeldRight(following.end_ms)))


def _transfer(transfer: Transfer, gateway: str, region: Region, books: Books, time_ms: int) -> Deal:
    sender, receiver, amount, fee = transfer.sender, transfer.receiver, transfer.amount, transfer.fee
    see_who_speaks(gateway, sender, region)
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
