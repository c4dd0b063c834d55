"""The ledger on disk: blocks are whole or absent, a node goes on where it stopped, no changed byte passes the audit."""

from __future__ import annotations

import copy
import random
import re
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from aggregator.chains.intervals.results import IntervalResult
from aggregator.cli import app
from aggregator.service.audit import AuditError, audit
from aggregator.service.keeper import begin
from aggregator.service.node import Node
from aggregator.service.notify import Outgoing
from aggregator.service.proof import prove_balance, prove_reading, verify
from aggregator.service.query import LedgerFile
from aggregator.service.schema import SCHEMA_VERSION
from aggregator.service.sqlite_port import FILE_NAME
from aggregator.service.store import Store
from aggregator.service.stored import StoreError
from config.settings.aggregator import Blocks
from protocol.crypto import SoftwareKey, digest_of
from protocol.envelope import Envelope
from protocol.errors import EsteError, OperatorError
from protocol.messages import MessageType, Receipt, Refusal, Statement
from protocol.readings import Readings
from protocol.refusals import RefusalCode, Refused
from protocol.topics import Kind
from protocol.units import Interval, Quantity, UnixMs
from tests.village import INTERVAL_MS, START_MS, Village, some_keys

BLOCKS = Blocks(entries_max=10, age_max_ms=100)


class Running:
    """A node beside the village, which here only signs."""

    def __init__(self, folder: Path, village: Village | None = None) -> None:
        self.folder = folder
        self.village = village or Village()
        self.sent: list[Outgoing] = []
        begin(folder, self.village.genesis, "node", self.village.keys["node"])
        self.node = self.open()

    def open(self) -> Node:
        return Node.open(self.folder, "node", self.village.keys["node"], BLOCKS, 100)

    def send(self, data: bytes) -> list[Outgoing]:
        record = self.node.check(data)
        self.village.record(data)
        self.node.submit(record, self.village.now_ms)
        told = self.node.close_block(self.village.now_ms)
        self.sent += told
        return told

    def batch(self) -> bytes:
        batch = self.village.a_batch()
        self.village.now_ms += INTERVAL_MS
        return self.village.sign(batch, MessageType.BATCH)

    def live(self, seconds: int) -> None:
        for _ in range(seconds // 5):
            self.send(self.batch())


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.node.close()


def kinds(outgoing: list[Outgoing], kind: Kind) -> list[bytes]:
    return [message.payload for message in outgoing if message.topic.kind is kind]


def test_a_record_is_receipted_once_it_is_durable(running: Running) -> None:
    data = running.batch()
    (payload,) = kinds(running.send(data), Kind.RECEIPT)
    envelope = Envelope.parse(payload)
    envelope.verify(running.village.keys["node"].public_key, "village")
    receipt = Receipt.decode(envelope.payload)
    assert [(r.sequence, r.digest) for r in receipt.records] == [(1, digest_of(data))]


def test_a_record_that_comes_again_gets_the_same_receipt_and_counts_once(running: Running) -> None:
    data = running.batch()
    first = kinds(running.send(data), Kind.RECEIPT)
    readings = running.node.five.data.totals.readings
    running.node.submit(running.node.check(data), running.village.now_ms)
    again = kinds(running.node.close_block(running.village.now_ms), Kind.RECEIPT)
    assert Receipt.decode(Envelope.parse(again[0]).payload) == Receipt.decode(Envelope.parse(first[0]).payload)
    assert running.node.five.data.totals.readings == readings


def test_a_refused_record_that_comes_again_is_refused_again(running: Running) -> None:
    batch = running.village.a_batch(clock=running.village.a_batch().clock.__class__(*_future_clock()))
    data = running.village.sign(batch, MessageType.BATCH)
    first = kinds(running.send(data), Kind.REFUSAL)
    running.node.submit(running.node.check(data), running.village.now_ms)
    again = kinds(running.node.close_block(running.village.now_ms), Kind.REFUSAL)
    codes = [Refusal.decode(Envelope.parse(payload).payload).code for payload in first + again]
    assert codes == [RefusalCode.FROM_THE_FUTURE, RefusalCode.FROM_THE_FUTURE]


def _future_clock() -> tuple[object, ...]:
    from protocol.batch import ClockState

    return ClockState.SYNCHRONIZED, 5, "test", START_MS + 3_600_000


def test_a_node_goes_on_where_it_stopped(running: Running) -> None:
    running.live(40)
    before = running.node.five.ledger
    head, rows = before.head, before.rows()
    running.node.close()
    running.node = running.open()
    after = running.node.five.ledger
    assert (after.head, after.rows(), after.state.root) == (head, rows, before.state.root)
    running.live(35)
    assert running.node.five.ledger.broken_invariants() == []


def test_statements_are_numbered_and_linked_across_restarts(running: Running) -> None:
    running.live(35)
    running.node.close()
    running.node = running.open()
    running.live(35)
    envelopes = [Envelope.parse(payload) for payload in kinds(running.sent, Kind.STATEMENT)]
    statements = [Statement.decode(envelope.payload) for envelope in envelopes]
    assert [statement.number for statement in statements] == list(range(2, len(statements) + 2))  # 1 came with genesis
    for envelope, following in zip(envelopes, statements[1:], strict=False):
        assert following.previous == digest_of(envelope.payload)


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_file_of_another_version_is_refused_and_left_as_it_is(running: Running, version: int) -> None:
    running.node.close()
    with closing(sqlite3.connect(running.folder / FILE_NAME)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    for open_ in (Store.open, Store.open_read_only):
        with pytest.raises(OperatorError, match=f"of version {SCHEMA_VERSION}.*the este that wrote it.*{version}"):
            open_(running.folder)
    with closing(sqlite3.connect(running.folder / FILE_NAME)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    running.node = running.open()


def test_a_full_disk_keeps_everything_waiting(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    data = running.batch()
    running.node.submit(running.node.check(data), running.village.now_ms)
    head, root = running.node.five.ledger.head, running.node.five.ledger.state.root
    store = running.node._keeper.store
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full"):
        for _ in range(50):
            running.node.close_block(running.village.now_ms)
    assert running.node.five.ledger.state.root == root or running.node.five.ledger.head != head
    store._db.execute("PRAGMA max_page_count = 1000000")
    running.node.close_block(running.village.now_ms)
    assert running.node.five.ledger.last_record("gw").sequence == 1
    running.node.close()
    running.node = running.open()  # state and head on disk fit each other


# -- audit


@pytest.fixture
def ledger(running: Running) -> Path:
    """A ledger with two settled periods, a purchase and a refused record, closed."""
    running.live(40)
    running.send(running.village.sign(running.village.a_purchase(), MessageType.PURCHASE))
    running.send(running.village.sign(running.village.a_purchase("home"), MessageType.PURCHASE))
    running.live(30)
    running.node.close()
    with sqlite3.connect(running.folder / FILE_NAME) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return running.folder


def audited(folder: Path, **options: bool) -> object:
    store = Store.open_read_only(folder)
    try:
        return audit(store, **options)
    finally:
        store.close()


def test_another_aggregators_physics_do_not_come_in_by_the_door(tmp_path: Path) -> None:
    """Where one node orders the blocks, nobody votes on them: a lie that got in would stand, and fail every audit."""
    running = Running(tmp_path, Village(keys=some_keys("gw") | {"other": SoftwareKey.from_secret(77)}))
    village = running.village
    running.live(5)
    five, interval = running.node.five, Interval(start_ms=UnixMs(START_MS), end_ms=UnixMs(START_MS + INTERVAL_MS))
    flows = village.physics(five.asset.region, interval, five.analysis.known(interval))
    flows = replace(flows, branches=tuple(replace(one, flow_w=10**6) for one in flows.branches))
    lie = IntervalResult(village.link("other"), interval.start_ms, interval.end_ms, flows)
    village.now_ms += INTERVAL_MS  # the next block freezes the interval, and then it is due
    with pytest.raises(Refused) as refused:
        running.send(village.sign(lie, MessageType.INTERVAL, "other"))
    assert refused.value.code is RefusalCode.NOT_THEIR_TYPE
    running.node.close_block(village.now_ms)
    running.node.close()
    store = Store.open_read_only(tmp_path)
    assert audit(store).intervals == 1
    store.close()


def test_the_audit_re_derives_everything(ledger: Path) -> None:
    report = audited(ledger)
    assert (report.periods, report.refused, report.intervals) == (2, 1, 13)
    assert report.minted == 386 and report.burned == 44
    assert report.readings == 280


def test_rights_bought_one_after_another_outlive_a_restart_and_are_re_derived(running: Running) -> None:
    running.live(40)
    for _ in range(2):
        running.send(running.village.sign(running.village.a_purchase(), MessageType.PURCHASE))
        running.live(30)
    running.node.close()
    running.node = running.open()
    running.send(running.village.sign(running.village.a_purchase(), MessageType.PURCHASE))
    statement = Statement.decode(Envelope.parse(kinds(running.sent, Kind.STATEMENT)[-1]).payload)
    (wind,) = [standing for standing in statement.standings if standing.participant == "wind"]
    assert [(right.start_ms, right.end_ms) for right in wind.rights] == [
        (START_MS + 30_000 * number, START_MS + 30_000 * (number + 1)) for number in (3, 4)
    ]
    assert audited(running.folder).refused == 0


def test_a_second_library_agrees_on_every_signature(ledger: Path) -> None:
    assert audited(ledger, second_opinion=True) == audited(ledger)


TABLES = ("block", "entry", "leaf", "node", "state", "statement")


@pytest.mark.parametrize("table", TABLES)
def test_a_changed_value_in_any_row_fails_the_audit(ledger: Path, table: str) -> None:
    """Every column of a sample of rows of every table, one bit flipped at a time."""
    path = ledger / FILE_NAME
    original = path.read_bytes()
    chance = random.Random(table)
    with sqlite3.connect(path) as db:
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        keys = [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[5]]
        rows = db.execute(f"SELECT * FROM {table}").fetchall()
    db.close()
    for row in chance.sample(rows, min(6, len(rows))):
        for column, value in zip(columns, row, strict=True):
            if value is None:
                continue
            path.write_bytes(original)
            with sqlite3.connect(path) as db:
                where = " AND ".join(f"{key} = ?" for key in keys)
                at = [row[columns.index(key)] for key in keys]
                try:
                    db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", [flipped(value, chance), *at])
                except sqlite3.IntegrityError:
                    continue  # SQLite itself refuses the forgery
                db.commit()
            db.close()
            with pytest.raises(EsteError) as error:
                audited(ledger)
            assert isinstance(error.value, AuditError) and error.value.place
    path.write_bytes(original)
    audited(ledger)


def flipped(value: object, chance: random.Random) -> object:
    match value:
        case int():
            return value ^ 1 << chance.randrange(8)
        case str():
            return chr(ord(value[0]) ^ 1) + value[1:]
        case bytes():
            if not value:
                return b"\x00"
            place = chance.randrange(len(value))
            return value[:place] + bytes([value[place] ^ 1 << chance.randrange(8)]) + value[place + 1 :]
    raise AssertionError(type(value))


def test_a_flipped_byte_anywhere_in_the_file_fails_the_audit_or_changes_no_row(ledger: Path) -> None:
    path = ledger / FILE_NAME
    original = path.read_bytes()
    rows = dump(path)
    chance = random.Random(1)
    failed = 0
    for _ in range(300):
        place = chance.randrange(len(original))
        path.write_bytes(original[:place] + bytes([original[place] ^ 1 << chance.randrange(8)]) + original[place + 1 :])
        try:
            audited(ledger)
        except EsteError:
            failed += 1
        else:
            assert dump(path) == rows, f"byte {place} changed a row, and the audit passed"
    path.write_bytes(original)
    assert failed > 50  # the rest hit space that SQLite keeps in reserve


def dump(path: Path) -> list[object]:
    with sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True) as db:
        rows = [db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in TABLES]
    db.close()
    return rows


def test_a_dropped_block_fails_the_audit(ledger: Path) -> None:
    with sqlite3.connect(ledger / FILE_NAME) as db:
        db.execute("DELETE FROM entry WHERE id >> 20 = 5")
    db.close()
    with pytest.raises(AuditError, match="block 5"):
        audited(ledger)


# -- proofs


def test_a_balance_is_proven_to_whoever_has_the_aggregators_key(ledger: Path, running: Running) -> None:
    view = LedgerFile(ledger)
    document = prove_balance(view.five, view.store, "wind")
    view.close()
    key = running.village.keys["node"].public_key
    assert verify(document, key).claim == {"participant": "wind", "balance": 302}
    other = running.village.keys["gw"].public_key
    with pytest.raises(EsteError):
        verify(document, other)


def test_a_reading_is_proven_down_to_its_words(ledger: Path, running: Running) -> None:
    view = LedgerFile(ledger)
    document = prove_reading(view.five, view.store, "m-gas", None)
    view.close()
    claim = verify(document, running.village.keys["node"].public_key).claim
    assert claim["gateway"] == "gw" and claim["active_power_w"] == -40_000
    exported = running.village.registers["m-gas", Quantity.EXPORTED_WH]
    assert claim["exported_wh_words"] == f"{int(exported):016x}"


def test_a_proven_reading_shows_when_each_of_its_requests_was_answered_and_what_was_read_before_it(
    running: Running,
) -> None:
    village = running.village
    batch = village.a_batch()
    slow = Readings.of(
        first_ms=batch.meters[0].first_ms + 500,
        starts_ms=[0, 3_000],
        durations_ms=[70, 80],
        quality=[0, 0],
        columns={Quantity.FREQUENCY_MHZ: [50_000, 50_010], Quantity.VOLTAGE_L1_MV: [230_000, 231_000]},
        parts=bytes((1, 0)),
        gaps_ms=[[30, 31], [35, 36]],
    )
    gas, *others = batch.meters
    table = array("i", [*gas.table, *[2] * len(gas), *[3] * len(gas)])
    gas = replace(gas, table=table, parts=bytes((0, 1, 1)), slow=slow)
    village.now_ms += INTERVAL_MS
    running.send(village.sign(replace(batch, meters=(gas, *others)), MessageType.BATCH))
    running.node.close()
    at_ms = START_MS + gas.first_ms + 2_000
    view = LedgerFile(running.folder)
    document = prove_reading(view.five, view.store, "m-gas", at_ms)
    earlier = prove_reading(view.five, view.store, "m-gas", at_ms - 2_000)
    view.close()
    claim = verify(document, village.keys["node"].public_key).claim
    assert not any(name.startswith("slow") for name in verify(earlier, village.keys["node"].public_key).claim)
    spans = [(claim[f"part_{n}_start_ms"], claim[f"part_{n}_end_ms"], claim[f"part_{n}_quantities"]) for n in (1, 2)]
    assert spans == [(at_ms, at_ms + 2, "active_power_w"), (at_ms + 3, at_ms + 5, "imported_wh, exported_wh")]
    assert (claim["start_ms"], claim["end_ms"]) == (at_ms, at_ms + 5)
    assert (claim["slow_frequency_mhz"], claim["slow_start_ms"]) == (50_000, at_ms - 1_500)
    assert claim["slow_part_2_quantities"] == "frequency_mhz"


def test_a_changed_proof_proves_nothing(ledger: Path, running: Running) -> None:
    view = LedgerFile(ledger)
    documents = [prove_balance(view.five, view.store, "wind"), prove_reading(view.five, view.store, "m-gas", None)]
    view.close()
    key = running.village.keys["node"].public_key
    chance = random.Random(7)
    for document in documents:
        for _ in range(100):
            changed = dict(document)
            field = chance.choice(
                [name for name, value in document.items() if isinstance(value, str) and len(value) > 20]
            )
            place = chance.randrange(len(document[field]))
            digit = format(int(document[field][place], 16) ^ 1 << chance.randrange(4), "x")
            changed[field] = document[field][:place] + digit + document[field][place + 1 :]
            with pytest.raises(EsteError):
                verify(changed, key)


def paths_of(document: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The way to every part of a document."""
    parts = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, part in parts:
        yield (*path, key)
        yield from paths_of(part, (*path, key))


def test_whatever_a_proof_holds_instead_is_told_in_words(ledger: Path, running: Running) -> None:
    view = LedgerFile(ledger)
    documents = [prove_balance(view.five, view.store, "wind"), prove_reading(view.five, view.store, "m-gas", None)]
    view.close()
    key = running.village.keys["node"].public_key
    for document in documents:
        for path in paths_of(document):
            for other in (None, -1, 1 << 200, 0.5, True, "", "m-nobody", "ab", [], [None], {}, {"kind": 1}):
                changed: Any = copy.deepcopy(document)
                part = changed
                for key_ in path[:-1]:
                    part = part[key_]
                part[path[-1]] = other
                with suppress(EsteError):  # anything else is a bug, and the only proof there is may still hold
                    assert verify(changed, key).claim.items() <= verify(document, key).claim.items() or path == (
                        "reading",
                    )


# -- commands


def este_aggregator(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_proof_overwrites_no_file(ledger: Path, tmp_path: Path) -> None:
    file = tmp_path / "gas.json"
    command = ("prove", "--data", ledger, "--balance", "gas", "-o", file)
    assert este_aggregator(*command).exit_code == 0
    written = file.read_bytes()
    refused = este_aggregator(*command)
    assert isinstance(refused.exception, OperatorError)
    assert "expected no file yet, since nothing is ever overwritten" in str(refused.exception)
    assert file.read_bytes() == written


@pytest.mark.parametrize(("verb", "kept"), [("balances", slice(1, 3)), ("devices", slice(-4, None))])
def test_on_a_narrow_terminal_no_name_and_no_number_is_cut(
    ledger: Path, verb: str, kept: slice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lines(width: int, *, is_terminal: bool) -> list[str]:
        monkeypatch.setattr("aggregator.cli.out", Console(width=width, force_terminal=is_terminal, color_system=None))
        done = este_aggregator(verb, "--data", ledger)
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    full, narrow = lines(80, is_terminal=False), lines(60, is_terminal=True)
    assert narrow[-1].startswith("(no room for: ")
    for row, shown in zip(full[1:], narrow[1:], strict=False):
        assert set(re.split(r"\s{2,}", row)[kept]) <= set(re.split(r"\s{2,}", shown)), row
