"""What an interval does to contracts: each gets what meters say, is judged when its time is over, and settled.

One `Closing` is made for an interval that analysis closes, or states once more. It is handed contracts and collects
what becomes of them: their new rows, the leaves that say so, and what everybody owes for it. It writes nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from aggregator.chains.accounts.money import AMOUNT_MAX, CLEARING
from aggregator.chains.contracts.metering import Stated, metered_in
from aggregator.chains.contracts.rows import Contract, delivered_leaf
from aggregator.chains.region import Region
from aggregator.economy.contracts.bill import NO_BILL, Bill, Prices
from aggregator.economy.contracts.delivery import NOTHING, Amounts, share_out
from aggregator.economy.contracts.states import NEXT_STATE, State, Step
from config.carriers import Carrier
from config.rules import ContractRule
from protocol.canonical import encode
from protocol.units import Interval

RuleOf = Callable[[Contract], ContractRule]
"""The rules by which a contract is settled."""


@dataclass(slots=True)
class Closing:
    """One interval's work on contracts."""

    rule_of: RuleOf
    interval: Interval
    changed: dict[bytes, Contract] = field(default_factory=dict)
    """New rows, by the contract's number."""
    leaves: list[bytes] = field(default_factory=list)
    owed: dict[str, int] = field(default_factory=dict)
    """What it brings to every account, in millionths of a minor unit."""
    tried: list[Contract] = field(default_factory=list)
    """That were disputed, and are settled now."""
    breached: int = 0
    settled: int = 0
    owed_to: Callable[[str], int] = lambda account: 0
    """What the books say that an account is owed, in millionths; below 0, what it owes."""

    def measure(self, on: Sequence[Contract], region: Region, stated: Stated, former: Stated | None = None) -> None:
        """Let the contracts that deliver now have what is stated of the interval, less what was stated of it before."""
        for carrier in Carrier:
            there = [contract for contract in on if contract.terms.carrier == carrier]
            if not there:
                continue
            dues = [contract.due(self.interval) for contract in there]
            now = share_out(dues, metered_in(carrier, region, *stated))
            before = share_out(dues, metered_in(carrier, region, *former)) if former else {}
            for contract in there:
                amounts = now[contract.digest].minus(before.get(contract.digest, NOTHING))
                if amounts != NOTHING:
                    self.credit(contract, amounts)

    def credit(self, contract: Contract, amounts: Amounts) -> None:
        """Let a contract have more, or less; where that was judged or booked before, it is so anew."""
        self.leaves.append(delivered_leaf(contract.digest, self.interval.start_ms, amounts))
        contract = replace(contract, amounts=contract.amounts.plus(amounts))
        if contract.state is State.SETTLED:
            contract = self._booked(contract)
        elif contract.state in (State.FULFILLED, State.BREACHED):
            step = self._outcome(contract)
            if (contract.state, step) in NEXT_STATE:
                contract = self._after(contract, step)
        self.changed[contract.digest] = contract

    def conclude(self, contract: Contract) -> None:
        """Do what is due because intervals have been closed until the end of this one."""
        until_ms = self.interval.end_ms
        if contract.ended_ms > until_ms:
            return
        before = contract = self.changed.get(contract.digest, contract)
        if contract.state is State.DELIVERING:
            step = self._outcome(contract)
            self.breached += step is Step.BREACH
            contract = self._after(contract, step)
        if self._may_settle(contract) and self._has_room_for(contract):
            self.settled += 1
            if contract.state in (State.DISPUTED, State.ARBITRATED):
                self.tried.append(contract)
            contract = self._booked(self._after(contract, Step.SETTLE))
        if contract is not before:
            self.changed[contract.digest] = contract

    def favours(self, contract: Contract, participant: str) -> bool:
        """Whether what the regulator has said of a contract brings a party more than what was measured."""
        prices = self._prices(contract)
        ruled, measured = contract.bill(prices), replace(contract, ruling=None).bill(prices)
        if participant == contract.terms.seller:
            return ruled.seller > measured.seller
        return ruled.buyer > measured.buyer

    def _may_settle(self, contract: Contract) -> bool:
        """Whether nobody is waited for any more: no party that might dispute it, and no regulator."""
        until_ms = self.interval.end_ms
        match contract.state:
            case State.ARBITRATED:
                return True
            case State.DISPUTED:
                return contract.since_ms + self.rule_of(contract).arbitration_ms <= until_ms
            case _:
                is_over = contract.ended_ms + self.rule_of(contract).dispute_ms <= until_ms
                return is_over and (contract.state, Step.SETTLE) in NEXT_STATE

    def _outcome(self, contract: Contract) -> Step:
        return Step.FULFIL if self._prices(contract).is_fulfilled(contract.settled_amounts) else Step.BREACH

    def _prices(self, contract: Contract) -> Prices:
        rule = self.rule_of(contract)
        return Prices(rule.imbalance_per_mwh, rule.tolerance_ppm)

    def _after(self, contract: Contract, step: Step) -> Contract:
        contract = contract.after(step, self.interval.end_ms)
        self.leaves.append(contract.leaf())
        return contract

    def _booked(self, contract: Contract) -> Contract:
        """See that what a contract comes to is in the books, whatever was in them before."""
        bill = contract.bill(self._prices(contract))
        change = bill.minus(contract.booked)
        if change == NO_BILL or not self._has_room_for(contract):
            return contract
        self.leaves.append(bill_leaf(contract.digest, change))
        for account, amount in _shares(contract, change):
            self.owed[account] = self.owed.get(account, 0) + amount
        return replace(contract, booked=bill)

    def _has_room_for(self, contract: Contract) -> bool:
        """Whether the books can hold what a contract comes to; else it waits until a bank has paid what is owed."""
        bill = contract.bill(self._prices(contract))
        lines = (*bill.lines, *bill.minus(contract.booked).lines)
        after = (
            self.owed_to(account) + self.owed.get(account, 0) + amount
            for account, amount in _shares(contract, bill.minus(contract.booked))
        )
        return all(abs(amount) <= AMOUNT_MAX for amount in (*lines, *after))


def _shares(contract: Contract, change: Bill) -> tuple[tuple[str, int], ...]:
    """What every account gets of a bill."""
    terms = contract.terms
    return (terms.seller, change.seller), (terms.buyer, change.buyer), (CLEARING, change.clearing)


def bill_leaf(contract: bytes, change: Bill) -> bytes:
    """The leaf that states what comes into the books for a contract."""
    return encode(["bill", contract, *change.lines])
