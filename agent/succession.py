"""Going over to another key, or another outbox, without losing a record: the gateway's sequence goes on.

A key ends, a memory card dies, a gateway is replaced: what waits in the outbox then carries a signature or a number
that the aggregator will never take. Here it is signed again, in one durable transaction, behind the last record that
the ledger has. Records that count already are left alone, so doing it twice, or after a crash half-way through the
files, does no harm. Only while no agent runs: whoever calls holds the outbox.
"""

from __future__ import annotations

from typing import Final

from agent.books import Books, Seal
from agent.outbox import Entry
from protocol.canonical import decode, encode
from protocol.crypto import SigningKey, digest_of
from protocol.envelope import ENVELOPE_BYTES_MAX, Envelope, seal
from protocol.link import Link
from protocol.messages import MessageType
from protocol.rotation import Rotation, rotate

NEXT_SUFFIX: Final = ".next"
"""Of a key file that is not in force yet, beside the one that is."""


def take_up(books: Books, last: Entry, key: SigningKey) -> int:
    """Go on behind `last`, the newest record that the ledger has of this gateway, with a key that was admitted then.

    Returns:
        How many waiting records had to be signed again.

    Raises:
        StorageError: the disk takes nothing more; then nothing has changed.
    """
    with books.file.transaction(durable=True):
        _forget_received(books, last)
        anchor = _anchor(books, last, key.public_key.thumbprint)
        return 0 if anchor is None else _sign_again(books, anchor, key)


def queue_rotation(books: Books, old: SigningKey, new: SigningKey) -> bool:
    """Sign the step from one key to another as the next record, unless that is done already.

    Raises:
        StorageError: the disk takes nothing more; then nothing has changed.
    """
    if is_rotation_queued(books, new.public_key.thumbprint):
        return False

    def payload(link: Link) -> bytes:
        return rotate(link, old.public_key.thumbprint, new).encode()

    with books.file.transaction(durable=True):
        books.append(payload, _sealer(books, MessageType.ROTATION, old))
    return True


def is_rotation_queued(books: Books, key_id: bytes) -> bool:
    """Whether the last record that waits is the step to this key."""
    rows = books.file.rows("SELECT envelope FROM record ORDER BY sequence DESC LIMIT 1")
    envelope = Envelope.parse(rows[0][0]) if rows else None
    if envelope is None or envelope.type != MessageType.ROTATION:
        return False
    return Rotation.decode(envelope.payload).key.thumbprint == key_id


def _forget_received(books: Books, last: Entry) -> None:
    """What the ledger's last record rests on is on the ledger: each record names the one before it."""
    if _waits(books, last):
        gone = books.file.execute("DELETE FROM record WHERE sequence <= ?", last.sequence)
        books.count("records_received", gone)


def _anchor(books: Books, last: Entry, key_id: bytes) -> Entry | None:
    """The record behind which waiting ones have to be signed again; None if they can stay as they are."""
    totals = books.totals()
    is_new = totals.records_received == totals.records_refused == 0
    before: Entry | None = None
    for sequence, digest, data in books.file.rows_one_by_one(
        "SELECT sequence, digest, envelope FROM record WHERE sequence > 0 ORDER BY sequence"
    ):
        envelope = Envelope.parse(data)
        link = Link.from_fields(decode(envelope.payload, size_max=ENVELOPE_BYTES_MAX))
        follows = Entry(link.sequence - 1, link.previous)
        if before is None and (is_new or link.sequence <= last.sequence + 1) and follows != last:
            return last  # of another past than the ledger's
        if envelope.key_id != key_id:
            return follows
        before = Entry(sequence, digest)
    ((head,),) = books.file.rows("SELECT sequence FROM head")
    return last if before is None and head <= last.sequence else None


def _sign_again(books: Books, anchor: Entry, key: SigningKey) -> int:
    """Sign what waits behind `anchor` anew: other numbers, other links, the same words."""
    file, count = books.file, 0
    stays = anchor.sequence if _waits(books, anchor) else 0
    file.execute("UPDATE record SET sequence = -sequence WHERE sequence > ?", stays)
    file.execute("UPDATE placed SET sequence = -sequence WHERE -sequence IN (SELECT sequence FROM record)")
    while rows := file.rows("SELECT sequence, envelope FROM record WHERE sequence < 0 ORDER BY sequence DESC LIMIT 1"):
        ((aside, data),) = rows
        envelope = Envelope.parse(data)
        fields = decode(envelope.payload, size_max=ENVELOPE_BYTES_MAX)
        payload = encode({**fields, 3: anchor.sequence + 1, 4: anchor.digest})
        signed = _sealer(books, MessageType(envelope.type), key)(payload)
        anchor = Entry(anchor.sequence + 1, digest_of(signed))
        file.execute("DELETE FROM record WHERE sequence = ?", aside)
        file.execute("INSERT INTO record (sequence, digest, envelope) VALUES (?, ?, ?)", *_row(anchor), signed)
        file.execute("UPDATE placed SET sequence = ? WHERE sequence = ?", anchor.sequence, aside)
        count += 1
    file.execute("UPDATE head SET sequence = ?, previous = ?", *_row(anchor))
    return count


def _waits(books: Books, entry: Entry) -> bool:
    """Whether this very record waits in the outbox."""
    return bool(books.file.rows("SELECT 1 FROM record WHERE sequence = ? AND digest = ?", *_row(entry)))


def _row(entry: Entry) -> tuple[int, bytes]:
    return entry.sequence, entry.digest


def _sealer(books: Books, type_: MessageType, key: SigningKey) -> Seal:
    region, _ = books.file.owner()
    return lambda payload: seal(key, region=region, type_=type_, payload=payload)
