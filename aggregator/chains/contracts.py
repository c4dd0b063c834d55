"""Contracts on the operation chain: agreed, judged, confirmed in their block, delivered, and settled.

An agreement is judged as its block applies it, beside all that were confirmed before: so the order of the block, by fee
and then by arrival, is the order in which contracts get what is scarce. Delivery is measured when analysis closes an
interval, and measured once more when it restates one. Money is booked when the time for disputes is over; what changes
afterwards is made up for. Every step is one of the table `aggregator.economy.contracts.states`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from aggregator.chains.asset import Region
from aggregator.chains.carbon import PeriodSums
from aggregator.chains.contract_book import ContractBook
from aggregator.chains.contract_metering import metered_in
from aggregator.chains.contract_orders import Arbitration, Freeze
from aggregator.chains.contract_parties import check_agreement, party_of, rule_of
from aggregator.chains.contract_rows import Contract, Ruling, delivered_leaf
from aggregator.chains.interval_energy import Energies
from aggregator.chains.money import CLEARING
from aggregator.economy.bids import NO_BID, Bid
from aggregator.economy.contracts.bill import NO_BILL, Prices
from aggregator.economy.contracts.delivery import NOTHING, Amounts, share_out
from aggregator.economy.contracts.feasibility import Objection, Plan
from aggregator.economy.contracts.states import NEXT_STATE, State, Step
from aggregator.ledger.record import AuthorOf, Record
from aggregator.ledger.table import Journal, Table, flat
from config.carriers import Carrier
from protocol.agreement import Agreement, Dispute, Termination
from protocol.canonical import encode
from protocol.contract import Terms
from protocol.refusals import RefusalCode, Refused
from protocol.units import Interval

FROZEN_TABLE: Final = 43
TOTALS_TABLE: Final = 44


class Purse(Protocol):
    """What contracts ask of the payment chain."""

    def balance(self, participant: str) -> int:
        """Tokens of a participant; below 0 is owed."""

    def take_fee(self, participant: str, fee: int, time_ms: int) -> Iterable[bytes]:
        """Let a participant pay a fee that the account holds; the leaves say so."""

    def book_money(self, about: bytes, amounts: Mapping[str, int]) -> Iterable[bytes]:
        """Post what a contract brings to every account, in minor money units; the leaves say so."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A participant who makes no contracts, by the regulator's word."""

    since_ms: int
    reason: str


@dataclass(frozen=True, slots=True)
class ContractTotals:
    """Counts since genesis."""

    agreed: int = 0
    """A contract's place is the count with it."""
    rejected: int = 0
    terminated: int = 0
    breached: int = 0
    """By what was measured first."""
    disputed: int = 0
    settled: int = 0


Stated = tuple[Energies, Mapping[str, PeriodSums]]
"""What is known of an interval: every meter's energy, and what everybody did."""


class Contracts:
    """Part of the operation chain's state."""

    def __init__(
        self, journal: Journal, region: Callable[[], Region], author_of: AuthorOf, purse: Callable[[], Purse]
    ) -> None:
        """Nobody has agreed on anything."""
        self._region = region
        self._author_of = author_of
        self._purse = purse
        self.book = ContractBook(journal)
        spell, read = flat(Frozen)
        self.frozen: Table[str, Frozen] = Table(FROZEN_TABLE, journal, spell=spell, read=read)
        spell_totals, read_totals = flat(ContractTotals)
        self._totals: Table[int, ContractTotals] = Table(TOTALS_TABLE, journal, spell=spell_totals, read=read_totals)
        self.tables: Mapping[int, Table[Any, Any]] = {
            **self.book.tables,
            FROZEN_TABLE: self.frozen,
            TOTALS_TABLE: self._totals,
        }

    @property
    def totals(self) -> ContractTotals:
        """Counts since genesis."""
        return self._totals.get(0) or ContractTotals()

    def begin(self, time_ms: int) -> None:
        """Let deliveries begin whose time has come."""
        for contract in self.book.bound():
            if contract.state is State.CONFIRMED and contract.terms.start_ms <= time_ms:
                self._put(contract.after(Step.BEGIN, time_ms))

    def agree(self, record: Record, time_ms: int) -> Iterable[bytes]:
        """Take an agreement in: its buyer pays the fee, and it is confirmed, or rejected.

        Raises:
            Refused: it is not in order (110 to 120).
        """
        terms = self._check(record, time_ms)
        leaves = list(self._purse().take_fee(terms.buyer, terms.fee, time_ms)) if terms.fee else []
        place = self._count(agreed=1).agreed
        contract = Contract(terms, place, State.AGREED, ((State.AGREED, time_ms),), terms.end_ms)
        leaves.append(contract.leaf())
        reason = self._standing(terms) or self._plan().objection(contract.promise)
        if reason is not None:
            self._count(rejected=1)
            contract = replace(contract.after(Step.REJECT, time_ms), objection=reason)
        else:
            contract = contract.after(Step.VERIFY, time_ms)
            leaves.append(contract.leaf())
            contract = contract.after(Step.CONFIRM, time_ms)
        self._put(contract)
        return [*leaves, contract.leaf()]

    def bid(self, record: Record, time_ms: int) -> Bid:
        """What an agreement offers for its place, if it is in order as things stand."""
        try:
            terms = self._check(record, time_ms)
        except Refused:
            return NO_BID
        return Bid(terms.buyer, terms.fee, terms.fee, self._purse().balance(terms.buyer))

    def terminate(self, record: Record, time_ms: int) -> Iterable[bytes]:
        """Let a party end a contract: the intervals that have not begun are not delivered any more.

        Raises:
            Refused: it is not theirs, it does not bind any more, or nothing is left of it (130 to 133).
        """
        order: Termination = record.message
        contract = self._find(order.contract)
        party = party_of(record.author.name, order.participant, contract.terms, self._region())
        ended = contract.after(Step.TERMINATE, time_ms)
        interval_ms = self._region().rules.time.interval_ms
        ended_ms = max(-(-time_ms // interval_ms) * interval_ms, contract.terms.start_ms)
        if ended_ms >= contract.terms.end_ms:
            raise Refused(RefusalCode.NOTHING_LEFT, f"its last interval began before {time_ms}")
        self._count(terminated=1)
        return self._note(replace(ended, ended_ms=ended_ms, ended_by=party))

    def dispute(self, record: Record, time_ms: int) -> Iterable[bytes]:
        """Let a party call the regulator, as long as the contract is not settled.

        Raises:
            Refused: it is not theirs, or there is nothing measured to be disputed, or no more (130 to 132).
        """
        order: Dispute = record.message
        contract = self._find(order.contract)
        party_of(record.author.name, order.participant, contract.terms, self._region())
        self._count(disputed=1)
        return self._note(contract.after(Step.DISPUTE, time_ms))

    def arbitrate(self, order: Arbitration, time_ms: int) -> Iterable[bytes]:
        """Let the regulator say what counts of a disputed contract.

        Raises:
            Refused: it is not disputed, or more was delivered than was due (130, 131, 134).
        """
        contract = self._find(order.contract)
        decided = contract.after(Step.ARBITRATE, time_ms)
        if order.delivered_wh > contract.all_due_wh:
            detail = f"{order.delivered_wh} Wh delivered where {contract.all_due_wh} Wh were due"
            raise Refused(RefusalCode.MORE_THAN_WAS_DUE, detail)
        return self._note(replace(decided, ruling=Ruling(order.delivered_wh, order.responsible)))

    def freeze(self, order: Freeze, time_ms: int) -> Iterable[bytes]:
        """Let the regulator keep a participant from making contracts, or allow it again. Made ones go on.

        Raises:
            Refused: there is no such participant, or it is so already (112, 135).
        """
        who = order.participant
        if who not in self._region().gateways_of:
            raise Refused(RefusalCode.UNKNOWN_PARTY, f"no participant {who} on the asset chain")
        if (who in self.frozen) is order.is_frozen:
            detail = f"{who} is {'frozen already' if order.is_frozen else 'not frozen'}"
            raise Refused(RefusalCode.FROZEN_OR_NOT_ALREADY, detail)
        if order.is_frozen:
            self.frozen.put(who, Frozen(time_ms, order.reason))
        else:
            self.frozen.remove(who)
        return ()

    def close_interval(self, interval: Interval, stated: Stated) -> list[bytes]:
        """Measure what contracts delivered in an interval that analysis closes, and settle those whose time is over."""
        leaves = self._measure(interval, stated, None)
        for contract in self.book.awake():
            leaves += self._conclude(contract, interval.end_ms)
        return leaves

    def restate_interval(self, interval: Interval, stated: Stated, former: Stated) -> list[bytes]:
        """Measure an interval once more, of which more became known; what is settled is made up for."""
        return self._measure(interval, stated, former)

    def forget_before(self, horizon_ms: int) -> None:
        """Forget what is settled or rejected and can change no more."""
        for contract in self.book.in_order():
            if contract.state in (State.SETTLED, State.REJECTED) and contract.terms.end_ms <= horizon_ms:
                self.book.rows.remove(contract.digest)

    def broken_invariants(self) -> Iterable[str]:
        """Everything that is confirmed can be, and no contract went its own way."""
        rule = self._region().rules.contracts if len(self.book.rows) else None
        return self.book.broken_invariants(self._region(), rule) if rule is not None else ()

    # -- What the rules above are made of

    def _check(self, record: Record, time_ms: int) -> Terms:
        agreement: Agreement = record.message
        terms = agreement.terms
        check_agreement(agreement, record.author, self._region(), self._author_of, time_ms)
        if terms.digest in self.book.rows:
            raise Refused(RefusalCode.AGREED_ALREADY, f"contract {terms.digest.hex()[:16]}… was agreed before")
        balance = self._purse().balance(terms.buyer)
        if terms.fee and balance < terms.fee:
            raise Refused(RefusalCode.FEE_NOT_COVERED, f"a fee of {terms.fee}, the balance is {balance}")
        if self.book.is_full:
            raise Refused(RefusalCode.TOO_MANY_CONTRACTS, "too many contracts are open")
        return terms

    def _standing(self, terms: Terms) -> Objection | None:
        """Why a party may make no contract now, if one may not."""
        for who in (terms.seller, terms.buyer):
            if who in self.frozen:
                return Objection(RefusalCode.PARTY_FROZEN, who, terms.start_ms, 0)
            if self._purse().balance(who) < 0:
                return Objection(RefusalCode.PARTY_RESTRICTED, who, terms.start_ms, 0)
        return None

    def _plan(self) -> Plan:
        region = self._region()
        return self.book.plan(region, rule_of(region))

    def _find(self, digest: bytes) -> Contract:
        contract = self.book.rows.get(digest)
        if contract is None:
            raise Refused(RefusalCode.NO_SUCH_CONTRACT, f"no contract {digest.hex()[:16]}…")
        return contract

    def _measure(self, interval: Interval, stated: Stated, former: Stated | None) -> list[bytes]:
        """Let contracts have what is stated of an interval, less what was stated of it before."""
        leaves: list[bytes] = []
        on = [contract for contract in self.book.in_order() if contract.is_on(interval)]
        for carrier in Carrier:
            there = [contract for contract in on if contract.terms.carrier == carrier]
            if not there:
                continue
            dues = [contract.due(interval) for contract in there]
            now = share_out(dues, metered_in(carrier, self._region(), *stated))
            before = share_out(dues, metered_in(carrier, self._region(), *former)) if former else {}
            for contract in there:
                amounts = now[contract.digest].minus(before.get(contract.digest, NOTHING))
                if amounts != NOTHING:
                    leaves.append(delivered_leaf(contract.digest, interval.start_ms, amounts))
                    leaves += self._credit(contract, amounts, interval.end_ms)
        return leaves

    def _credit(self, contract: Contract, amounts: Amounts, at_ms: int) -> list[bytes]:
        """Let a contract have more, or less; where that was judged or booked before, it is so anew."""
        contract = replace(contract, amounts=contract.amounts.plus(amounts))
        self._put(contract)
        if contract.state is State.SETTLED:
            return self._book(contract)
        if contract.state in (State.FULFILLED, State.BREACHED):
            step = self._outcome(contract)
            if NEXT_STATE.get((contract.state, step)) is not None:
                return self._note(contract.after(step, at_ms))
        return []

    def _conclude(self, contract: Contract, closed_until_ms: int) -> list[bytes]:
        """Do what is due because intervals have been closed so far."""
        leaves: list[bytes] = []
        if contract.ended_ms > closed_until_ms:
            return leaves
        if contract.state is State.DELIVERING:
            step = self._outcome(contract)
            self._count(breached=step is Step.BREACH)
            contract = contract.after(step, closed_until_ms)
            leaves += self._note(contract)
        rule = rule_of(self._region())
        is_over = contract.state is State.ARBITRATED or contract.ended_ms + rule.dispute_ms <= closed_until_ms
        if is_over and (contract.state, Step.SETTLE) in NEXT_STATE:
            self._count(settled=1)
            contract = contract.after(Step.SETTLE, closed_until_ms)
            leaves += self._note(contract)
            leaves += self._book(contract)
        return leaves

    def _outcome(self, contract: Contract) -> Step:
        return Step.FULFIL if self._prices().is_fulfilled(contract.settled_amounts) else Step.BREACH

    def _prices(self) -> Prices:
        rule = rule_of(self._region())
        return Prices(rule.imbalance_per_mwh, rule.tolerance_ppm)

    def _book(self, contract: Contract) -> list[bytes]:
        """See that what a contract comes to is in the books, whatever was in them before."""
        bill = contract.bill(self._prices())
        change = bill.minus(contract.booked)
        if change == NO_BILL:
            return []
        self._put(replace(contract, booked=bill))
        lines = [change.price, change.penalty, change.termination, change.surplus, change.extra]
        amounts = {contract.terms.seller: change.seller, contract.terms.buyer: change.buyer, CLEARING: change.clearing}
        return [encode(["bill", contract.digest, *lines]), *self._purse().book_money(contract.digest, amounts)]

    def _note(self, contract: Contract) -> list[bytes]:
        self._put(contract)
        return [contract.leaf()]

    def _put(self, contract: Contract) -> None:
        self.book.rows.put(contract.digest, contract)

    def _count(self, **more: int) -> ContractTotals:
        totals = self.totals
        counted = replace(totals, **{name: getattr(totals, name) + count for name, count in more.items()})
        self._totals.put(0, counted)
        return counted
