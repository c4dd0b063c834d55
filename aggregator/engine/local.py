"""The embedded engine: one node that orders blocks by itself.

It is handed time. A block closes when enough records wait, or the oldest of them has waited long enough, or the caller
knows that time alone is due to change something. What does not fit its author's sequence leaves the queue at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from aggregator.ledger.block import Block
from aggregator.ledger.ledger import Ledger, Refusal
from aggregator.ledger.record import Record
from config.settings.aggregator import Blocks

Keep = Callable[[Block], None]
"""Makes a block durable, or raises and has kept nothing."""


@dataclass(frozen=True, slots=True)
class Closed:
    """A block that is durable, and what did not get into it."""

    block: Block
    refused: tuple[Refusal, ...]


@dataclass(slots=True)
class LocalEngine:
    """Records that wait for a block, oldest first."""

    ledger: Ledger
    rule: Blocks
    pending_max: int
    keep: Keep
    _pending: list[Record] = field(default_factory=list)
    _oldest_ms: int = 0

    @property
    def pending(self) -> int:
        """How many records wait."""
        return len(self._pending)

    def submit(self, record: Record, now_ms: int) -> bool:
        """Take a record into the queue.

        Returns:
            False if the queue is full: its author will send it again.
        """
        if len(self._pending) >= self.pending_max:
            return False
        if not self._pending:
            self._oldest_ms = now_ms
        self._pending.append(record)
        return True

    def due_in_ms(self, now_ms: int) -> int | None:
        """How long until the waiting records want a block; 0 for now, None where none wait."""
        if not self._pending:
            return None
        if len(self._pending) >= self.rule.entries_max:
            return 0
        return max(0, self._oldest_ms + self.rule.age_max_ms - now_ms)

    def close_block(self, now_ms: int, own: Record | None = None) -> Closed:
        """Order what waits into a block, let it take effect, and make it durable.

        Args:
            now_ms: when the block is proposed.
            own: a record of this node, which goes first.

        Raises:
            Whatever `keep` raises: then nothing has happened, and everything still waits.
        """
        waiting = self._pending[: self.rule.entries_max]
        chosen, refused = self.ledger.propose([own, *waiting] if own else waiting)
        block = self.ledger.finalize(now_ms, chosen)
        try:
            self.keep(block)
        except BaseException:
            self.ledger.abandon()
            raise
        self.ledger.commit()
        self._pending = self._pending[len(waiting) :]
        self._oldest_ms = now_ms
        return Closed(block, tuple(refused))
