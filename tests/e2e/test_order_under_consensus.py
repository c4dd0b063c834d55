"""Four validators whose blocks hold one record each: what waits is told in the block, and nobody disagrees about it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import yaml

from aggregator.service.store import Store
from tests.e2e.consensus import GATEWAY, Consensus, consensus

pytestmark = pytest.mark.cometbft


def waited(made: Consensus, name: str) -> list[int]:
    """How long each of the gateway's records had waited, as a node's ledger says."""
    with closing(Store.open_read_only(made.home(name) / "data")) as store:
        return [entry.waited for entry in store.entries_of(GATEWAY)][::-1]


def test_records_that_wait_are_told_in_order_notes_that_everybody_keeps(tmp_path: Path) -> None:
    with consensus(tmp_path) as made:
        for name in made.names:
            file = made.home(name) / "aggregator.yaml"
            document = yaml.safe_load(file.read_text())
            file.write_text(yaml.safe_dump(document | {"blocks": {"entries_max": 1}}))
        made.start()
        made.send()
        made.all_have_all()
        made.send("node-1", batches=20)
        made.all_have_all()
        told = {tuple(waited(made, name)) for name in made.names}
        assert len(told) == 1
        assert max(told.pop()) > 0
        assert not any("voted down" in made.log(name) for name in made.names)
        made.stop()
        made.audit()
