"""The gateway's books: readings that are journaled, records that are signed, and how much of each there was.

A reading is journaled and counted in one transaction. A batch is closed in one durable transaction: the journaled rows
go, the signed record comes, the head of the sequence moves on. So every counted reading is in the journal or in exactly
one record, no number is ever signed twice, and whenever the machine stops the books are right. Opening them takes the
same time however much waits in them. What goes into a batch, and what may be forgotten, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from agent.bus.reading import Reading
from agent.outbox.batching import Boot, Journaled, OpenBatch, lay_out
from agent.outbox.file import OutboxFile
from agent.outbox.queue import Entry
from config.settings.agent import Batching
from protocol.batch import Batch, Clock, ClockState
from protocol.crypto import digest_of
from protocol.envelope import Envelope
from protocol.link import Link
from protocol.messages import MessageType

Seal = Callable[[bytes], bytes]
"""Signs a payload and hands back its envelope."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What has happened since the file was made."""

    readings_read: int
    records_signed: int
    records_received: int
    records_refused: int
    statements_verified: int
    rights_applied: int

    @property
    def records_waiting(self) -> int:
        """Records that are signed and have neither a receipt nor a final refusal."""
        return self.records_signed - self.records_received - self.records_refused


class Books:
    """Readings and records, in an open outbox file."""

    def __init__(self, file: OutboxFile) -> None:
        self.file = file

    def journal(self, readings: Sequence[Reading], boot: Boot) -> None:
        """Keep readings of this boot, and count them.

        Raises:
            StorageError: the disk takes nothing more; then none of them is kept or counted.
        """
        with self.file.transaction():
            number = self._keep_boot(boot)
            rows = [(reading.meter, number, reading.encode()) for reading in readings]
            self.file.execute_many("INSERT INTO journal (boot, reading) VALUES (?2, ?3)", rows)
            self.file.execute_many(
                "INSERT INTO meter (id, boot, reading) VALUES (?1, ?2, ?3)"
                " ON CONFLICT (id) DO UPDATE SET boot = ?2, reading = ?3, failing = NULL",
                rows,
            )
            with_slow = [(reading.meter, row[2]) for reading, row in zip(readings, rows, strict=True) if reading.slow]
            self.file.execute_many("UPDATE meter SET with_slow = ?2 WHERE id = ?1", with_slow)
            self.count("readings_read", len(rows))

    def keep_clock(self, boot: Boot) -> None:
        """Remember what is now known about the clock of this boot."""
        with self.file.transaction():
            self._keep_boot(boot)

    def journaled(self) -> tuple[Boot, list[Reading]] | None:
        """The oldest boot that has readings in the journal, and these readings; None if the journal is empty."""
        number = self._oldest_boot()
        return None if number is None else (self.boot(number), [row.reading for row in self._rows_of(number)])

    def oldest_boot(self) -> Boot | None:
        """The oldest boot that has readings in the journal; None if the journal is empty."""
        number = self._oldest_boot()
        return None if number is None else self.boot(number)

    def gathered(self, limits: Batching) -> OpenBatch:
        """What the journal has for the next batch, no further than to where it is enough: that many may wait."""
        gathered, number = OpenBatch(limits), self._oldest_boot()
        for row in () if number is None else self._rows_of(number):
            gathered.add(row.reading)
            if gathered.is_enough:
                break
        return gathered

    def close_batch(self, readings_max: int, seal: Seal) -> Entry | None:
        """Turn journaled readings of the oldest boot into one signed record; None if the journal is empty.

        Raises:
            StorageError: the disk takes nothing more; then the journal is as it was.
        """
        with self.file.transaction(durable=True):
            number = self._oldest_boot()
            if number is None:
                return None
            boot, layout = self.boot(number), lay_out(self._rows_of(number), readings_max)
            entry = self.append(lambda link: layout.build(link, boot).encode(), seal)
            self.file.execute_many("DELETE FROM journal WHERE id = ?", [(row,) for row in layout.rows])
            return entry

    def append(self, payload: Callable[[Link], bytes], seal: Seal) -> Entry:
        """Sign one more record of the gateway's sequence, inside a durable transaction."""
        ((region, gateway, last, previous),) = self.file.rows("SELECT region, gateway, sequence, previous FROM head")
        link = Link(region=region, author=gateway, sequence=last + 1, previous=previous)
        envelope = seal(payload(link))
        entry = Entry(link.sequence, digest_of(envelope))
        sql = "INSERT INTO record (sequence, digest, envelope) VALUES (?, ?, ?)"
        self.file.execute(sql, entry.sequence, entry.digest, envelope)
        self.file.execute("UPDATE head SET sequence = ?, previous = ?", entry.sequence, entry.digest)
        self.count("records_signed")
        return entry

    def page(self, after: int, count: int) -> list[Entry]:
        """The oldest records behind number `after`."""
        sql = "SELECT sequence, digest FROM record WHERE sequence > ? ORDER BY sequence LIMIT ?"
        return [Entry(*row) for row in self.file.rows(sql, after, count)]

    def envelope(self, sequence: int) -> bytes | None:
        """One record as signed, if it still waits."""
        rows = self.file.rows("SELECT envelope FROM record WHERE sequence = ?", sequence)
        return rows[0][0] if rows else None

    def oldest_waiting_ms(self) -> int | None:
        """When the oldest reading was read that waits for its receipt, UTC as its boot knew it; None if none does.

        Purchases tell no time, so one at the head of the sequence hides the age of the batch behind it for a while.
        """
        rows = self.file.rows("SELECT envelope FROM record ORDER BY sequence LIMIT 1")
        if rows:
            envelope = Envelope.parse(rows[0][0])
            if envelope.type != MessageType.BATCH:
                return None
            batch = Batch.decode(envelope.payload)
            return batch.clock.epoch_ms + min(block.first_ms for block in batch.meters)
        journaled = self.file.rows("SELECT boot, reading FROM journal ORDER BY id LIMIT 1")
        if not journaled:
            return None
        ((number, data),) = journaled
        return self.boot(number).clock.epoch_ms + Reading.decode(data).start_ms

    def last_signed(self) -> int:
        """The number of the last record."""
        ((sequence,),) = self.file.rows("SELECT sequence FROM head")
        return int(sequence)

    def forget(self, entries: Iterable[Entry]) -> None:
        """These have their receipt."""
        with self.file.transaction():
            rows = [(entry.sequence, entry.digest) for entry in entries]
            deleted = self.file.execute_many("DELETE FROM record WHERE sequence = ? AND digest = ?", rows)
            self.count("records_received", deleted)

    def set_aside(self, entry: Entry, code: int, detail: str) -> None:
        """This one is refused for good: keep it apart."""
        with self.file.transaction():
            sql = "INSERT INTO set_aside SELECT sequence, digest, envelope, ?, ? FROM record WHERE sequence = ?"
            self.file.execute(sql, code, detail, entry.sequence)
            self.count("records_refused", self.file.execute("DELETE FROM record WHERE sequence = ?", entry.sequence))

    def totals(self) -> Totals:
        """What has happened since the file was made."""
        (counts,) = self.file.rows(
            "SELECT readings_read, records_signed, records_received, records_refused,"
            " statements_verified, rights_applied FROM head"
        )
        return Totals(*counts)

    def boot(self, number: int) -> Boot:
        """What is known about one boot."""
        ((boot_id, state, error_ms, source, epoch_ms),) = self.file.rows(
            "SELECT boot_id, state, error_ms, source, epoch_ms FROM boot WHERE id = ?", number
        )
        return Boot(id=boot_id, clock=Clock(ClockState(state), error_ms, source, epoch_ms))

    def count(self, counter: str, by: int = 1) -> None:
        """Count something, inside the transaction in which it happens."""
        self.file.execute(f"UPDATE head SET {counter} = {counter} + ?", by)  # noqa: S608  a column's name, ours

    def _keep_boot(self, boot: Boot) -> int:
        clock = boot.clock
        ((number,),) = self.file.rows(
            "INSERT INTO boot (boot_id, state, error_ms, source, epoch_ms) VALUES (?1, ?2, ?3, ?4, ?5)"
            " ON CONFLICT (boot_id) DO UPDATE SET state = ?2, error_ms = ?3, source = ?4, epoch_ms = ?5 RETURNING id",
            boot.id,
            clock.state.value,
            clock.error_ms,
            clock.source,
            clock.epoch_ms,
        )
        return int(number)

    def _oldest_boot(self) -> int | None:
        oldest = self.file.rows("SELECT boot FROM journal ORDER BY id LIMIT 1")
        return oldest[0][0] if oldest else None

    def _rows_of(self, boot: int) -> Iterator[Journaled]:
        """The journaled readings of one boot, oldest first, no further than they are asked for."""
        rows = self.file.rows_one_by_one("SELECT id, reading FROM journal WHERE boot = ? ORDER BY id", boot)
        return (Journaled(number, Reading.decode(data)) for number, data in rows)
