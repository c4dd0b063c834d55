"""The history in a ledger file, for an audit or an export: whole blocks only, up to the newest when it was opened."""

from __future__ import annotations

from collections.abc import Iterator

from aggregator.service.history import HistoryError, PastBlock, PastEntry
from aggregator.service.store import Store
from aggregator.service.stored import StoreError


class StoreHistory:
    """Blocks and envelopes of a ledger file."""

    def __init__(self, store: Store) -> None:
        """See how far the ledger has come; what a node adds meanwhile is left out.

        Raises:
            HistoryError: there is not even a genesis, or the node has begun with a snapshot.
            StoreError: the file cannot be read.
        """
        if (begins_at := store.begins_at()) > 1:
            raise HistoryError(
                f"begins at block {begins_at}, with a snapshot: audit another node's, or an export of one"
            )
        self._store = store
        last = store.last_block()
        if last is None:
            raise HistoryError("no genesis")
        self._last = last

    @property
    def region(self) -> str:
        """Whose ledger it is."""
        return self._last.region

    @property
    def blocks(self) -> int:
        """How many blocks there are to come."""
        return self._last.height

    def items(self) -> Iterator[PastBlock | PastEntry]:
        """Every block from the genesis on, each followed by its envelopes, in order.

        Raises:
            HistoryError: a block is missing, or the file cannot be read.
        """
        try:
            for height in range(1, self.blocks + 1):
                kept = self._store.block(height)
                if kept is None:
                    raise HistoryError(f"block {height} is missing")
                entries = self._store.entries(height)
                yield PastBlock(*kept, len(entries))
                for entry in entries:
                    yield PastEntry(entry.code, entry.waited, entry.envelope)
        except StoreError as error:
            raise HistoryError(str(error)) from error
