"""What a gateway remembers beside its readings and records: the last statement, its purchases, its devices, its meters.

Lives in the same file as the outbox, so that one transaction can hold both, and so that whoever looks at a stopped
agent finds everything in one place. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.bus.reading import Reading, SlowReading
from agent.outbox.batching import Boot
from agent.outbox.books import Books, Seal, Totals
from agent.outbox.file import OutboxFile, is_held
from agent.outbox.queue import Entry
from agent.standing import Placed
from agent.trade.offers import Stage
from protocol.envelope import Envelope
from protocol.link import Link
from protocol.messages import RightKind, Statement
from protocol.refusals import RefusalCode
from protocol.units import Quantity

ASIDES_MAX: Final = 10
"""Of records that were refused for good, people are shown the last few."""


@dataclass(frozen=True, slots=True)
class HeardStatement:
    """A verified statement in its envelope, and when it was heard."""

    envelope: bytes
    boot_id: bytes
    heard_ms: int
    """On the clock of that boot."""


@dataclass(frozen=True, slots=True)
class MeterSeen:
    """The last that is known of one meter."""

    meter: str
    boot: Boot | None
    reading: Reading | None
    failing: str | None
    """Why it cannot be read, since its last reading."""
    slow: SlowReading | None = None
    """The last that is known, in the same boot, of what is read more rarely."""

    @property
    def values(self) -> Mapping[Quantity, int]:
        """The newest known value of every quantity, in the order of the wire format."""
        values = dict(self.slow.values) if self.slow else {}
        return dict(sorted((values | dict(self.reading.values if self.reading else {})).items()))

    @property
    def slow_unix_ms(self) -> int | None:
        """When its last slow reading began, UTC as its boot knew it."""
        return None if self.boot is None or self.slow is None else self.boot.clock.epoch_ms + self.slow.start_ms

    @property
    def read_unix_ms(self) -> int | None:
        """When its last reading began, UTC as its boot knew it."""
        if self.boot is None or self.reading is None:
            return None
        return self.boot.clock.epoch_ms + self.reading.start_ms


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """The last that is known of one device."""

    device: str
    power_max_w: int | None
    """What it confirmed; None where it is free."""
    failing: str | None
    """Why it does not do what it is told, since then."""
    set_w: int | None = None
    """What it confirmed that it is set to: to take, or, below 0, to feed in; None where it runs as it likes."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A record that was refused for good."""

    sequence: int
    code: RefusalCode
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Everything that an outbox file tells about its agent."""

    region: str
    gateway: str
    is_running: bool
    unix_ms: int
    """When it was looked at, by this machine's clock."""
    totals: Totals
    bytes_used: int
    oldest_waiting_ms: int | None
    """When the oldest reading was read that waits for its receipt, UTC as its boot knew it."""
    notes: Mapping[str, str]
    """States of the running program, or of the one that ran last."""
    meters: Sequence[MeterSeen]
    devices: Sequence[DeviceSeen]
    asides: Sequence[Aside]
    """The last records that were refused for good."""
    statement: Statement | None
    offers_open: int = 0
    """Offers of others that wait for somebody's decision."""


def look(folder: Path, *, unix_ms: int) -> Seen:
    """Look into the outbox in `folder`, whether its agent runs or not.

    Raises:
        OperatorError: there is none, or it is not one that this este understands.
    """
    with closing(OutboxFile.look(folder)) as file:
        books = Books(file)
        memory = Memory(books)
        region, gateway = file.owner()
        heard = memory.statement()
        return Seen(
            region=region,
            gateway=gateway,
            is_running=is_held(folder),
            unix_ms=unix_ms,
            totals=books.totals(),
            bytes_used=file.bytes_used(),
            oldest_waiting_ms=books.oldest_waiting_ms(),
            notes=memory.notes(),
            meters=memory.meters(),
            devices=memory.devices(),
            asides=memory.set_aside(ASIDES_MAX),
            offers_open=memory.offers_open(),
            statement=_said(heard),
        )


def statement_in(folder: Path) -> Statement | None:
    """The last statement that the agent of the outbox in `folder` believed, if there was one.

    Raises:
        OperatorError: there is no outbox, or it is not one that this este understands.
    """
    with closing(OutboxFile.look(folder)) as file:
        return _said(Memory(Books(file)).statement())


def _said(heard: HeardStatement | None) -> Statement | None:
    """What a statement says: it was verified before it was kept."""
    return None if heard is None else Statement.decode(Envelope.parse(heard.envelope).payload)


_KEEP_FAILING: Final = "INSERT INTO {} (id, failing) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET failing = ?2"


class Memory:
    """What is remembered, in the same file as the books."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._file = books.file

    def keep_statement(self, heard: HeardStatement) -> None:
        """This is the newest statement that is believed."""
        with self._file.transaction():
            sql = "INSERT OR REPLACE INTO statement (id, envelope, boot_id, heard_ms) VALUES (1, ?, ?, ?)"
            self._file.execute(sql, heard.envelope, heard.boot_id, heard.heard_ms)
            self._books.count("statements_verified")

    def statement(self) -> HeardStatement | None:
        """The newest statement that is believed."""
        rows = self._file.rows("SELECT envelope, boot_id, heard_ms FROM statement")
        return HeardStatement(*rows[0]) if rows else None

    def sign_purchase(
        self, payload: Callable[[Link], bytes], seal: Seal, *, participant: str, right: RightKind
    ) -> tuple[Entry, Placed]:
        """Sign the purchase of a standing order and remember that it was placed.

        Raises:
            StorageError: the disk takes nothing more; then nothing was bought.
        """
        with self._file.transaction(durable=True):
            entry = self._books.append(payload, seal)
            placed = Placed(participant=participant, right=right, sequence=entry.sequence)
            self._insert_placed(placed)
            return entry, placed

    def keep_placed(self, placed: Placed) -> None:
        """Remember what came of a purchase."""
        with self._file.transaction():
            self._insert_placed(placed)

    def placed(self) -> list[Placed]:
        """The last purchase of every standing order."""
        rows = self._file.rows("SELECT participant, right, sequence, height, rest_until_ms FROM placed")
        return [
            Placed(
                participant=participant, right=RightKind(right), sequence=sequence, height=height, rest_until_ms=rest
            )
            for participant, right, sequence, height, rest in rows
        ]

    def keep_device(self, device: str, power_max_w: int | None, set_w: int | None = None) -> bool:
        """This device confirmed that it is held to `power_max_w`, or free, and what it is set to.

        Returns:
            Whether that is a change: only then it counts as a right applied.
        """
        with self._file.transaction():
            before = self._file.rows("SELECT power_max_w, set_w FROM device WHERE id = ?", device)
            is_change = (before[0] if before else (None, None)) != (power_max_w, set_w)
            sql = "INSERT OR REPLACE INTO device (id, power_max_w, set_w) VALUES (?, ?, ?)"
            self._file.execute(sql, device, power_max_w, set_w)
            self._books.count("rights_applied", int(is_change))
            return is_change

    def devices(self) -> list[DeviceSeen]:
        """Every device that was ever told something."""
        rows = self._file.rows("SELECT id, power_max_w, failing, set_w FROM device ORDER BY id")
        return [DeviceSeen(*row) for row in rows]

    def keep_failing(self, meters: Sequence[str], devices: Sequence[str], reason: str) -> None:
        """These fail, for this reason; a meter's next journaled reading and a device's next confirmation end it."""
        with self._file.transaction():
            for table, names in (("meter", meters), ("device", devices)):
                for name in names:
                    self._file.execute(_KEEP_FAILING.format(table), name, reason)

    def meters(self) -> list[MeterSeen]:
        """Every meter that was ever read or failed."""
        return [
            MeterSeen(
                meter,
                None if boot is None else self._books.boot(boot),
                None if data is None else Reading.decode(data),
                failing,
                None if with_slow is None else Reading.decode(with_slow).slow,
            )
            for meter, boot, data, failing, with_slow in self._file.rows(
                "SELECT id, boot, reading, failing, with_slow FROM meter ORDER BY id"
            )
        ]

    def keep_note(self, name: str, text: str | None) -> None:
        """Remember a state of the running program for people who look; None ends it."""
        with self._file.transaction():
            self._file.execute("DELETE FROM note WHERE name = ?", name)
            if text is not None:
                self._file.execute("INSERT INTO note (name, text) VALUES (?, ?)", name, text)

    def notes(self) -> dict[str, str]:
        """States of the running program, or of the one that ran last."""
        return dict(self._file.rows("SELECT name, text FROM note"))

    def set_aside(self, count: int) -> list[Aside]:
        """The last records that were refused for good."""
        rows = self._file.rows("SELECT sequence, code, detail FROM set_aside ORDER BY sequence DESC LIMIT ?", count)
        return [Aside(sequence, RefusalCode(code), detail) for sequence, code, detail in rows]

    def offers_open(self) -> int:
        """How many offers of others wait for a decision, expired or not."""
        ((count,),) = self._file.rows("SELECT count(*) FROM offer WHERE stage = ?", Stage.OPEN.value)
        return int(count)

    def _insert_placed(self, placed: Placed) -> None:
        self._file.execute(
            "INSERT OR REPLACE INTO placed (participant, right, sequence, height, rest_until_ms)"
            " VALUES (?, ?, ?, ?, ?)",
            placed.participant,
            placed.right.value,
            placed.sequence,
            placed.height,
            placed.rest_until_ms,
        )
