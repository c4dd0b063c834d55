"""Which contract somebody means: its number is long, and how it begins is enough."""

from __future__ import annotations

from typing import Final

from aggregator.chains.contracts.rows import Contract
from aggregator.chains.five import Five
from protocol.errors import EsteError

DIGITS_MIN: Final = 4


class ContractError(EsteError):
    """There is no such contract, or more than one."""


def find(five: Five, number: str) -> Contract:
    """The contract whose number begins like this.

    Raises:
        ContractError: there is none, or several.
    """
    wanted = number.lower().rstrip("….")
    found = [one for one in five.operation.contracts.book.in_order() if one.digest.hex().startswith(wanted)]
    if len(wanted) >= DIGITS_MIN and len(found) == 1:
        return found[0]
    told = f"a number that begins with {number!r:.70}: see este-aggregator contracts"
    if len(found) > 1:
        raise ContractError(f"several contracts have {told}")
    forgotten = "what is settled is forgotten once it cannot be restated any more, and what is rejected, soon"
    raise ContractError(f"the ledger knows no contract with {told}; {forgotten}")
