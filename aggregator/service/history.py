"""A ledger's history, as whoever keeps it hands it over: block after block, each followed by its envelopes.

This is all that an audit needs. A ledger file gives it, and so does an export of one; nothing in it is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from protocol.errors import EsteError


class HistoryError(EsteError):
    """The history cannot be read on: damaged, cut short, or not what it says it is. Says where."""


@dataclass(frozen=True, slots=True)
class PastBlock:
    """One block, before its envelopes."""

    head: bytes
    checkpoint: bytes
    """The head in the envelope of the aggregator that closed the block."""
    records: int
    """How many envelopes follow."""


@dataclass(frozen=True, slots=True)
class PastEntry:
    """One envelope of the block before it."""

    code: int
    """0, or the number of the refusal that the keeper says it met."""
    waited: int
    """Blocks that closed without it while it waited, as whoever ordered its block claims."""
    envelope: bytes


class History(Protocol):
    """Where an audit gets its blocks from."""

    @property
    def region(self) -> str:
        """Whose ledger it says it is."""

    @property
    def blocks(self) -> int:
        """How many blocks there are to come; the last one's height."""

    def items(self) -> Iterator[PastBlock | PastEntry]:
        """Every block from the genesis on, each followed by its envelopes, in order.

        Raises:
            HistoryError: it cannot be read on.
        """
