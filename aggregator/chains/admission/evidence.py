"""What two envelopes prove against the key that signed both: a past that contradicts another one, or nothing."""

from __future__ import annotations

from aggregator.chains.admission.membership import Membership
from aggregator.ledger.record import ONE_PER_NUMBER
from protocol.envelope import Envelope
from protocol.errors import SignatureError
from protocol.evidence import contradiction


def acquittal(shown: tuple[Envelope, Envelope], membership: Membership, region: str) -> str | None:
    """Why two envelopes prove nothing against a key that was admitted; None if they do."""
    first, second = shown
    if second.key_id != first.key_id:
        return "two keys: each may have a past of its own"
    holder = membership.holder_of(first.key_id)
    if holder is None:
        return "a key that was never admitted"
    try:
        first.verify(holder.key, region)
        second.verify(holder.key, region)
    except SignatureError as error:
        return f"not both signed by {holder.name} for {region}: {error}"
    found = contradiction(first, second, region=region, name=holder.name, records=ONE_PER_NUMBER[holder.role])
    return "both can be honest" if found is None else None
