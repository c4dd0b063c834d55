"""The evidence of one contract: all that an arbitrator or a court needs, each part with its way to one block head.

*Signed* are the records that hold the terms with both parties' signatures (an agreement with the offer in it, or the
two quotes of a match), and whatever parties and regulator signed about the contract since, with the rows that admit
their keys. *Stated* are the leaves that say what became of it: verdict, deliveries interval by interval, bills. The
*row* is the contract as the state has it; deliveries and bills have to add up to it, so none can be left out. *Metered*
is what the parties' meters counted in each interval, with the way to the root that the state keeps of it: other
households' rows of the same interval are not shown. `aggregator.service.evidence_check` takes it apart again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from aggregator.chains.contracts.orders import Approval, Arbitration
from aggregator.chains.contracts.rows import Contract
from aggregator.chains.five import Five
from aggregator.chains.metering.interval_energy import prove_row
from aggregator.ledger.record import RECORD_BYTES_MAX
from aggregator.service import proven
from aggregator.service.proven import leaf_json, row_json
from aggregator.service.stated import energies_of
from aggregator.service.store import Store
from protocol.agreement import Agreement, Dispute, Termination
from protocol.canonical import decode
from protocol.checkpoint import ChainName
from protocol.crypto import digest_of
from protocol.envelope import Envelope
from protocol.errors import EncodingError, EsteError
from protocol.messages import MessageType

EVIDENCE_FIELDS: Final = frozenset(("contract", "row", "keys", "signed", "stated", "metered"))
INTERVALS_MAX: Final = 3_000
"""Of one contract's evidence: with some kilobytes for each, a file that can still be handed over."""
LEAVES_MAX: Final = 100_000

ABOUT: Final[Mapping[str, Callable[[bytes], Termination | Dispute | Arbitration | Approval]]] = {
    MessageType.TERMINATION: Termination.decode,
    MessageType.DISPUTE: Dispute.decode,
    MessageType.ARBITRATION: Arbitration.decode,
    MessageType.APPROVAL: Approval.decode,
}
"""Records about a contract that was agreed, by their types."""
STATED: Final = ("contract", "delivered", "bill")
"""Words that leaves about a contract begin with."""


class EvidenceError(EsteError):
    """A ledger does not hold all of a contract's evidence, or more than a file may."""


def evidence_of(five: Five, store: Store, contract: bytes) -> dict[str, Any]:
    """Put a contract's evidence together, as of the last block.

    Args:
        five: the chains as of then.
        store: whose history reaches back to the agreement.
        contract: its number; it is not forgotten.

    Raises:
        EvidenceError: the history begins later, or there are more intervals than a file may hold.
    """
    held = five.operation.contracts.book.rows[contract]
    signed = [
        (index, body) for index, body in _signed(store, held) if index < five.ledger.logs[ChainName.OPERATION].size
    ]
    if not any(_is_origin(body) for _, body in signed):
        raise EvidenceError("this ledger does not reach back to the contract's agreement: ask another node's")
    key_ids = sorted({key_id for _, body in signed for key_id in _key_ids(body)})
    return {
        "contract": contract.hex(),
        "row": row_json(proven.prove_row(five, five.operation.contracts.book.rows.change(contract))),
        "keys": [row_json(proven.prove_row(five, five.asset.membership.rows_of(key_id)[0])) for key_id in key_ids],
        "signed": [leaf_json(five, store, ChainName.OPERATION, index, body) for index, body in signed],
        "stated": {
            chain.name.lower(): [
                leaf_json(five, store, chain, leaf.index, leaf.body)
                for leaf in store.leaves_with(chain, contract)
                if leaf.height <= five.ledger.height and word_of(leaf.body) in STATED
            ]
            for chain in (ChainName.OPERATION, ChainName.ANALYSIS)
        },
        "metered": list(_metered(five, store, held)),
    }


def _signed(store: Store, contract: Contract) -> Iterator[tuple[int, bytes]]:
    """The records that a contract rests on, in the order of the log; with the match of two quotes behind them."""
    spelled, quotes = contract.terms.encode(), set[bytes]()
    for leaf in store.leaves_with(ChainName.OPERATION, spelled):
        if word_of(leaf.body) == "match":
            quotes = set(decode(leaf.body, size_max=RECORD_BYTES_MAX)[2:4])
        if word_of(leaf.body) == "match" or type_of(leaf.body) == MessageType.AGREEMENT:
            yield leaf.index, leaf.body
    for leaf in store.leaves(ChainName.OPERATION) if quotes else ():
        if digest_of(leaf.body) in quotes:
            yield leaf.index, leaf.body
    for leaf in store.leaves_with(ChainName.OPERATION, contract.digest):
        if type_of(leaf.body) in ABOUT:
            yield leaf.index, leaf.body


def _metered(five: Five, store: Store, contract: Contract) -> Iterator[dict[str, object]]:
    """What the parties' meters of the network counted in each interval that the state still knows."""
    region, terms, data = five.asset.region, contract.terms, five.data
    meters = {
        meter.id
        for meter in region.grid.meters
        if not meter.branch
        and meter.participant in (terms.seller, terms.buyer)
        and region.carriers[meter.node].value == terms.carrier
    }
    starts = [start for start in data.late.closed if terms.start_ms <= start < contract.ended_ms]
    if len(starts) > INTERVALS_MAX:
        raise EvidenceError(f"{len(starts)} intervals, where a file of evidence holds {INTERVALS_MAX} at most")
    for start_ms in sorted(starts):
        energies = energies_of(store, data, start_ms)
        if energies is None:
            raise EvidenceError("this ledger does not reach back to the contract's intervals: ask another node's")
        rows = {meter: prove_row(energies, meter) for meter in sorted(meters & set(energies))}
        yield {
            "closed": row_json(proven.prove_row(five, data.late.closed.change(start_ms))),
            "rows": [
                {"meter": meter, "index": one.index, "energy": list(one.energy.amounts),
                 "path": [node.hex() for node in one.path]}
                for meter, one in rows.items()
            ],
        }  # fmt: skip


def word_of(body: bytes) -> str | None:
    """The word that a leaf of the chains' own begins with; None for a record."""
    try:
        leaf = decode(body, size_max=RECORD_BYTES_MAX)
    except EncodingError:
        return None
    return leaf[0] if type(leaf) is list and leaf and type(leaf[0]) is str else None


def type_of(body: bytes) -> str | None:
    """The type of a record; None for other leaves."""
    try:
        return Envelope.parse(body, size_max=RECORD_BYTES_MAX).type
    except EncodingError:
        return None


def _is_origin(body: bytes) -> bool:
    return word_of(body) == "match" or type_of(body) == MessageType.AGREEMENT


def _key_ids(body: bytes) -> Iterator[bytes]:
    """By which keys a record, and an offer in it, are signed."""
    try:
        envelope = Envelope.parse(body, size_max=RECORD_BYTES_MAX)
    except EncodingError:
        return
    yield envelope.key_id
    if envelope.type == MessageType.AGREEMENT:
        yield Agreement.decode(envelope.payload).offer.key_id
