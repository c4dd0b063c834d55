"""The embedded engine: one node that orders blocks by itself.

It is handed time. A block closes when enough records wait, or the oldest of them has waited long enough, or the caller
knows that time alone is due to change something. It takes the first of those that wait, in the order of `order`. What
does not fit its author's sequence leaves the queue at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from aggregator.engine.order import BidOf, by_number, in_order, is_contested
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


@dataclass(frozen=True, slots=True)
class _Pending:
    """A record that waits."""

    record: Record
    since: int
    """How many blocks had closed when it came."""


@dataclass(slots=True)
class LocalEngine:
    """Records that wait for a block, as they came."""

    ledger: Ledger
    rule: Blocks
    pending_max: int
    keep: Keep
    bid_of: BidOf
    _pending: dict[bytes, _Pending] = field(default_factory=dict)
    """By the digests of their envelopes, in the order of arrival."""
    _contested: int = 0
    """How many of them may go before others."""
    _closed: int = 0
    """Blocks that this engine has closed."""
    _oldest_ms: int = 0

    @property
    def pending(self) -> int:
        """How many records wait."""
        return len(self._pending)

    def submit(self, record: Record, now_ms: int) -> bool:
        """Take a record into the queue; one that is in it already keeps its place.

        Returns:
            False if the queue is full: its author will send it again.
        """
        if record.envelope.digest in self._pending:
            return True
        if len(self._pending) >= self.pending_max:
            return False
        if not self._pending:
            self._oldest_ms = now_ms
        self._pending[record.envelope.digest] = _Pending(record, self._closed)
        self._contested += is_contested(record)
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
        waiting = self._candidates()
        fit, refused = self.ledger.propose([own, *waiting] if own else waiting)
        waited = [self._waited(record) for record in fit]
        places = list(islice(in_order(fit, waited, self.bid_of), self.rule.entries_max + (own is not None)))
        taken = [fit[place] for place in places]
        block = self.ledger.finalize(now_ms, taken, [waited[place] for place in places])
        try:
            self.keep(block)
        except BaseException:
            self.ledger.abandon()
            raise
        self.ledger.commit()
        for record in [*taken, *(refusal.record for refusal in refused)]:
            if self._pending.pop(record.envelope.digest, None) is not None:
                self._contested -= is_contested(record)
        self._oldest_ms, self._closed = now_ms, self._closed + 1
        return Closed(block, tuple(refused))

    def _candidates(self) -> list[Record]:
        """What may get into the next block. While nobody pays, that is what came first: the rest is not looked at."""
        if self._contested:
            return by_number(pending.record for pending in self._pending.values())
        return [pending.record for pending in islice(self._pending.values(), self.rule.entries_max)]

    def _waited(self, record: Record) -> int:
        pending = self._pending.get(record.envelope.digest)
        return 0 if pending is None else self._closed - pending.since
