"""What `aggregator.service.store` keeps of a block's records and leaves, as it is handed out."""

from __future__ import annotations

from dataclasses import dataclass

from protocol.checkpoint import ChainName


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
