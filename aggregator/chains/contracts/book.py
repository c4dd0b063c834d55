"""All contracts of a region that are not forgotten, with what follows from them: who is awake, and what is promised.

The table is the state. The indices beside it are told of every row that changes, also when a change is taken back, so
that they always say what could be read from the table at length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from aggregator.chains.accounts.rights import Rights
from aggregator.chains.contracts.limits import limits_of
from aggregator.chains.contracts.rows import Contract, read_contract, spell_contract
from aggregator.chains.contracts.sorting import Key, Sorted
from aggregator.chains.region import Region
from aggregator.economy.contracts.feasibility import Limits, Plan, Promise
from aggregator.economy.contracts.states import FINAL, NEXT_STATE, PROMISING, State, Step
from aggregator.ledger.table import Journal, Table, WatchedTable
from protocol.contract import ANSWERS_NOTHING, WINDOW_MAX_MS, Terms
from protocol.units import Interval

Mark = tuple[str, str, bytes]
"""Of a negotiation: its parties, and the number of an offer in it, or the nonce. Nobody else's terms carry it."""

CONTRACTS_TABLE: Final = 42

CONTRACTS_MAX: Final = 100_000
"""That are not settled, at a time. Everybody has an equal share, so that nobody fills the book for others."""

NEWS_SHARE: Final = 4
"""One in so many contracts that a party is told of is one that asks nothing of them, if there are any."""

_UNBOUND: Final = frozenset((State.AGREED, State.VERIFIED, State.REJECTED))
"""States in which nobody has to deliver: not yet, or never."""

_SPAN_MS: Final = 3_600_000
"""Contracts are looked up by the hours in which they deliver."""


class ContractBook:
    """Contracts, by the digest of their terms."""

    def __init__(self, journal: Journal, region: Callable[[], Region], rights: Callable[[], Rights]) -> None:
        """There are none. `rights` tells which channels are sold."""
        self._region = region
        self._rights = rights
        self.rows: WatchedTable[bytes, Contract] = WatchedTable(
            CONTRACTS_TABLE, journal, spell=spell_contract, read=read_contract, watch=self._watch
        )
        self.tables: Mapping[int, Table[Any, Any]] = {CONTRACTS_TABLE: self.rows}
        self._all = Sorted(_by_place)
        self._awake = Sorted(_by_place)
        self._bound = Sorted(_by_place)
        self._ending = Sorted(lambda one: (one.ended_ms, one.place))
        """Of those that are awake."""
        self._beginning = Sorted(lambda one: (one.terms.start_ms, one.place))
        """Of those that are bound, what does not deliver yet."""
        self._settled = Sorted(lambda one: (one.terms.end_ms, one.place))
        self._rejected = Sorted(lambda one: (_forgettable_ms(one), one.place))
        self._in_span: dict[int, dict[int, Contract]] = {}
        """By the hour, what delivers in it, by place."""
        self._parties: dict[str, _OfParty] = {}
        self._negotiated: dict[Mark, set[bytes]] = {}
        """What contracts have come of; not those that were rejected."""
        self._open = 0
        """Not settled."""
        self._plan: tuple[Region, Plan] | None = None
        self._uncounted: list[tuple[Promise, bool]] = []
        """Promises that were taken (true) or released since the plan was drawn up."""
        self._costs: dict[str, int] = {}
        """By participant: what they may come to owe by contracts that are not settled yet."""
        self._agreed: dict[frozenset[str], dict[bytes, Terms]] = {}
        """By the two parties: what was not rejected."""
        self._unchecked: dict[bytes, Contract] = {}
        """That have changed since invariants were asked last."""

    def in_order(self) -> list[Contract]:
        """All of them, first agreed first."""
        return list(self._all)

    def awake(self) -> list[Contract]:
        """Those that something can still happen to, first agreed first."""
        return list(self._awake)

    def bound(self) -> list[Contract]:
        """Those for which devices and lines are kept free, first agreed first."""
        return list(self._bound)

    def ended(self, until_ms: int) -> list[Contract]:
        """Those that are awake, and whose window, or what is left of it, is over by then, first agreed first."""
        return sorted(self._ending.until(until_ms), key=_by_place)

    def on(self, interval: Interval) -> list[Contract]:
        """Those that deliver in an interval, first agreed first."""
        there = self._in_span.get(interval.start_ms // _SPAN_MS, {})
        return sorted((one for one in there.values() if one.is_on(interval)), key=_by_place)

    def due_between(self, start_ms: int, end_ms: int) -> list[Contract]:
        """Those that bind their parties to deliver at some time from then until then, in no order."""
        spans = range(start_ms // _SPAN_MS, -(-end_ms // _SPAN_MS))
        found = {place: one for span in spans for place, one in self._in_span.get(span, {}).items()}
        return [
            one
            for one in found.values()
            if one.state not in _UNBOUND and one.terms.start_ms < end_ms and start_ms < one.ended_ms
        ]

    def to_begin(self, time_ms: int) -> list[Contract]:
        """Those whose window has begun, and which do not deliver yet."""
        return self._beginning.until(time_ms)

    def settled_before(self, horizon_ms: int) -> list[Contract]:
        """Those that are settled, and whose last interval is not restated any more."""
        return self._settled.until(horizon_ms)

    def rejected_before(self, time_ms: int) -> list[Contract]:
        """Those that were rejected, and whose offer nobody can agree to any more, since then or longer."""
        return self._rejected.until(time_ms)

    def of_negotiation(self, terms: Terms) -> Contract | None:
        """The contract to which the negotiation of these terms has come, if it has, and was not rejected."""
        found = set[bytes]().union(*(self._negotiated.get(mark, ()) for mark in _marks(terms)))
        return self.rows[min(found)] if found else None

    @property
    def share(self) -> int:
        """How many contracts one participant may be a party of at a time, settled ones apart.

        A contract has two parties, so that everybody's shares together are just what the book holds.
        """
        return max(1, 2 * CONTRACTS_MAX // max(1, len(self._region().participants)))

    def open_of(self, participant: str) -> int:
        """How many contracts of a participant are not settled; rejected ones count until they are forgotten."""
        mine = self._parties.get(participant)
        return len(mine) if mine else 0

    def has_room_for(self, *participants: str, beside: int = 0) -> bool:
        """Whether one more contract between these may be made now, beside so many of theirs that are being made."""
        share = self.share - beside
        return self._open + beside < CONTRACTS_MAX and all(self.open_of(who) < share for who in participants)

    def told_to(self, participant: str, count: int) -> list[Contract]:
        """What a party is told of, if there is room for so many: what they are to do now, and soon, before the rest.

        Some room is left for the latest of the rest: whoever delivers a lot has to learn what was rejected, too.
        """
        mine = self._parties.get(participant)
        if mine is None:
            return []
        rest = min(len(mine.rest), count // NEWS_SHARE)
        urgent = mine.urgent.first(count - rest)
        return urgent + mine.rest.first(count - len(urgent))

    def plan(self, region: Region) -> Plan:
        """What all contracts promise that are confirmed, or wait for approval."""
        if self._plan is None or self._plan[0] is not region:
            self._plan = (region, self._drawn_up(limits_of(region)))
        else:
            for promise, is_taken in self._uncounted:
                (self._plan[1].take if is_taken else self._plan[1].release)(promise)
        self._uncounted.clear()
        return self._plan[1]

    def costs_of(self, participant: str) -> int:
        """What somebody may come to owe by contracts that are not settled, in millionths of a minor unit."""
        return self._costs.get(participant, 0)

    def agreed_wh(self, terms: Terms) -> int:
        """All that the two parties of some terms have agreed on, whichever way, for less than a day around them."""
        others = self._agreed.get(_parties(terms), {}).values()
        return sum(one.quantity_wh for one in others if abs(one.start_ms - terms.start_ms) < WINDOW_MAX_MS)

    def broken_invariants(self, region: Region) -> Iterator[str]:
        """Everything that binds its parties fits together; nobody delivers more than was due; every step is one.

        Only what has changed since the last time is looked at: of what fits, every part does.
        """
        plan = self.plan(region)
        for contract in self._unchecked.values():
            name, amounts = contract.digest.hex()[:16], contract.amounts
            if not 0 <= amounts.delivered_wh <= amounts.due_wh <= contract.terms.quantity_wh:
                yield f"contract {name}… delivered {amounts.delivered_wh} Wh of {amounts.due_wh} Wh"
            for before, after in pairwise([State.OFFERED, *(state for state, _ in contract.history)]):
                if not any(NEXT_STATE.get((before, step)) is after for step in Step):
                    yield f"contract {name}… went from {before.name} to {after.name}"
            if contract.state in PROMISING and (reason := plan.overload(contract.promise)) is not None:
                yield f"contract {name}… is confirmed, and cannot be: {reason.said}"
        self._unchecked.clear()
        for line in self._rights().sold_lines:
            if excess_w := plan.crowding_w(line):
                yield f"channels of {line} and contracts are promised {excess_w} W too much"

    def _weigh(self, contract: Contract | None, sign: int) -> None:
        """Count what a contract may cost its parties, and how much is agreed on, or no more."""
        if contract is None:
            return
        terms = contract.terms
        if contract.state not in FINAL:
            for party, risk in zip((terms.seller, terms.buyer), contract.risks, strict=True):
                self._costs[party] = self._costs.get(party, 0) + sign * risk
                if not self._costs[party]:
                    del self._costs[party]
        agreed = self._agreed.setdefault(_parties(terms), {})
        if sign > 0 and contract.state is not State.REJECTED:
            agreed[contract.digest] = terms
        else:
            agreed.pop(contract.digest, None)
        if not agreed:
            del self._agreed[_parties(terms)]

    def _drawn_up(self, limits: Limits) -> Plan:
        plan = Plan(limits, lambda line: self._rights().channels_of(line))
        for contract in self._bound:
            plan.take(contract.promise)
        return plan

    def _watch(self, digest: bytes, before: Contract | None, after: Contract | None) -> None:
        if before is not None:
            self._leave_out(before)
        if after is None:
            self._unchecked.pop(digest, None)
        else:
            self._unchecked[digest] = after
            self._take_in(after)
        self._weigh(before, -1)
        self._weigh(after, 1)
        was_bound = before is not None and before.state in PROMISING
        is_bound = after is not None and after.state in PROMISING
        if self._plan is not None and was_bound is not is_bound:
            contract = after or before
            assert contract is not None
            self._uncounted.append((contract.promise, is_bound))

    def _take_in(self, contract: Contract) -> None:
        for index in self._indices(contract):
            index.add(contract)
        for span in _spans(contract):
            self._in_span.setdefault(span, {})[contract.place] = contract
        for party in (contract.terms.seller, contract.terms.buyer):
            self._parties.setdefault(party, _OfParty()).add(contract)
        if contract.state is not State.REJECTED:
            for mark in _marks(contract.terms):
                self._negotiated.setdefault(mark, set()).add(contract.digest)
        self._open += contract.state is not State.SETTLED

    def _leave_out(self, contract: Contract) -> None:
        for index in self._indices(contract):
            index.remove(contract)
        for span in _spans(contract):
            del self._in_span[span][contract.place]
            if not self._in_span[span]:
                del self._in_span[span]
        for party in (contract.terms.seller, contract.terms.buyer):
            self._parties[party].remove(contract)
            if not self._parties[party].is_kept:
                del self._parties[party]
        if contract.state is not State.REJECTED:
            for mark in _marks(contract.terms):
                self._negotiated[mark].discard(contract.digest)
                if not self._negotiated[mark]:
                    del self._negotiated[mark]
        self._open -= contract.state is not State.SETTLED

    def _indices(self, contract: Contract) -> Iterator[Sorted]:
        """Those in which a contract is, in the state in which it is."""
        yield self._all
        if contract.state not in FINAL:
            yield self._awake
            yield self._ending
        if contract.state in PROMISING:
            yield self._bound
            if contract.state is not State.DELIVERING:
                yield self._beginning
        if contract.state is State.SETTLED:
            yield self._settled
        if contract.state is State.REJECTED:
            yield self._rejected


class _OfParty:
    """One participant's contracts."""

    def __init__(self) -> None:
        self.urgent = Sorted(lambda one: (one.state is not State.DELIVERING, one.terms.start_ms, one.place))
        """What they deliver or take now, and what they have to soon."""
        self.rest = Sorted(lambda one: (-one.since_ms, -one.place))
        self._settled = 0

    def __len__(self) -> int:
        """How many are not settled."""
        return len(self.urgent) + len(self.rest) - self._settled

    @property
    def is_kept(self) -> bool:
        """Whether there are any at all."""
        return bool(len(self.urgent) or len(self.rest))

    def add(self, contract: Contract) -> None:
        """Take a contract in."""
        self._list_of(contract).add(contract)
        self._settled += contract.state is State.SETTLED

    def remove(self, contract: Contract) -> None:
        """Leave a contract out."""
        self._list_of(contract).remove(contract)
        self._settled -= contract.state is State.SETTLED

    def _list_of(self, contract: Contract) -> Sorted:
        return self.urgent if contract.state in (State.DELIVERING, State.CONFIRMED) else self.rest


def _by_place(contract: Contract) -> Key:
    return (contract.place,)


def _marks(terms: Terms) -> Iterator[Mark]:
    """By what terms are known as those of one negotiation: two that have one mark in common are of the same."""
    one, other = sorted((terms.seller, terms.buyer))
    yield one, other, terms.digest
    if terms.answers != ANSWERS_NOTHING:
        yield one, other, terms.answers
    yield terms.seller, terms.buyer, terms.nonce


def _forgettable_ms(contract: Contract) -> int:
    """From when on nobody can agree again on what was rejected: its offer is void, or its window has begun."""
    return max(contract.since_ms, min(contract.terms.expires_ms, contract.terms.start_ms))


def _spans(contract: Contract) -> range:
    """The hours in which a contract delivers."""
    terms = contract.terms
    if contract.state is State.REJECTED:
        return range(0)
    return range(terms.start_ms // _SPAN_MS, -(-terms.end_ms // _SPAN_MS))


def _parties(terms: Terms) -> frozenset[str]:
    return frozenset((terms.seller, terms.buyer))
