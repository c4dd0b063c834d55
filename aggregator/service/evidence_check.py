"""What the evidence of a contract shows to somebody who has nothing else: all in one history, and nothing left out.

Which history that is, and who vouches for it, `aggregator.service.proof` has seen before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aggregator.chains.admission.membership import KEYS_TABLE
from aggregator.chains.contracts.book import CONTRACTS_TABLE
from aggregator.chains.contracts.orders import Arbitration
from aggregator.chains.contracts.rows import Contract, read_contract
from aggregator.chains.metering.interval_energy import IntervalEnergy, row_hash
from aggregator.chains.metering.late import CLOSED_TABLE
from aggregator.economy.contracts.bill import NO_BILL, Bill
from aggregator.economy.contracts.delivery import NOTHING, Amounts
from aggregator.ledger.record import RECORD_BYTES_MAX
from aggregator.service.evidence import ABOUT, INTERVALS_MAX, LEAVES_MAX, STATED, word_of
from aggregator.service.proven import leaf_from_json, row_from_json
from protocol.agreement import Agreement
from protocol.canonical import decode, encode
from protocol.checkpoint import BlockHead, ChainName
from protocol.crypto import PublicKey, digest_of
from protocol.envelope import Envelope
from protocol.errors import ProofError
from protocol.fields import items, name, uint
from protocol.merkle import verify_inclusion
from protocol.messages import MessageType
from protocol.money import said


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
    signatures.check()
    delivered = _delivered(document["stated"], contract, head)
    intervals = _intervals(document["metered"], contract, head)
    return _terms_and_history(contract, signatures.said) | _outcome(contract) | _by_interval(delivered, intervals)


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
        if word_of(body) == "match":
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
        about = ABOUT[envelope.type](envelope.payload) if envelope.type in ABOUT else None
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


def _delivered(document: Any, contract: Contract, head: BlockHead) -> dict[int, Amounts]:
    """What the contract got in each interval, having seen that deliveries and bills add up to what the state has.

    Raises:
        ProofError: they do not, a leaf is about something else, or tells of a state that the contract never had.
    """
    bill, states, by_start = NO_BILL, {state.value for state, _ in contract.history}, dict[int, Amounts]()
    for chain in (ChainName.OPERATION, ChainName.ANALYSIS):
        leaves = items(document[chain.name.lower()], "stated", LEAVES_MAX)
        if [leaf["index"] for leaf in leaves] != sorted({leaf["index"] for leaf in leaves}):
            raise ProofError("leaves stand once each, in the order of their log")
        for leaf in leaves:
            word, number, *told = decode(leaf_from_json(leaf, chain, head), size_max=RECORD_BYTES_MAX)
            if number != contract.digest or word not in STATED:
                raise ProofError(f"a leaf is proven that says {word!r:.40} of something else than the contract")
            if word == "contract" and told[0] not in states:
                raise ProofError("a leaf is proven of a state that the contract never had")
            if word == "delivered":
                by_start[told[0]] = by_start.get(told[0], NOTHING).plus(Amounts(*told[1:]))
            elif word == "bill":
                bill = bill.minus(NO_BILL.minus(Bill(*told)))
    amounts = NOTHING
    for part in by_start.values():
        amounts = amounts.plus(part)
    if amounts != contract.amounts or bill != contract.booked:
        raise ProofError("deliveries or bills are left out: they do not add up to what the contract has come to")
    return by_start


@dataclass(frozen=True, slots=True)
class _Interval:
    """What the parties' meters counted."""

    height: int
    """Of the block that closed the interval, or stated it last."""
    meters: Mapping[str, IntervalEnergy]

    @property
    def said(self) -> str:
        """In words."""
        counted = ", ".join(
            f"{meter} {one.imported_wh} Wh in and {one.exported_wh} Wh out" for meter, one in self.meters.items()
        )
        return f"block {self.height}: {counted or 'no meter of theirs'}"


def _intervals(document: Any, contract: Contract, head: BlockHead) -> dict[int, _Interval]:
    """What was metered in those of the contract's intervals that are shown, by their starts."""
    found: dict[int, _Interval] = {}
    for one in items(document, "metered", INTERVALS_MAX):
        row = row_from_json(one["closed"])
        row.verify(head.state_root)
        table, start_ms = decode(row.key, size_max=1 << 10)
        is_on = table == CLOSED_TABLE and contract.terms.start_ms <= start_ms < contract.ended_ms
        if not is_on or start_ms <= max(found, default=-1):
            raise ProofError("a row is proven that is no interval of the contract, or stands there twice")
        height, size, root = decode(row.value, size_max=1 << 10)
        meters: dict[str, IntervalEnergy] = {}
        for shown in items(one["rows"], "rows", LEAVES_MAX):
            meter = name(shown["meter"], "meter")
            meters[meter] = IntervalEnergy(*(uint(part, "row") for part in shown["energy"]))
            verify_inclusion(
                hash_of_leaf=row_hash(meter, meters[meter]),
                index=shown["index"],
                size=size,
                proof=[bytes.fromhex(node) for node in shown["path"]],
                root=root,
            )
        found[start_ms] = _Interval(height, meters)
    return found


# -- What is shown, in words and numbers


def _terms_and_history(contract: Contract, signed: list[str]) -> dict[str, object]:
    terms = contract.terms
    return {
        "contract": contract.digest.hex(),
        "seller": terms.seller,
        "buyer": terms.buyer,
        "carrier": terms.carrier,
        "quantity_wh": terms.quantity_wh,
        "price_per_mwh": terms.price_per_mwh,
        "clean_only": terms.clean_only,
        "penalty_ppm": terms.penalty_ppm,
        "termination_ppm": terms.termination_ppm,
        "start_ms": terms.start_ms,
        "end_ms": terms.end_ms,
        "signed": ", ".join(signed),
        "history": ", ".join(state.name.lower() for state, _ in contract.history),
    }


def _outcome(contract: Contract) -> dict[str, object]:
    """What became of it; what does not apply is left out."""
    told: dict[str, object] = dict(zip(Amounts.__slots__, contract.amounts.columns, strict=True))
    if (reason := contract.objection) is not None:
        told["rejected_because"] = f"{reason.rule.name}: {reason.said}"
    if (ruling := contract.ruling) is not None:
        told["ruled"] = f"{ruling.delivered_wh} Wh delivered, {ruling.responsible.name.lower()} answers"
    return told | {f"booked_{line}": said(getattr(contract.booked, line)) for line in Bill.__slots__}


def _by_interval(delivered: Mapping[int, Amounts], intervals: Mapping[int, _Interval]) -> dict[str, object]:
    """Interval by interval: when it began, what counted as delivered, and what was metered, in which block."""
    told: dict[str, object] = {}
    for number, start_ms in enumerate(sorted({*delivered, *intervals}), start=1):
        amounts, interval = delivered.get(start_ms, NOTHING), intervals.get(start_ms)
        metered = f"; {interval.said}" if interval else ""
        told[f"interval_{number}_start_ms"] = start_ms
        told[f"interval_{number}"] = f"{amounts.delivered_wh} of {amounts.due_wh} Wh delivered{metered}"
    return told
