"""One file holds all that an arbitrator needs, and whoever has the node's key alone can check every part of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aggregator.cli import app
from aggregator.economy.contracts.bill import Party
from aggregator.economy.contracts.states import State
from aggregator.regulator.contracts import desk
from aggregator.service import evidence as evidence_room
from aggregator.service.evidence import EvidenceError
from aggregator.service.proof import verify
from protocol.agreement import Dispute
from protocol.crypto import digest_of
from protocol.errors import EsteError
from protocol.messages import MessageType
from tests.contract_village import EVEN_W, a_market_document
from tests.integration.test_contract_ledger import Trading, command, regulator_of
from tests.market_village import BUY, SELL, a_quote
from tests.village import INTERVAL_MS, a_grid


@pytest.fixture
def trading(tmp_path: Path) -> Iterator[Trading]:
    made = Trading(tmp_path / "data")
    made.live_even(2)
    yield made
    made.node.close()


@pytest.fixture
def disputed(trading: Trading) -> bytes:
    """A contract of which half was delivered, and whose buyer says otherwise; beside it one with others."""
    village = trading.village
    terms = village.terms()
    trading.agree(terms)
    trading.agree(village.terms(nonce=bytes([1] * 16), quantity_wh=1))
    trading.live_even(2)
    trading.live_even(2, wind=-EVEN_W // 2)
    trading.live_even(2)
    dispute = Dispute(village.link("gw-home"), terms.digest, "home", "the meter was covered")
    trading.send(village.sign(dispute, MessageType.DISPUTE, "gw-home"))
    assert trading.state(terms.digest) is State.DISPUTED
    return terms.digest


def written(trading: Trading, contract: bytes, path: Path) -> Any:
    """The evidence as the command writes it."""
    done = command(trading, "prove", "--contract", contract.hex()[:8], "--output", str(path))
    assert done.exit_code == 0, done.output
    return json.loads(path.read_text())


def shown(trading: Trading, document: Any) -> dict[str, object]:
    """What the evidence shows to somebody who has the node's key."""
    return verify(document, trading.village.keys["node"].public_key).claim


def test_evidence_shows_terms_signatures_verdict_meters_and_history(
    trading: Trading, disputed: bytes, tmp_path: Path
) -> None:
    claim = shown(trading, written(trading, disputed, tmp_path / "evidence.json"))
    contract = trading.node.five.operation.contracts.book.rows[disputed]
    assert (claim["seller"], claim["buyer"], claim["quantity_wh"]) == ("wind", "home", 100)
    assert claim["signed"] == "offer by gw-wind, agreement by gw-home, dispute by gw-home"
    assert claim["history"] == "agreed, verified, confirmed, delivering, breached, disputed"
    assert claim["delivered_wh"] == contract.amounts.delivered_wh
    intervals = [str(claim[f"interval_{number}"]) for number in (1, 2)]
    closed = trading.node.five.data.late.closed
    for told, start_ms in zip(intervals, (contract.terms.start_ms, contract.terms.start_ms + INTERVAL_MS), strict=True):
        assert f"of 50 Wh delivered; block {closed[start_ms].height}: m-home 50 Wh in and 0 Wh out, m-wind" in told
    assert "m-gas" not in str(claim)


def test_the_command_checks_it_with_the_node_s_key_alone(trading: Trading, disputed: bytes, tmp_path: Path) -> None:
    path, key = tmp_path / "evidence.json", tmp_path / "node.pub.pem"
    written(trading, disputed, path)
    key.write_text(trading.village.keys["node"].public_key.to_pem())
    done = CliRunner().invoke(app, ["verify", str(path), "--key", str(key)])
    assert done.exit_code == 0, done.output
    assert disputed.hex() in done.output and "dispute by gw-home" in done.output


def test_a_ruling_names_no_other_file(trading: Trading, disputed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "evidence.json"
    document = written(trading, disputed, path)
    regulator = regulator_of(trading)
    number = disputed.hex()
    assert desk.digest_of_evidence(regulator, number, path.read_bytes()) == digest_of(path.read_bytes())
    other = json.dumps(document | {"contract": "00" * 32}).encode()
    for file in (other, b"name: Stadtwerke", b"", b"[]", b"{}", b"[" * 10_000):
        with pytest.raises(EsteError, match="not the evidence of contract"):
            desk.digest_of_evidence(regulator, number, file)
    regulator.close()


def test_a_ruling_names_the_evidence_and_stands_in_the_next(trading: Trading, disputed: bytes, tmp_path: Path) -> None:
    path, key = tmp_path / "evidence.json", trading.village.keys["regulator"]
    written(trading, disputed, path)
    digest = digest_of(path.read_bytes())
    regulator = regulator_of(trading)
    sealed = desk.arbitrate(regulator, disputed.hex(), 90, Party.SELLER, "tested", key=key, evidence=digest)
    regulator.close()
    trading.send(sealed.envelope)
    trading.live_even(2)
    claim = shown(trading, written(trading, disputed, tmp_path / "afterwards.json"))
    assert f"arbitration by regulator (evidence {digest.hex()})" in str(claim["signed"])
    assert (claim["ruled"], claim["booked_price"]) == ("90 Wh delivered, seller answers", "90")


Change = Callable[[Any], object]


def _left_out(what: str, place: int) -> Change:
    return lambda document: document["stated"][what].pop(place)


CHANGES: dict[str, Change] = {
    "a delivery is left out": _left_out("analysis", 0),
    "a signature is left out": lambda document: document["signed"].pop(0),
    "a key is left out": lambda document: document["keys"].pop(0),
    "a leaf stands there twice": lambda document: document["stated"]["operation"].append(
        document["stated"]["operation"][-1]
    ),
    "a leaf is another": lambda document: document["stated"]["operation"][0].update(body=b"\x81\x61x".hex()),
    "a leaf is of something else": lambda document: document["stated"]["operation"].append(document["signed"][0]),
    "a meter's row is another": lambda document: document["metered"][0]["rows"][0].update(energy=[1] * 9),
    "a meter is another": lambda document: document["metered"][0]["rows"][0].update(meter="m-gas"),
    "an interval stands there twice": lambda document: document["metered"].append(document["metered"][-1]),
    "an interval is another row": lambda document: document["metered"][0].update(closed=document["row"]),
    "a key is another row": lambda document: document["keys"].append(document["row"]),
    "the row is another": lambda document: document.update(row=document["keys"][0]),
    "the number is another": lambda document: document.update(contract="00" * 32),
    "something is put beside it": lambda document: document.update(note="trust me"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_evidence_that_was_changed_is_no_evidence(
    change: Change, trading: Trading, disputed: bytes, tmp_path: Path
) -> None:
    document = written(trading, disputed, tmp_path / "evidence.json")
    changed = copy.deepcopy(document)
    change(changed)
    assert changed != document
    with pytest.raises(EsteError):
        shown(trading, changed)


def test_a_contract_of_two_quotes_is_shown_with_both(tmp_path: Path) -> None:
    document = a_market_document()
    document["rules"]["market"] = {"gate_ms": INTERVAL_MS}
    trading = Trading(tmp_path / "data", a_grid(**document))
    trading.live_even(2)
    village = trading.village
    start_ms = village.now_ms - village.now_ms % INTERVAL_MS + 4 * INTERVAL_MS
    for who, side in (("wind", SELL), ("home", BUY)):
        quote = a_quote(village, who, side, start_ms=start_ms)
        trading.send(village.sign(quote, MessageType.QUOTE))
    (contract,) = trading.node.five.operation.contracts.book.in_order()
    claim = shown(trading, written(trading, contract.digest, tmp_path / "evidence.json"))
    assert claim["signed"] == "quote by gw, quote by gw"
    trading.node.close()


def test_more_intervals_than_a_file_may_hold_are_told(
    trading: Trading, disputed: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(evidence_room, "INTERVALS_MAX", 1)
    five, store = trading.node.five, regulator_of(trading)
    store.close()
    done = command(trading, "prove", "--contract", disputed.hex())
    assert done.exit_code == 1 and isinstance(done.exception, EvidenceError), done.output
    assert len(five.operation.contracts.book.rows) == 2
