"""What a statement tells a party's people of its contracts: where each stands, what it promises, why one cannot be.

What their devices are to do about all of them together is a `Duty`. Format: docs/spec/este.cddl.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocol.canonical import Value
from protocol.contract import CARRIERS
from protocol.errors import EncodingError
from protocol.fields import digest, integer, optional, row, text, uint
from protocol.refusals import RefusalCode

NEWS_MAX: Final = 16
"""Contracts of one participant that a statement tells of."""
NEWS_PER_STATEMENT_MAX: Final = 400
WHY_MAX: Final = 160


class ContractState(IntEnum):
    """Where a contract stands. Numbers are part of the wire format and are never reused."""

    OFFERED = 1
    """Signed by one party. Nothing of it stands on a chain yet."""
    AGREED = 2
    """Signed by both."""
    VERIFIED = 3
    """It can be, beside everything that was confirmed before."""
    REJECTED = 4
    """It cannot be, for a reason that names the rule."""
    CONFIRMED = 5
    """It counts, and waits for its window."""
    DELIVERING = 6
    """Its window has begun: the seller is to feed in, the buyer to take."""
    FULFILLED = 7
    """All of it was delivered and taken."""
    BREACHED = 8
    """Less was delivered or taken."""
    TERMINATED = 9
    """A party ended it early."""
    DISPUTED = 10
    """A party does not accept what was measured."""
    ARBITRATED = 11
    """The regulator has said what counts."""
    SETTLED = 12
    """Who owes whom how much is in the books."""


@dataclass(frozen=True, slots=True)
class ContractNews:
    """One contract, as one of its parties is told of it."""

    contract: bytes
    """Its number."""
    state: ContractState
    since_ms: int
    power_w: int
    """What the participant is to feed in all through the window, on average; below 0, to take."""
    start_ms: int
    end_ms: int
    """Of what is left of the window; does not belong to it."""
    rule: RefusalCode | None = None
    """By which it was rejected."""
    why: str = ""
    """Line or participant, interval, and by how much, for people."""
    carrier: str = CARRIERS[0]
    """One of `CARRIERS`."""

    def spell(self) -> Value:
        """As a statement holds it."""
        rule = None if self.rule is None else self.rule.value
        what: list[Value] = [self.contract, self.state.value, self.since_ms, self.power_w]
        return [*what, self.start_ms, self.end_ms, rule, self.why, CARRIERS.index(self.carrier)]

    @classmethod
    def read(cls, value: Value) -> ContractNews:
        """Read what `spell` spells.

        Raises:
            EncodingError: it is not that.
        """
        contract, state, since_ms, power_w, start_ms, end_ms, rule, why, carrier = row(value, "contract", 9)
        return cls(
            contract=digest(contract, "contract"),
            state=_read_state(state),
            since_ms=uint(since_ms, "since"),
            power_w=integer(power_w, "power"),
            start_ms=uint(start_ms, "start"),
            end_ms=uint(end_ms, "end"),
            rule=optional(rule, _read_rule, "rule"),
            why=text(why, "why", WHY_MAX),
            carrier=CARRIERS[uint(carrier, "carrier", len(CARRIERS) - 1)],
        )


def _read_state(value: Value) -> ContractState:
    try:
        return ContractState(uint(value, "state"))
    except ValueError as error:
        raise EncodingError(f"no state of a contract has the number {value}") from error


def _read_rule(value: Value, what: str) -> RefusalCode:
    try:
        return RefusalCode(uint(value, what))
    except ValueError as error:
        raise EncodingError(f"no refusal has the number {value}") from error
