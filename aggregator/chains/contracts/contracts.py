"""Contracts on the operation chain: agreed, judged, confirmed in their block, delivered, and settled.

An agreement is judged as its block applies it, beside all that were confirmed before: so the order of the block, by fee
and then by arrival, is the order in which contracts get what is scarce. Delivery is measured when analysis closes an
interval, and measured once more when it restates one. Money is booked when the time for disputes is over; what changes
afterwards is made up for. Every step is one of the table `aggregator.economy.contracts.states`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from aggregator.chains.contracts.book import ContractBook
from aggregator.chains.contracts.closing import Closing
from aggregator.chains.contracts.deposit import end_deposit, put_down
from aggregator.chains.contracts.metering import Stated
from aggregator.chains.contracts.orders import Approval, Arbitration, Freeze
from aggregator.chains.contracts.parties import check_agreement, party_of, rule_for, rule_of
from aggregator.chains.contracts.purse import Purse
from aggregator.chains.contracts.rows import Contract, ContractTotals, Frozen, Ruling
from aggregator.chains.region import Region
from aggregator.economy.bids import NO_BID, Bid
from aggregator.economy.channels import Channel
from aggregator.economy.contracts.feasibility import Objection, Plan
from aggregator.economy.contracts.states import State, Step
from aggregator.ledger.record import AuthorOf, Record
from aggregator.ledger.table import Journal, Table, flat
from config.rules import ContractRule
from protocol.agreement import Agreement, Dispute, Termination
from protocol.contract import Terms
from protocol.refusals import RefusalCode, Refused
from protocol.units import Interval

REGULATOR: Final = "regulator"
"""Whom a contract waited for in vain."""

FROZEN_TABLE: Final = 43
TOTALS_TABLE: Final = 44


class Contracts:
    """Part of the operation chain's state."""

    def __init__(
        self, journal: Journal, region: Callable[[], Region], author_of: AuthorOf, purse: Callable[[], Purse]
    ) -> None:
        """Nobody has agreed on anything."""
        self._region = region
        self._author_of = author_of
        self._purse = purse
        self.book = ContractBook(journal, region, lambda: purse().rights)
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
        """Let deliveries begin whose time has come; what nobody has approved by then is not to be.

        What was rejected is forgotten a day after nobody could agree to it any more.
        """
        for contract in self.book.to_begin(time_ms):
            if contract.state is State.VERIFIED:
                reason = Objection(RefusalCode.NOT_APPROVED, REGULATOR, contract.terms.start_ms, 0)
                self._reject(contract, Step.LAPSE, reason, time_ms)
            else:
                self._put(contract.after(Step.BEGIN, time_ms))
        if len(self.book.rows):
            for contract in self.book.rejected_before(time_ms - self._region().rules.time.day_ms):
                self.book.rows.remove(contract.digest)

    def apply(self, record: Record, time_ms: int) -> Iterable[bytes]:
        """Take a step with a contract, or freeze somebody.

        Raises:
            Refused: see the codes 110 to 139, and 190 to 199.
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
            Refused: it is not in order (110 to 120, 192).
        """
        terms = self._check(record, time_ms)
        fee = self._purse().take_fee(terms.buyer, terms.fee, time_ms) if terms.fee else ()
        return [*fee, *self.take_in(terms, time_ms)]

    def take_in(self, terms: Terms, time_ms: int, rent_per_mwh: int = 0) -> list[bytes]:
        """Judge terms that both sides have signed, however they came to it; they are new here, and in order.

        `rent_per_mwh` is what the buyer pays to the region beyond the price, where they have quoted for that.
        """
        place, history = self._count(agreed=1).agreed, ((State.AGREED, time_ms),)
        contract = Contract(terms.digest, terms, place, State.AGREED, history, terms.end_ms, rent_per_mwh=rent_per_mwh)
        leaves = [contract.leaf()]
        reason = self._standing(terms) or self._plan().objection(contract.promise) or self._beyond_credit(contract)
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

        One that still waits for approval binds nobody: it is withdrawn, and costs nothing.

        Raises:
            Refused: it is not theirs, it does not bind any more, or nothing is left of it (130 to 133).
        """
        order: Termination = record.message
        contract = self._find(order.contract)
        party = party_of(record.author.name, order.participant, contract.terms, self._region())
        if contract.state is State.VERIFIED:
            reason = Objection(RefusalCode.WITHDRAWN, order.participant, contract.terms.start_ms, 0)
            return self._reject(contract, Step.WITHDRAW, reason, time_ms)
        ended = contract.after(Step.TERMINATE, time_ms)
        interval_ms = self._region().rules.time.interval_ms
        ended_ms = max(-(-time_ms // interval_ms) * interval_ms, contract.terms.start_ms)
        if ended_ms >= contract.terms.end_ms:
            raise Refused(RefusalCode.NOTHING_LEFT, f"its last interval began before {time_ms}")
        self._count(terminated=1)
        return self._note(replace(ended, ended_ms=ended_ms, ended_by=party))

    def dispute(self, record: Record, time_ms: int) -> Iterable[bytes]:
        """Let a party call the regulator, as long as the contract is not settled, and put tokens down for it.

        Raises:
            Refused: it is not theirs, there is nothing measured to be disputed, or no more, or the deposit is not
                covered (130 to 132, 190).
        """
        order: Dispute = record.message
        contract, who = self._find(order.contract), order.participant
        party_of(record.author.name, who, contract.terms, self._region())
        disputed = contract.after(Step.DISPUTE, time_ms)
        down = put_down(contract.digest, who, rule_of(self._region()).dispute_deposit, self._purse(), time_ms)
        self._count(disputed=1)
        return [*down, *self._note(disputed)]

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
        closing = Closing(self._rule_for, interval, owed_to=self._purse().money_owed_to)
        closing.measure(self.book.on(interval), self._region(), stated)
        for contract in self.book.ended(interval.end_ms):
            closing.conclude(contract)
        return self._take_over(closing, about)

    def restate_interval(self, interval: Interval, stated: Stated, former: Stated, about: bytes) -> list[bytes]:
        """Measure an interval once more, of which more became known; what is settled is made up for."""
        if not len(self.book.rows):
            return []
        closing = Closing(self._rule_for, interval, owed_to=self._purse().money_owed_to)
        closing.measure(self.book.on(interval), self._region(), stated, former)
        return self._take_over(closing, about)

    def forget_before(self, horizon_ms: int) -> None:
        """Forget what is settled and can change no more."""
        for contract in self.book.settled_before(horizon_ms):
            self.book.rows.remove(contract.digest)

    def crowding_w(self, line: str, channel: Channel) -> int:
        """By how much a line would be promised too much to contracts and channels if one more was sold; 0 if not."""
        return self._plan().crowding_w(line, channel) if self._region().rules.contracts is not None else 0

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
        if (other := self.book.of_negotiation(terms)) is not None:
            raise Refused(RefusalCode.NEGOTIATED_ALREADY, f"contract {other.digest.hex()[:16]}… has come of it")
        balance = self._purse().balance(terms.buyer)
        if terms.fee and balance < terms.fee:
            raise Refused(RefusalCode.FEE_NOT_COVERED, f"a fee of {terms.fee}, the balance is {balance}")
        self._see_room(terms)
        return terms

    def _see_room(self, terms: Terms) -> None:
        book = self.book
        for who in (terms.seller, terms.buyer):
            if not book.has_room_for(who):
                detail = f"{book.open_of(who)} contracts of {who} are open, their share is {book.share}"
                raise Refused(RefusalCode.TOO_MANY_CONTRACTS, detail)

    def _standing(self, terms: Terms) -> Objection | None:
        """Why a party may make no contract now, if one may not."""
        for who in (terms.seller, terms.buyer):
            if (rule := self.barred(who)) is not None:
                return Objection(rule, who, terms.start_ms, 0)
        return None

    def credit_left(self, participant: str) -> int:
        """What a participant may still come to owe, in millionths of a minor unit; below 0, nothing."""
        return self._purse().credit_left(participant)

    def _beyond_credit(self, contract: Contract) -> Objection | None:
        """By how much a party could come to owe more than anybody may, if it is so."""
        terms, (seller, buyer) = contract.terms, contract.risks
        for who, cost in ((terms.buyer, buyer), (terms.seller, seller)):
            if cost and (excess := cost - self.credit_left(who)) > 0:
                return Objection(RefusalCode.BEYOND_CREDIT, who, terms.start_ms, 0, excess)
        return None

    def _needs_approval(self, terms: Terms) -> bool:
        """Whether a contract is so large that it has to be approved, with all that the two agreed on for that time."""
        from_wh = rule_of(self._region()).approval_from_wh
        return from_wh is not None and self.book.agreed_wh(terms) + terms.quantity_wh >= from_wh

    def _rule_for(self, contract: Contract) -> ContractRule:
        return rule_for(contract.terms, self._region())

    def _plan(self) -> Plan:
        return self.book.plan(self._region())

    def _find(self, digest: bytes) -> Contract:
        contract = self.book.rows.get(digest)
        if contract is None:
            raise Refused(RefusalCode.NO_SUCH_CONTRACT, f"no contract {digest.hex()[:16]}…")
        return contract

    def _take_over(self, closing: Closing, about: bytes) -> list[bytes]:
        for contract in closing.changed.values():
            if contract.state is State.SETTLED and contract.never_began:
                self.book.rows.remove(contract.digest)  # nothing was measured of it, so nothing can change it any more
            else:
                self._put(contract)
        for contract in closing.tried:
            closing.leaves += end_deposit(contract, closing, self._purse(), self._region().rules.accounts.ceiling)
        if closing.breached or closing.settled:
            self._count(breached=closing.breached, settled=closing.settled)
        return [*closing.leaves, *self._purse().book_money(about, closing.owed)]

    def _note(self, contract: Contract) -> list[bytes]:
        self._put(contract)
        return [contract.leaf()]

    def _reject(self, contract: Contract, step: Step, reason: Objection, time_ms: int) -> list[bytes]:
        """Let a contract come to nothing."""
        self._count(rejected=1)
        return self._note(replace(contract.after(step, time_ms), objection=reason))

    def _put(self, contract: Contract) -> None:
        self.book.rows.put(contract.digest, contract)

    def _count(self, **more: int) -> ContractTotals:
        totals = self.totals
        counted = replace(totals, **{name: getattr(totals, name) + count for name, count in more.items()})
        self._totals.put(0, counted)
        return counted
