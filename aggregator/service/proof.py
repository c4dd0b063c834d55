"""One file that proves one thing to somebody who has nothing else but the keys of those whom they trust.

A *reading* is proven by the gateway's envelope, its place in the data log, and the row of the state that admits the
gateway's key. Where that key has ended since, a further row says when and why: the log took only what it signed before.
A *balance* is proven by its row of the state, and a *contract* by everything that an arbitrator needs
(`aggregator.service.evidence`). All end in a block head and its *seal*: the node's checkpoint and what
others cosigned, or the commit of a quorum of validators. Verification asks nobody.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aggregator.chains.accounts.rows import ACCOUNTS_TABLE
from aggregator.chains.admission.membership import ENDED_TABLE, KEYS_TABLE, Cause
from aggregator.chains.five import Five
from aggregator.ledger.record import Role
from aggregator.service.evidence import EVIDENCE_FIELDS, evidence_of
from aggregator.service.evidence_check import verify_evidence
from aggregator.service.proven import prove_row, row_from_json, row_json
from aggregator.service.store import Store
from protocol import seal
from protocol.batch import Batch, MeterBlock
from protocol.canonical import decode, encode
from protocol.checkpoint import BlockHead, ChainName
from protocol.cometbft.spelling import decode_light_block, encode_light_block
from protocol.crypto import PublicKey
from protocol.envelope import Envelope
from protocol.errors import EncodingError, EsteError, ProofError
from protocol.fields import items
from protocol.merkle import inclusion_proof, leaf_hash, verify_inclusion
from protocol.quorum import MEMBERS_MAX, Quorum
from protocol.readings import Readings
from protocol.seal import Checkpoints, Commit, Seal

FORMAT: Final = "este-proof-2"
PROOF_BYTES_MAX: Final = 64 << 20
"""The evidence of a contract with very many intervals; a reading or a balance takes some kilobytes."""
FIELDS: Final = frozenset(("format", "region", "head", "seal", "kind"))
FIELDS_OF: Final = {
    "balance": frozenset(("row",)),
    "contract": EVIDENCE_FIELDS,
    "reading": frozenset(("envelope", "index", "path", "key", "ended", "meter", "reading")),
}
"""What a proof of each kind has beside those: a file with anything else in it is not as it was made."""


class NothingToProveError(EsteError):
    """The ledger holds no such reading or balance."""


class NotSealedError(EsteError):
    """The newest block has no seal yet, and older ones cannot be proven from any more: the state has moved on."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What a proof shows, in words and numbers, drawn from its bytes alone."""

    region: str
    height: int
    time_ms: int
    head_digest: bytes
    """Of the block that the proof ends in: which history it is of."""
    signed_by: tuple[str, ...]
    """Members of the quorum who vouch for it."""
    claim: dict[str, object]


def prove_balance(five: Five, store: Store, participant: str, cosignatures: Sequence[bytes] = ()) -> dict[str, Any]:
    """The proof of a participant's balance as of the last block.

    Raises:
        NothingToProveError: the participant has no account.
        NotSealedError: the last block has no seal yet.
        ProofError: a cosignature is of another head.
    """
    if participant not in five.payment.accounts:
        if participant not in five.asset.region.participants:
            raise NothingToProveError(f"no participant {participant} on the asset chain: see este-aggregator balances")
        raise NothingToProveError(f"{participant} has no account: nothing was ever minted, charged or moved")
    row = five.payment.accounts.change(participant)
    return _document(five, store, cosignatures) | {"kind": "balance", "row": row_json(prove_row(five, row))}


def prove_contract(five: Five, store: Store, contract: bytes, cosignatures: Sequence[bytes] = ()) -> dict[str, Any]:
    """The evidence of a contract that is not forgotten, as of the last block.

    Raises:
        EvidenceError: this ledger does not reach back to it, or it has more intervals than a file may.
        NotSealedError: the last block has no seal yet.
        ProofError: a cosignature is of another head.
    """
    return _document(five, store, cosignatures) | {"kind": "contract"} | evidence_of(five, store, contract)


def prove_reading(
    five: Five, store: Store, meter: str, at_ms: int | None, cosignatures: Sequence[bytes] = ()
) -> dict[str, Any]:
    """The proof of a meter's reading: the one at an instant or the last before it, or the newest.

    Raises:
        NothingToProveError: the chain has no such reading.
        NotSealedError: the last block has no seal yet.
        ProofError: a cosignature is of another head.
    """
    asset = five.asset.region.meters.get(meter)
    if asset is None:
        raise NothingToProveError(f"no meter {meter} on the asset chain: see este-aggregator devices")
    for entry in store.entries_of(asset.meter.gateway):
        if entry.chain is not ChainName.DATA or entry.code or entry.height > five.ledger.height:
            continue
        envelope = Envelope.parse(entry.envelope)
        batch = Batch.decode(envelope.payload)
        place = _place_of(batch, meter, at_ms)
        if place is None:
            continue
        key, ended = five.asset.membership.rows_of(envelope.key_id)
        log = five.ledger.logs[ChainName.DATA]
        path = inclusion_proof(store.node_source(ChainName.DATA), entry.index, log.size)
        return _document(five, store, cosignatures) | {
            "kind": "reading",
            "envelope": entry.envelope.hex(),
            "index": entry.index,
            "path": [node.hex() for node in path],
            "key": row_json(prove_row(five, key)),
            "ended": row_json(prove_row(five, ended)) if ended.value is not None else None,
            "meter": meter,
            "reading": place,
        }
    when = "" if at_ms is None else " at or before that time"
    if (begins_at := store.begins_at()) > 1:
        before = f"this ledger begins at block {begins_at}, with a snapshot: another node's may have it"
        raise NothingToProveError(f"no reading of {meter}{when} since; {before}")
    raise NothingToProveError(f"no reading of {meter}{when} is on the chain")


def verify(document: object, trusted: PublicKey | Quorum) -> Proven:
    """See that a proof holds, with nothing but the key of one node, or those of a quorum.

    Raises:
        EsteError: it does not, and why.
    """
    try:
        return _verify(document, trusted)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise EncodingError("not a proof of este: a part is missing, or of another kind") from error


def to_json(document: dict[str, Any]) -> str:
    """A proof as a file."""
    return json.dumps(document, indent=1) + "\n"


def _verify(document: Any, trusted: PublicKey | Quorum) -> Proven:
    if document["format"] != FORMAT:
        raise EncodingError(f"not a proof of este: expected the format {FORMAT}, got {document['format']!r:.40}")
    if foreign := sorted(set(document) - FIELDS - FIELDS_OF[document["kind"]]):
        raise EncodingError(f"no part of a proof, so somebody has changed it: {foreign[0]!r:.40}")
    head = BlockHead.decode(bytes.fromhex(document["head"]))
    if document["region"] != head.region:
        raise ProofError(f"the head is one of region {head.region}, and the file says {document['region']!r:.80}")
    quorum = trusted if isinstance(trusted, Quorum) else Quorum.of_one(head.region, trusted)
    signed_by = seal.verify(_seal_from_json(document["seal"]), quorum, head)
    kinds = {"balance": _verify_balance, "contract": verify_evidence, "reading": _verify_reading}
    claim = kinds[document["kind"]](document, head)
    return Proven(head.region, head.height, head.time_ms, head.digest, signed_by, claim)


def _verify_balance(document: Any, head: BlockHead) -> dict[str, object]:
    row = row_from_json(document["row"])
    row.verify(head.state_root)
    table, participant = decode(row.key, size_max=1 << 10)
    if table != ACCOUNTS_TABLE:
        raise ProofError("the row is proven, but it is no account")
    (balance,) = decode(row.value, size_max=1 << 10)
    return {"participant": participant, "balance": balance}


def _verify_reading(document: Any, head: BlockHead) -> dict[str, object]:
    envelope = Envelope.parse(bytes.fromhex(document["envelope"]))
    log = head.log(ChainName.DATA)
    verify_inclusion(
        hash_of_leaf=leaf_hash(envelope.data),
        index=document["index"],
        size=log.size,
        proof=[bytes.fromhex(node) for node in document["path"]],
        root=log.root,
    )
    row = row_from_json(document["key"])
    row.verify(head.state_root)
    gateway, role, point = decode(row.value, size_max=1 << 10)
    if row.key != encode([KEYS_TABLE, envelope.key_id]) or role != Role.GATEWAY:
        raise ProofError("the row is proven, but it does not admit the gateway's key")
    envelope.verify(PublicKey(point), head.region)
    batch = Batch.decode(envelope.payload)
    block = next((block for block in batch.meters if block.meter == document["meter"]), None)
    if block is None:
        raise ProofError("the batch is proven, but it holds no reading of that meter")
    claim = {"gateway": gateway, "meter": block.meter} | _reading(batch, block, document["reading"])
    return claim | _verify_end(document.get("ended"), envelope.key_id, head)


def _verify_end(document: Any, key_id: bytes, head: BlockHead) -> dict[str, object]:
    """What there is to say about a key that has ended since it signed the reading."""
    if document is None:
        return {}
    row = row_from_json(document)
    row.verify(head.state_root)
    if row.key != encode([ENDED_TABLE, key_id]):
        raise ProofError("the row is proven, but it is not the end of the gateway's key")
    height, cause, _ = decode(row.value, size_max=1 << 10)
    return {"key_ended": Cause(cause).name.lower(), "key_ended_after_block": height}


def _reading(batch: Batch, block: MeterBlock, place: int) -> dict[str, object]:
    values = {quantity.name.lower(): column[place] for quantity, column in sorted(block.columns.items())}
    words = {f"{quantity.name.lower()}_words": block.words_of(quantity, place).hex() for quantity in block.words}
    claim = {"serial": block.serial} | _instants(block, place, batch.clock.epoch_ms) | values | words
    return claim | (_slow(batch, block.slow, block.first_ms + block.starts_ms[place]) if block.slow else {})


def _slow(batch: Batch, slow: Readings, until_ms: int) -> dict[str, object]:
    """The last slow reading of a batch that began no later than `until_ms` on the boot's clock, if one did."""
    place = bisect_right(slow.starts_ms, until_ms - slow.first_ms) - 1
    if place < 0:
        return {}
    values = {quantity.name.lower(): column[place] for quantity, column in sorted(slow.columns.items())}
    return {f"slow_{name}": value for name, value in (_instants(slow, place, batch.clock.epoch_ms) | values).items()}


def _instants(readings: Readings, place: int, epoch_ms: int) -> dict[str, object]:
    """When a reading was taken, UTC; where it took several requests, also when each was, and what came with it."""
    spans = [(epoch_ms + start, epoch_ms + end) for start, end in readings.spans_ms(place)]
    instants: dict[str, object] = {"start_ms": spans[0][0], "end_ms": spans[-1][1]}
    for request, (start, end) in enumerate(spans if len(spans) > 1 else ()):
        told = ", ".join(quantity.name.lower() for quantity in readings.brought_by(request))
        part = f"part_{request + 1}"
        instants |= {f"{part}_start_ms": start, f"{part}_end_ms": end, f"{part}_quantities": told}
    return instants


def _place_of(batch: Batch, meter: str, at_ms: int | None) -> int | None:
    """Where in a batch the reading stands that was asked for."""
    block = next((block for block in batch.meters if block.meter == meter), None)
    if block is None:
        return None
    first_ms = batch.clock.epoch_ms + block.first_ms
    places = [i for i, start in enumerate(block.starts_ms) if at_ms is None or first_ms + start <= at_ms]
    return places[-1] if places else None


def _document(five: Five, store: Store, cosignatures: Sequence[bytes]) -> dict[str, Any]:
    stored = store.block(five.ledger.height)
    assert stored is not None, "the last block is there"
    head, checkpoint = stored
    found = _seal_of(store, five.ledger.height, checkpoint, cosignatures)
    for data in cosignatures:
        if seal.read_checkpoint(data).payload != head:
            raise ProofError(f"a cosignature is of another head than that of block {five.ledger.height}, the newest")
    return {"format": FORMAT, "region": five.ledger.region, "head": head.hex(), "seal": _seal_json(found)}


def _seal_of(store: Store, height: int, checkpoint: bytes, cosignatures: Sequence[bytes]) -> Seal:
    """The stored seal of a block, or its node's checkpoint with what others cosigned.

    Where validators seal the blocks, nothing less than their commit will do: a row can be proven as of the newest block
    only, and if that is not sealed yet, there is nothing to prove it with.
    """
    data, last = store.seal(height), store.last_sealed_height()
    if data is None and last is not None and isinstance(seal.decode_seal(store.seal(last) or b""), Commit):
        raise NotSealedError(
            f"block {height} is not sealed yet, the last one that is is {last}: wait a second, or run a node"
        )
    found = seal.decode_seal(data) if data is not None else Checkpoints((checkpoint,) if checkpoint else ())
    if isinstance(found, Commit):
        if cosignatures:
            raise ProofError(f"block {height} is sealed by validators: cosignatures add nothing to it")
        return found
    envelopes = tuple(dict.fromkeys((*found.envelopes, *cosignatures)))
    if not envelopes:
        raise NotSealedError(f"block {height} is not sealed yet: wait a second, or run a node")
    return Checkpoints(envelopes)


def _seal_json(found: Seal) -> dict[str, object]:
    match found:
        case Checkpoints(envelopes):
            return {"kind": "checkpoint", "envelopes": [data.hex() for data in envelopes]}
        case Commit(block):
            return {"kind": "cometbft", "light_block": encode_light_block(block).hex()}


def _seal_from_json(value: Any) -> Seal:
    match value["kind"]:
        case "checkpoint":
            return Checkpoints(tuple(bytes.fromhex(data) for data in items(value["envelopes"], "seal", MEMBERS_MAX)))
        case "cometbft":
            return Commit(decode_light_block(bytes.fromhex(value["light_block"])))
        case other:
            raise EncodingError(f"a seal of an unknown kind, {other!r:.40}")
