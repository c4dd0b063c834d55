"""The operation chain: quotes, contracts and their state, verdicts, dispatch.

Kinds of record: none yet; trading comes with its own issue. The chain is here, with its log and its root in every
block, so that the first contract needs no new genesis. Feeds: payment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from aggregator.ledger.chain import BlockTime
from aggregator.ledger.record import Decoders, Record
from aggregator.ledger.table import Table
from protocol.checkpoint import ChainName


class OperationChain:
    """What participants agree on."""

    name = ChainName.OPERATION
    decoders: ClassVar[Decoders] = {}
    tables: ClassVar[Mapping[int, Table[Any, Any]]] = {}

    def begin_block(self, block: BlockTime) -> None:
        """Time alone changes nothing here."""

    def apply(self, record: Record, block: BlockTime) -> Iterable[bytes]:
        """No type of record leads here."""
        raise AssertionError(f"no rule for {record.type}")

    def vet(self, record: Record) -> None:
        """The rule says it all; there is no physics here."""

    def broken_invariants(self) -> Iterable[str]:
        """Nothing can be broken where nothing is kept."""
        return ()
