"""What `aggregator.service.store` keeps of a block's records and leaves, as it is handed out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from aggregator.ledger.block import Block
from protocol.checkpoint import ChainName

POSITION_BITS: Final = 20
POSITION_MAX: Final = (1 << POSITION_BITS) - 1
"""An entry's id is its block's height and, in the low bits, its position there: no block has more records."""


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One envelope of a block, and what became of it."""

    height: int
    position: int
    author: str
    sequence: int
    code: int
    """0, or the refusal's number."""
    chain: ChainName
    index: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """One leaf of a chain's log."""

    chain: ChainName
    index: int
    height: int
    body: bytes
    """What was hashed: an envelope, or what the block itself brought about."""


def entry_rows(block: Block) -> Iterator[tuple[object, ...]]:
    """The envelopes of a block as rows of the table `entry`."""
    first = block.head.height << POSITION_BITS
    for position, outcome in enumerate(block.outcomes):
        link, code = outcome.record.link, outcome.refusal or 0
        envelope = outcome.record.envelope.data
        yield first + position, link.author, link.sequence, code, outcome.chain, outcome.index, envelope
