"""A whole ledger, again, from its genesis, trusting nobody: what every audit does, whoever keeps the history.

Every envelope is opened, every block is made anew and compared byte by byte with the head that is told, the physics of
every interval is done again, and every factor, token and balance is re-derived. The first thing that does not fit ends
the replay, and is told with its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Final

from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.five import Five, wire
from aggregator.engine.order import broken_order
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.block import Block
from aggregator.ledger.ledger import LastRecord, check_link
from aggregator.ledger.record import Author, Record, Role, Verified
from aggregator.service.ahead import Ahead, Told
from aggregator.service.history import History, HistoryError, PastBlock, PastEntry
from aggregator.service.second_opinion import verify_again
from protocol.agreement import Agreement
from protocol.checkpoint import BlockHead, ChainName
from protocol.crypto import PublicKey, fingerprint
from protocol.envelope import Envelope
from protocol.errors import EsteError, SignatureError
from protocol.messages import MessageType
from protocol.refusals import Refused

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
    sealed: int
    """Blocks with the votes of those who had a vote, as the ledger itself says who that was."""
    regulator: Author
    """Whose signature everything rests on: compare the thumbprint with what the regulator publishes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How an audit is to be done."""

    second_opinion: bool = False
    """Verify every signature once more, with another library."""
    regulator: PublicKey | None = None
    """The key that the genesis must be signed with; None: whichever it names, and the report says which."""
    progress: Progress = lambda _done, _of: None
    """Called after every block."""


_THE_END: Final = (None, None)

Watch = Callable[["Replay", Block], None]
"""Compares what else is kept about a block; raises AuditError where it does not fit."""


class Replay:
    """A second ledger, growing beside the one that is told."""

    def __init__(self, terms: Terms) -> None:
        """Before the genesis."""
        self._terms = terms
        self.records = self.refused = self.sealed = 0
        self.five: Five = wire("unknown", IntervalPhysics())
        self._aggregators: dict[bytes, Author] = {}
        """Whoever kept the chains when the block began, by key: only their word counts for it."""

    def run(self, history: History, watch: Watch = lambda _replay, _block: None) -> None:
        """Replay a history to its end.

        Raises:
            AuditError: at the first thing that does not fit.
        """
        place = "block 1"
        try:
            with closing(Ahead(history.region, self._author_of).read(history.items())) as items:
                for item, _ in items:
                    if not isinstance(item, PastBlock):
                        raise AuditError(place, "more records than it is told to have")
                    height = self.five.ledger.height + 1
                    place = f"block {height}"
                    watch(self, self._block(height, item, items))
                    if self.five.ledger.region != history.region:
                        raise AuditError(place, f"of region {self.five.ledger.region}, and not of {history.region}")
                    self._terms.progress(height, history.blocks)
        except HistoryError as error:
            raise AuditError(place, str(error)) from error
        if self.five.ledger.height != history.blocks or history.blocks == 0:
            raise AuditError(place, f"the history ends here, and not with block {max(1, history.blocks)}")

    def report(self) -> AuditReport:
        """What was found in order."""
        five, head = self.five, self.five.ledger.head
        assert head is not None, "a history without a genesis is refused"
        return AuditReport(
            region=five.ledger.region,
            blocks=head.height,
            records=self.records,
            refused=self.refused,
            readings=five.data.totals.readings,
            intervals=five.analysis.cursor.intervals,
            restatements=five.analysis.totals.restatements,
            periods=five.payment.totals.periods,
            minted=five.payment.totals.minted,
            burned=five.payment.totals.burned,
            head_digest=head.digest,
            sealed=self.sealed,
            regulator=five.asset.region.genesis.regulator,
        )

    def from_aggregator(self, data: bytes, type_: MessageType, place: str) -> Envelope:
        """Open what a node signed when it closed the last block.

        Raises:
            AuditError: whoever signed it was no aggregator then.
        """
        try:
            envelope = Envelope.parse(data)
            author = self._aggregators.get(envelope.key_id)
            if author is None or envelope.type != type_:
                raise AuditError(place, "not signed by an aggregator of this region")
            envelope.verify(author.key, self.five.ledger.region)
        except EsteError as error:
            raise error if isinstance(error, AuditError) else AuditError(place, str(error)) from error
        self._ask_again(envelope, author, place)
        return envelope

    def _block(self, height: int, told: PastBlock, items: Iterator[Told]) -> Block:
        """Make one block anew and compare it with what is told."""
        place = f"block {height}"
        if height == 1 and told.records == 0:
            raise AuditError(place, "no genesis")
        before = self.five.asset.members(Role.AGGREGATOR)
        records, codes, waited = [], [], []
        last: dict[str, LastRecord] = {}
        for position in range(told.records):
            (entry, known), at = next(items, _THE_END), f"{place}, record {position}"
            if not isinstance(entry, PastEntry):
                raise AuditError(place, f"{position} records where it is told to have {told.records}")
            record = self._open(entry.envelope, known, at, is_first=(height, position) == (1, 0))
            self._follow(record, last, at)
            records.append(record)
            codes.append(entry.code)
            waited.append(entry.waited)
        ledger = self.five.ledger
        self._see_order(records, waited, place)
        try:
            head = BlockHead.decode(told.head)
            block = ledger.finalize(head.time_ms, records, waited)
        except EsteError as error:
            raise AuditError(place, str(error)) from error
        for position, (outcome, code) in enumerate(zip(block.outcomes, codes, strict=True)):
            if (outcome.refusal or 0) != code:
                raise AuditError(f"{place}, record {position}", "what is noted about it is not what became of it")
        if block.head.encode() != told.head:
            raise AuditError(place, f"its head is not the one that follows: {_first_difference(block.head, head)}")
        ledger.commit()
        if broken := ledger.broken_invariants():
            raise AuditError(place, broken[0])
        signers = before or self.five.asset.members(Role.AGGREGATOR)
        self._aggregators = {member.key.thumbprint: member for member in signers}
        place = f"{place}, checkpoint"
        is_left_to_seals = not told.checkpoint and self.five.asset.validators()  # its keeper's word counted for nothing
        if not is_left_to_seals and self._signed(told.checkpoint, place) != told.head:
            raise AuditError(place, "signs another head")
        self.records += len(records)
        self.refused += sum(1 for code in codes if code)
        return block

    def _see_order(self, records: list[Record], waited: list[int], place: str) -> None:
        """See that a block kept to the order, by what it says of waiting and the last one of accounts."""
        if broken := broken_order(records, waited, self.five.bid):
            raise AuditError(place, broken)

    def _signed(self, checkpoint: bytes, place: str) -> bytes:
        """What a checkpoint is of."""
        return self.from_aggregator(checkpoint, MessageType.CHECKPOINT, place).payload

    def _follow(self, record: Record, last: dict[str, LastRecord], place: str) -> None:
        """See at once that a record continues its author's sequence: a block cannot be filled with one record."""
        author = record.author.name
        try:
            check_link(record, last.get(author) or self.five.ledger.last_record(author))
        except Refused as refused:
            raise AuditError(place, str(refused)) from refused
        last[author] = LastRecord(record.link.sequence, record.envelope.digest)

    def _open(self, data: bytes, known: Verified | None, place: str, *, is_first: bool) -> Record:
        try:
            if is_first:
                record = open_genesis(data)
                self._hold_to(record.author, place)
                self.five = wire(record.link.region, IntervalPhysics())
            else:
                record = self.five.ledger.check(data, known)
                self.five.ledger.vet(record)
        except (Refused, EsteError) as error:
            raise error if isinstance(error, AuditError) else AuditError(place, str(error)) from error
        self._ask_again(record.envelope, record.author, place)
        if isinstance(record.message, Agreement):
            self._ask_about_offer(record.message.offer, place)
        return record

    def _author_of(self, key_id: bytes) -> Author | None:
        """Who holds a key, as far as the replay has come."""
        return self.five.asset.author_of(key_id)

    def _hold_to(self, regulator: Author, place: str) -> None:
        """See that the genesis is signed with the key that the auditor knows."""
        known = self._terms.regulator
        if known is not None and known != regulator.key:
            found, expected = fingerprint(regulator.key.thumbprint), fingerprint(known.thumbprint)
            raise AuditError(
                place, f"founded with the key {found}, and not with the regulator's that was given, {expected}"
            )

    def _ask_about_offer(self, offer: Envelope, place: str) -> None:
        """An agreement holds a second signature: whoever made the offer has signed that."""
        proposer = self._author_of(offer.key_id)
        if proposer is None:
            return
        with suppress(SignatureError):  # one that does not fit is refused by the rule, and nothing to be asked about
            offer.verify(proposer.key, self.five.ledger.region)
            self._ask_again(offer, proposer, place)

    def _ask_again(self, envelope: Envelope, author: Author, place: str) -> None:
        if self._terms.second_opinion and not verify_again(envelope, author.key, self.five.ledger.region):
            raise AuditError(place, "the second library does not accept the signature that the first one did")


def _first_difference(ours: BlockHead, theirs: BlockHead) -> str:
    """Which part of a head differs, in words."""
    for field in ("region", "height", "time_ms", "previous", "state_root", "entries"):
        if getattr(ours, field) != getattr(theirs, field):
            return field
    for chain in ChainName:
        if ours.log(chain) != theirs.log(chain):
            return f"the {chain.name.lower()} log"
    return "nothing but its spelling"
