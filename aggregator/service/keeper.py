"""What every node does under every engine: it keeps blocks, signs for them, and answers whoever sent their records.

Receipts and refusals are worked out from the chains and the store, so that a record which comes again gets the answer
that it got before, whichever node is asked. Synchronous; belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aggregator.chains.admission.genesis import open_genesis
from aggregator.chains.five import Five, wire
from aggregator.chains.intervals.results import IntervalResult
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.block import Block, Outcome
from aggregator.ledger.ledger import Refusal as NotProposed
from aggregator.ledger.ledger import check_link
from aggregator.ledger.record import Record, Role
from aggregator.ledger.snapshot import Manifest
from aggregator.service.compute import ComputeNode
from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Notifier, Outgoing, summary
from aggregator.service.post_room import PostRoom
from aggregator.service.store import Store
from aggregator.service.watch import Watch
from protocol.canonical import decode
from protocol.checkpoint import BlockHead, ChainName
from protocol.crypto import SoftwareKey
from protocol.envelope import ENVELOPE_BYTES_MAX, Envelope, seal
from protocol.errors import EncodingError, OperatorError, ProofError
from protocol.link import Link
from protocol.messages import MessageType, Received, Refusal
from protocol.refusals import RefusalCode, Refused

_Answer = Outgoing | tuple[str, int, Received]
"""A refusal, or what a receipt will name: gateway, height and record."""


class Keeper:
    """One node's chains, file and word."""

    def __init__(self, five: Five, store: Store, name: str, key: SoftwareKey) -> None:
        """`five` are the chains as `store` has them."""
        self.five = five
        self.store = store
        self.name = name
        self._key = key
        self._compute = ComputeNode(name, key, IntervalPhysics(), store)
        self._watch = Watch(name, key)
        self._notifier = Notifier(five.ledger.region, key)
        self._post = PostRoom(five.ledger.region, key)
        self._statements: list[tuple[str, int, bytes]] = []
        self._speaks = self.signs()
        """Whether its word counts for the block to come: that is judged by the end of the block before."""
        self._spoke = False
        """Whether it counted for the block that was kept last."""

    def signs(self) -> bool:
        """Whether what this node signs counts."""
        author = self.five.asset.author_of(self._key.public_key.thumbprint)
        return author is not None and author.name == self.name and author.role is Role.AGGREGATOR

    def due_record(self) -> bytes | None:
        """The next record of this node's own, if its word counts: evidence first, so that a liar's key ends at once."""
        if not self.signs():
            return None
        return self._watch.due_record(self.five) or self._compute.due_record(self.five)

    def keep(self, block: Block, engine_height: int = 0) -> None:
        """Sign for a block and make it durable, with the statements that it calls for.

        A node whose key does not count keeps it unsigned.

        Args:
            block: has been finalized, and is committed next.
            engine_height: height of the engine's own block that brought it; 0 where the engine has none.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        checkpoint = b""
        self._statements = []
        if self._speaks:
            payload = block.head.encode()
            checkpoint = seal(self._key, region=block.head.region, type_=MessageType.CHECKPOINT, payload=payload)
            self._statements = self._notifier.statements(self.five.statements.made)
        self.store.write(block, checkpoint, self._statements, engine_height)
        self._spoke, self._speaks = self._speaks, self.signs()

    def adopt(self, five: Five, manifest: Manifest, engine_height: int) -> None:
        """Go on from a snapshot that has been checked, instead of from the genesis.

        Raises:
            StoreError: the disk is full or failing; nothing was kept.
        """
        self.store.adopt(manifest.head, manifest.logs(), five.ledger.rows(), engine_height)
        self.five = five
        self._speaks = self.signs()

    def has_only_a_snapshot(self) -> bool:
        """Whether everything after the genesis was taken from others, and no block since."""
        return 1 < self.store.begins_at() == self.five.ledger.height

    def answers(self, block: Block, not_proposed: Iterable[NotProposed] = ()) -> list[Outgoing]:
        """What is to be told about the block that was kept last, in order; and to those who did not get into it."""
        outgoing = self._answers(block.head.height, block.outcomes, not_proposed)
        outgoing += [self._notifier.statement(gateway, envelope) for gateway, _, envelope in self._statements]
        for outcome in block.outcomes:
            if isinstance(outcome.record.message, IntervalResult):
                outgoing.append(summary(outcome.record.message, self.five))
        return outgoing if self._spoke else []

    def at_door(self, record: Record) -> list[Outgoing] | None:
        """What can be said of a record without a block: it has been here, or it never fits. None where it may wait.

        For engines that have no word for its author: with the embedded one, `answers` says it.
        """
        link, last = record.link, self.five.ledger.last_record(record.link.author)
        try:
            check_link(record, last)
        except Refused as no:
            if no.code is RefusalCode.SEQUENCE_SKIPPED:
                return None  # what comes before it may be on its way
            if no.code is RefusalCode.SEQUENCE_REPLAYED and self.store.entry_of(link.author, link.sequence) is None:
                return []  # from before this file begins: whoever has the past answers
            refused = NotProposed(record, no.code, no.detail, last.sequence + 1)
            return self._answers(self.five.ledger.height, (), [refused])
        return None

    def saw(self, record: Record) -> None:
        """Take note of a record that came for a number of before: if the chain has another one, its author has lied."""
        stored = self.store.entry_of(record.link.author, record.link.sequence)
        if stored is not None:
            self._watch.saw(stored.envelope, record)

    def refusal(self, gateway: str, digest: bytes, refused: Refused) -> Outgoing:
        """Tell a gateway that a record did not even get into the queue."""
        expected = self.five.ledger.last_record(gateway).sequence + 1
        return self._notifier.refusal(
            Refusal(self.five.ledger.region, gateway, digest, 0, refused.code, expected, refused.detail)
        )

    def answer_again(self, data: bytes) -> list[Outgoing]:
        """The answer to a record that is on the chain already, whether or not its key still counts; else nothing.

        So a gateway that has gone over to another key still gets the receipts that were lost on the way.
        """
        try:
            envelope = Envelope.parse(data)
            holder = self.five.asset.membership.holder_of(envelope.key_id)
            if holder is None or holder.role is not Role.GATEWAY:
                return []
            link = Link.from_fields(decode(envelope.payload, size_max=ENVELOPE_BYTES_MAX))
        except EncodingError:
            return []
        return self._told([again]) if (again := self._answered_before(link, envelope)) else []

    def pass_on(self, incoming: Incoming, now_ms: int) -> list[Outgoing]:
        """What is to be told because of a letter or a question, if this node's word counts."""
        return self._post.take(incoming, self.five.asset, now_ms) if self.signs() else []

    def last_statements(self) -> list[Outgoing]:
        """The last statement to every gateway, for a broker that may have lost them."""
        return [self._notifier.statement(gateway, envelope) for gateway, _, envelope in self.store.statements()]

    def _answers(self, height: int, outcomes: Iterable[Outcome], not_proposed: Iterable[NotProposed]) -> list[Outgoing]:
        """Receipts and refusals for the records of gateways."""
        answers: list[_Answer] = []
        for outcome in outcomes:
            record, link = outcome.record, outcome.record.link
            if record.author.role is not Role.GATEWAY:
                continue
            if outcome.refusal is None:
                answers.append((link.author, height, Received(link.sequence, record.envelope.digest, outcome.index)))
            else:
                answers.append(self._final_refusal(link, record.envelope, outcome.refusal, outcome.detail))
        for refused in not_proposed:
            record, link = refused.record, refused.record.link
            again = self._answered_before(link, record.envelope)
            if again is not None:
                answers.append(again)
                continue
            self.saw(record)
            if refused.code.is_from_known_author:
                expected = refused.expected_sequence
                answers.append(self._refusal(link, record.envelope, refused.code, expected, refused.detail))
        return self._told(answers)

    def _told(self, answers: Iterable[_Answer]) -> list[Outgoing]:
        """Receipts, gathered by gateway and block, and then refusals."""
        received = [answer for answer in answers if not isinstance(answer, Outgoing)]
        return self._notifier.receipts(received) + [answer for answer in answers if isinstance(answer, Outgoing)]

    def _answered_before(self, link: Link, envelope: Envelope) -> _Answer | None:
        """A record that came again gets the answer that it got before; None if it did not come before."""
        entry = self.store.entry_of(link.author, link.sequence)
        if entry is None or entry.envelope != envelope.data:
            return None
        if entry.code:
            return self._final_refusal(link, envelope, RefusalCode(entry.code), "refused before")
        return link.author, entry.height, Received(link.sequence, envelope.digest, entry.index)

    def _final_refusal(self, link: Link, envelope: Envelope, code: RefusalCode, detail: str) -> Outgoing:
        expected = self.five.ledger.last_record(link.author).sequence + 1
        return self._refusal(link, envelope, code, expected, detail)

    def _refusal(self, link: Link, envelope: Envelope, code: RefusalCode, expected: int, detail: str) -> Outgoing:
        return self._notifier.refusal(
            Refusal(link.region, link.author, envelope.digest, link.sequence, code, expected, detail)
        )


def begin(folder: Path, genesis: bytes, name: str, key: SoftwareKey) -> None:
    """Begin a region's ledger in `folder`, with its genesis as the first block.

    Raises:
        EsteError: the genesis is none, or there is a ledger already.
    """
    record = open_genesis(genesis)
    five = wire(record.link.region, IntervalPhysics())
    store = Store.create(folder)
    try:
        block = five.ledger.finalize(record.message.time_ms, [record])
        Keeper(five, store, name, key).keep(block)
    finally:
        store.close()


def restore(store: Store, folder: Path) -> Five:
    """The chains as the store has them.

    Raises:
        OperatorError: the store has no genesis, or does not add up.
    """
    head: BlockHead | None = store.last_block()
    if head is None:
        raise OperatorError(folder, "", "a ledger with a genesis", "an empty one")
    five = wire(head.region, IntervalPhysics())
    logs = {chain: store.log(chain, head.log(chain).size) for chain in ChainName}
    try:
        five.ledger.restore(head, logs, store.state())
    except (EncodingError, ProofError) as error:
        raise OperatorError(
            folder, "", "a ledger that adds up (este-aggregator audit says more)", str(error)
        ) from error
    return five
