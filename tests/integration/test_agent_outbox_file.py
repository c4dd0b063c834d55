"""The outbox file, killed at any instant, full, foreign, damaged, and large."""

from __future__ import annotations

import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from agent.outbox.batching import Boot
from agent.outbox.books import Books, Seal
from agent.outbox.file import FILE_NAME, OutboxFile, StorageError, is_held
from agent.outbox.memory import DeviceSeen, HeardStatement, Memory, look
from agent.outbox.queue import Entry
from agent.outbox.schema import VERSION
from agent.standing import Placed
from config.settings.agent import Batching
from protocol.batch import Batch, ClockState
from protocol.envelope import Envelope, seal
from protocol.errors import OperatorError
from protocol.link import NO_RECORD
from protocol.messages import MessageType, RightKind
from protocol.refusals import RefusalCode
from protocol.units import BootMs
from tests.builders import GATEWAY, METER, REGION, a_key, a_purchase, a_sealed, a_statement
from tests.integration.agent_world import open_in
from tests.unit.agent.builders import a_boot, a_reading, a_slow_reading, readings

ALL = 4096
"""More readings than any of these tests puts into a batch."""

SMALL = 256 * 1024
"""Bytes: room for the tables and a few readings."""


def a_seal(type_: MessageType = MessageType.BATCH) -> Seal:
    return lambda payload: seal(a_key(), region=REGION, type_=type_, payload=payload)


def close(books: Books, readings_max: int = ALL) -> Entry | None:
    return books.close_batch(readings_max, a_seal())


def batch_in(books: Books, sequence: int) -> Batch:
    envelope = books.envelope(sequence)
    assert envelope is not None
    return Batch.decode(Envelope.parse(envelope).payload)


class TestReadings:
    """In the journal or in one record, and counted once."""

    def test_what_is_journaled_is_counted_with_it(self, books: Books) -> None:
        books.journal(readings(3), a_boot())
        assert books.totals().readings_read == 3
        assert books.journaled() == (a_boot(), readings(3))

    def test_a_closed_batch_takes_them_over(self, books: Books) -> None:
        books.journal(readings(3), a_boot())
        entry = close(books)
        assert entry is not None
        assert books.journaled() is None
        assert batch_in(books, entry.sequence).readings == 3

    def test_what_does_not_fit_stays_in_the_journal(self, books: Books) -> None:
        books.journal(readings(5), a_boot())
        close(books, readings_max=2)
        assert books.journaled() == (a_boot(), readings(5)[2:])

    def test_records_are_numbered_and_linked(self, books: Books) -> None:
        entries = []
        for second in range(3):
            books.journal(readings(1, first_ms=60_000 + 1000 * second), a_boot())
            entries.append(close(books))
        links = [batch_in(books, n).link for n in (1, 2, 3)]
        assert [link.sequence for link in links] == [1, 2, 3]
        assert [link.previous for link in links] == [NO_RECORD, *(e.digest for e in entries[:2] if e)]

    def test_an_empty_journal_makes_no_record(self, books: Books) -> None:
        assert close(books) is None
        assert books.last_signed() == 0

    def test_two_boots_never_share_a_batch(self, books: Books) -> None:
        before, after = a_boot("before", epoch_ms=1_000), a_boot("after")
        books.journal(readings(2), before)
        books.journal(readings(1, first_ms=5_000), after)
        close(books)
        close(books)
        batches = [batch_in(books, n) for n in (1, 2)]
        assert [(b.boot_id, b.clock, b.readings) for b in batches] == [
            (before.id, before.clock, 2),
            (after.id, after.clock, 1),
        ]

    def test_readings_are_stamped_with_the_clock_as_last_known_in_their_boot(self, books: Books) -> None:
        books.journal(readings(1), a_boot(state=ClockState.UNSYNCHRONIZED, epoch_ms=0))
        books.keep_clock(a_boot())
        close(books)
        assert batch_in(books, 1).clock == a_boot().clock

    def test_a_broken_seal_leaves_the_journal_as_it_was(self, books: Books) -> None:
        def broken(payload: bytes) -> bytes:
            raise RuntimeError("the chip does not answer")

        books.journal(readings(3), a_boot())
        with pytest.raises(RuntimeError):
            books.close_batch(ALL, broken)
        assert books.journaled() == (a_boot(), readings(3))
        assert books.last_signed() == 0


class TestRecords:
    """Kept until they are answered."""

    @pytest.fixture
    def entries(self, books: Books) -> list[Entry]:
        for second in range(4):
            books.journal(readings(1, first_ms=60_000 + 1000 * second), a_boot())
            assert close(books) is not None
        return books.page(0, 100)

    def test_they_are_paged_oldest_first(self, books: Books, entries: list[Entry]) -> None:
        assert [entry.sequence for entry in entries] == [1, 2, 3, 4]
        assert books.page(1, 2) == entries[1:3]

    def test_one_with_its_receipt_is_gone_and_counted_once(self, books: Books, entries: list[Entry]) -> None:
        books.forget(entries[:2])
        books.forget(entries[:2])
        totals = books.totals()
        assert (totals.records_signed, totals.records_received, totals.records_waiting) == (4, 2, 2)
        assert books.envelope(1) is None

    def test_another_digest_forgets_nothing(self, books: Books, entries: list[Entry]) -> None:
        books.forget([Entry(1, entries[1].digest)])
        assert books.page(0, 100) == entries

    def test_one_that_is_set_aside_is_kept_with_its_reason(self, books: Books, entries: list[Entry]) -> None:
        envelope = books.envelope(2)
        books.set_aside(entries[1], RefusalCode.UNKNOWN_METER, "m-1")
        assert books.file.rows("SELECT sequence, envelope, code, detail FROM set_aside") == [(2, envelope, 30, "m-1")]
        assert (books.totals().records_refused, books.totals().records_waiting) == (1, 3)

    def test_a_purchase_takes_the_next_number(self, books: Books, entries: list[Entry]) -> None:
        entry, placed = Memory(books).sign_purchase(
            lambda link: a_purchase(link=link).encode(),
            a_seal(MessageType.PURCHASE),
            participant="annia",
            right=RightKind.PRIORITY_PURCHASE,
        )
        assert entry.sequence == placed.sequence == 5
        assert Memory(books).placed() == [placed]


class TestMemory:
    """What is remembered beside readings and records."""

    def test_everything_is_there_after_a_restart(self, tmp_path: Path) -> None:
        statement = a_sealed(a_statement().encode(), type_=MessageType.STATEMENT)
        placed = Placed(participant="annia", right=RightKind.PRIORITY_PURCHASE, sequence=7, height=3)
        books = open_in(tmp_path)
        memory = Memory(books)
        memory.keep_statement(HeardStatement(statement, a_boot().id, 70_000))
        memory.keep_placed(placed)
        memory.keep_device("heat-pump", 1000)
        memory.keep_failing(["roof"], [], "silent")
        books.journal(readings(2), a_boot())
        books.file.close()
        seen = look(tmp_path, unix_ms=0)
        assert (seen.statement, seen.devices[0].power_max_w, seen.totals.statements_verified) == (
            a_statement(),
            1000,
            1,
        )
        house, roof = seen.meters
        assert (house.meter, house.reading, house.failing) == (METER, readings(2)[1], None)
        assert (roof.meter, roof.reading, roof.failing) == ("roof", None, "silent")

    def test_only_a_change_counts_as_a_right_applied(self, books: Books) -> None:
        memory = Memory(books)
        changes = [memory.keep_device("heat-pump", power_w) for power_w in (None, 1000, 1000, 500, None, None)]
        assert changes == [False, True, False, True, True, False]
        assert books.totals().rights_applied == 3

    def test_what_a_device_is_set_to_is_remembered_and_a_change_of_it_counts(self, books: Books) -> None:
        memory = Memory(books)
        changes = [memory.keep_device("battery", None, set_w) for set_w in (None, -3000, -3000, None)]
        assert changes == [False, True, False, True]
        memory.keep_device("battery", 4000, 2000)
        assert memory.devices() == [DeviceSeen("battery", 4000, None, 2000)]

    def test_a_meter_that_is_read_again_fails_no_more(self, books: Books) -> None:
        Memory(books).keep_failing([METER], [], "silent")
        books.journal(readings(1), a_boot())
        assert Memory(books).meters()[0].failing is None

    def test_notes_of_the_last_run_end_with_the_next(self, tmp_path: Path) -> None:
        books = open_in(tmp_path)
        Memory(books).keep_note("halted", "somebody else signs")
        books.file.close()
        assert look(tmp_path, unix_ms=0).notes == {"halted": "somebody else signs"}
        open_in(tmp_path).file.close()
        assert look(tmp_path, unix_ms=0).notes == {}


class TestSlowReadings:
    """What is read more rarely is remembered until something newer is known, and never beyond the run that read it."""

    def test_the_newest_of_each_meter_is_shown(self, books: Books, tmp_path: Path) -> None:
        first, second, third = readings(3)
        slow = a_slow_reading(60_500)
        books.journal([first, replace(second, slow=slow), third], a_boot())
        (meter,) = look(tmp_path, unix_ms=0).meters
        assert (meter.reading, meter.slow) == (third, slow)
        assert list(meter.values) == sorted({*third.values, *slow.values})
        newer = a_slow_reading(62_500)
        books.journal([a_reading(start_ms=BootMs(63_000), slow=newer)], a_boot())
        assert look(tmp_path, unix_ms=0).meters[0].slow == newer

    def test_the_next_run_does_not_show_what_it_did_not_read(self, tmp_path: Path) -> None:
        books = open_in(tmp_path)
        books.journal([a_reading(slow=a_slow_reading(59_000))], a_boot())
        books.file.close()
        assert look(tmp_path, unix_ms=0).meters[0].slow is not None
        open_in(tmp_path).file.close()
        (meter,) = look(tmp_path, unix_ms=0).meters
        assert (meter.reading is not None, meter.slow) == (True, None)


class TestOwnership:
    """One gateway, one program, one version."""

    def test_only_its_owner_can_read_it(self, books: Books, tmp_path: Path) -> None:
        books.journal(readings(1), a_boot())
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("outbox.*")}
        assert set(modes.values()) == {0o600}, modes

    def test_two_programs_cannot_hold_it(self, books: Books, tmp_path: Path) -> None:
        with pytest.raises(OperatorError, match="an agent that is running"):
            open_in(tmp_path)
        assert is_held(tmp_path)

    def test_it_is_free_again_when_its_program_ends(self, tmp_path: Path) -> None:
        open_in(tmp_path).file.close()
        assert not is_held(tmp_path)
        open_in(tmp_path).file.close()

    def test_it_can_be_looked_at_while_it_is_held(self, books: Books, tmp_path: Path) -> None:
        books.journal(readings(1), a_boot())
        seen = look(tmp_path, unix_ms=0)
        assert (seen.is_running, seen.totals.readings_read) == (True, 1)

    def test_another_gateway_s_is_refused(self, tmp_path: Path) -> None:
        open_in(tmp_path).file.close()
        with pytest.raises(OperatorError, match=f"that of {GATEWAY} in {REGION}"):
            OutboxFile.open(tmp_path, region=REGION, gateway="gw-2")

    def test_a_newer_version_is_refused(self, tmp_path: Path) -> None:
        open_in(tmp_path).file.close()
        with sqlite3.connect(tmp_path / FILE_NAME) as db:
            db.execute(f"PRAGMA user_version = {VERSION + 1}")
        db.close()
        with pytest.raises(OperatorError, match="use the este that wrote it"):
            open_in(tmp_path)

    def test_a_file_of_the_version_before_is_taken_up_with_all_that_waits_in_it(self, tmp_path: Path) -> None:
        """Readings were spelled as those without parts still are, and nobody remembered slow ones."""
        books = open_in(tmp_path)
        books.journal(readings(3), a_boot())
        books.close_batch(2, a_seal())
        books.file.close()
        with sqlite3.connect(tmp_path / FILE_NAME) as db:
            db.execute("ALTER TABLE meter DROP COLUMN with_slow")
            db.execute("ALTER TABLE device DROP COLUMN set_w")
            for table in ("wish", "offer", "partner", "trade_wish", "ordered", "quote"):
                db.execute(f"DROP TABLE {table}")
            db.execute("PRAGMA user_version = 1")
        db.close()
        with pytest.raises(OperatorError, match="version 1"):
            look(tmp_path, unix_ms=0)
        books = open_in(tmp_path)
        journaled = books.journaled()
        assert journaled is not None and journaled[1] == readings(3)[2:]
        assert (books.totals().readings_read, len(books.page(0, 9))) == (3, 1)
        (meter,) = Memory(books).meters()
        assert (meter.reading, meter.slow) == (readings(3)[2], None)
        books.file.close()
        assert look(tmp_path, unix_ms=0).totals.readings_read == 3

    def test_another_kind_of_database_is_refused(self, tmp_path: Path) -> None:
        with sqlite3.connect(tmp_path / FILE_NAME) as db:
            db.execute("CREATE TABLE something (id INTEGER)")
        db.close()
        with pytest.raises(OperatorError, match="another kind of file"):
            open_in(tmp_path)

    def test_a_damaged_file_is_told_of(self, tmp_path: Path) -> None:
        (tmp_path / FILE_NAME).write_bytes(b"rubbish" * 1000)
        with pytest.raises(OperatorError, match="an intact outbox"):
            open_in(tmp_path)

    def test_a_folder_that_cannot_be_made_is_told_of(self, tmp_path: Path) -> None:
        (tmp_path / "data").write_text("a file")
        with pytest.raises(OperatorError, match="a folder to write to"):
            open_in(tmp_path / "data")


CHILD = """
import sys
from pathlib import Path
from tests.integration.test_agent_outbox_file import live
live(Path(sys.argv[1]), seed=int(sys.argv[2]))
"""


def live(folder: Path, seed: int) -> None:
    """Read, close and set aside for ever, as an agent does, until it is killed."""
    random = Random(seed)
    books = open_in(folder)
    boot = Boot(id=seed.to_bytes(16), clock=a_boot().clock)
    now_ms = 0
    while True:
        for meter in range(random.randrange(1, 5)):
            now_ms += 10
            reading = a_reading(meter=f"m-{meter}", start_ms=BootMs(now_ms), end_ms=BootMs(now_ms + 5))
            books.journal([reading], boot)
        if random.random() < 0.3:
            close(books, readings_max=random.randrange(1, 8))
        if random.random() < 0.1:
            for entry in books.page(0, random.randrange(1, 4)):
                books.set_aside(entry, RefusalCode.UNKNOWN_METER, "m-0")
        print("alive", flush=True)


class TestKilled:
    """Pains row 2: the process ends at any instant, twenty times over, on one file."""

    def test_no_counted_reading_is_lost_or_doubled_and_no_number_is_used_twice(self, tmp_path: Path) -> None:
        random = Random(1)
        for seed in range(1, 21):
            child = subprocess.Popen(
                [sys.executable, "-c", CHILD, str(tmp_path), str(seed)], stdout=subprocess.PIPE, text=True
            )
            assert child.stdout is not None
            for _ in range(random.randrange(1, 60)):
                assert child.stdout.readline() == "alive\n"
            time.sleep(random.random() / 50)
            child.kill()
            child.communicate()
            assert child.returncode == -signal.SIGKILL, "it was still at work"
            see_that_nothing_is_amiss(tmp_path)


def see_that_nothing_is_amiss(folder: Path) -> None:
    """Every counted reading is in the journal or in one record; the records are one linked sequence."""
    books = open_in(folder)
    records = books.file.rows(
        "SELECT sequence, envelope FROM record UNION SELECT sequence, envelope FROM set_aside ORDER BY 1"
    )
    ((journaled,),) = books.file.rows("SELECT count(*) FROM journal")
    totals, entries = books.totals(), books.page(0, 1 << 30)
    books.file.close()
    envelopes = [Envelope.parse(envelope) for _, envelope in records]
    batches = [Batch.decode(envelope.payload) for envelope in envelopes]
    assert journaled + sum(batch.readings for batch in batches) == totals.readings_read
    assert [batch.link.sequence for batch in batches] == list(range(1, totals.records_signed + 1))
    previous = [NO_RECORD, *(envelope.digest for envelope in envelopes)][: len(batches)]
    assert [batch.link.previous for batch in batches] == previous
    assert (len(entries), len(records) - len(entries)) == (totals.records_waiting, totals.records_refused)


@contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """A disk that is full for whatever wants to grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestFullDisk:
    """Pains row 2: nothing that was counted is lost, and work goes on when there is room again."""

    def fill(self, books: Books) -> int:
        """Read until the disk takes nothing more; how much was counted."""
        for second in range(100_000):
            try:
                books.journal(readings(10, first_ms=60_000 + 10_000 * second), a_boot())
            except StorageError as error:
                assert error.retry
                return books.totals().readings_read
        raise AssertionError("the disk never filled")

    def test_what_is_not_kept_is_not_counted(self, books: Books) -> None:
        with no_file_larger_than(SMALL):
            counted = self.fill(books)
        assert books.file.rows("SELECT count(*) FROM journal") == [(counted,)]
        assert counted > 0

    def test_a_batch_that_cannot_be_written_leaves_the_journal_as_it_was(self, books: Books) -> None:
        with no_file_larger_than(SMALL):
            counted = self.fill(books)
            with pytest.raises(StorageError):
                close(books)
        assert books.last_signed() == 0
        assert books.file.rows("SELECT count(*) FROM journal") == [(counted,)]

    def test_when_there_is_room_again_it_goes_on(self, tmp_path: Path) -> None:
        books = open_in(tmp_path)
        with no_file_larger_than(SMALL):
            counted = self.fill(books)
        books.journal(readings(1, first_ms=10**9), a_boot())
        while close(books):
            pass
        books.file.close()
        assert look(tmp_path, unix_ms=0).totals.readings_read == counted + 1
        see_that_nothing_is_amiss(tmp_path)

    def test_a_disk_that_is_full_from_the_start_is_told_of(self, tmp_path: Path) -> None:
        with no_file_larger_than(1024), pytest.raises(StorageError, match="the outbox cannot be written"):
            open_in(tmp_path)


MONTH = 30 * 24 * 60
"""Records, one a minute."""


def gather(folder: Path) -> None:
    """What a start does with the journal of its own boot."""
    books = open_in(folder)
    assert books.oldest_boot() == a_boot()
    assert len(books.gathered(Batching())) == Batching().readings_max
    books.file.close()


class TestBacklog:
    """Pains row 14: a month without a link costs nothing at start, nor do hours without the time."""

    def steps_to_start(self, folder: Path, records: int, monkeypatch: pytest.MonkeyPatch) -> int:
        """Instructions of SQLite's machine from opening a file with so many records to the first page of them."""
        books = open_in(folder)
        with books.file.transaction():
            for _ in range(records):
                books.append(lambda link: bytes(2000), lambda payload: payload)
        books.file.close()

        def start() -> None:
            books = open_in(folder)
            assert [entry.sequence for entry in books.page(0, 32)] == list(range(1, 33))
            assert books.totals().records_waiting == records
            books.file.close()

        return self.counted_steps(monkeypatch, start)

    def counted_steps(self, monkeypatch: pytest.MonkeyPatch, start: Callable[[], None]) -> int:
        """Instructions of SQLite's machine while somebody opens a file and uses it."""
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection = sqlite3.Connection(*args, **kwargs)
            connection.set_progress_handler(count, 1)
            return connection

        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", connect)
            start()
        return steps

    def test_a_start_takes_as_many_steps_as_with_a_handful(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        few = self.steps_to_start(tmp_path / "few", 40, monkeypatch)
        many = self.steps_to_start(tmp_path / "many", MONTH, monkeypatch)
        assert 0 < many <= few + few // 10

    def test_row_14_a_start_looks_at_no_more_of_a_long_journal_than_makes_a_batch(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps = {}
        for count in (200, 20_000):
            folder = tmp_path / str(count)
            books = open_in(folder)
            books.journal(readings(count), a_boot())
            books.file.close()
            steps[count] = self.counted_steps(monkeypatch, partial(gather, folder))
        assert 0 < steps[20_000] <= steps[200] + steps[200] // 10

    def test_row_14_signing_a_long_journal_takes_the_same_for_each_batch(self, books: Books) -> None:
        books.journal([r for n in range(20) for r in readings(600, meter=f"m-{n}", first_ms=60_000)], a_boot())
        rows = [len(batch_in(books, entry.sequence).meters) for entry in iter(lambda: close(books, 60), None)]
        assert sum(rows) >= 20
        assert books.journaled() is None

    def test_room_is_used_again(self, books: Books) -> None:
        with books.file.transaction():
            for _ in range(100):
                books.append(lambda link: bytes(20_000), lambda payload: payload)
        full = books.file.bytes_used()
        books.forget(books.page(0, 100))
        assert books.file.bytes_used() < full / 10
