"""The one table of a contract's states: which step leads from where to where, and who may make it.

Everything else about the order of things is drawn from here: the rules of the operation chain ask it, the diagrams in
the documentation are made from it, and tests walk it at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from protocol.contract_news import ContractState

State = ContractState
"""The states; they stand in `protocol`, since parties are told them."""


class Step(IntEnum):
    """What happens to a contract."""

    AGREE = 1
    VERIFY = 2
    REJECT = 3
    CONFIRM = 4
    BEGIN = 5
    FULFIL = 6
    BREACH = 7
    TERMINATE = 8
    DISPUTE = 9
    ARBITRATE = 10
    SETTLE = 11
    APPROVE = 12
    LAPSE = 13
    WITHDRAW = 14


class Maker(IntEnum):
    """Who makes a step."""

    OTHER_PARTY = 1
    """The party that did not make the offer."""
    PARTY = 2
    """Either party."""
    VERDICT = 3
    """The rules of feasibility, which every node asks for itself."""
    BLOCK = 4
    """The block that holds the agreement."""
    CLOCK = 5
    """The time of the blocks, and how far intervals have been closed."""
    METERS = 6
    """What meters say of the window's intervals, once they are closed, or stated once more."""
    REGULATOR = 7

    @property
    def said(self) -> str:
        """As a sentence names them."""
        return "the " + self.name.lower().replace("_", " ") if self is not Maker.PARTY else "either party"


MAKER: Final[Mapping[Step, Maker]] = {
    Step.AGREE: Maker.OTHER_PARTY,
    Step.VERIFY: Maker.VERDICT,
    Step.REJECT: Maker.VERDICT,
    Step.CONFIRM: Maker.BLOCK,
    Step.BEGIN: Maker.CLOCK,
    Step.FULFIL: Maker.METERS,
    Step.BREACH: Maker.METERS,
    Step.TERMINATE: Maker.PARTY,
    Step.DISPUTE: Maker.PARTY,
    Step.ARBITRATE: Maker.REGULATOR,
    Step.SETTLE: Maker.CLOCK,
    Step.APPROVE: Maker.REGULATOR,
    Step.LAPSE: Maker.CLOCK,
    Step.WITHDRAW: Maker.PARTY,
}
"""Who may make each step."""

NEXT_STATE: Final[Mapping[tuple[State, Step], State]] = {
    (State.OFFERED, Step.AGREE): State.AGREED,
    (State.AGREED, Step.VERIFY): State.VERIFIED,
    (State.AGREED, Step.REJECT): State.REJECTED,
    (State.VERIFIED, Step.CONFIRM): State.CONFIRMED,
    (State.VERIFIED, Step.APPROVE): State.CONFIRMED,
    (State.VERIFIED, Step.LAPSE): State.REJECTED,
    (State.VERIFIED, Step.WITHDRAW): State.REJECTED,
    (State.CONFIRMED, Step.BEGIN): State.DELIVERING,
    (State.CONFIRMED, Step.TERMINATE): State.TERMINATED,
    (State.DELIVERING, Step.TERMINATE): State.TERMINATED,
    (State.DELIVERING, Step.FULFIL): State.FULFILLED,
    (State.DELIVERING, Step.BREACH): State.BREACHED,
    (State.FULFILLED, Step.BREACH): State.BREACHED,
    (State.BREACHED, Step.FULFIL): State.FULFILLED,
    (State.FULFILLED, Step.DISPUTE): State.DISPUTED,
    (State.BREACHED, Step.DISPUTE): State.DISPUTED,
    (State.TERMINATED, Step.DISPUTE): State.DISPUTED,
    (State.DISPUTED, Step.ARBITRATE): State.ARBITRATED,
    (State.FULFILLED, Step.SETTLE): State.SETTLED,
    (State.BREACHED, Step.SETTLE): State.SETTLED,
    (State.TERMINATED, Step.SETTLE): State.SETTLED,
    (State.DISPUTED, Step.SETTLE): State.SETTLED,
    (State.ARBITRATED, Step.SETTLE): State.SETTLED,
}
"""Where each step leads. What is not here cannot happen."""

RESPONSIBLE: Final[Mapping[State, str]] = {
    State.REJECTED: "nobody: neither party owes the other anything, and the fee for the place in the block is paid",
    State.BREACHED: "whoever fell short of the other: the seller who fed in less, or the buyer who took less",
    State.TERMINATED: "the party that ended it",
    State.ARBITRATED: "whom the regulator names",
}
"""Who answers for each way in which a contract can fail."""

FINAL: Final = frozenset(state for state in State if not any(begin is state for begin, _ in NEXT_STATE))
"""States that nothing leads out of."""

BINDING: Final = frozenset((State.CONFIRMED, State.DELIVERING))
"""States in which the parties are bound to deliver and to take what is still to come."""

PROMISING: Final = BINDING | {State.VERIFIED}
"""States in which devices and lines are kept free for a contract: also while it waits for approval."""


def steps_from(state: State) -> tuple[Step, ...]:
    """The steps that can be made in a state, in their order."""
    return tuple(step for begin, step in NEXT_STATE if begin is state)
