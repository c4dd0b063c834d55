"""Contracts on a real ledger: a node makes them, commands show them, the regulator decides, an audit finds it all."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aggregator.cli import app
from aggregator.economy.contracts.bill import Party
from aggregator.economy.contracts.states import State
from aggregator.regulator.contracts import desk
from aggregator.regulator.desk import Regulator, RegulatorError
from aggregator.regulator.rehearsal import WouldBeRefusedError
from aggregator.service.audit import AuditError, audit, audit_file
from aggregator.service.named import ContractError
from aggregator.service.query import LedgerFile
from aggregator.service.second_opinion import verify_again
from aggregator.service.sqlite_port import FILE_NAME
from aggregator.service.store import Store
from config.grid_model import Grid
from config.settings.aggregator import AggregatorSettings
from protocol.agreement import Dispute
from protocol.contract import Terms
from protocol.envelope import Envelope
from protocol.messages import MessageType, Refusal
from protocol.topics import Kind
from tests.contract_village import EVEN, EVEN_W, Market, a_market_grid
from tests.integration.lived import exported
from tests.integration.test_ledger_file import Running, kinds
from tests.village import INTERVAL_MS, REGION


class Trading(Running):
    """A node of a region whose participants make contracts."""

    village: Market

    def __init__(self, folder: Path, grid: Grid | None = None) -> None:
        folder.mkdir()
        super().__init__(folder, Market(grid=grid or a_market_grid()))
        self.village.five = self.node.five

    def agree(self, terms: Terms) -> None:
        """Both sides sign, and the buyer's gateway sends it."""
        self.send(self.village.sign(self.village.agreement(terms), MessageType.AGREEMENT, "gw-home"))

    def live_even(self, intervals: int, **power_w: int) -> None:
        """Intervals pass."""
        for _ in range(intervals):
            batch = self.village.a_batch(EVEN | {f"m-{name}": watts for name, watts in power_w.items()})
            self.village.now_ms += INTERVAL_MS
            self.send(self.village.sign(batch, MessageType.BATCH))

    def state(self, digest: bytes) -> State:
        """Where a contract stands."""
        return self.node.five.operation.contracts.book.rows[digest].state


@pytest.fixture
def trading(tmp_path: Path) -> Iterator[Trading]:
    made = Trading(tmp_path / "data")
    made.live_even(2)
    yield made
    made.node.close()


@pytest.fixture
def breached(trading: Trading) -> bytes:
    """One contract of which half was delivered, and one that could not be."""
    terms = trading.village.terms()
    trading.agree(terms)
    trading.agree(trading.village.terms(nonce=bytes([1] * 16)))
    trading.live_even(2)
    trading.live_even(2, wind=-EVEN_W // 2)
    trading.live_even(2)
    assert trading.state(terms.digest) is State.BREACHED
    return terms.digest


def regulator_of(trading: Trading) -> Regulator:
    settings: Any = AggregatorSettings.model_construct(data=trading.folder, region=REGION)
    return Regulator(settings)


def audited(trading: Trading, *, second_opinion: bool = False) -> bytes:
    """Audit the node's ledger; the digest of its last block."""
    with closing(Store.open_read_only(trading.folder)) as store:
        return audit(store, second_opinion=second_opinion).head_digest


def command(trading: Trading, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--data", str(trading.folder)])


def test_contracts_are_listed_with_their_states(trading: Trading, breached: bytes) -> None:
    listed = command(trading, "contracts")
    assert listed.exit_code == 0, listed.output
    lines = listed.output.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["breached", "rejected"]
    assert lines[1].startswith(breached.hex()[:16])
    found = json.loads(command(trading, "contracts", "--json").output)
    assert [one["state"] for one in found] == ["breached", "rejected"]


def test_a_contract_is_shown_with_its_history_and_what_can_follow(trading: Trading, breached: bytes) -> None:
    shown = command(trading, "contracts", breached.hex()[:8]).output
    for word in (breached.hex(), "agreed", "verified", "confirmed", "delivering", "breached", "seller short (Wh)"):
        assert word in shown
    assert "settle by the clock" in shown and "dispute by either party" in shown
    found = json.loads(command(trading, "contracts", breached.hex(), "--json").output)
    assert found["measured"]["delivered_wh"] + found["measured"]["seller_short_wh"] == found["quantity_wh"] == 100


def test_a_rejected_contract_is_shown_with_the_rule_and_by_how_much(trading: Trading, breached: bytes) -> None:
    rejected = json.loads(command(trading, "contracts", "--json").output)[1]
    start_ms = rejected["start_ms"]
    reason = f"SOLD_ALREADY: wind, in the interval from {start_ms} by {2 * EVEN_W - 50_000} W"
    assert rejected["rejected_because"] == reason
    assert reason in command(trading, "contracts", rejected["contract"]).output


def test_a_number_that_fits_none_or_several_is_one_sentence(trading: Trading, breached: bytes) -> None:
    with closing(LedgerFile(trading.folder)) as ledger:
        for number in ("0000", breached.hex()[:2], ""):
            with pytest.raises(ContractError, match="see este-aggregator contracts"):
                desk.view(ledger.five, number)


def test_an_empty_region_says_so(trading: Trading) -> None:
    assert command(trading, "contracts").output == "There are no contracts.\n"


def test_a_disputed_contract_is_arbitrated_from_the_desk(trading: Trading, breached: bytes) -> None:
    village, key = trading.village, trading.village.keys["regulator"]
    dispute = Dispute(village.link("gw-home"), breached, "home", "the meter was covered")
    with closing(regulator_of(trading)) as regulator, pytest.raises(WouldBeRefusedError, match="NO_SUCH_STEP"):
        desk.arbitrate(regulator, breached.hex(), 90, Party.SELLER, "tested", key=key)
    trading.send(village.sign(dispute, MessageType.DISPUTE, "gw-home"))
    with closing(regulator_of(trading)) as regulator:
        sealed = desk.arbitrate(regulator, breached.hex()[:8], 90, Party.SELLER, "tested", key=key)
    trading.send(sealed.envelope)
    assert trading.state(breached) is State.ARBITRATED
    trading.live_even(2)
    found = json.loads(command(trading, "contracts", breached.hex(), "--json").output)
    booked = found["booked_millionths"]
    assert (found["state"], booked["price"], booked["penalty"]) == ("settled", 90_000_000, 2_000_000)
    assert found["ruling"] == {"delivered_wh": 90, "responsible": "seller"}
    assert "delivered wh: 90, responsible: seller" in command(trading, "contracts", breached.hex()).output


def test_a_participant_is_frozen_and_let_go_from_the_desk(trading: Trading) -> None:
    key = trading.village.keys["regulator"]
    with closing(regulator_of(trading)) as regulator:
        with pytest.raises(RegulatorError, match="no participant nobody"):
            desk.freeze(regulator, "nobody", "why", is_frozen=True, key=key)
        with pytest.raises(WouldBeRefusedError, match="FROZEN_OR_NOT_ALREADY"):
            desk.freeze(regulator, "wind", "why", is_frozen=False, key=key)
        trading.send(desk.freeze(regulator, "wind", "an inquiry", is_frozen=True, key=key).envelope)
    assert "wind is frozen: an inquiry" in command(trading, "contracts").output
    with closing(regulator_of(trading)) as regulator:
        trading.send(desk.freeze(regulator, "wind", "it is over", is_frozen=False, key=key).envelope)
    assert "frozen" not in command(trading, "contracts").output


def test_whoever_agrees_to_what_is_not_in_order_is_told(trading: Trading) -> None:
    late = trading.village.terms(expires_ms=1)
    told = trading.send(trading.village.sign(trading.village.agreement(late), MessageType.AGREEMENT, "gw-home"))
    (payload,) = kinds(told, Kind.REFUSAL)
    assert Refusal.decode(Envelope.parse(payload).payload).code.name == "OFFER_EXPIRED"


def test_an_audit_comes_to_the_same_verdicts_deliveries_and_books(
    trading: Trading, breached: bytes, tmp_path: Path
) -> None:
    trading.live_even(4)
    assert trading.state(breached) is State.SETTLED
    head = trading.node.five.ledger.head
    assert head is not None
    assert audited(trading) == head.digest
    assert audit_file(exported(trading.folder, tmp_path / "ledger.este")).head_digest == head.digest


def test_a_second_library_is_asked_about_both_signatures(
    trading: Trading, breached: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert audited(trading, second_opinion=True)

    def but_no_offer(envelope: Envelope, *others: Any) -> bool:
        return envelope.type != MessageType.OFFER and verify_again(envelope, *others)

    monkeypatch.setattr("aggregator.service.replay.verify_again", but_no_offer)
    with pytest.raises(AuditError, match="the second library does not accept"):
        audited(trading, second_opinion=True)


@pytest.mark.parametrize("word", ["contract", "delivered", "bill", "money"])
def test_a_leaf_about_a_contract_that_was_changed_fails_the_audit(trading: Trading, breached: bytes, word: str) -> None:
    trading.live_even(4)
    spelled = bytes([0x60 + len(word)]) + word.encode()
    with closing(sqlite3.connect(trading.folder / FILE_NAME)) as db:
        chain, index, body = next(
            (chain, index, body)
            for chain, index, body in db.execute("SELECT chain, idx, body FROM leaf ORDER BY height DESC, idx DESC")
            if body[1:].startswith(spelled)
        )
        changed = body[:-1] + bytes([body[-1] ^ 1])
        db.execute("UPDATE leaf SET body = ? WHERE chain = ? AND idx = ?", (changed, chain, index))
        db.commit()
    with pytest.raises(AuditError):
        audited(trading)


def test_a_node_that_is_stopped_in_the_middle_goes_on(trading: Trading, breached: bytes) -> None:
    trading.node.close()
    trading.node = trading.open()
    trading.village.five = trading.node.five
    assert trading.state(breached) is State.BREACHED
    trading.live_even(3)
    assert trading.state(breached) is State.SETTLED


def test_a_higher_fee_gets_what_is_scarce_although_it_came_later(tmp_path: Path) -> None:
    trading = Trading(tmp_path / "data", a_market_grid(time={"period_ms": 30_000}))
    trading.live(50)
    village = trading.village
    transfer = village.a_transfer("wind", "home", amount=20)
    trading.send(village.sign(transfer, MessageType.TRANSFER))
    cheap, dear = village.terms(fee=1), village.terms(fee=9, nonce=bytes([1] * 16))
    agreements = [
        village.sign(village.agreement(cheap), MessageType.AGREEMENT, "gw-home"),
        village.sign(village.agreement(dear, offers="gw-home", agrees="gw-wind"), MessageType.AGREEMENT, "gw-wind"),
    ]
    for data in agreements:
        trading.node.submit(trading.node.check(data), village.now_ms)
    trading.node.close_block(village.now_ms)
    assert (trading.state(dear.digest), trading.state(cheap.digest)) == (State.CONFIRMED, State.REJECTED)
    assert trading.node.five.payment.totals.fees == 10
    assert audited(trading)
    trading.node.close()
