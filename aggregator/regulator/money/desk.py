"""What the regulator signs about money: rates ahead of time, and what a bank has moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aggregator.chains.accounts.exchanges import Payout, RateRecord
from aggregator.chains.accounts.money import CLEARING
from aggregator.chains.five import Five
from aggregator.economy.exchange import Rate
from aggregator.regulator.desk import Regulator, RegulatorError, Sealed
from protocol.crypto import SigningKey
from protocol.messages import MessageType


@dataclass(frozen=True, slots=True)
class RateView:
    """One rate that holds or will."""

    from_ms: int
    brings: int
    """Minor units of money for 1,000 tokens."""
    costs: int
    is_in_force: bool
    """By the time of the last block."""


@dataclass(frozen=True, slots=True)
class MoneyView:
    """What tokens are worth, and who is owed how much."""

    rates: tuple[RateView, ...]
    owed_millionths: Mapping[str, int]
    """By participant, in millionths of a minor unit; below 0, they owe."""
    clearing_millionths: int
    """The other side of it."""


def money_of(five: Five) -> MoneyView:
    """Money as of the last block."""
    head, payment = five.ledger.head, five.payment
    now_ms = head.time_ms if head else 0
    begun = [from_ms for from_ms, _ in payment.exchanges.rates.items() if from_ms <= now_ms]
    rates = tuple(
        RateView(from_ms, rate.brings, rate.costs, is_in_force=from_ms == max(begun, default=-1))
        for from_ms, rate in payment.exchanges.rates.items()
    )
    owed = {name: account.amount for name, account in payment.money.accounts.items() if name != CLEARING}
    return MoneyView(rates, owed, payment.money.owed_to(CLEARING))


def announce(regulator: Regulator, from_ms: int, rate: Rate, key: SigningKey) -> Sealed:
    """Sign a rate.

    Raises:
        RegulatorError: it brings more than it costs, or the key is not the regulator's.
        WouldBeRefusedError: it does not lie ahead, or not behind the last one.
    """
    if not 0 < rate.costs >= rate.brings:
        raise RegulatorError("tokens cost something, and not less than they bring: else money could be pumped")
    return regulator.seal(lambda link: RateRecord(link, from_ms, rate).encode(), MessageType.RATE, key)


def paid(regulator: Regulator, reference: str, amounts: Mapping[str, int], key: SigningKey) -> Sealed:
    """Sign that a bank has moved what a settlement file says.

    Raises:
        RegulatorError: the key is not the regulator's.
        WouldBeRefusedError: it is not what the books say, such as a file that was paid before.
    """
    rows = tuple(sorted(amounts.items()))
    return regulator.seal(lambda link: Payout(link, reference, rows).encode(), MessageType.PAYOUT, key)
