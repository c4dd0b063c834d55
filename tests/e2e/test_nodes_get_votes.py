"""A second organisation's node is admitted, gets a vote, gets other keys, and loses the vote: through the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.key_files import load
from protocol.crypto import SoftwareKey, ValidatorSigner, fingerprint
from protocol.node_request import request_of_node
from tests.e2e.region import Region, a_region, run, running, wait_until

pytestmark = pytest.mark.mosquitto


def carry(region: Region, name: str, key: SoftwareKey, vote: int) -> str:
    """The file that a node's operator brings."""
    file = region.stage.folder / f"{name}.{vote}.request"
    signer = ValidatorSigner(bytes([vote]) * 32)
    file.write_bytes(request_of_node(region=region.ledger()["region"], name=name, key=key, consensus=signer))
    return str(file)


def test_a_second_node_is_admitted_and_votes(tmp_path: Path) -> None:
    region = a_region(tmp_path)
    home = region.stage.aggregator_settings.parent
    common = (f"--key={home / 'regulator.key'}", f"--settings={region.stage.aggregator_settings}", "--wait-s=50")
    mine = load(home / "aggregator.key")
    other, another = SoftwareKey.from_secret(901), SoftwareKey.from_secret(902)
    with running(region, "broker", "aggregator"):
        wait_until("the node runs", lambda: (home / "data").exists() and region.ledger()["height"] > 0)

        def regulator(*command: str, status: int = 0) -> str:
            done = run("este-aggregator", "regulator", *command, *common, status=status)
            return " ".join((done.stdout if status == 0 else done.stderr).split())

        def told(key: SoftwareKey) -> str:
            return f"--fingerprint={fingerprint(key.public_key.thumbprint)}"

        first = carry(region, "node-2", other, 2)
        assert "another fingerprint" in regulator("admit", first, told(another), status=1)
        assert "node-2 is an aggregator of the region" in regulator("admit", first, told(other))
        regulator("validator", "set", "node-1", "--power=10", f"--request={carry(region, 'node-1', mine, 1)}")
        regulator("validator", "set", "node-2", "--power=4", f"--request={first}")
        second = carry(region, "node-2", another, 3)
        assert "say --replace" in regulator("admit", second, told(another), status=1)
        regulator("admit", second, told(another), "--replace")
        rows = region.ask("este-aggregator", "validators", f"--data={region.stage.ledger}")
        keys = [ValidatorSigner(bytes([vote]) * 32).public_key.point.hex() for vote in (1, 3)]
        assert [(r["name"], r["power"], r["key"]) for r in rows] == [("node-1", 10, keys[0]), ("node-2", 4, keys[1])]
        regulator("validator", "remove", "node-2")
        assert "only validator" in regulator("validator", "remove", "node-1", status=1)
        region.stop("aggregator")
    assert "audit ok" in run("este-aggregator", "audit", f"--data={region.stage.ledger}").stdout
