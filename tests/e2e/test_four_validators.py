"""Four validators, and what may happen to one of them: nothing committed is lost, no two disagree, the rest go on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from protocol.crypto import SoftwareKey
from protocol.envelope import seal
from protocol.messages import MessageType
from tests.e2e.consensus import PATIENCE_S, Consensus, consensus
from tests.village import REGION

pytestmark = pytest.mark.cometbft

LAST = "regulator-node"


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Consensus]:
    """Four nodes that have agreed on a first batch."""
    with consensus(tmp_path) as made:
        made.start()
        made.send()
        made.all_have_all()
        yield made


def test_one_that_is_killed_comes_back_and_has_what_the_others_agreed_on(four: Consensus) -> None:
    four.kill(LAST)
    four.send(batches=3)
    four.all_have_all()
    four.start(LAST)
    four.send()
    four.all_have_all()
    four.stop()
    four.audit()


def test_two_that_are_gone_stop_the_rest_and_nothing_is_lost(four: Consensus) -> None:
    four.kill(LAST)
    four.kill("node-3")
    before = [four.height(name) for name in ("node-1", "node-2")]
    four.send("node-1")
    four.start("node-3")
    four.all_have_all()
    assert four.height("node-1") > before[0]
    four.agree()


def test_a_wrong_result_is_voted_down_and_the_next_proposer_s_counts(tmp_path: Path) -> None:
    with consensus(tmp_path) as made:
        made.lies["node-2"] = ["lie"]
        made.start()
        made.send()
        honest = [name for name in made.names if name != "node-2"]
        made.wait("the liar is voted down", lambda: all("RESULT_DIFFERS" in made.log(name) for name in honest))
        closed = made.intervals("node-1")
        made.wait("intervals go on being closed", lambda: made.intervals("node-1") > closed + 1)
        made.send()
        made.all_have_all()
        made.stop()
        made.audit(*honest)  # which does the physics of every interval again


@pytest.mark.parametrize("question", ["prepare_proposal", "process_proposal", "finalize_block", "keep", "kept"])
def test_a_node_that_dies_in_the_middle_of_a_block_comes_back_and_agrees(four: Consensus, question: str) -> None:
    four.stop("node-3")
    four.lies["node-3"] = [f"die:{question}"]
    four.start("node-3")
    four.wait("it dies", lambda: four.send("node-1") or four.died("node-3"))
    del four.lies["node-3"]
    four.start("node-3")
    four.send()
    four.all_have_all()
    four.stop()
    four.audit()


def test_what_cannot_be_a_record_costs_only_itself(four: Consensus) -> None:
    honest, stranger = four.gateway.batch(), SoftwareKey.generate()
    forged = seal(stranger, region=REGION, type_=MessageType.BATCH, payload=b"\xa0")
    rubbish = [b"", b"\x00" * 100, os.urandom(5_000), forged, honest[:-1], honest + b"\x00", os.urandom(2_000_000)]
    sent = four.broadcast([*rubbish, honest, honest, four.gateway.sent[0]], "node-1")
    assert [one.is_taken for one in sent] == [*(False for _ in rubbish), True, False, False]
    four.all_have_all()
    four.stop()
    four.audit()


def test_a_flood_of_rubbish_delays_nobody_for_long(four: Consensus) -> None:
    for _ in range(20):
        four.broadcast_blindly([os.urandom(200) for _ in range(100)], "node-2")
    four.send()
    four.all_have_all()


def test_a_balance_that_one_node_proves_is_verified_with_the_others_keys(four: Consensus, tmp_path: Path) -> None:
    four.wait("a period is settled", lambda: four.send("node-1") or bool(four.with_an_account("node-1")))
    four.all_have_all()
    who = four.with_an_account("node-1")[0]
    command = [sys.executable, "-c", "from aggregator.cli import main; main()"]
    proof = tmp_path / "proof.json"
    data = four.home("node-1") / "data"
    subprocess.run([*command, "prove", f"--data={data}", f"--balance={who}", "--wait-s=120", "-o", proof], check=True)
    others = yaml.safe_load((four.folder / "quorum.yaml").read_text())
    others["members"] = [one for one in others["members"] if one["name"] != "node-1"]
    others["threshold"] = 20
    (tmp_path / "others.yaml").write_text(yaml.safe_dump(others))
    verify = [*command, "verify", proof, f"--quorum={tmp_path / 'others.yaml'}"]
    done = subprocess.run(verify, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    assert "proven" in done.stdout and who in done.stdout
