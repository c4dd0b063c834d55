"""One contract as the state keeps it, and the leaves that say what became of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aggregator.economy.contracts.bill import NO_BILL, Bill, Party, Prices, arbitrated, bill_of
from aggregator.economy.contracts.delivery import NOTHING, Amounts, Due, due_wh
from aggregator.economy.contracts.feasibility import Objection, Promise, power_w
from aggregator.economy.contracts.risk import risks_of
from aggregator.economy.contracts.states import NEXT_STATE, State, Step
from protocol.canonical import Value, encode
from protocol.contract import Terms
from protocol.contract_news import ContractNews
from protocol.crypto import digest_of
from protocol.refusals import RefusalCode, Refused
from protocol.units import Interval


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the regulator has said of a disputed contract."""

    delivered_wh: int
    responsible: Party


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract that was agreed, and what became of it."""

    digest: bytes
    """Of its terms: its number."""
    terms: Terms
    place: int
    """In the order of agreements: 1, 2, 3, … Whoever comes first is served first."""
    state: State
    history: tuple[tuple[State, int], ...]
    """Every state so far, and the instant since when it stands in it."""
    ended_ms: int
    """End of the window, or of what is left of it."""
    ended_by: Party = Party.NOBODY
    amounts: Amounts = NOTHING
    """What was measured, in the intervals that are closed."""
    ruling: Ruling | None = None
    objection: Objection | None = None
    """Why it was rejected."""
    booked: Bill = NO_BILL
    """What is in the books."""
    rent_per_mwh: int = 0
    """What the buyer pays to the region beyond the price, where the market found a line full; in minor units."""

    @property
    def since_ms(self) -> int:
        """Since when it stands in its state."""
        return self.history[-1][1]

    @property
    def promise(self) -> Promise:
        """What it asks of devices and lines."""
        terms = self.terms
        return Promise(
            seller=terms.seller,
            buyer=terms.buyer,
            carrier=terms.carrier,
            start_ms=terms.start_ms,
            end_ms=terms.end_ms,
            power_w=power_w(terms.quantity_wh, terms.end_ms - terms.start_ms),
            clean_only=terms.clean_only,
        )

    @property
    def settled_amounts(self) -> Amounts:
        """What counts of its energy: what was measured, or what the regulator has said."""
        if self.ruling is None:
            return self.amounts
        return arbitrated(self.amounts, self.ruling.delivered_wh, self.ruling.responsible)

    @property
    def risks(self) -> tuple[int, int]:
        """What seller and buyer may come to owe by it until it is settled, in millionths of a minor unit."""
        return risks_of(self.terms, self.settled_amounts, self.all_due_wh, self.ended_by, self.rent_per_mwh)

    @property
    def all_due_wh(self) -> int:
        """What is due until it ends."""
        return self._due_wh(self.terms.start_ms, self.ended_ms) if self.ended_ms > self.terms.start_ms else 0

    @property
    def never_began(self) -> bool:
        """Whether it was ended before any of it was due."""
        return self.ended_ms <= self.terms.start_ms

    def is_on(self, interval: Interval) -> bool:
        """Whether it delivers in an interval."""
        is_bound = self.state is not State.REJECTED
        return is_bound and self.terms.start_ms <= interval.start_ms and interval.end_ms <= self.ended_ms

    def due(self, interval: Interval) -> Due:
        """What it promises for an interval in which it is on."""
        terms = self.terms
        return Due(
            contract=self.digest,
            seller=terms.seller,
            buyer=terms.buyer,
            due_wh=self._due_wh(interval.start_ms, interval.end_ms),
            clean_only=terms.clean_only,
        )

    def bill(self, prices: Prices) -> Bill:
        """What it comes to."""
        return bill_of(self.terms, self.settled_amounts, prices, self.ended_by, self.rent_per_mwh)

    def after(self, step: Step, at_ms: int) -> Contract:
        """The contract one step on.

        Raises:
            Refused: the table has no such step from its state.
        """
        following = NEXT_STATE.get((self.state, step))
        if following is None:
            detail = f"{step.name.lower()}: contract {self.digest.hex()[:16]}… is {self.state.name.lower()}"
            raise Refused(RefusalCode.NO_SUCH_STEP, detail)
        return replace(self, state=following, history=(*self.history, (following, at_ms)))

    def news_for(self, participant: str) -> ContractNews:
        """What one of its parties is told."""
        power, reason = self.promise.power_w, self.objection
        return ContractNews(
            contract=self.digest,
            state=self.state,
            since_ms=self.since_ms,
            power_w=power if participant == self.terms.seller else -power,
            start_ms=self.terms.start_ms,
            end_ms=self.ended_ms,
            rule=reason.rule if reason else None,
            why=reason.said if reason else "",
            carrier=self.terms.carrier,
        )

    def leaf(self) -> bytes:
        """The leaf that states where it stands now."""
        reason = self.objection
        why: list[Value] = [None] * 5
        if reason is not None:
            why = _spell_objection(reason)
        return encode(["contract", self.digest, self.state.value, self.since_ms, *why])

    def _due_wh(self, start_ms: int, end_ms: int) -> int:
        terms = self.terms
        return due_wh(terms.quantity_wh, (terms.start_ms, terms.end_ms), (start_ms, end_ms))


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


def delivered_leaf(contract: bytes, start_ms: int, amounts: Amounts) -> bytes:
    """The leaf that states what one interval brought; behind a restatement, by how much that changes."""
    return encode(["delivered", contract, start_ms, *amounts.columns])


def spell_contract(contract: Contract) -> Value:
    """A contract as the state holds it."""
    reason, ruling, bill = contract.objection, contract.ruling, contract.booked
    return [
        contract.terms.encode(),
        contract.place,
        [[state.value, at_ms] for state, at_ms in contract.history],
        contract.ended_ms,
        contract.ended_by.value,
        list(contract.amounts.columns),
        [ruling.delivered_wh, ruling.responsible.value] if ruling else None,
        _spell_objection(reason) if reason else None,
        list(bill.lines),
        contract.rent_per_mwh,
    ]


def _spell_objection(reason: Objection) -> list[Value]:
    return [reason.rule.value, reason.subject, reason.start_ms, reason.excess_w, reason.excess_money]


def read_contract(value: Value) -> Contract:
    """Read what `spell_contract` spells."""
    terms, place, history, ended_ms, ended_by, amounts, ruling, reason, bill, rent_per_mwh = value
    states = tuple((State(state), at_ms) for state, at_ms in history)
    return Contract(
        digest=digest_of(terms),
        terms=Terms.decode(terms),
        place=place,
        state=states[-1][0],
        history=states,
        ended_ms=ended_ms,
        ended_by=Party(ended_by),
        amounts=Amounts(*amounts),
        ruling=Ruling(ruling[0], Party(ruling[1])) if ruling else None,
        objection=Objection(RefusalCode(reason[0]), *reason[1:]) if reason else None,
        booked=Bill(*bill),
        rent_per_mwh=rent_per_mwh,
    )
