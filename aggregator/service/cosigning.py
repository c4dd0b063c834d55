"""A member's cosignature: whoever has audited a ledger vouches for its newest block with a key of their own.

It is a checkpoint like the node's, by another key. Who cosigns needs no network and no place on the asset chain, only
the ledger: an exported folder will do. What counts is whose keys the verifier's quorum names.
"""

from __future__ import annotations

from aggregator.service.audit import AuditReport, audit
from aggregator.service.replay import Progress
from aggregator.service.store import Store
from protocol.checkpoint import BlockHead, contradicts
from protocol.crypto import SigningKey
from protocol.envelope import seal
from protocol.errors import EsteError
from protocol.messages import MessageType
from protocol.seal import read_checkpoint


class ForkedError(EsteError):
    """The ledger does not go on from what was cosigned before: two histories, of which one is to be signed again."""


def cosign(
    store: Store,
    key: SigningKey,
    before: bytes | None,
    *,
    second_opinion: bool = False,
    progress: Progress = lambda _done, _of: None,
) -> tuple[bytes, AuditReport]:
    """Audit a ledger, and vouch for its newest block.

    Args:
        store: the ledger, read-only.
        key: of whoever vouches.
        before: the last cosignature that they gave, so that they never vouch for two histories.
        second_opinion: verify every signature once more, with another library.
        progress: called after every block.

    Returns:
        The cosignature, and what the audit found.

    Raises:
        ForkedError: the ledger is not the one that `before` vouches for.
        AuditError: at the first thing that does not fit.
        SignatureError: `before` is not signed with this key.
        EncodingError: `before` is no cosignature.
    """
    if before is not None:
        _see_that_it_goes_on(store, key, before)
    report = audit(store, second_opinion=second_opinion, progress=progress)
    found = store.block(report.blocks)
    assert found is not None, "what was audited is there"
    signed = seal(key, region=report.region, type_=MessageType.CHECKPOINT, payload=found[0])
    return signed, report


def _see_that_it_goes_on(store: Store, key: SigningKey, before: bytes) -> None:
    envelope = read_checkpoint(before)
    old = BlockHead.decode(envelope.payload)
    envelope.verify(key.public_key, old.region)
    found = store.block(old.height)
    if found is None:
        raise ForkedError(f"the ledger ends before block {old.height}, for which this key has vouched")
    new = BlockHead.decode(found[0])
    if new != old:
        why = contradicts(old, new) or f"of another region, {new.region}"
        raise ForkedError(f"the ledger is not the one for which this key has vouched: {why}. Keep both, as evidence")
