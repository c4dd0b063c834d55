"""One node: ledger, engine, store, compute node and notifier, behind four verbs. Synchronous, and handed time.

    check        open an envelope (in any thread)
    submit       queue it for a block
    close_block  make a block durable, and say what is to be told about it
    due_in_ms    when the next block is wanted

Everything but `check` belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from aggregator.chains.five import Five, wire
from aggregator.chains.genesis import open_genesis
from aggregator.chains.results import IntervalResult
from aggregator.engine.local import LocalEngine
from aggregator.grid.interval import IntervalPhysics
from aggregator.ledger.block import Block, Outcome
from aggregator.ledger.ledger import Refusal as NotProposed
from aggregator.ledger.record import Record, Role
from aggregator.service.compute import ComputeNode
from aggregator.service.notify import Notifier, Outgoing, summary
from aggregator.service.store import Store
from config.settings.aggregator import Blocks
from protocol.canonical import decode
from protocol.checkpoint import BlockHead, ChainName
from protocol.crypto import SoftwareKey
from protocol.envelope import ENVELOPE_BYTES_MAX, Envelope, seal
from protocol.errors import EncodingError, OperatorError, ProofError
from protocol.link import Link
from protocol.messages import MessageType, Received, Refusal
from protocol.refusals import RefusalCode, Refused

FIRST_BLOCK: Final = Blocks(entries_max=1, age_max_ms=10)

OWN_BLOCKS_MAX: Final = 64
"""Blocks in a row for what is due: between them receipts go out, however long a backlog there is to restate."""

_Answer = Outgoing | tuple[str, int, Received]
"""A refusal, or what a receipt will name: gateway, height and record."""


class Node:
    """A node of one region, running."""

    def __init__(self, five: Five, store: Store, name: str, key: SoftwareKey, blocks: Blocks, pending_max: int) -> None:
        """Use `found` or `open`."""
        self.five = five
        self._store = store
        self._name = name
        self._key = key
        self._compute = ComputeNode(name, key, IntervalPhysics(), store)
        self._notifier = Notifier(five.ledger.region, key)
        self._engine = LocalEngine(five.ledger, blocks, pending_max, self._keep)
        self._statements: list[tuple[str, int, bytes]] = []
        self._is_more_due = False

    @classmethod
    def found(cls, folder: Path, genesis: bytes, name: str, key: SoftwareKey) -> None:
        """Begin a region's ledger in `folder`, with its genesis as the first block.

        Raises:
            EsteError: the genesis is none, or there is a ledger already.
        """
        record = open_genesis(genesis)
        five = wire(record.link.region, IntervalPhysics())
        store = Store.create(folder)
        try:
            node = cls(five, store, name, key, FIRST_BLOCK, 1)
            node._engine.submit(record, record.message.time_ms)
            closed = node._engine.close_block(record.message.time_ms)
            assert not closed.refused, f"a genesis that founds nothing: {closed.refused}"
        finally:
            store.close()

    @classmethod
    def open(cls, folder: Path, name: str, key: SoftwareKey, blocks: Blocks, pending_max: int) -> Node:
        """Go on with the ledger in `folder`.

        Raises:
            OperatorError: there is none, or this node is not a member of it.
        """
        store = Store.open(folder)
        with ExitStack() as on_error:
            on_error.callback(store.close)
            five = restore(store, folder)
            member = five.asset.author_of(key.public_key.thumbprint)
            if member is None or member.role is not Role.AGGREGATOR or member.name != name:
                expected = f"an aggregator of the region with this key, as {name}"
                raise OperatorError(folder, "name", expected, "no such one")
            on_error.pop_all()
        return cls(five, store, name, key, blocks, pending_max)

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def check(self, data: bytes) -> Record:
        """Open an envelope, in any thread.

        Raises:
            Refused: with the first rule that it breaks.
        """
        return self.five.ledger.check(data)

    def submit(self, record: Record, now_ms: int) -> bool:
        """Queue a record for a block; False if the queue is full."""
        return self._engine.submit(record, now_ms)

    def due_in_ms(self, now_ms: int) -> int | None:
        """How long until a block is wanted, for what waits or for time alone; None while nothing is foreseen."""
        if self._is_more_due:
            return 0
        totals, rule = self.five.data.totals, self.five.asset.region.rules.time
        frozen = max(totals.frozen_until_ms, self.five.asset.region.begin_ms)
        by_time = max(0, frozen + rule.interval_ms + rule.grace_ms - now_ms)
        by_queue = self._engine.due_in_ms(now_ms)
        return by_time if by_queue is None else min(by_time, by_queue)

    def close_block(self, now_ms: int, is_leaving: Callable[[], bool] = lambda: False) -> list[Outgoing]:
        """Close a block, then what is due because of it, until `is_leaving` or for some blocks; the rest stays due.

        Returns:
            What is to be told, in order.

        Raises:
            StoreError: the disk is full or failing; everything still waits.
        """
        outgoing = self._close_one(now_ms)
        self._is_more_due = False
        for _ in range(OWN_BLOCKS_MAX):
            if is_leaving() or not self._signs() or (data := self._compute.due_record(self.five)) is None:
                return outgoing
            outgoing += self._close_one(now_ms, self.check(data))
        self._is_more_due = True
        return outgoing

    def refusal(self, gateway: str, digest: bytes, refused: Refused) -> Outgoing:
        """Tell a gateway that a record did not even get into the queue."""
        expected = self.five.ledger.last_record(gateway).sequence + 1
        return self._notifier.refusal(
            Refusal(self.five.ledger.region, gateway, digest, 0, refused.code, expected, refused.detail)
        )

    def answer_again(self, data: bytes) -> list[Outgoing]:
        """The answer to a record whose key counts no more, if it came onto the chain while it did; else nothing.

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

    def last_statements(self) -> list[Outgoing]:
        """The last statement to every gateway, for a broker that may have lost them."""
        return [self._notifier.statement(gateway, envelope) for gateway, _, envelope in self._store.statements()]

    def _close_one(self, now_ms: int, own: Record | None = None) -> list[Outgoing]:
        self._check_own_key()
        closed = self._engine.close_block(now_ms, own)
        if own is not None:
            first = closed.block.outcomes[0]
            assert first.record is own and first.refusal is None, f"our own {own.type} was refused: {first.detail}"
        height = closed.block.head.height
        outgoing = self._answers(height, closed.block.outcomes, closed.refused)
        outgoing += [self._notifier.statement(gateway, envelope) for gateway, _, envelope in self._statements]
        for outcome in closed.block.outcomes:
            if isinstance(outcome.record.message, IntervalResult):
                outgoing.append(summary(outcome.record.message, self.five))
        return outgoing

    def _keep(self, block: Block) -> None:
        checkpoint = seal(
            self._key, region=block.head.region, type_=MessageType.CHECKPOINT, payload=block.head.encode()
        )
        self._statements = self._notifier.statements(self.five.statements.made)
        self._store.write(block, checkpoint, self._statements)

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
            elif refused.code.is_from_known_author:
                expected = refused.expected_sequence
                answers.append(self._refusal(link, record.envelope, refused.code, expected, refused.detail))
        return self._told(answers)

    def _told(self, answers: Iterable[_Answer]) -> list[Outgoing]:
        """Receipts, gathered by gateway and block, and then refusals."""
        received = [answer for answer in answers if not isinstance(answer, Outgoing)]
        return self._notifier.receipts(received) + [answer for answer in answers if isinstance(answer, Outgoing)]

    def _answered_before(self, link: Link, envelope: Envelope) -> _Answer | None:
        """A record that came again gets the answer that it got before; None if it did not come before."""
        entry = self._store.entry_of(link.author, link.sequence)
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

    def _signs(self) -> bool:
        """Whether what this node signs counts."""
        return self.five.asset.author_of(self._key.public_key.thumbprint) is not None

    def _check_own_key(self) -> None:
        """See that what this node signs counts.

        Raises:
            OperatorError: the regulator has revoked or replaced this node's key.
        """
        if self.five.ledger.head is not None and not self._signs():
            raise OperatorError(self._name, "key_file", "a key that the asset chain admits", "one that has ended")


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
    except ProofError as error:
        raise OperatorError(
            folder, "", "a ledger that adds up (este-aggregator audit says more)", str(error)
        ) from error
    return five
