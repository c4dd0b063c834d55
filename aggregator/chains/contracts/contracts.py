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

from aggregator.chains.contracts.book import ContractBook
from aggregator.chains.contracts.closing import Closing
from aggregator.chains.contracts.metering import metered_in
from aggregator.chains.contracts.orders import Approval, Arbitration, Freeze
from aggregator.chains.contracts.parties import check_agreement, party_of, rule_of
from aggregator.chains.contracts.rows import Contract, Ruling
from aggregator.chains.metering.interval_energy import Energies
from aggregator.chains.periods.carbon import PeriodSums
from aggregator.chains.region import Region
from aggregator.economy.bids import NO_BID, Bid
from aggregator.economy.contracts.delivery import NOTHING, share_out
from aggregator.economy.contracts.feasibility import Objection, Plan
from aggregator.economy.contracts.states import State, Step
from aggregator.ledger.record import AuthorOf, Record
from aggregator.ledger.table import Journal, Table, flat
from config.carriers import Carrier
from protocol.agreement import Agreement, Dispute, Termination
from protocol.contract import Terms
from protocol.refusals import RefusalCode, Refused
from protocol.units import Interval

REGULATOR: Final = "regulator"
"""Whom a contract waited for in vain."""

FROZEN_TABLE: Final = 43
TOTALS_TABLE: Final = 44


class Purse(Protocol):
    """What contracts ask of the payment chain."""

    def balance(self, participant: str) -> int:
        """Tokens of a participant; below 0 is owed."""

    def take_fee(self, participant: str, fee: int, time_ms: int) -> Iterable[bytes]:
        """Let a participant pay a fee that the account holds; the leaves say so."""

    def book_money(self, about: bytes, amounts: Mapping[str, int]) -> Iterable[bytes]:
        """Post what contracts bring to every account, in minor money units; `about` says by which record."""


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
        """Let deliveries begin whose time has come; what nobody has approved by then is not to be."""
        for contract in self.book.to_begin(time_ms):
            if contract.state is State.VERIFIED:
                reason = Objection(RefusalCode.NOT_APPROVED, REGULATOR, contract.terms.start_ms, 0)
                self._put(replace(contract.after(Step.LAPSE, time_ms), objection=reason))
                self._count(rejected=1)
            else:
                self._put(contract.after(Step.BEGIN, time_ms))

    def apply(self, record: Record, time_ms: int) -> Iterable[bytes]:
        """Take a step with a contract, or freeze somebody.

        Raises:
            Refused: see the codes 110 to 139.
        """
        match record.message:
            case Agreement():
                return self.agree(record, time_ms)
            case Termination():
                return self.terminate(record, time_ms)
            case Dispute():
                return self.dispute(record, time_ms)
            case Approval() as approval:
                return self.approve(approval, time_ms)
            case Arbitration() as arbitration:
                return self.arbitrate(arbitration, time_ms)
            case Freeze() as freeze:
                return self.freeze(freeze, time_ms)
        raise AssertionError(f"no rule for {record.type}")

    def agree(self, record: Record, time_ms: int) -> Iterable[bytes]:
        """Take an agreement in: its buyer pays the fee, and it is confirmed, or rejected.

        Raises:
            Refused: it is not in order (110 to 120).
        """
        terms = self._check(record, time_ms)
        fee = self._purse().take_fee(terms.buyer, terms.fee, time_ms) if terms.fee else ()
        return [*fee, *self.take_in(terms, time_ms)]

    def take_in(self, terms: Terms, time_ms: int) -> list[bytes]:
        """Judge terms that both sides have signed, however they came to it; they are new here, and in order."""
        place = self._count(agreed=1).agreed
        contract = Contract(terms.digest, terms, place, State.AGREED, ((State.AGREED, time_ms),), terms.end_ms)
        leaves = [contract.leaf()]
        reason = self._standing(terms) or self._plan().objection(contract.promise)
        if reason is not None:
            self._count(rejected=1)
            contract = replace(contract.after(Step.REJECT, time_ms), objection=reason)
        else:
            contract = contract.after(Step.VERIFY, time_ms)
            if not self._needs_approval(terms):
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

    def approve(self, order: Approval, time_ms: int) -> Iterable[bytes]:
        """Let the regulator confirm a contract that waits for it.

        Raises:
            Refused: there is none that waits (130, 131).
        """
        return self._note(self._find(order.contract).after(Step.APPROVE, time_ms))

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

    def close_interval(self, interval: Interval, stated: Stated, about: bytes) -> list[bytes]:
        """Measure what contracts delivered in an interval that analysis closes, and settle those whose time is over.

        `about` is the digest of the record that closes it: what is owed is owed by that.
        """
        if not len(self.book.rows):
            return []
        closing = Closing(rule_of(self._region()), interval)
        self._measure(closing, stated, None)
        for contract in self.book.awake():
            closing.conclude(contract)
        return self._take_over(closing, about)

    def restate_interval(self, interval: Interval, stated: Stated, former: Stated, about: bytes) -> list[bytes]:
        """Measure an interval once more, of which more became known; what is settled is made up for."""
        if not len(self.book.rows):
            return []
        closing = Closing(rule_of(self._region()), interval)
        self._measure(closing, stated, former)
        return self._take_over(closing, about)

    def forget_before(self, horizon_ms: int) -> None:
        """Forget what is settled or rejected and can change no more."""
        for contract in self.book.in_order():
            if contract.state in (State.SETTLED, State.REJECTED) and contract.terms.end_ms <= horizon_ms:
                self.book.rows.remove(contract.digest)

    def barred(self, participant: str) -> RefusalCode | None:
        """Why a participant may make no contract at all now, whatever it says, if they may not."""
        if participant in self.frozen:
            return RefusalCode.PARTY_FROZEN
        return RefusalCode.PARTY_RESTRICTED if self._purse().balance(participant) < 0 else None

    def broken_invariants(self) -> Iterable[str]:
        """Everything that is confirmed can be, and no contract went its own way."""
        return self.book.broken_invariants(self._region()) if len(self.book.rows) else ()

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
            if (rule := self.barred(who)) is not None:
                return Objection(rule, who, terms.start_ms, 0)
        return None

    def _needs_approval(self, terms: Terms) -> bool:
        from_wh = rule_of(self._region()).approval_from_wh
        return from_wh is not None and terms.quantity_wh >= from_wh

    def _plan(self) -> Plan:
        return self.book.plan(self._region())

    def _find(self, digest: bytes) -> Contract:
        contract = self.book.rows.get(digest)
        if contract is None:
            raise Refused(RefusalCode.NO_SUCH_CONTRACT, f"no contract {digest.hex()[:16]}…")
        return contract

    def _measure(self, closing: Closing, stated: Stated, former: Stated | None) -> None:
        """Let contracts have what is stated of an interval, less what was stated of it before."""
        interval = closing.interval
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
                    closing.credit(contract, amounts)

    def _take_over(self, closing: Closing, about: bytes) -> list[bytes]:
        for contract in closing.changed.values():
            self._put(contract)
        if closing.breached or closing.settled:
            self._count(breached=closing.breached, settled=closing.settled)
        return [*closing.leaves, *self._purse().book_money(about, closing.owed)]

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
