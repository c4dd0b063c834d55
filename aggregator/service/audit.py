"""The audit: a whole ledger, again, from its genesis, trusting nobody.

Every envelope is opened, every block is made anew and compared byte by byte with what is stored, the physics of every
interval is done again, as often as it was stated, and every factor, token and balance is re-derived. The first thing
that does not fit ends the audit, and is told with its place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

from aggregator.chains.five import Five, wire
from aggregator.chains.genesis import open_genesis
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.block import Block
from aggregator.ledger.record import Author, Record, Role
from aggregator.service.second_opinion import verify_again
from aggregator.service.store import Store, StoredEntry, StoreError
from protocol.checkpoint import BlockHead, ChainName
from protocol.envelope import Envelope
from protocol.errors import EncodingError, EsteError
from protocol.messages import MessageType, Statement
from protocol.refusals import Refused

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Told the block that has been audited, and the last one."""


class AuditError(EsteError):
    """Something in the ledger does not fit. Says where."""

    def __init__(self, place: str, finding: str) -> None:
        self.place = place
        self.finding = finding
        super().__init__(f"{place}: {finding}")


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What was audited and found in order."""

    region: str
    blocks: int
    records: int
    refused: int
    readings: int
    intervals: int
    restatements: int
    periods: int
    minted: int
    burned: int
    head_digest: bytes
    regulator: Author
    """Whose signature everything rests on: compare the thumbprint with what the regulator publishes."""


def audit(store: Store, *, second_opinion: bool = False, progress: Progress = lambda _done, _of: None) -> AuditReport:
    """Replay a ledger from its genesis.

    Args:
        store: the ledger, read-only.
        second_opinion: verify every signature once more, with another library.
        progress: called after every block.

    Raises:
        AuditError: at the first thing that does not fit.
    """
    if broken := store.is_sound():
        raise AuditError("ledger file", broken)
    auditor = _Auditor(store, second_opinion)
    place = "ledger file"
    try:
        last = _expect(store.last_block(), "ledger file", "no genesis")
        for height in range(1, last.height + 1):
            place = f"block {height}"
            auditor.block(height)
            progress(height, last.height)
        place = "ledger file"
        auditor.end()
    except (StoreError, EncodingError) as error:
        raise AuditError(place, str(error)) from error
    five = auditor.five
    return AuditReport(
        region=five.ledger.region,
        blocks=last.height,
        records=auditor.records,
        refused=auditor.refused,
        readings=five.data.totals.readings,
        intervals=five.analysis.cursor.intervals,
        restatements=five.analysis.totals.restatements,
        periods=five.payment.totals.periods,
        minted=five.payment.totals.minted,
        burned=five.payment.totals.burned,
        head_digest=last.digest,
        regulator=five.asset.region.genesis.regulator,
    )


class _Auditor:
    """A second ledger, growing beside the stored one."""

    def __init__(self, store: Store, second_opinion: bool) -> None:
        self._store = store
        self._second_opinion = second_opinion
        self._statements = {gateway: (number, data) for gateway, number, data in store.statements()}
        self.records = self.refused = self.nodes = self.leaves = 0
        self.five: Five = wire("unknown", IntervalPhysics())
        self._aggregators: dict[bytes, Author] = {}
        """Whoever kept the chains when the block began, by key: only their word counts for it."""

    def block(self, height: int) -> None:
        """Make one block anew and compare it with what is stored."""
        place = f"block {height}"
        before = self.five.asset.members(Role.AGGREGATOR)
        head, checkpoint = _expect(self._store.block(height), place, "missing")
        stored = self._store.entries(height)
        records = [self._open(entry, f"{place}, record {entry.position}") for entry in stored]
        try:
            time_ms = BlockHead.decode(head).time_ms
            block = self.five.ledger.finalize(time_ms, records)
        except EsteError as error:
            raise AuditError(place, str(error)) from error
        self._compare(block, stored, place)
        if block.head.encode() != head:
            raise AuditError(place, f"its head is not the one that follows: {_first_difference(block.head, head)}")
        self.five.ledger.commit()
        if broken := self.five.ledger.broken_invariants():
            raise AuditError(place, broken[0])
        signers = before or self.five.asset.members(Role.AGGREGATOR)
        self._aggregators = {member.key.thumbprint: member for member in signers}
        self._checkpoint(checkpoint, head, f"{place}, checkpoint")
        self._statements_of(height)
        self.records += len(stored)
        self.refused += sum(1 for entry in stored if entry.code)

    def end(self) -> None:
        """Compare what the ledger amounts to: state, sizes, and that nothing is left over."""
        for ours, theirs in zip_longest(self.five.ledger.rows(), self._store.state()):
            if ours is None or theirs is None or (ours.key, ours.value) != theirs:
                key = ours.key if ours else theirs[0] if theirs else b""
                raise AuditError("state", f"row {key.hex()[:80]} is not the one that follows from the records")
        counts = self._store.counts()
        height = self.five.ledger.height
        expected = {"block": height, "entry": self.records, "leaf": self.leaves, "node": self.nodes}
        for table, count in expected.items():
            if counts[table] != count:
                raise AuditError(f"table {table}", f"{counts[table]} rows where {count} follow from the records")
        if self._statements:
            raise AuditError(f"statement to {min(self._statements)}", "of no block of this ledger")

    def _open(self, entry: StoredEntry, place: str) -> Record:
        try:
            if entry.height == 1 and entry.position == 0:
                record = open_genesis(entry.envelope)
                self.five = wire(record.link.region, IntervalPhysics())
            else:
                record = self.five.ledger.check(entry.envelope)
                self.five.ledger.vet(record)
        except (Refused, EsteError) as error:
            raise AuditError(place, str(error)) from error
        if self._second_opinion:
            self._ask_again(record.envelope, record.author, place)
        return record

    def _compare(self, block: Block, stored: list[StoredEntry], place: str) -> None:
        for position, (outcome, entry) in enumerate(zip(block.outcomes, stored, strict=True)):
            code = outcome.refusal.value if outcome.refusal else 0
            link = outcome.record.link
            became = (position, link.author, link.sequence, code, outcome.chain, outcome.index)
            if became != (entry.position, entry.author, entry.sequence, entry.code, entry.chain, entry.index):
                raise AuditError(f"{place}, record {position}", "what is noted about it is not what became of it")
        ours = {(leaf.chain, leaf.index): leaf.body for leaf in block.leaves}
        theirs = {(leaf.chain, leaf.index): leaf.body for leaf in self._store.leaves_of_block(block.head.height)}
        if ours != theirs:
            chain, index = min(set(ours.items()) ^ set(theirs.items()))[0]
            raise AuditError(f"{place}, {chain.name.lower()} leaf {index}", "not the one that follows from the records")
        self.leaves += len(ours)
        for node in block.nodes:
            if self._store.node(node.chain, node.level, node.position) != node.hash:
                where = f"{place}, {node.chain.name.lower()} subtree {node.level}/{node.position}"
                raise AuditError(where, "not the hash of its leaves")
        self.nodes += len(block.nodes)

    def _checkpoint(self, data: bytes, head: bytes, place: str) -> None:
        envelope = self._from_aggregator(data, MessageType.CHECKPOINT, place)
        if envelope.payload != head:
            raise AuditError(place, "signs another head")

    def _statements_of(self, height: int) -> None:
        """See that the last statements, if they are of this block, say how everybody stood."""
        made = {statement.gateway: statement for statement in self.five.statements.made}
        for gateway, (number, data) in list(self._statements.items()):
            place = f"statement {number} to {gateway}"
            statement = Statement.decode(Envelope.parse(data).payload)
            if statement.height != height:
                continue
            self._from_aggregator(data, MessageType.STATEMENT, place)
            if (statement.gateway, statement.number) != (gateway, number):
                raise AuditError(place, f"it is statement {statement.number} to {statement.gateway}")
            ours = made.get(gateway)
            if ours is None or Envelope.parse(data).payload != ours.payload:
                raise AuditError(place, "tells another standing than the one that follows from the records")
            del self._statements[gateway]

    def _from_aggregator(self, data: bytes, type_: MessageType, place: str) -> Envelope:
        try:
            envelope = Envelope.parse(data)
            author = self._aggregators.get(envelope.key_id)
            if author is None or envelope.type != type_:
                raise AuditError(place, "not signed by an aggregator of this region")
            envelope.verify(author.key, self.five.ledger.region)
        except EsteError as error:
            raise AuditError(place, str(error)) from error
        if self._second_opinion:
            self._ask_again(envelope, author, place)
        return envelope

    def _ask_again(self, envelope: Envelope, author: Author, place: str) -> None:
        if not verify_again(envelope, author.key, self.five.ledger.region):
            raise AuditError(place, "the second library does not accept the signature that the first one did")


def _expect(value: T | None, place: str, finding: str) -> T:
    if value is None:
        raise AuditError(place, finding)
    return value


def _first_difference(ours: BlockHead, theirs: bytes) -> str:
    """Which part of a head differs, in words."""
    other = BlockHead.decode(theirs)
    for field in ("region", "height", "time_ms", "previous", "state_root", "entries"):
        if getattr(ours, field) != getattr(other, field):
            return field
    for chain in ChainName:
        if ours.log(chain) != other.log(chain):
            return f"the {chain.name.lower()} log"
    return "nothing but its spelling"
