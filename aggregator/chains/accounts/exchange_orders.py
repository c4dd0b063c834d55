"""Whether tokens and money are changed: for a bill, for a fine, or one for the other, at the rate in force."""

from __future__ import annotations

from aggregator.chains.accounts.deals import Books, Deal, see_that_covered, see_who_speaks
from aggregator.chains.region import Region
from aggregator.economy.accounts import Movement, MovementKind, effect_of, pay
from aggregator.economy.bids import Bid
from aggregator.economy.exchange import Changed, Rate
from config.rules import ExchangeRule
from protocol.exchange import Exchange, ExchangeKind
from protocol.money import millionths_of, said, units_of
from protocol.refusals import RefusalCode, Refused

MOVES = {
    ExchangeKind.BILL_CREDIT: MovementKind.REDEEMED,
    ExchangeKind.SELL: MovementKind.REDEEMED,
    ExchangeKind.FINE: MovementKind.FINE,
    ExchangeKind.BUY: MovementKind.BOUGHT,
}


def exchange_deal(order: Exchange, gateway: str, region: Region, books: Books, time_ms: int) -> Deal:
    """Judge an exchange by the books as they stand.

    Raises:
        Refused: with the first rule that it breaks.
    """
    participant, tokens, fee = order.participant, order.tokens, order.fee
    see_who_speaks(gateway, participant, region)
    rule, rate = region.rules.exchange, books.rate_at(time_ms)
    if rule is None or rate is None:
        raise Refused(RefusalCode.NO_RATE, "nothing is exchanged here" if rule is None else "no rate is in force")
    money = _money(order, rate)
    balance = books.balance(participant)
    _see_what_is_owed(order, money, books, balance)
    changed = _within_the_day(order, rule, books.changed_by(participant, time_ms // region.rules.time.day_ms))
    see_that_covered(tokens if order.kind.gives_tokens else 0, fee, balance if order.kind.gives_tokens or fee else 0)
    movements = tuple(_movements(order, balance))
    if order.kind is ExchangeKind.BUY:
        if tokens > books.for_sale + fee:
            raise Refused(RefusalCode.RESERVE_TOO_LOW, f"{books.for_sale} tokens of the reserve are for sale")
        if movements[-1].balance > region.rules.accounts.ceiling:
            raise Refused(RefusalCode.OVER_CEILING, f"an account holds {region.rules.accounts.ceiling} at most")
    cost = fee + (tokens if order.kind.gives_tokens else 0)
    period = region.period_of(time_ms).span
    bid = Bid(participant, fee, cost, balance)
    return Deal(bid, movements, period.start_ms, money=millionths_of(money), changed=changed)


def _money(order: Exchange, rate: Rate) -> int:
    """What the participant is owed for it, or owes if below 0; in minor units."""
    if order.kind.gives_tokens:
        brings = rate.money_for(order.tokens)
        if brings < order.money_limit:
            raise Refused(RefusalCode.WORSE_RATE, f"it brings {brings}, below the limit of {order.money_limit}")
        return brings
    costs = rate.price_of(order.tokens)
    if costs > order.money_limit:
        raise Refused(RefusalCode.WORSE_RATE, f"it costs {costs}, above the limit of {order.money_limit}")
    return -costs


def _see_what_is_owed(order: Exchange, money: int, books: Books, balance: int) -> None:
    """See that there is the debt that is to be paid, and that money is not owed for it beyond the limit."""
    if order.kind is ExchangeKind.BILL_CREDIT:
        owed = units_of(max(0, -books.money_owed_to(order.participant)))
        if money > owed:
            raise Refused(RefusalCode.NOTHING_OWED, f"it is worth {money}, and {owed} are owed in money")
    if order.kind is ExchangeKind.FINE and order.tokens > -balance:
        raise Refused(RefusalCode.NOTHING_OWED, f"{max(0, -balance)} tokens are owed")
    if money < 0 and (left := books.credit_left(order.participant)) < millionths_of(-money):
        raise Refused(RefusalCode.BEYOND_CREDIT, f"it costs {-money}, and {said(max(0, left))} more may be owed")


def _within_the_day(order: Exchange, rule: ExchangeRule, today: Changed) -> Changed:
    """What is bought and sold today with it. Debts may be paid without limit."""
    bought = order.tokens if order.kind is ExchangeKind.BUY else 0
    sold = order.tokens if order.kind is ExchangeKind.SELL else 0
    after = today.after(bought, sold)
    if after.bought > rule.bought_per_day or after.sold > rule.sold_per_day:
        limit = f"{rule.bought_per_day} bought and {rule.sold_per_day} sold a day"
        raise Refused(RefusalCode.OVER_DAILY_LIMIT, f"at most {limit}, and there were {today.bought} and {today.sold}")
    return after


def _movements(order: Exchange, balance: int) -> list[Movement]:
    """The fee first, then the tokens."""
    movements = pay({MovementKind.FEE: order.fee}, balance, order.participant)
    kind = MOVES[order.kind]
    after = balance - order.fee + effect_of(kind, order.tokens).participant
    return [*movements, Movement(kind, order.participant, order.tokens, after)]
