"""The evidence of one contract: all that an arbitrator or a court needs, each part with its way to one block head.

*Signed* are the records that hold the terms with both parties' signatures (an agreement with the offer in it, or the
two quotes of a match), and whatever parties and regulator signed about the contract since, with the rows that admit
their keys. *Stated* are the leaves that say what became of it: verdict, deliveries interval by interval, bills. The
*row* is the contract as the state has it; deliveries and bills have to add up to it, so none can be left out. *Metered*
is what the parties' meters counted in each interval, with the way to the root that the state keeps of it: other
households' rows of the same interval are not shown. Verification asks nobody; `aggregator.service.proof` does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aggregator.chains.admission.membership import KEYS_TABLE
from aggregator.chains.contracts.book import CONTRACTS_TABLE
from aggregator.chains.contracts.orders import Approval, Arbitration
from aggregator.chains.contracts.rows import Contract, read_contract
from aggregator.chains.five import Five
from aggregator.chains.metering.interval_energy import IntervalEnergy, prove_row, row_hash
from aggregator.chains.metering.late import CLOSED_TABLE
from aggregator.economy.contracts.bill import NO_BILL, Bill
from aggregator.economy.contracts.delivery import NOTHING, Amounts
from aggregator.ledger.record import RECORD_BYTES_MAX
from aggregator.service import proven
from aggregator.service.proven import leaf_from_json, leaf_json, row_from_json, row_json
from aggregator.service.stated import energies_of
from aggregator.service.store import Store
from protocol.agreement import Agreement, Dispute, Termination
from protocol.canonical import decode, encode
from protocol.checkpoint import BlockHead, ChainName
from protocol.crypto import PublicKey, digest_of
from protocol.envelope import Envelope
from protocol.errors import EncodingError, EsteError, ProofError
from protocol.fields import items, name, uint
from protocol.merkle import verify_inclusion
from protocol.messages import MessageType
from protocol.money import said

EVIDENCE_FIELDS: Final = frozenset(("contract", "row", "keys", "signed", "stated", "metered"))
INTERVALS_MAX: Final = 3_000
"""Of one contract's evidence: with some kilobytes for each, a file that can still be handed over."""
LEAVES_MAX: Final = 100_000

_ABOUT: Final[Mapping[str, Callable[[bytes], Termination | Dispute | Arbitration | Approval]]] = {
    MessageType.TERMINATION: Termination.decode,
    MessageType.DISPUTE: Dispute.decode,
    MessageType.ARBITRATION: Arbitration.decode,
    MessageType.APPROVAL: Approval.decode,
}
_STATED: Final = ("contract", "delivered", "bill")


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
                if leaf.height <= five.ledger.height and _word_of(leaf.body) in _STATED
            ]
            for chain in (ChainName.OPERATION, ChainName.ANALYSIS)
        },
        "metered": list(_metered(five, store, held)),
    }


def verify_evidence(document: Any, head: BlockHead) -> dict[str, object]:
    """See that evidence is whole, and that all of it is in the history that ends in a head.

    Returns:
        What it shows, in words and numbers.

    Raises:
        EsteError: something is not in that history, is not signed, is about another contract, or is left out.
    """
    number = bytes.fromhex(document["contract"])
    row = row_from_json(document["row"])
    row.verify(head.state_root)
    if row.key != encode([CONTRACTS_TABLE, number]):
        raise ProofError("the row is proven, but it is not that of the contract")
    contract = read_contract(decode(row.value, size_max=RECORD_BYTES_MAX))
    keys = dict(_key_of(one, head) for one in items(document["keys"], "keys", LEAVES_MAX))
    signatures = _Signatures(contract, keys, head.region)
    for leaf in items(document["signed"], "signed", LEAVES_MAX):
        signatures.take(leaf_from_json(leaf, ChainName.OPERATION, head))
    _check_stated(document["stated"], contract, head)
    return _claim(contract, signatures, _meters(document["metered"], contract, head))


# -- Made of the ledger


def _signed(store: Store, contract: Contract) -> Iterator[tuple[int, bytes]]:
    """The records that a contract rests on, in the order of the log; with the match of two quotes behind them."""
    spelled, quotes = contract.terms.encode(), set[bytes]()
    for leaf in store.leaves_with(ChainName.OPERATION, spelled):
        if _word_of(leaf.body) == "match":
            quotes = set(decode(leaf.body, size_max=RECORD_BYTES_MAX)[2:4])
        if _word_of(leaf.body) == "match" or _type_of(leaf.body) == MessageType.AGREEMENT:
            yield leaf.index, leaf.body
    for leaf in store.leaves(ChainName.OPERATION) if quotes else ():
        if digest_of(leaf.body) in quotes:
            yield leaf.index, leaf.body
    for leaf in store.leaves_with(ChainName.OPERATION, contract.digest):
        if _type_of(leaf.body) in _ABOUT:
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


# -- Verified from the file


@dataclass(slots=True)
class _Signatures:
    """Who has signed what, by keys that the state admits."""

    contract: Contract
    keys: Mapping[bytes, tuple[str, PublicKey]]
    region: str
    said: list[str] = field(default_factory=list)
    quotes: set[bytes] = field(default_factory=set)
    """That the match names, and that are not shown yet."""
    is_agreed: bool = False

    def take(self, body: bytes) -> None:
        """See that a leaf is about the contract, and signed."""
        if _word_of(body) == "match":
            _, _, sell, buy, _, _, spelled = decode(body, size_max=RECORD_BYTES_MAX)
            self._see_terms(spelled)
            self.quotes, self.is_agreed = {sell, buy}, True
            return
        envelope = Envelope.parse(body, size_max=RECORD_BYTES_MAX)
        author = self._verify(envelope)
        if envelope.digest in self.quotes:
            self.quotes.remove(envelope.digest)
        elif envelope.type == MessageType.AGREEMENT:
            agreement = Agreement.decode(envelope.payload)
            self._see_terms(agreement.terms.encode())
            self.said.append(f"offer by {self._verify(agreement.offer)}")
            self.is_agreed = True
        else:
            author += self._see_about(envelope)
        self.said.append(f"{envelope.type} by {author}")

    def check(self) -> None:
        """See that both parties have signed the terms.

        Raises:
            ProofError: a signature of theirs is not shown.
        """
        if not self.is_agreed or self.quotes:
            raise ProofError("the terms are not shown with the signatures of both parties")

    def _see_about(self, envelope: Envelope) -> str:
        """See that a record is about the contract; what there is to say of it beside its author."""
        about = _ABOUT[envelope.type](envelope.payload) if envelope.type in _ABOUT else None
        if about is None or about.contract != self.contract.digest:
            raise ProofError(f"a record of type {envelope.type} is proven, but it is not about the contract")
        evidence = about.evidence if isinstance(about, Arbitration) else None
        return f" (evidence {evidence.hex()})" if evidence else ""

    def _see_terms(self, spelled: bytes) -> None:
        if digest_of(spelled) != self.contract.digest:
            raise ProofError("terms are proven, but they are not those of the contract")

    def _verify(self, envelope: Envelope) -> str:
        if envelope.key_id not in self.keys:
            raise ProofError(f"no row admits the key {envelope.key_id.hex()[:16]}…")
        author, key = self.keys[envelope.key_id]
        envelope.verify(key, self.region)
        return author


def _key_of(document: Any, head: BlockHead) -> tuple[bytes, tuple[str, PublicKey]]:
    row = row_from_json(document)
    row.verify(head.state_root)
    table, key_id = decode(row.key, size_max=1 << 10)
    if table != KEYS_TABLE:
        raise ProofError("the row is proven, but it admits no key")
    author, _, point = decode(row.value, size_max=1 << 10)
    return key_id, (author, PublicKey(point))


def _check_stated(document: Any, contract: Contract, head: BlockHead) -> None:
    """See that deliveries and bills add up to what the state has, and that no state is told that it never had."""
    amounts, bill, states = NOTHING, NO_BILL, {state.value for state, _ in contract.history}
    for chain in (ChainName.OPERATION, ChainName.ANALYSIS):
        leaves = items(document[chain.name.lower()], "stated", LEAVES_MAX)
        if [leaf["index"] for leaf in leaves] != sorted({leaf["index"] for leaf in leaves}):
            raise ProofError("leaves stand once each, in the order of their log")
        for leaf in leaves:
            word, number, *told = decode(leaf_from_json(leaf, chain, head), size_max=RECORD_BYTES_MAX)
            if number != contract.digest or word not in _STATED:
                raise ProofError(f"a leaf is proven that says {word!r:.40} of something else than the contract")
            if word == "contract" and told[0] not in states:
                raise ProofError("a leaf is proven of a state that the contract never had")
            amounts = amounts.plus(Amounts(*told[1:])) if word == "delivered" else amounts
            bill = bill.minus(NO_BILL.minus(Bill(*told))) if word == "bill" else bill
    if amounts != contract.amounts or bill != contract.booked:
        raise ProofError("deliveries or bills are left out: they do not add up to what the contract has come to")


def _meters(document: Any, contract: Contract, head: BlockHead) -> dict[str, IntervalEnergy]:
    """What each meter counted in all of the contract's intervals that are shown."""
    totals: dict[str, IntervalEnergy] = {}
    last_ms = -1
    for one in items(document, "metered", INTERVALS_MAX):
        row = row_from_json(one["closed"])
        row.verify(head.state_root)
        table, start_ms = decode(row.key, size_max=1 << 10)
        _, size, root = decode(row.value, size_max=1 << 10)
        is_on = contract.terms.start_ms <= start_ms < contract.ended_ms
        if table != CLOSED_TABLE or not is_on or start_ms <= last_ms:
            raise ProofError("a row is proven that is no interval of the contract, or stands there twice")
        last_ms = start_ms
        for shown in items(one["rows"], "rows", LEAVES_MAX):
            meter, energy = (
                name(shown["meter"], "meter"),
                IntervalEnergy(*(uint(part, "row") for part in shown["energy"])),
            )
            path = [bytes.fromhex(node) for node in shown["path"]]
            verify_inclusion(
                hash_of_leaf=row_hash(meter, energy), index=shown["index"], size=size, proof=path, root=root
            )
            totals[meter] = totals.get(meter, IntervalEnergy()).plus(energy.amounts)
    return totals


def _claim(contract: Contract, signatures: _Signatures, meters: Mapping[str, IntervalEnergy]) -> dict[str, object]:
    signatures.check()
    terms, reason, ruling = contract.terms, contract.objection, contract.ruling
    told: dict[str, object] = {
        "contract": contract.digest.hex(),
        "seller": terms.seller,
        "buyer": terms.buyer,
        "carrier": terms.carrier,
        "quantity_wh": terms.quantity_wh,
        "price_per_mwh": terms.price_per_mwh,
        "start_ms": terms.start_ms,
        "end_ms": terms.end_ms,
        "signed": ", ".join(signatures.said),
        "history": ", ".join(state.name.lower() for state, _ in contract.history),
        "rejected_because": f"{reason.rule.name}: {reason.said}" if reason else "",
        "ruled": f"{ruling.delivered_wh} Wh delivered, {ruling.responsible.name.lower()} answers" if ruling else "",
    }
    told |= dict(zip(Amounts.__slots__, contract.amounts.columns, strict=True))
    told |= {f"booked_{line}": said(getattr(contract.booked, line)) for line in Bill.__slots__}
    told |= {
        f"meter_{meter}": f"{energy.imported_wh} Wh imported, {energy.exported_wh} Wh exported"
        for meter, energy in sorted(meters.items())
    }
    return {what: value for what, value in told.items() if value != ""}


# -- What a leaf is


def _word_of(body: bytes) -> str | None:
    """The word that a leaf of the chains' own begins with; None for a record."""
    try:
        leaf = decode(body, size_max=RECORD_BYTES_MAX)
    except EncodingError:
        return None
    return leaf[0] if type(leaf) is list and leaf and type(leaf[0]) is str else None


def _type_of(body: bytes) -> str | None:
    """The type of a record; None for other leaves."""
    try:
        return Envelope.parse(body, size_max=RECORD_BYTES_MAX).type
    except EncodingError:
        return None


def _is_origin(body: bytes) -> bool:
    return _word_of(body) == "match" or _type_of(body) == MessageType.AGREEMENT


def _key_ids(body: bytes) -> Iterator[bytes]:
    """By which keys a record, and an offer in it, are signed."""
    try:
        envelope = Envelope.parse(body, size_max=RECORD_BYTES_MAX)
    except EncodingError:
        return
    yield envelope.key_id
    if envelope.type == MessageType.AGREEMENT:
        yield Agreement.decode(envelope.payload).offer.key_id
