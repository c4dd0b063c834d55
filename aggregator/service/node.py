"""A node that orders blocks by itself: a keeper under the embedded engine, behind four verbs. Handed time.

    check        open an envelope from elsewhere (in any thread)
    submit       queue it for a block
    close_block  make a block durable, and say what is to be told about it
    due_in_ms    when the next block is wanted

Everything but `check` belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from aggregator.chains.five import Five
from aggregator.engine.local import LocalEngine
from aggregator.ledger.record import Record, Role
from aggregator.service.keeper import Keeper, restore
from aggregator.service.mqtt_port import Incoming
from aggregator.service.notify import Outgoing
from aggregator.service.store import Store
from config.settings.aggregator import Blocks
from protocol.crypto import SoftwareKey
from protocol.errors import OperatorError
from protocol.messages import MessageType
from protocol.refusals import RefusalCode, Refused

OWN_BLOCKS_MAX: Final = 64
"""Blocks in a row for what is due: between them receipts go out, however long a backlog there is to restate."""


class Node:
    """A node of one region, running."""

    def __init__(self, keeper: Keeper, blocks: Blocks, pending_max: int) -> None:
        """Use `open`."""
        self._keeper = keeper
        self._engine = LocalEngine(keeper.five.ledger, blocks, pending_max, keeper.keep, keeper.five.bid)
        self._is_more_due = False

    @classmethod
    def open(cls, folder: Path, name: str, key: SoftwareKey, blocks: Blocks, pending_max: int) -> Node:
        """Go on with the ledger in `folder`.

        Raises:
            OperatorError: there is none, or this node is not a member of it.
        """
        store = Store.open(folder)
        with ExitStack() as on_error:
            on_error.callback(store.close)
            keeper = Keeper(restore(store, folder), store, name, key)
            if not keeper.signs():
                expected = f"an aggregator of the region with this key, as {name}"
                raise OperatorError(folder, "name", expected, "no such one")
            on_error.pop_all()
        return cls(keeper, blocks, pending_max)

    def close(self) -> None:
        """Let go of the store."""
        self._keeper.store.close()

    @property
    def five(self) -> Five:
        """The chains as they stand."""
        return self._keeper.five

    def check(self, data: bytes) -> Record:
        """Open an envelope from elsewhere, in any thread.

        Raises:
            Refused: with the first rule that it breaks. Of another aggregator only evidence is taken: nobody votes here
                on what it has reckoned, and a lie would stand for every audit to find.
        """
        record = self.five.ledger.check(data)
        if record.author.role is Role.AGGREGATOR and record.type is not MessageType.EVIDENCE:
            raise Refused(RefusalCode.NOT_THEIR_TYPE, "results are the word of the node that orders the blocks")
        return record

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
        gate_ms, head = self.five.operation.market.next_gate_ms(), self.five.ledger.head
        if gate_ms is not None and head is not None and gate_ms > head.time_ms:
            by_time = min(by_time, max(0, gate_ms - now_ms))
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
            if is_leaving() or (data := self._keeper.due_record()) is None:
                return outgoing
            outgoing += self._close_one(now_ms, self.five.ledger.check(data))
        self._is_more_due = True
        return outgoing

    def refusal(self, gateway: str, digest: bytes, refused: Refused) -> Outgoing:
        """Tell a gateway that a record did not even get into the queue."""
        return self._keeper.refusal(gateway, digest, refused)

    def answer_again(self, data: bytes) -> list[Outgoing]:
        """The answer to a record whose key counts no more, if it came onto the chain while it did; else nothing."""
        return self._keeper.answer_again(data)

    def pass_on(self, incoming: Incoming, now_ms: int) -> list[Outgoing]:
        """What is to be told because of a letter or a question."""
        return self._keeper.pass_on(incoming, now_ms)

    def last_statements(self) -> list[Outgoing]:
        """The last statement to every gateway, for a broker that may have lost them."""
        return self._keeper.last_statements()

    def _close_one(self, now_ms: int, own: Record | None = None) -> list[Outgoing]:
        self._check_own_key()
        closed = self._engine.close_block(now_ms, own)
        if own is not None:
            first = closed.block.outcomes[0]
            assert first.record is own and first.refusal is None, f"our own {own.type} was refused: {first.detail}"
        return self._keeper.answers(closed.block, closed.refused)

    def _check_own_key(self) -> None:
        """See that what this node signs counts.

        Raises:
            OperatorError: the regulator has revoked or replaced this node's key.
        """
        if self.five.ledger.head is not None and not self._keeper.signs():
            raise OperatorError(
                self._keeper.name, "key_file", "a key that the asset chain admits", "one that has ended"
            )
