"""The transactions of a proposed block: an order note where something has waited, and the records behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from aggregator.engine.cometbft.application import TxResult, size_in_block
from aggregator.engine.order_note import WAITED_BYTES_MAX, is_note, spell_note, split_note
from aggregator.ledger.record import Record
from protocol.crypto import digest_of
from protocol.errors import EncodingError
from protocol.refusals import RefusalCode

NOTE_ROOM: Final = 32
"""Bytes of a block that are kept for the order note, beside those of its claims."""


def fill(ordered: Iterable[tuple[Record, int]], bytes_max: int) -> list[bytes]:
    """A block of the first of the records, each with how long it has waited, as far as there is room for them."""
    size, has_waited, txs, claims = 0, False, list[bytes](), list[int]()
    for record, waited in ordered:
        size += size_in_block(record.envelope.data)
        has_waited |= waited > 0
        note_bytes_max = NOTE_ROOM + WAITED_BYTES_MAX * (len(txs) + 1) if has_waited else 0
        if size + note_bytes_max > bytes_max:
            break
        txs.append(record.envelope.data)
        claims.append(waited)
    note = spell_note(claims)
    return txs if note is None else [note, *txs]


def decided(txs: Sequence[bytes]) -> tuple[dict[bytes, TxResult], dict[bytes, int]]:
    """What a decided block says before its records: the note's own result, by digest, and how long each has waited.

    A note that is none for its block counts for nothing, alike on every node: no honest one has voted for it.
    """
    results = {digest_of(tx): TxResult() for tx in txs[:1] if is_note(tx)}
    try:
        claims, records = split_note(txs)
    except EncodingError as error:
        claims, records = [0] * (len(txs) - 1), txs[1:]
        results = {digest_of(txs[0]): TxResult(RefusalCode.MALFORMED.value, log=str(error))}
    return results, dict(zip(records, claims, strict=True))
