"""A node joins a region of four from nothing, or from a snapshot; gets a vote, and loses it again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from aggregator.service.keeper import Keeper, restore
from aggregator.service.store import Store
from config.key_files import load as load_key
from tests.e2e.consensus import GATEWAY, PATIENCE_S, Consensus, consensus
from tests.e2e.joining import (
    COMMAND,
    a_broker,
    begins_at,
    este,
    fingerprint_of,
    join,
    powers,
    regulator,
    request_of,
    wipe,
)

pytestmark = [pytest.mark.cometbft, pytest.mark.mosquitto]

NEW = "node-5"
SNAPSHOT_EVERY = 5


@pytest.fixture
def four(tmp_path: Path) -> Iterator[Consensus]:
    """Four nodes that have agreed on a first batch and make snapshots often."""
    with consensus(tmp_path) as made, a_broker(made):
        for name in made.names:
            made.change(name, snapshot_every=SNAPSHOT_EVERY)
        made.start()
        made.send()
        made.all_have_all()
        yield made


def test_a_node_follows_from_the_first_block_is_given_a_vote_and_loses_it(four: Consensus) -> None:
    join(four, NEW)
    four.start(NEW)
    four.send("node-1")
    four.all_have_all()
    assert begins_at(four, NEW) == 1
    request = request_of(four, NEW)
    said = regulator(four, "admit", request, f"--fingerprint={fingerprint_of(four, NEW)}")
    assert f"{NEW} is an aggregator of the region" in said
    regulator(four, "validator", "set", NEW, "--power=30", f"--request={request}")
    four.wait("the new node knows of its vote", lambda: powers(four, NEW).get(NEW) == 30)
    four.kill("node-2")
    four.kill("node-3")  # 20 of 70 are left without the new one, 50 with it
    four.send("node-1", batches=2)
    four.all_have_all()
    four.start("node-2", "node-3")
    regulator(four, "validator", "remove", NEW)
    taken = four.decided("node-1")  # CometBFT counts the vote for two more blocks
    four.wait("its vote counts no more", lambda: four.decided("node-1") >= taken + 3)
    four.kill(NEW)
    four.send("node-1")
    four.all_have_all()
    four.start(NEW)
    four.all_have_all()
    assert NEW not in powers(four, NEW)
    four.stop()
    four.audit(*four.names, NEW)


def test_a_node_that_was_wiped_begins_again_with_a_snapshot(four: Consensus) -> None:
    name = "node-3"
    before = four.gateway.sent[0]
    four.kill(name)
    four.send("node-1", batches=2)
    others = [one for one in four.names if one != name]
    four.all_have_all(*others)
    put_back = wipe(four, name)
    four.wait("the others have snapshots", lambda: all(_has_snapshot(four, one) for one in others))
    join(four, name, from_snapshot=True)
    put_back()
    four.start(name)
    four.wait("it has taken a snapshot", lambda: begins_at(four, name) > 1)
    four.send("node-1")
    four.wait("it has what came since", lambda: four.last_of_gateway(name) == len(four.gateway.sent))
    four.agree()
    four.kill(name)
    four.send("node-1")
    four.start(name)  # with the same settings: it takes up no second snapshot
    four.kill("node-2")  # now it takes its vote to decide
    four.send("node-1")
    four.wait("it votes as it did", lambda: four.last_of_gateway(name) == len(four.gateway.sent))
    four.stop()
    four.agree()
    data = four.home(name) / "data"
    begins = begins_at(four, name)
    said = este("audit", f"--data={data}", status=1)
    assert f"begins at block {begins}, with a snapshot: audit another node's" in said
    said = este("prove", f"--data={data}", "--meter=m-gas", "--at=2000-01-01T00:00:00Z", status=1)
    assert f"this ledger begins at block {begins}, with a snapshot" in said
    _is_silent_about(before, four, name)
    four.audit(*others)


def test_what_a_running_region_proves_is_sealed_however_busy_it_is(four: Consensus, tmp_path: Path) -> None:
    trusted = tmp_path / "quorum.yaml"
    data = four.home("node-1") / "data"
    shown = subprocess.run(
        [*COMMAND, "validators", f"--data={data}", "--quorum", "--required=regulator-node"],
        check=True, capture_output=True, text=True, timeout=PATIENCE_S,
    )  # fmt: skip
    trusted.write_text(shown.stdout)
    assert yaml.safe_load(shown.stdout)["required"] == ["regulator-node"]
    told = ""
    for attempt in range(20):  # a block may be decided before the regulator's vote for it came: a newer proof has it
        proof = tmp_path / f"proof-{attempt}.json"
        command = [*COMMAND, "prove", f"--data={data}", "--meter=m-gas", "-o", str(proof), "--wait-s=60"]
        proving = subprocess.Popen(command, stdout=sys.stderr)
        while proving.poll() is None:
            four.send("node-1")
        assert proving.returncode == 0
        verifying = subprocess.run(
            [*COMMAND, "verify", str(proof), f"--quorum={trusted}"],
            check=False, capture_output=True, text=True, timeout=PATIENCE_S,
        )  # fmt: skip
        told = " ".join((verifying.stdout + verifying.stderr).split())
        if verifying.returncode == 0:
            break
        assert "is not signed by regulator-node, whose signature is required" in told
    assert "regulator-node" in told and verifying.returncode == 0


def _has_snapshot(made: Consensus, name: str) -> bool:
    return any((made.home(name) / "data/snapshots").glob("[0-9]*"))


def _is_silent_about(record: bytes, made: Consensus, name: str) -> None:
    """Asked again for what came before its beginning, a node says neither yes nor no."""
    home = made.home(name)
    with closing(Store.open(home / "data")) as store:
        keeper = Keeper(restore(store, home / "data"), store, name, load_key(home / "aggregator.key"))
        opened = keeper.five.ledger.check(record)
        assert opened.author.name == GATEWAY
        assert keeper.at_door(opened) == []
