"""What `aggregator.service.store` keeps of a block's records and leaves, as it is handed out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aggregator.ledger.block import Block
from protocol.checkpoint import ChainName
from protocol.errors import EsteError

POSITION_BITS: Final = 20
POSITION_MAX: Final = (1 << POSITION_BITS) - 1
"""An entry's id is its block's height and, in the low bits, its position there: no block has more records."""


class StoreError(EsteError):
    """The disk is full or failing, or the file is damaged. Nothing of a block that could not be written was kept."""


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
    waited: int
    """Blocks that closed without it while it waited, as whoever ordered its block claims."""
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
        became = (code, outcome.chain, outcome.index, outcome.waited)
        yield first + position, link.author, link.sequence, *became, outcome.record.envelope.data


def chain_of(number: int) -> ChainName:
    """The chain of a number in the file.

    Raises:
        StoreError: there is none.
    """
    try:
        return ChainName(number)
    except ValueError as error:
        raise StoreError(f"the ledger file names a chain {number}") from error


def entry_of(row: Sequence[Any]) -> StoredEntry:
    """A row of the table `entry`.

    Raises:
        StoreError: it is on no chain.
    """
    place, author, sequence, code, chain, index, waited, envelope = row
    height, position = place >> POSITION_BITS, place & POSITION_MAX
    return StoredEntry(height, position, author, sequence, code, chain_of(chain), index, waited, envelope)
