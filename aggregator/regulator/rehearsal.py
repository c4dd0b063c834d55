"""A record of the regulator's, tried against the ledger's own rules before it leaves.

A record that no node would take must not be signed and sent: its number would be used up by words that never get onto a
chain, and what was signed is sent again before anything else is.
"""

from __future__ import annotations

from aggregator.chains.five import Five
from protocol.errors import EsteError
from protocol.refusals import Refused


class WouldBeRefusedError(EsteError):
    """The ledger's rules say no to what the regulator asks for."""


def rehearse(five: Five, envelope: bytes) -> None:
    """See that the ledger would let a record take effect now, as things stand after the last block.

    Nothing of it stays. A record that others send meanwhile may change the answer, so it can be refused all the same.

    Raises:
        WouldBeRefusedError: it would not.
    """
    ledger = five.ledger
    assert ledger.head is not None, "a region has a genesis"
    try:
        record = ledger.check(envelope)
        (outcome,) = ledger.finalize(ledger.head.time_ms, [record]).outcomes
        ledger.abandon()
        if outcome.refusal is not None:
            raise Refused(outcome.refusal, outcome.detail)
    except Refused as refusal:
        raise WouldBeRefusedError(f"the ledger would refuse it: {refusal}") from refusal
