"""The order note: how long each record of a proposed block has waited, as its proposer claims.

It is the first transaction of a block under CometBFT, and is left out where nothing has waited. Nobody signs it: the
proposer's proposal is signed, and the ledger's block binds what it says (`aggregator.ledger.block.entries_root`). It is
no envelope, so it never gets into a mempool.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from protocol.canonical import decode, encode
from protocol.errors import EncodingError
from protocol.fields import items, uint

NOTE_TAG: Final = 0x6573
"""``es`` in ASCII. A tag of our own: it means something as the beginning of a block's first transaction only."""

_HEAD: Final = b"\xd9" + NOTE_TAG.to_bytes(2)

RECORDS_MAX: Final = 100_000
"""Records in a block; see `entries_max` in the settings."""

WAITED_MAX: Final = (1 << 32) - 1

WAITED_BYTES_MAX: Final = 5
"""The longest spelling of one claim."""

NOTE_BYTES_MAX: Final = len(_HEAD) + 5 + WAITED_BYTES_MAX * RECORDS_MAX


def spell_note(waited: Sequence[int]) -> bytes | None:
    """The note for a block's records, in their order; None where nothing has waited."""
    return _HEAD + encode(list(waited)) if any(waited) else None


def is_note(tx: bytes) -> bool:
    """Whether a transaction claims to be an order note."""
    return tx.startswith(_HEAD)


def split_note(txs: Sequence[bytes]) -> tuple[list[int], Sequence[bytes]]:
    """How long each record of a block has waited, as its order note says; and the records behind the note.

    Raises:
        EncodingError: there is a note, and it is not the one spelling of one for this block.
    """
    if not txs or not is_note(txs[0]):
        return [0] * len(txs), txs
    rows = items(decode(txs[0][len(_HEAD) :], size_max=NOTE_BYTES_MAX), "order note", RECORDS_MAX)
    if len(rows) != len(txs) - 1:
        raise EncodingError(f"order note: {len(rows)} claims for {len(txs) - 1} records")
    waited = [uint(row, "waited", WAITED_MAX) for row in rows]
    if not any(waited):
        raise EncodingError("order note: left out where nothing has waited")
    return waited, txs[1:]
