"""The one face of all five chains, and what a rule is given besides its record.

A chain knows its kinds of record, keeps its state in tables, and has one rule: given a record and what stands
upstream, it writes its tables and names further leaves, or raises `Refused` with a code. It also names its invariants,
which are asked after every block in tests and in the audit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aggregator.ledger.record import Decoders, Record
from aggregator.ledger.table import Table
from protocol.checkpoint import ChainName


@dataclass(frozen=True, slots=True)
class BlockTime:
    """Where in the ledger a rule runs."""

    height: int
    time_ms: int
    """When the block was proposed; the only clock there is."""


class Chain(Protocol):
    """What the ledger asks of a chain."""

    @property
    def name(self) -> ChainName:
        """Which of the five it is."""

    @property
    def decoders(self) -> Decoders:
        """The types of record that belong on it, and how to read their payloads."""

    @property
    def tables(self) -> Mapping[int, Table[Any, Any]]:
        """Its state, by table number."""

    def begin_block(self, block: BlockTime) -> None:
        """Do what time alone brings about, before the block's records."""

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """Let a record take effect.

        Returns:
            Leaves that follow the record's own on this chain's log.

        Raises:
            Refused: a rule says no; the ledger then rolls back what the rule wrote.
        """

    def vet(self, record: Record) -> None:
        """Ask what a node asks before it votes for a record: here, and only here, physics may be done again.

        Raises:
            Refused: another node reckons otherwise, by more than one quantum.
        """

    def broken_invariants(self) -> Iterable[str]:
        """What should always hold and does not, in words. Empty unless there is a bug."""


class Conclusion(Protocol):
    """What follows from a block as a whole, once all its records have taken effect."""

    @property
    def tables(self) -> Mapping[int, Table[Any, Any]]:
        """Its state, by table number."""

    def end_block(self, block: BlockTime) -> None:
        """Draw it."""
