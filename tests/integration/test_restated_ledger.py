"""Late energy and corrections on disk: a node restates from its own log, goes on after a restart, and is audited."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from aggregator.chains.metering.interval_energy import metered_leaf, read_metered_leaf
from aggregator.ledger.record import RECORD_BYTES_MAX
from aggregator.regulator import cli
from aggregator.regulator.desk import Sealed
from aggregator.service import node as node_module
from aggregator.service.audit import AuditError, AuditReport, audit
from aggregator.service.keeper import begin
from aggregator.service.node import Node
from aggregator.service.query import LedgerFile
from aggregator.service.sqlite_port import FILE_NAME
from aggregator.service.store import Store
from config.key_files import keep
from config.settings.aggregator import Blocks
from protocol.batch import Batch, Clock, ClockState
from protocol.envelope import Envelope
from protocol.messages import MessageType, Statement
from protocol.topics import Kind
from tests.late_village import BATCH_MS, a_village, gateway_of, parcels
from tests.village import BOOT, INTERVAL_MS, START_MS

BATCHES = 12
POWER_W = {"m-gas": [-18_000] * BATCHES, "m-grid": [0] * BATCHES, "m-home": [36_000] * BATCHES}
POWER_W["m-wind"] = POWER_W["m-gas"]


class Region:
    """A node on disk beside the late village, which here only signs."""

    def __init__(self, folder: Path, wind_heard_ms: int = 0) -> None:
        """`wind_heard_ms` is when the wind turbine's gateway is heard at last, after the region's beginning."""
        self.folder = folder / "data"
        self.folder.mkdir()
        self.village = a_village({"ceiling": 10_000})
        begin(self.folder, self.village.genesis, "node", self.village.keys["node"])
        self.node = self.open()
        late = [max(0, wind_heard_ms - (n + 1) * BATCH_MS) if n > 2 else 0 for n in range(BATCHES)]
        self.waiting = parcels(POWER_W, {"m-wind": late})
        self.statements: list[Statement] = []

    def open(self) -> Node:
        return Node.open(self.folder, "node", self.village.keys["node"], Blocks(entries_max=10, age_max_ms=100), 100)

    def restart(self) -> None:
        self.node.close()
        self.node = self.open()

    def take(self, data: bytes) -> None:
        self.node.submit(self.node.check(data), self.village.now_ms)
        self.village.record(data)

    def close_block(self) -> None:
        for told in self.node.close_block(self.village.now_ms):
            if told.topic.kind is Kind.STATEMENT:
                self.statements.append(Statement.decode(Envelope.parse(told.payload).payload))

    def live(self, until_s: int) -> None:
        while self.village.now_ms < START_MS + until_s * 1000:
            self.village.now_ms += INTERVAL_MS
            while self.waiting and self.waiting[0].at_ms <= self.village.now_ms:
                block = self.waiting.pop(0).block
                gateway, clock = gateway_of(block.meter), Clock(ClockState.SYNCHRONIZED, 5, "test", START_MS)
                batch = Batch(self.village.link(gateway), BOOT, clock, (block,))
                self.take(self.village.sign(batch, MessageType.BATCH, gateway))
            self.close_block()
            while self.node.due_in_ms(self.village.now_ms) == 0:
                self.close_block()

    def audited(self) -> AuditReport:
        store = Store.open_read_only(self.folder)
        try:
            return audit(store)
        finally:
            store.close()


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Region]:
    """The wind turbine's gateway was silent from the second period on, until 100 s."""
    region = Region(tmp_path, wind_heard_ms=100_000)
    yield region
    region.node.close()


@pytest.fixture
def in_time(tmp_path: Path) -> Iterator[Region]:
    region = Region(tmp_path)
    yield region
    region.node.close()


def test_a_node_restates_from_its_own_log_also_after_a_restart(late: Region) -> None:
    late.live(100)
    assert len(late.node.five.data.late.waiting) > 0
    late.restart()
    late.live(180)
    assert len(late.node.five.data.late.waiting) == 0
    view = LedgerFile(late.folder)
    status = view.status()
    view.close()
    assert status.intervals_restated > 0 and status.periods_adjusted > 0
    assert (status.intervals_to_restate, status.corrections) == (0, 0)
    report = late.audited()
    assert (report.restatements, report.minted) == (status.intervals_restated, status.tokens_minted)


def test_a_backlog_is_restated_between_receipts(late: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "OWN_BLOCKS_MAX", 1)
    late.live(180)
    assert late.node.five.analysis.totals.restatements > 0
    assert late.audited().restatements == late.node.five.analysis.totals.restatements
    assert late.node.five.payment.balance("wind") == 4 * 171  # as many periods as there are readings of


def test_a_gateway_is_told_what_became_of_it(late: Region) -> None:
    late.live(180)
    home = [one for statement in late.statements for one in statement.standings if one.participant == "home"]
    balances = [standing.balance for standing in home]
    assert balances == sorted(balances) and len(set(balances)) > 2
    assert home[-1].balance == late.node.five.payment.balance("home")


def test_a_changed_row_of_a_closed_interval_fails_the_audit(late: Region) -> None:
    late.live(60)
    late.node.close()
    with sqlite3.connect(late.folder / FILE_NAME) as db:
        for chain, index, body in db.execute("SELECT chain, idx, body FROM leaf").fetchall():
            rows = read_metered_leaf(body, START_MS)
            if rows is not None:
                forged = metered_leaf(START_MS, dict(list(rows.items())[:-1]))
                db.execute("UPDATE leaf SET body = ? WHERE chain = ? AND idx = ?", (forged, chain, index))
    db.close()
    with pytest.raises(AuditError):
        late.audited()


# -- the regulator's command


def correct(region: Region, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> tuple[int, str]:
    """Run the command; the node takes the record as a running one would."""
    key_file, settings = folder / "regulator.key", folder / "aggregator.yaml"
    if not settings.exists():
        keep(key_file, region.village.keys["regulator"])
        settings.write_text(
            "region: village\nname: node\ndata: data\nkey_file: regulator.key\nbroker: {host: 127.0.0.1, port: 9}\n"
        )

    def bring_about(sealed: Sealed, *_: object) -> None:
        region.take(sealed.envelope)
        region.close_block()
        regulator_sees = LedgerFile(region.folder)
        entry = regulator_sees.store.entry_of("regulator", sealed.sequence)
        regulator_sees.close()
        assert entry is not None and entry.code == 0

    monkeypatch.setattr(cli, "bring_about", bring_about)
    arguments = ["correct", "m-wind", f"--key={key_file}", f"--settings={settings}", "--reason=found", *options]
    done = CliRunner().invoke(cli.app, arguments)
    return done.exit_code, re.sub(r"\s+", " ", done.output + str(done.exception or ""))


SECOND = "2026-09-21T14:13:50Z"
THIRD = "2026-09-21T14:14:20Z"


def test_a_wrong_transformer_ratio_is_corrected_for_a_span(
    in_time: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as much was counted as flowed: 25 Wh in each of six intervals are 12 Wh, rounded down."""
    in_time.live(80)
    options = (f"--from={SECOND}", f"--until={THIRD}", "--times=0.5")
    status, said = correct(in_time, tmp_path, monkeypatch, *options)
    assert (status, said) == (0, "m-wind: 6 intervals, +0 Wh imported, -78 Wh exported. ")
    in_time.live(90)
    rows = in_time.node.five.analysis.rows.of(START_MS + 30_000)
    assert {row.participant: row.fed_in_wh for row in rows}["wind"] == 6 * 12
    assert in_time.audited().restatements == 6
    again = correct(in_time, tmp_path, monkeypatch, f"--from={SECOND}", f"--until={THIRD}", "--times=2.5")
    assert again == (0, "m-wind: 6 intervals, +0 Wh imported, +108 Wh exported. ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--times=half", f"--from={SECOND}", f"--until={THIRD}"), "a factor of 0 or more"),
        (("--times=1", f"--from={SECOND}", f"--until={THIRD}"), "that changes nothing"),
        (("--times=0", f"--from={THIRD}", f"--until={SECOND}"), "no interval there may be corrected"),
        (("--times=0", "--from=yesterday", f"--until={THIRD}"), "expected an instant"),
        (("--times=0", "--from=2026-09-21T14:13:50", f"--until={THIRD}"), "say which time zone"),
    ],
)
def test_every_wrong_input_of_correct_is_one_sentence(
    in_time: Region, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    in_time.live(80)
    status, told = correct(in_time, tmp_path, monkeypatch, *options)
    assert status != 0 and said in told


def test_a_correction_of_the_longest_span_fits_through_the_broker() -> None:
    """1,500 intervals of a region of a hundred thousand meters, every row shown."""
    from aggregator.chains.metering.correction import INTERVALS_MAX, Correction, Delta
    from aggregator.chains.metering.interval_energy import IntervalEnergy, ProvenRow
    from protocol.envelope import ENVELOPE_BYTES_MAX
    from protocol.link import Link

    row = ProvenRow(99_999, IntervalEnergy(10**6, 10**6, 0, 900, 10**9, 10**9, 1), (bytes(range(32)),) * 17)
    deltas = tuple(Delta(START_MS + 900_000 * n, -(10**6), -(10**6), row) for n in range(INTERVALS_MAX))
    correction = Correction(Link("village", "regulator", 2**40, bytes(32)), "m" * 64, deltas, "ü" * 300)
    payload = correction.encode()
    assert Correction.decode(payload) == correction
    assert len(payload) + 1000 < ENVELOPE_BYTES_MAX < RECORD_BYTES_MAX
