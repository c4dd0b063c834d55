"""Who agrees with whom: what has to be in order about an agreement before anybody asks whether it can be.

What is not is refused, and leaves nothing behind but the refusal. What cannot be although it is in order is rejected:
`aggregator.chains.contracts.contracts`.
"""

from __future__ import annotations

from typing import Final

from aggregator.chains.region import Region
from aggregator.economy.contracts.bill import Party
from aggregator.ledger.record import Author, AuthorOf, Role
from config.rules import ContractRule
from protocol.agreement import Agreement
from protocol.contract import PRICE_MAX, Terms
from protocol.errors import SignatureError
from protocol.refusals import RefusalCode, Refused

AHEAD_MAX_MS: Final = 366 * 86_400_000
"""Nobody agrees on what lies further ahead than a year."""


def rule_of(region: Region) -> ContractRule:
    """The rules for contracts.

    Raises:
        Refused: there are none.
    """
    rule = region.rules.contracts
    if rule is None:
        raise Refused(RefusalCode.NO_CONTRACTS, f"no contracts are made in {region.grid.region}")
    return rule


def rule_for(terms: Terms, region: Region) -> ContractRule:
    """The rules by which a contract is judged and settled, whenever that is: those of when its window began."""
    rule = region.rules_at(terms.start_ms).contracts
    assert rule is not None, "no contract is agreed without rules for contracts, and no amendment takes them away"
    return rule


def price_max_of(region: Region) -> int:
    """The highest price of a contract, in minor units per MWh: that of the market, where there is one."""
    market = region.rules.market
    return PRICE_MAX if market is None else market.price_max


def check_agreement(agreement: Agreement, author: Author, region: Region, author_of: AuthorOf, time_ms: int) -> None:
    """See that both sides have signed, of two participants, in time.

    Raises:
        Refused: with the first rule that is broken (110 to 118, 165).
    """
    terms = agreement.terms
    rule_of(region)
    proposer = _proposer(agreement, region, author_of)
    for participant in (terms.seller, terms.buyer):
        if participant not in region.gateways_of:
            raise Refused(RefusalCode.UNKNOWN_PARTY, f"no participant {participant} on the asset chain")
    if terms.seller == terms.buyer:
        raise Refused(RefusalCode.SELF_TRADE, f"{terms.seller} sells to {terms.buyer}")
    sellers, buyers = region.gateways_of[terms.seller], region.gateways_of[terms.buyer]
    is_sellers_offer = proposer.name in sellers and author.name in buyers
    if not is_sellers_offer and not (proposer.name in buyers and author.name in sellers):
        detail = f"{proposer.name} offers and {author.name} agrees: they do not speak for the two parties"
        raise Refused(RefusalCode.NOT_A_PARTY, detail)
    if terms.expires_ms < time_ms:
        raise Refused(RefusalCode.OFFER_EXPIRED, f"the offer was good until {terms.expires_ms}, it is {time_ms}")
    if terms.start_ms < time_ms:
        raise Refused(RefusalCode.WINDOW_NOT_AHEAD, f"delivery begins at {terms.start_ms}, it is {time_ms} already")
    if terms.start_ms > time_ms + AHEAD_MAX_MS:
        raise Refused(RefusalCode.WINDOW_NOT_AHEAD, f"delivery begins at {terms.start_ms}, more than a year from now")
    interval_ms = region.rules.time.interval_ms
    if terms.start_ms % interval_ms or terms.end_ms % interval_ms:
        detail = f"from {terms.start_ms} until {terms.end_ms}: whole intervals of {interval_ms} ms are asked for"
        raise Refused(RefusalCode.WINDOW_NOT_WHOLE, detail)
    if terms.price_per_mwh > price_max_of(region):
        detail = f"{terms.price_per_mwh} per MWh, where {price_max_of(region)} is the most"
        raise Refused(RefusalCode.PRICE_ABOVE_CAP, detail)


def party_of(gateway: str, participant: str, terms: Terms, region: Region) -> Party:
    """Which party a participant is, having seen that the gateway speaks for them.

    Raises:
        Refused: they are neither, or the gateway does not.
    """
    if participant not in (terms.seller, terms.buyer):
        detail = f"{participant} is neither {terms.seller} nor {terms.buyer}"
        raise Refused(RefusalCode.NOT_THEIR_CONTRACT, detail)
    if gateway not in region.gateways_of[participant]:
        raise Refused(RefusalCode.NOT_THEIR_CONTRACT, f"{gateway} does not speak for {participant}")
    return Party.SELLER if participant == terms.seller else Party.BUYER


def _proposer(agreement: Agreement, region: Region, author_of: AuthorOf) -> Author:
    """Whose gateway has signed the offer, having seen that it has."""
    offer, name = agreement.offer, region.grid.region
    proposer = author_of(offer.key_id)
    if proposer is None or proposer.role is not Role.GATEWAY:
        detail = f"no gateway has the key {offer.key_id.hex()[:16]}… of the offer"
        raise Refused(RefusalCode.OFFER_NOT_SIGNED, detail)
    if agreement.terms.region != name:
        raise Refused(RefusalCode.OFFER_NOT_SIGNED, f"terms for {agreement.terms.region}, this is {name}")
    try:
        offer.verify(proposer.key, name)
    except SignatureError as error:
        raise Refused(RefusalCode.OFFER_NOT_SIGNED, f"{proposer.name}: {error}") from error
    return proposer
