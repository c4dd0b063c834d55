"""The ledger: a fold over signed envelopes, block by block.

One application object for every engine. It is handed the block's time and records in their order, and is the same
on every node. It reads no clock, no disk and no dice, and it holds no float.

    check     open an envelope, verify it, decode it           (needs no order: runs in threads)
    propose   choose records that fit together, in order       (told apart: what fits, what is refused now)
    finalize  let a block take effect, in memory               (nothing is durable yet)
    commit    keep it                                          (the store holds it)
    abandon   take it back                                     (it was voted down, or the disk is full)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aggregator.ledger.block import Block, Leaf, Node, Outcome, entries_root, refusal_leaf
from aggregator.ledger.chain import BlockTime, Chain, Conclusion
from aggregator.ledger.record import AuthorOf, Decoders, Record, Verified, open_record
from aggregator.ledger.state_tree import StateTree
from aggregator.ledger.table import Change, Journal, Table, flat, load_rows, spell_rows
from protocol.checkpoint import BlockHead, ChainName, LogHead
from protocol.errors import ProofError
from protocol.link import NO_RECORD
from protocol.merkle import Range, leaf_hash
from protocol.refusals import RefusalCode, Refused

LINKS_TABLE: Final = 0


@dataclass(frozen=True, slots=True)
class LastRecord:
    """How far one author's sequence has come."""

    sequence: int
    digest: bytes


NOTHING_YET: Final = LastRecord(0, NO_RECORD)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that does not enter a block, and why."""

    record: Record
    code: RefusalCode
    detail: str
    expected_sequence: int


class Ledger:
    """Five chains, one state, one history."""

    def __init__(
        self,
        region: str,
        chains: Sequence[Chain],
        journal: Journal,
        author_of: AuthorOf,
        conclusion: Conclusion | None = None,
    ) -> None:
        """`chains` are the five in the order of `ChainName`; they share `journal` with each other and `conclusion`."""
        assert [chain.name for chain in chains] == list(ChainName), "five chains, in order"
        self.region = region
        self._journal = journal
        self._author_of = author_of
        self._chains = {chain.name: chain for chain in chains}
        self._conclusion = conclusion
        self._chain_of = {type_: chain for chain in chains for type_ in chain.decoders}
        self._decoders: Decoders = {type_: read for chain in chains for type_, read in chain.decoders.items()}
        spell, read = flat(LastRecord)
        self.links: Table[str, LastRecord] = Table(LINKS_TABLE, journal, spell=spell, read=read)
        self._logs = {name: Range() for name in ChainName}
        self._state = StateTree()
        self.head: BlockHead | None = None
        self._pending: tuple[BlockHead, dict[ChainName, Range]] | None = None

    @property
    def height(self) -> int:
        """Height of the last committed block; 0 before genesis."""
        return self.head.height if self.head else 0

    @property
    def logs(self) -> Mapping[ChainName, Range]:
        """How far each chain's log has grown."""
        return self._logs

    @property
    def state(self) -> StateTree:
        """The tree over the committed state."""
        return self._state

    def check(self, data: bytes, known: Verified | None = None) -> Record:
        """Open an envelope in the order of trust, with what is known about its bytes already. Safe in threads.

        Raises:
            Refused: with the first rule that it breaks.
        """
        return open_record(data, region=self.region, author_of=self._author_of, decoders=self._decoders, known=known)

    def last_record(self, author: str) -> LastRecord:
        """How far an author's sequence has come."""
        return self.links.get(author) or NOTHING_YET

    def propose(self, pending: Iterable[Record]) -> tuple[list[Record], list[Refusal]]:
        """Choose the records whose key counts and whose sequence and hash link fit, in the order given.

        Returns:
            What fits, and what does not, each with the number its author should send next.
        """
        heads: dict[str, LastRecord] = {}
        chosen, refused = [], []
        for record in pending:
            author = record.author.name
            last = heads.get(author) or self.last_record(author)
            try:
                self._check_author(record)
                check_link(record, last)
            except Refused as refusal:
                refused.append(Refusal(record, refusal.code, refusal.detail, last.sequence + 1))
                continue
            heads[author] = LastRecord(record.link.sequence, record.envelope.digest)
            chosen.append(record)
        return chosen, refused

    def finalize(self, time_ms: int, records: Sequence[Record], waited: Sequence[int] = ()) -> Block:
        """Let a block take effect in memory. Follow it with `commit` or `abandon`.

        `records` come from `propose`, on this node or another: one whose link does not fit is a bug or a lie.
        Whose key counts is judged by the end of the block before, whatever the records of this one say about keys.

        Args:
            time_ms: when the block is proposed, UTC.
            records: in their order.
            waited: how many blocks each of them had waited, as is claimed; none for 0 throughout.

        Raises:
            Refused: a record's key counts no more, or it does not continue its author's sequence; nothing has changed
                then.
        """
        assert self._pending is None, "finalize once, then commit or abandon"
        for record in records:
            self._check_author(record)
        block = BlockTime(self.height + 1, max(time_ms, self.head.time_ms if self.head else 0))
        logs = {name: log.copy() for name, log in self._logs.items()}
        writer = _LogWriter(logs)
        try:
            for chain in self._chains.values():
                chain.begin_block(block)
            claims = waited or [0] * len(records)
            outcomes = tuple(
                self._apply(record, claim, block, writer) for record, claim in zip(records, claims, strict=True)
            )
            if self._conclusion is not None:
                self._conclusion.end_block(block)
        except BaseException:
            self._journal.roll_back()
            raise
        changes = self._journal.changes()
        head = BlockHead(
            region=self.region,
            height=block.height,
            time_ms=block.time_ms,
            previous=self.head.digest if self.head else NO_RECORD,
            logs=tuple(LogHead(logs[name].size, logs[name].root()) for name in ChainName),
            state_root=self._state.apply(changes),
            entries=entries_root(outcomes),
        )
        self._pending = (head, logs)
        return Block(head, outcomes, tuple(writer.leaves), tuple(writer.nodes), tuple(changes))

    def commit(self) -> None:
        """Keep the block that was finalized; the store holds it now."""
        assert self._pending is not None, "nothing to commit"
        self.head, self._logs = self._pending
        self._pending = None
        self._journal.commit()

    def abandon(self) -> None:
        """Take back the block that was finalized."""
        assert self._pending is not None, "nothing to abandon"
        self._pending = None
        touched = self._journal.touched()
        self._journal.roll_back()
        self._state.apply(spell_rows(touched))

    def restore(self, head: BlockHead, logs: Mapping[ChainName, Range], rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Take up where a store left off.

        Raises:
            EncodingError: they add up, and another version of este has written one of them.
            ProofError: the rows do not add up to the head's state root, or the logs to its roots.
        """
        stored = [Change(key, value) for key, value in rows]
        if self._state.apply(stored) != head.state_root:
            raise ProofError("the stored state does not fit the last block")
        load_rows(self._tables(), ((change.key, change.value or b"") for change in stored))
        for name in ChainName:
            if LogHead(logs[name].size, logs[name].root()) != head.log(name):
                raise ProofError(f"the stored {name.name.lower()} log does not fit the last block")
        self.head, self._logs = head, dict(logs)

    def vet(self, record: Record) -> None:
        """Ask the record's chain what a node asks before it votes: the one place where physics is done again.

        Raises:
            Refused: this node reckons otherwise.
        """
        self._chain_of[record.type].vet(record)

    def rows(self) -> list[Change]:
        """The whole state, in bytes, in the order of its keys."""
        return spell_rows((table, key) for table in self._tables().values() for key in table)

    def broken_invariants(self) -> list[str]:
        """What should always hold and does not. Empty unless there is a bug."""
        return [f"{c.name.name.lower()}: {broken}" for c in self._chains.values() for broken in c.broken_invariants()]

    def _check_author(self, record: Record) -> None:
        """See that a record's key counts still: it was opened some time ago, perhaps in another thread."""
        if self.head is not None and self._author_of(record.envelope.key_id) != record.author:
            detail = f"the key {record.envelope.key_id.hex()[:16]}… of {record.author.name} counts no more"
            raise Refused(RefusalCode.UNKNOWN_KEY, detail)

    def _tables(self) -> dict[int, Table[Any, Any]]:
        tables: dict[int, Table[Any, Any]] = {LINKS_TABLE: self.links}
        for chain in self._chains.values():
            tables.update(chain.tables)
        if self._conclusion is not None:
            tables.update(self._conclusion.tables)
        return tables

    def _apply(self, record: Record, waited: int, block: BlockTime, writer: _LogWriter) -> Outcome:
        check_link(record, self.last_record(record.author.name))
        chain = self._chain_of[record.type]
        mark = self._journal.mark()
        try:
            further = list(chain.apply(record, block))
        except Refused as refusal:
            assert refusal.code.is_final, f"{refusal.code.name} is for the door, not for a rule"
            self._journal.roll_back(mark)
            index = writer.append(chain.name, refusal_leaf(record, refusal.code))
            outcome = Outcome(record, chain.name, index, refusal.code, refusal.detail, waited)
        else:
            index = writer.grow(chain.name, record.envelope.data)
            for body in further:
                writer.append(chain.name, body)
            outcome = Outcome(record, chain.name, index, None, waited=waited)
        self.links.put(record.author.name, LastRecord(record.link.sequence, record.envelope.digest))
        return outcome


class _LogWriter:
    """Collects what a block adds to the logs."""

    def __init__(self, logs: dict[ChainName, Range]) -> None:
        self._logs = logs
        self.leaves: list[Leaf] = []
        self.nodes: list[Node] = []

    def append(self, chain: ChainName, body: bytes) -> int:
        """Add a leaf that the block itself brings about."""
        index = self.grow(chain, body)
        self.leaves.append(Leaf(chain, index, body))
        return index

    def grow(self, chain: ChainName, body: bytes) -> int:
        """Let a chain's log grow by a leaf, and note the subtrees that it completes."""
        log = self._logs[chain]
        index = log.size
        _, *completed = log.append(leaf_hash(body))
        self.nodes += [Node(chain, level, place, hash_) for level, place, hash_ in completed]
        return index


def check_link(record: Record, last: LastRecord) -> None:
    """See that a record continues its author's sequence.

    Raises:
        Refused: replayed, skipped, or linked to something else.
    """
    sequence = record.link.sequence
    if sequence <= last.sequence:
        raise Refused(RefusalCode.SEQUENCE_REPLAYED, f"{sequence} where {last.sequence + 1} comes next")
    if sequence > last.sequence + 1:
        raise Refused(RefusalCode.SEQUENCE_SKIPPED, f"{sequence} where {last.sequence + 1} comes next")
    if record.link.previous != last.digest:
        raise Refused(RefusalCode.BROKEN_LINK, f"{sequence} does not link to record {last.sequence} on the chain")
