"""What a dispute costs whoever has no reason for it: tokens are put down with it, and come back, or do not.

They come back where the regulator's word is worth more to the party than what was measured, in money, once all of the
contract's intervals are closed; and where the regulator has said nothing in time, which no party is to blame for.
"""

from __future__ import annotations

from aggregator.chains.accounts.deposits import Deposit
from aggregator.chains.contracts.closing import Closing
from aggregator.chains.contracts.purse import Purse
from aggregator.chains.contracts.rows import Contract
from protocol.canonical import encode
from protocol.refusals import RefusalCode, Refused


def put_down(contract: bytes, participant: str, tokens: int, purse: Purse, time_ms: int) -> list[bytes]:
    """Take a deposit for the dispute of a contract; the leaves say so.

    Raises:
        Refused: the account does not hold it (190).
    """
    balance = purse.balance(participant)
    if balance < tokens:
        detail = f"a deposit of {tokens}, the balance is {balance}"
        raise Refused(RefusalCode.DEPOSIT_NOT_COVERED, detail)
    if not tokens:
        return []
    return list(purse.move(purse.deposits.put_down(contract, Deposit(participant, tokens), balance), time_ms))


def end_deposit(contract: Contract, closing: Closing, purse: Purse, ceiling: int) -> list[bytes]:
    """Give back what was put down for a contract that is settled now, or leave it to the reserve; the leaves say so."""
    deposit = purse.deposits.rows.get(contract.digest)
    if deposit is None:
        return []
    is_returned = contract.ruling is None or closing.favours(contract, deposit.participant)
    leaf = encode(["deposit", contract.digest, deposit.participant, deposit.tokens, is_returned])
    if not is_returned:
        purse.deposits.forfeit(contract.digest)
        return [leaf]
    back = purse.deposits.give_back(contract.digest, purse.balance(deposit.participant), ceiling)
    return [leaf, *purse.move(back, closing.interval.end_ms)]
