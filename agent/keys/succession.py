"""Going over to another key, or another outbox, without losing a record: the gateway's sequence goes on.

A key ends, a memory card dies, a gateway is replaced: what waits in the outbox then carries a signature or a number
that the aggregator will never take. Here it is signed again, behind the last record that the ledger has. A chip is slow
and may fail, so this is done in pages that are kept beside the records, durable one by one, and whoever begins again
signs only what is not there yet; then all of them take the place of the old ones at once. So an agent that is started
half-way finds its outbox as it was. Only while no agent runs: whoever calls holds the outbox.

A slip names the ledger's last record only. If that waits here, it and all before it are on the ledger and go. If it
does not, nothing tells which of ours the ledger has: after a card was put back from an older copy, records that count
already are sent again under new numbers. None is lost, and no energy is booked twice, since readings that are older
than the last that counted are none; but a purchase or a transfer is a new order then.
"""

from __future__ import annotations

from typing import Final

from agent.outbox.books import Books, Seal
from agent.outbox.queue import Entry
from protocol.canonical import decode, encode
from protocol.crypto import SigningKey, digest_of
from protocol.envelope import ENVELOPE_BYTES_MAX, Envelope, seal
from protocol.errors import OperatorError
from protocol.link import Link
from protocol.messages import MessageType
from protocol.rotation import ROTATIONS_MAX, Rotation, rotate

NEXT_SUFFIX: Final = ".next"
"""Of a key file that is not in force yet, beside the one that is."""

SIGNED_AGAIN: Final = """
    CREATE TABLE IF NOT EXISTS signed_again (
        sequence INTEGER PRIMARY KEY,
        digest BLOB NOT NULL,
        envelope BLOB NOT NULL
    ) STRICT
"""
"""Only while a slip is being taken up, or after that was broken off: what has been signed again so far."""

ROTATED: Final = """
    CREATE TABLE IF NOT EXISTS rotated (
        key_id BLOB PRIMARY KEY
    ) STRICT
"""
"""The keys that this gateway has gone over to by its own word since it was admitted. Only if there are any; an outbox
that was begun anew knows of none, so there may have been more."""

PAGE_RECORDS: Final = 32
"""Signed again in one transaction: with a chip some seconds of work, which is all that an error costs."""


def take_up(books: Books, last: Entry, key: SigningKey) -> int:
    """Go on behind `last`, the newest record that the ledger has of this gateway, with a key that was admitted then.

    Returns:
        How many waiting records had to be signed again.

    Raises:
        OperatorError: the key has signed some of these numbers already, with other words: two records with one number
            would be evidence against this gateway. It needs another key.
        KeyUnavailable: the chip does not sign; then the pages before are kept for the next attempt.
        StorageError: the disk takes nothing more; likewise.
    """
    with books.file.transaction(durable=True):
        _forget_received(books, last)
        anchor = _anchor(books, last, key.public_key.thumbprint)
        if anchor is None:
            return 0
        stays = anchor.sequence if _is_in(books, "record", anchor) else 0
        _see_that_no_number_is_signed_twice(books, anchor, stays, key.public_key.thumbprint)
        books.file.execute(SIGNED_AGAIN)
    newest, count = anchor, 0
    after: int | None = stays
    while after is not None:
        with books.file.transaction(durable=True):
            newest, after, signed = _sign_page(books, newest, after, key)
        count += signed
    with books.file.transaction(durable=True):
        _take_their_place(books, anchor, newest, stays)
    return count


def queue_rotation(books: Books, old: SigningKey, new: SigningKey) -> bool:
    """Sign the step from one key to another as the next record, unless that is done already.

    Raises:
        OperatorError: the ledger would refuse it, as one too many.
        StorageError: the disk takes nothing more; then nothing has changed.
    """
    key_id = new.public_key.thumbprint
    if is_rotation_queued(books, key_id):
        return False

    def payload(link: Link) -> bytes:
        return rotate(link, old.public_key.thumbprint, new).encode()

    with books.file.transaction(durable=True):
        books.file.execute(ROTATED)
        ((count,),) = books.file.rows("SELECT count(*) FROM rotated")
        if count >= ROTATIONS_MAX:
            expected = f"at most {ROTATIONS_MAX} of them; now the regulator has to admit a key"
            raise OperatorError("este-agent rotate", "", f"{expected}: este-agent enrol --new-key", "one more")
        books.append(payload, _sealer(books, MessageType.ROTATION, old))
        books.file.execute("INSERT INTO rotated VALUES (?)", key_id)
    return True


def forget_rotations(books: Books) -> None:
    """Count anew: the regulator has admitted a key."""
    with books.file.transaction(durable=True):
        books.file.execute("DROP TABLE IF EXISTS rotated")


def is_rotation_queued(books: Books, key_id: bytes) -> bool:
    """Whether the last record that waits is the step to this key."""
    rows = books.file.rows("SELECT envelope FROM record ORDER BY sequence DESC LIMIT 1")
    envelope = Envelope.parse(rows[0][0]) if rows else None
    if envelope is None or envelope.type != MessageType.ROTATION:
        return False
    return Rotation.decode(envelope.payload).key.thumbprint == key_id


def _forget_received(books: Books, last: Entry) -> None:
    """What the ledger's last record rests on is on the ledger: each record names the one before it."""
    if _is_in(books, "record", last) or _is_in(books, "set_aside", last):
        gone = books.file.execute("DELETE FROM record WHERE sequence <= ?", last.sequence)
        books.count("records_received", gone)


def _anchor(books: Books, last: Entry, key_id: bytes) -> Entry | None:
    """The record behind which waiting ones have to be signed again; None if they can stay as they are."""
    totals = books.totals()
    is_new = totals.records_received == totals.records_refused == 0
    before: Entry | None = None
    for sequence, digest, data in books.file.rows_one_by_one(
        "SELECT sequence, digest, envelope FROM record ORDER BY sequence"
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


def _see_that_no_number_is_signed_twice(books: Books, anchor: Entry, stays: int, key_id: bytes) -> None:
    """What waits behind number `stays` gets the numbers behind `anchor`: no such record of this key has one of those.

    Raises:
        OperatorError: one has.
    """
    ((count,),) = books.file.rows("SELECT count(*) FROM record WHERE sequence > ?", stays)
    sql = "SELECT sequence, envelope FROM record WHERE sequence > ? AND sequence BETWEEN ? AND ? ORDER BY sequence"
    for sequence, data in books.file.rows_one_by_one(sql, stays, anchor.sequence + 1, anchor.sequence + count):
        if Envelope.parse(data).key_id == key_id:
            expected = (
                "a key that has not signed under these numbers yet: este-agent enrol --new-key, or the chip's next"
            )
            raise OperatorError("admission", "key_id", expected, f"one that has signed another record {sequence}")


def _sign_page(books: Books, newest: Entry, after: int, key: SigningKey) -> tuple[Entry, int | None, int]:
    """Sign the oldest records behind number `after` anew, unless that is done: other numbers and links, the same words.

    Returns:
        The newest record that is signed again, the number to go on behind, None at the end, and how many there were.
    """
    file = books.file
    sql = "SELECT sequence, envelope FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?"
    rows = file.rows(sql, after, PAGE_RECORDS)
    for _, data in rows:
        envelope = Envelope.parse(data)
        fields = decode(envelope.payload, size_max=ENVELOPE_BYTES_MAX)
        payload = encode({**fields, 3: newest.sequence + 1, 4: newest.digest})
        signed = _signed_before(books, newest.sequence + 1, payload, key)
        if signed is None:
            signed = _sealer(books, MessageType(envelope.type), key)(payload)
        newest = Entry(newest.sequence + 1, digest_of(signed))
        file.execute("INSERT OR REPLACE INTO signed_again VALUES (?, ?, ?)", *_row(newest), signed)
    return newest, rows[-1][0] if len(rows) == PAGE_RECORDS else None, len(rows)


def _signed_before(books: Books, sequence: int, payload: bytes, key: SigningKey) -> bytes | None:
    """What an attempt that was broken off has signed already, if it is this very payload with this key."""
    rows = books.file.rows("SELECT envelope FROM signed_again WHERE sequence = ?", sequence)
    envelope = Envelope.parse(rows[0][0]) if rows else None
    is_same = envelope is not None and (envelope.key_id, envelope.payload) == (key.public_key.thumbprint, payload)
    return rows[0][0] if is_same else None


def _take_their_place(books: Books, anchor: Entry, newest: Entry, stays: int) -> None:
    """Let what was signed again stand where the old records stood."""
    file = books.file
    for table in ("placed", "offer"):
        file.execute(
            f"UPDATE {table} SET sequence ="  # noqa: S608  a table's name, ours
            f" ?1 + (SELECT count(*) FROM record AS r WHERE r.sequence > ?2 AND r.sequence <= {table}.sequence)"
            " WHERE sequence IN (SELECT r.sequence FROM record AS r WHERE r.sequence > ?2)",
            anchor.sequence,
            stays,
        )
    file.execute("DELETE FROM record WHERE sequence > ?", stays)
    file.execute(
        "INSERT INTO record SELECT * FROM signed_again WHERE sequence BETWEEN ? AND ?",
        anchor.sequence + 1,
        newest.sequence,
    )
    file.execute("DROP TABLE signed_again")
    file.execute("UPDATE head SET sequence = ?, previous = ?", *_row(newest))


def _is_in(books: Books, table: str, entry: Entry) -> bool:
    """Whether this very record waits in the outbox, or was set aside from it."""
    sql = f"SELECT 1 FROM {table} WHERE sequence = ? AND digest = ?"  # noqa: S608  a table's name, ours
    return bool(books.file.rows(sql, *_row(entry)))


def _row(entry: Entry) -> tuple[int, bytes]:
    return entry.sequence, entry.digest


def _sealer(books: Books, type_: MessageType, key: SigningKey) -> Seal:
    region, _ = books.file.owner()
    return lambda payload: seal(key, region=region, type_=type_, payload=payload)
