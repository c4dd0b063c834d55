"""A deal: an order of a participant's that breaks no rule, with everything that it brings about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from aggregator.chains.accounts.rights import Rights
from aggregator.chains.region import Region
from aggregator.economy.accounts import Movement
from aggregator.economy.bids import Bid
from aggregator.economy.channels import Channel
from aggregator.economy.exchange import Changed, Rate
from aggregator.economy.rights import HeldRight, RightKey
from protocol.refusals import RefusalCode, Refused


class Books(Protocol):
    """What an order is judged by."""

    @property
    def rights(self) -> Rights:
        """Who holds what."""

    @property
    def for_sale(self) -> int:
        """Tokens of the region's own account that may be bought."""

    def crowding_w(self, line: str, channel: Channel) -> int:
        """By how much a line would be promised too much to contracts and channels if one more was sold; 0 if not."""

    def balance(self, participant: str) -> int:
        """Tokens of a participant; below 0 is owed."""

    def money_owed_to(self, participant: str) -> int:
        """What a participant is owed, in millionths of a minor unit; below 0, what they owe."""

    def credit_left(self, participant: str) -> int:
        """What a participant may still come to owe, in millionths of a minor unit; below 0, nothing."""

    def rate_at(self, instant_ms: int) -> Rate | None:
        """What tokens are worth at an instant, if the region says so."""

    def changed_by(self, participant: str, day: int) -> Changed:
        """What a participant has bought and sold on a day."""


@dataclass(frozen=True, slots=True)
class Deal:
    """An order that breaks no rule, and what it brings about."""

    bid: Bid
    movements: tuple[Movement, ...]
    period_start_ms: int
    """Of the settlement period that it belongs to: a right's own, or the one that runs."""
    bought: tuple[RightKey, HeldRight] | None = None
    channel: tuple[str, Channel] | None = None
    """A power line, and what is bought of it."""
    money: int = 0
    """What the participant is owed for it, in millionths of a minor unit; below 0, what they owe."""
    changed: Changed | None = None
    """What they have bought and sold on this day, with it; None where no tokens and money are exchanged."""


def see_who_speaks(gateway: str, participant: str, region: Region) -> None:
    """See that a gateway signs for one of its own.

    Raises:
        Refused: there is no such participant, or none of their meters hangs on the gateway.
    """
    if participant not in region.gateways_of:
        raise Refused(RefusalCode.UNKNOWN_PARTICIPANT, f"no participant {participant} on the asset chain")
    if gateway not in region.gateways_of[participant]:
        raise Refused(RefusalCode.NOT_THEIR_PARTICIPANT, f"{gateway} does not speak for {participant}")


def see_that_covered(price: int, fee: int, balance: int) -> None:
    """See that an account holds what is to leave it.

    Raises:
        Refused: it does not.
    """
    if balance < price + fee:
        detail = f"it costs {price} and a fee of {fee}, the balance is {balance}"
        raise Refused(RefusalCode.BALANCE_TOO_LOW, detail)
