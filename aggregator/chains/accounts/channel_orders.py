"""Whether a channel is sold: capacity of a power line in a window, never more than the line is rated for.

Where contracts are made, channels and contracts together never ask more of a line than contracts may promise of it.
"""

from __future__ import annotations

from aggregator.chains.accounts.deals import Books, Deal, see_that_covered, see_who_speaks
from aggregator.chains.region import Region
from aggregator.economy.accounts import MovementKind, pay
from aggregator.economy.bids import Bid
from aggregator.economy.channels import AHEAD_MAX_MS, HELD_MAX, LENGTH_MAX_MS, Channel, price_of, sold_w
from aggregator.economy.rights import price_of as tokens_for
from protocol.channel import ChannelPurchase
from protocol.messages import RightKind
from protocol.refusals import RefusalCode, Refused


def channel_deal(order: ChannelPurchase, gateway: str, region: Region, books: Books, time_ms: int) -> Deal:
    """Judge the purchase of a channel by the books as they stand.

    Raises:
        Refused: with the first rule that it breaks.
    """
    participant, fee = order.participant, order.fee
    see_who_speaks(gateway, participant, region)
    if order.branch not in region.lines:
        raise Refused(RefusalCode.UNKNOWN_BRANCH, f"no power line {order.branch}")
    tokens_per_kwh = tokens_for(RightKind.CHANNEL_USE, region.rules.rights)
    if tokens_per_kwh is None:
        raise Refused(RefusalCode.NO_SUCH_RIGHT, "channel_use is not sold here")
    _see_that_window_is_sold(order, region.rules.time.interval_ms, time_ms)
    price = price_of(order.power_w, order.end_ms - order.start_ms, tokens_per_kwh)
    if price > order.price_max:
        raise Refused(RefusalCode.PRICE_ABOVE_LIMIT, f"it costs {price}, above the limit of {order.price_max}")
    channel = Channel(participant, order.start_ms, order.end_ms, order.power_w)
    left_w = region.ratings_w[order.branch] - sold_w(books.rights.channels_of(order.branch), *channel.window)
    if order.power_w > left_w:
        raise Refused(RefusalCode.CHANNEL_SOLD, f"{left_w} W of {order.branch} are left in that window")
    if excess_w := books.crowding_w(order.branch, channel):
        detail = f"{excess_w} W of it are promised to others' contracts and channels in that window"
        raise Refused(RefusalCode.CHANNEL_SOLD, detail)
    if sum(channel.participant == participant for _, channel in books.rights.channels.items()) >= HELD_MAX:
        raise Refused(RefusalCode.TOO_MANY_CHANNELS, f"{participant} holds {HELD_MAX} already")
    balance = books.balance(participant)
    see_that_covered(price, fee, balance)
    movements = pay({MovementKind.FEE: fee, MovementKind.PURCHASE: price}, balance, participant)
    bid = Bid(participant, fee, price + fee, balance)
    period = region.period_of(time_ms).span
    return Deal(bid, tuple(movements), period.start_ms, channel=(order.branch, channel))


def _see_that_window_is_sold(order: ChannelPurchase, interval_ms: int, time_ms: int) -> None:
    length_ms = order.end_ms - order.start_ms
    is_whole = order.start_ms % interval_ms == 0 and length_ms % interval_ms == 0
    if not is_whole or not 0 < length_ms <= LENGTH_MAX_MS:
        raise Refused(RefusalCode.NO_SUCH_CHANNEL, "a window of whole intervals, of a day at most")
    if not time_ms < order.start_ms <= time_ms + AHEAD_MAX_MS:
        raise Refused(RefusalCode.NO_SUCH_CHANNEL, "a window that has not begun, and does within seven days")
