"""What may wait for a block in CometBFT's mempool, and what of it is ripe for one."""

from __future__ import annotations

from typing import Final

from aggregator.chains.five import Five
from aggregator.engine.waits import Waits
from aggregator.ledger.record import Record, Role
from protocol.batch import Batch
from protocol.refusals import RefusalCode, Refused

AHEAD_MAX: Final = 4096
"""How far a record's number may be ahead of the chain while it waits: more than any gateway has under way."""

STALE_MS: Final = 2000
"""A block's time is that of the votes for the block before it. Where that lies further back than this, readings wait
rather than be refused as from the future: the block after has a fresher time."""

WAITS: Final = frozenset((Role.GATEWAY, Role.REGULATOR))
"""Whose records come through the mempool. A node's own come with its proposals."""


def check_waits(record: Record, five: Five) -> None:
    """See that a record may wait for a block.

    Raises:
        Refused: its key counts no more, its number is taken or far ahead, or it does not come this way.
    """
    author = record.author
    if author.role not in WAITS:
        raise Refused(RefusalCode.NOT_THEIR_TYPE, "a node's own records come with its proposals")
    if five.asset.author_of(record.envelope.key_id) != author:
        raise Refused(RefusalCode.UNKNOWN_KEY, f"the key of {author.name} counts no more")
    last = five.ledger.last_record(author.name).sequence
    if record.link.sequence <= last:
        raise Refused(RefusalCode.SEQUENCE_REPLAYED, f"the chain is at {last}")
    if record.link.sequence > last + AHEAD_MAX:
        raise Refused(RefusalCode.SEQUENCE_SKIPPED, f"the chain is at {last}")


def see_waiting(record: Record, waits: Waits, height: int) -> None:
    """Count a record among those that wait, the engine being at `height`.

    Raises:
        Refused: so much of its author waits that others would not have room.
    """
    author, envelope = record.author.name, record.envelope
    if not waits.see(envelope.digest, height, author, len(envelope.data)):
        raise Refused(RefusalCode.OVERSIZED, f"as much of {author} waits as may")


def is_ripe(record: Record, five: Five, *, block_ms: int, now_ms: int) -> bool:
    """Whether a record may go into a block: readings that only seem to come from the future wait, see `STALE_MS`.

    Args:
        record: one that waits.
        five: the chains as they stand.
        block_ms: the time of the block, UTC.
        now_ms: what this node's clock says, UTC.
    """
    batch = record.message
    if now_ms - block_ms <= STALE_MS or not isinstance(batch, Batch):
        return True
    latest_ms = batch.clock.epoch_ms + max(block.latest_ms for block in batch.meters)
    future_max_ms = five.asset.region.rules.time.future_max_ms
    return not block_ms + future_max_ms < latest_ms <= now_ms + future_max_ms
