"""Whether a quote may stand, and what the market makes of its words, and of two quotes that meet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from aggregator.chains.accounts.deals import see_who_speaks
from aggregator.chains.market.standing import Standing
from aggregator.chains.market.verdicts import Verdicts
from aggregator.chains.region import MeterAsset, Region
from aggregator.economy.contracts.feasibility import Site, SiteKey, energy_wh, power_w
from aggregator.economy.market.quotes import Match, OpenQuote
from config.rules import MarketRule, Mechanism
from protocol.canonical import encode
from protocol.contract import NONCE_BYTES, PRICE_MAX, Terms, price_of
from protocol.crypto import digest_of
from protocol.money import said
from protocol.quote import Quote, Side, TimeInForce
from protocol.refusals import RefusalCode, Refused
from protocol.units import PPM

FreeIn = Callable[[SiteKey, int], Site]
"""What of a participant's devices no contract promises yet in an interval, by its start."""


def market_of(region: Region) -> MarketRule:
    """How energy is traded in a region.

    Raises:
        Refused: it is not.
    """
    if region.rules.market is None:
        raise Refused(RefusalCode.NO_MARKET, f"nothing is quoted in {region.grid.region}: make an offer to a partner")
    return region.rules.market


def is_gate_closed(start_ms: int, rule: MarketRule, time_ms: int) -> bool:
    """Whether nothing is traded any more for the interval that starts at `start_ms`."""
    return time_ms >= start_ms - rule.gate_ms


def open_quote(quote: Quote, gateway: str, region: Region, time_ms: int) -> OpenQuote:
    """See that a quote is one that may stand, and put it as the market does; without number and digest.

    Raises:
        Refused: with the first rule that it breaks.
    """
    rule, interval_ms = market_of(region), region.rules.time.interval_ms
    see_who_speaks(gateway, quote.participant, region)
    if quote.start_ms % interval_ms or quote.start_ms > time_ms + rule.ahead_ms:
        detail = f"{quote.start_ms} is no interval's start within the next {rule.ahead_ms} ms"
        raise Refused(RefusalCode.NO_SUCH_INTERVAL, detail)
    if is_gate_closed(quote.start_ms, rule, time_ms):
        detail = f"the gate for {quote.start_ms} closed at {quote.start_ms - rule.gate_ms}, and it is {time_ms}"
        raise Refused(RefusalCode.GATE_CLOSED, detail)
    asset = region.meters.get(quote.meter)
    if asset is None or asset.meter.participant != quote.participant or asset.meter.branch:
        raise Refused(RefusalCode.NOT_THEIR_CONNECTION, f"{quote.participant} has no meter {quote.meter} to trade by")
    if quote.quantity_wh < rule.quantity_min_wh:
        raise Refused(RefusalCode.QUANTITY_TOO_SMALL, f"{quote.quantity_wh} Wh, the lot is {rule.quantity_min_wh} Wh")
    if quote.quantity_wh > connection_wh(region, quote.meter):
        detail = f"{quote.quantity_wh} Wh, where {quote.meter} carries {connection_wh(region, quote.meter)} Wh at most"
        raise Refused(RefusalCode.ABOVE_CONNECTION, detail)
    if quote.price_per_mwh > rule.price_max:
        raise Refused(RefusalCode.PRICE_ABOVE_CAP, f"{quote.price_per_mwh}, where {rule.price_max} is the most")
    if quote.partner and (quote.partner == quote.participant or quote.partner not in region.gateways_of):
        raise Refused(RefusalCode.UNKNOWN_PARTNER, f"{quote.participant} cannot trade with {quote.partner}")
    is_plain = quote.time_in_force is TimeInForce.GOOD_TILL_CANCELLED and not quote.partner and not quote.is_local
    if rule.mechanism is Mechanism.CALL and not is_plain:
        raise Refused(RefusalCode.NOT_IN_AUCTION, "no partner, not only local, and good till cancelled")
    return OpenQuote(
        number=0,
        participant=quote.participant,
        meter=quote.meter,
        node=asset.meter.node,
        carrier=region.carriers[asset.meter.node].value,
        side=quote.side,
        start_ms=quote.start_ms,
        quantity_wh=quote.quantity_wh,
        limit=quote.price_per_mwh,
        is_clean=quote.side is Side.SELL and _feeds_in_clean(asset),
        clean_only=quote.clean_only,
        is_inside=quote.participant not in region.outside,
        is_local=quote.is_local,
        partner=quote.partner,
        gateway=gateway,
    )


def judged(quote: OpenQuote, region: Region, standing: Standing, verdicts: Verdicts) -> OpenQuote:
    """See that a quote may stand beside those that do, by who quotes it and what they can.

    Returns:
        The quote, as clean only as far as what is clean is not promised yet.

    Raises:
        Refused: it may not: see the codes 120 to 124, 127, 128, 137 and 154.
    """
    who, carried_wh = quote.participant, connection_wh(region, quote.meter)
    if (offered_wh := standing.through_wh(quote) + quote.quantity_wh) > carried_wh:
        detail = f"{offered_wh} Wh with their other quotes, {quote.meter} carries {carried_wh} Wh"
        raise Refused(RefusalCode.ABOVE_CONNECTION, detail)
    verdicts.see_may_trade(who)
    key = who, quote.carrier
    site, free = verdicts.site(region, key), verdicts.free(region, key, quote.start_ms)
    quote = see_that_they_can(quote, site, free, standing, region.rules.time.interval_ms)
    see_that_they_can_pay(quote, standing, verdicts.credit_left(who))
    return quote


def judged_again(quote: OpenQuote, region: Region, standing: Standing, verdicts: Verdicts) -> OpenQuote | None:
    """A quote that has waited for an auction, if it may still be in it: contracts, debts, and rules change."""
    if quote.partner or quote.is_local or standing.is_opposite(quote):
        return None
    with standing.without(quote):
        try:
            return judged(quote, region, standing, verdicts)
        except Refused:
            return None


def see_that_they_can(quote: OpenQuote, site: Site, free: Site, standing: Standing, interval_ms: int) -> OpenQuote:
    """See that devices can do what is quoted, beside their other quotes and what contracts promise.

    Returns:
        The quote, as clean only as far as what is clean is not promised yet.

    Raises:
        Refused: they cannot: see the codes 123, 124, 127 and 128.
    """
    is_sell = quote.side is Side.SELL
    all_w, free_w = (site.feed_in_w, free.feed_in_w) if is_sell else (site.take_w, free.take_w)
    if quote.quantity_wh > energy_wh(all_w, interval_ms):
        rule = RefusalCode.SELLER_CANNOT if is_sell else RefusalCode.BUYER_CANNOT
        raise Refused(rule, f"{quote.quantity_wh} Wh of {quote.carrier}, {quote.participant} can {all_w} W at most")
    together_wh = standing.beside_wh(quote) + quote.quantity_wh
    if together_wh > energy_wh(free_w, interval_ms):
        rule = RefusalCode.SOLD_ALREADY if is_sell else RefusalCode.BOUGHT_ALREADY
        detail = f"{together_wh} Wh with other quotes, contracts leave {free_w} W of {quote.participant}"
        raise Refused(rule, detail)
    clean_wh = standing.clean_wh(quote) + quote.quantity_wh
    return replace(quote, is_clean=quote.is_clean and clean_wh <= energy_wh(free.clean_w, interval_ms))


def see_that_they_can_pay(quote: OpenQuote, standing: Standing, credit_left: int) -> None:
    """See that somebody who buys would not come to owe more than anybody may, if all that they quote is filled.

    Raises:
        Refused: they would.
    """
    cost = standing.costs_of(quote.participant) + quote.cost_max
    if quote.side is Side.BUY and cost > credit_left:
        detail = f"{said(cost)} with other quotes, {quote.participant} may come to owe {said(max(0, credit_left))}"
        raise Refused(RefusalCode.BEYOND_CREDIT, detail)


def see_room_beside(terms: Terms, standing: Standing, free_in: FreeIn, interval_ms: int) -> None:
    """See that the parties of an agreement can keep it beside what they quote in its intervals.

    Raises:
        Refused: one of them cannot (167).
    """
    asked_w = power_w(terms.quantity_wh, terms.end_ms - terms.start_ms)
    for who, side in ((terms.seller, Side.SELL), (terms.buyer, Side.BUY)):
        quoted = standing.of(who, terms.carrier, side)
        for start_ms in [start_ms for start_ms in quoted if terms.start_ms <= start_ms < terms.end_ms]:
            free = free_in((who, terms.carrier), start_ms)
            free_w = free.feed_in_w if side is Side.SELL else free.take_w
            if asked_w + power_w(quoted[start_ms], interval_ms) > free_w:
                detail = f"{who} quotes {quoted[start_ms]} Wh, contracts leave {free_w} W of theirs: cancel first"
                raise Refused(RefusalCode.QUOTED_ALREADY, detail)


def see_credit_beside(terms: Terms, standing: Standing, credit_left: int) -> None:
    """See that the buyer of an agreement may still come to owe what they quote, beside it.

    Raises:
        Refused: they may not (167). What nobody could come to owe even without quotes is the verdict's business.
    """
    cost, quoted = price_of(terms.quantity_wh, terms.price_per_mwh), standing.costs_of(terms.buyer)
    if quoted > 0 and cost <= credit_left < cost + quoted:
        detail = f"{terms.buyer} quotes to pay {said(quoted)}, and may come to owe {said(credit_left)}: cancel first"
        raise Refused(RefusalCode.QUOTED_ALREADY, detail)


def terms_of(match: Match, number: int, region: Region) -> Terms:
    """The contract that a match is.

    Raises:
        Refused: at a price at which no contract can be (164).
    """
    rule = market_of(region)
    if not 0 <= match.sell_price <= PRICE_MAX:
        raise Refused(RefusalCode.CLEARING_BREAKS_LIMIT, f"no contract can be at {match.sell_price}")
    return Terms(
        region=region.grid.region,
        seller=match.sell.participant,
        buyer=match.buy.participant,
        carrier=match.sell.carrier,
        quantity_wh=match.quantity_wh,
        price_per_mwh=match.sell_price,
        start_ms=match.sell.start_ms,
        end_ms=match.sell.start_ms + region.rules.time.interval_ms,
        clean_only=match.buy.clean_only,
        penalty_ppm=rule.penalty_ppm,
        termination_ppm=rule.termination_ppm,
        expires_ms=match.sell.start_ms,
        nonce=digest_of(encode([number, match.sell.digest, match.buy.digest]))[:NONCE_BYTES],
    )


def connection_wh(region: Region, meter: str) -> int:
    """What a meter's connection can carry in an interval, by its fuses."""
    return energy_wh(region.meters[meter].meter.power_max_w, region.rules.time.interval_ms)


def _feeds_in_clean(asset: MeterAsset) -> bool:
    return asset.generator is not None and asset.generator.clean_share_ppm == PPM
