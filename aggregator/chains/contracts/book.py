"""All contracts of a region that are not forgotten, with what follows from them: who is awake, and what is promised.

The table is the state. The indices beside it are told of every row that changes, also when a change is taken back, so
that they always say what could be read from the table at length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from operator import attrgetter
from typing import Any, Final

from aggregator.chains.contracts.limits import limits_of
from aggregator.chains.contracts.rows import Contract, read_contract, spell_contract
from aggregator.chains.region import Region
from aggregator.economy.contracts.feasibility import Limits, Plan, Promise
from aggregator.economy.contracts.states import FINAL, NEXT_STATE, PROMISING, State, Step
from aggregator.ledger.table import Journal, Table, WatchedTable

CONTRACTS_TABLE: Final = 42

CONTRACTS_MAX: Final = 100_000
"""That are neither settled nor rejected, at a time."""

_by_place: Callable[[Contract], int] = attrgetter("place")


class ContractBook:
    """Contracts, by the digest of their terms."""

    def __init__(self, journal: Journal) -> None:
        """There are none."""
        self.rows: WatchedTable[Contract] = WatchedTable(
            CONTRACTS_TABLE, journal, spell=spell_contract, read=read_contract, watch=self._watch
        )
        self.tables: Mapping[int, Table[Any, Any]] = {CONTRACTS_TABLE: self.rows}
        self._awake: dict[bytes, Contract] = {}
        self._bound: dict[bytes, Contract] = {}
        self._plan: tuple[Region, Plan] | None = None
        self._uncounted: list[tuple[Promise, bool]] = []
        """Promises that were taken (true) or released since the plan was drawn up."""
        self._unchecked: dict[bytes, Contract] = {}
        """That have changed since invariants were asked last."""

    def in_order(self) -> list[Contract]:
        """All of them, first agreed first."""
        return sorted((self.rows[digest] for digest in self.rows), key=_by_place)

    def awake(self) -> list[Contract]:
        """Those that something can still happen to, first agreed first."""
        return sorted(self._awake.values(), key=_by_place)

    @property
    def is_full(self) -> bool:
        """Whether there may be no more for now."""
        return len(self._awake) >= CONTRACTS_MAX

    def has_room_beside(self, others: int) -> bool:
        """Whether there may be one more for now, beside so many that are being made."""
        return len(self._awake) + others < CONTRACTS_MAX

    def plan(self, region: Region) -> Plan:
        """What all contracts promise that are confirmed, or wait for approval."""
        if self._plan is None or self._plan[0] is not region:
            self._plan = (region, self._drawn_up(limits_of(region)))
        else:
            for promise, is_taken in self._uncounted:
                (self._plan[1].take if is_taken else self._plan[1].release)(promise)
        self._uncounted.clear()
        return self._plan[1]

    def bound(self) -> list[Contract]:
        """Those for which devices and lines are kept free, first agreed first."""
        return sorted(self._bound.values(), key=_by_place)

    def of_parties(self) -> Mapping[str, list[Contract]]:
        """Everybody's contracts: what something can still happen to first, and the latest first among equals."""
        found: dict[str, list[Contract]] = {}
        for contract in sorted(self.in_order(), key=lambda one: (one.state in FINAL, -one.since_ms, -one.place)):
            for party in (contract.terms.seller, contract.terms.buyer):
                found.setdefault(party, []).append(contract)
        return found

    def to_begin(self, time_ms: int) -> list[Contract]:
        """Those whose window has begun, and which do not deliver yet."""
        bound = self._bound.values()
        return [one for one in bound if one.state is not State.DELIVERING and one.terms.start_ms <= time_ms]

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

    def _drawn_up(self, limits: Limits) -> Plan:
        plan = Plan(limits)
        for contract in self.bound():
            plan.take(contract.promise)
        return plan

    def _watch(self, digest: bytes, before: Contract | None, after: Contract | None) -> None:
        if after is None:
            self._unchecked.pop(digest, None)
        else:
            self._unchecked[digest] = after
        if after is None or after.state in FINAL:
            self._awake.pop(digest, None)
        else:
            self._awake[digest] = after
        was_bound, is_bound = (
            before is not None and before.state in PROMISING,
            after is not None and after.state in PROMISING,
        )
        if was_bound and before is not None:
            del self._bound[digest]
            if not is_bound and self._plan is not None:
                self._uncounted.append((before.promise, False))
        if is_bound and after is not None:
            self._bound[digest] = after
            if not was_bound and self._plan is not None:
                self._uncounted.append((after.promise, True))
