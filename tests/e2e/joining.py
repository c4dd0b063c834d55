"""A fifth node beside four, through the commands: invited, joined, admitted by records of the regulator, and wiped."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from aggregator.regulator.desk import Regulator, Sealed
from aggregator.regulator.nodes.desk import admission_of_node, no_vote, vote
from aggregator.service.store import Store
from config.key_files import load as load_key
from config.load import load
from config.settings.aggregator import AggregatorSettings
from firmware_sim.free_port import free_ports
from protocol.crypto import SoftwareKey
from protocol.node_request import NodeRequest, read_node_request
from tests.e2e.consensus import PATIENCE_S, Consensus

COMMAND = (sys.executable, "-c", "from aggregator.cli import main; main()")


def este(*arguments: object, status: int = 0) -> str:
    """Run este-aggregator to its end; what it said in one line."""
    whole = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(whole, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return " ".join((done.stdout + done.stderr).split())


def join(made: Consensus, name: str, *, from_snapshot: bool = False) -> None:
    """Invite to the region at a running node, and join it in a folder beside the others."""
    invitation = made.folder.parent / f"{name}.json"
    invitation.unlink(missing_ok=True)
    este("invite", f"--settings={made.home('node-1') / 'aggregator.yaml'}", "-o", invitation)
    first = free_ports(2)
    servers = [
        f"--snapshot-server=127.0.0.1:{made.settings(other)['cometbft']['rpc_port']}"
        for other in [one for one in made.names if one != name] * from_snapshot
    ]
    este(
        "join", made.home(name), f"--region={invitation}", f"--name={name}", f"--p2p-port={first}",
        f"--rpc-port={first + 1}", "--one-machine", f"--broker=127.0.0.1:{free_ports()}", *servers,
    )  # fmt: skip
    made.change(name, block_pause_ms=100, empty_every_ms=1000, propose_ms=1000)


def wipe(made: Consensus, name: str) -> Callable[[], None]:
    """Take everything from a node but its keys; what is returned puts those back into a new folder."""
    home, kept = made.home(name), made.folder.parent / f"{name}.kept"
    home.rename(kept)

    def put_back() -> None:
        for file in ("aggregator.key", "aggregator.pub.pem", "cometbft/config/priv_validator_key.json"):
            (home / file).unlink()
            shutil.copy(kept / file, home / file)
        shutil.copy(kept / "cometbft/data/priv_validator_state.json", home / "cometbft/data")

    return put_back


def request_of(made: Consensus, name: str) -> NodeRequest:
    """What the regulator is brought."""
    return read_node_request((made.home(name) / "node.request").read_bytes())


@dataclass
class Desk:
    """The regulator in front of one node's ledger. What it signs goes straight to the mempools."""

    made: Consensus
    at: str = "node-1"

    def do(self, act: Callable[[Regulator, SoftwareKey], Sealed | None]) -> None:
        """Sign a record, and wait until it is in the ledger."""
        key = load_key(self.made.folder / "regulator.key")
        settings = load(self.made.home(self.at) / "aggregator.yaml", AggregatorSettings)
        with closing(Regulator(settings)) as regulator:
            sealed = act(regulator, key)
            assert sealed is not None
            self.made.broadcast([sealed.envelope], self.at)
            self.made.wait("the ledger has the regulator's record", lambda: regulator.is_taken(sealed))

    def admit(self, name: str) -> None:
        asked = request_of(self.made, name)
        self.do(lambda regulator, key: admission_of_node(regulator, asked, key, replace=False))

    def give_vote(self, name: str, power: int) -> None:
        asked = request_of(self.made, name)
        self.do(lambda regulator, key: vote(regulator, name, power, key, request=asked))

    def take_vote(self, name: str) -> None:
        self.do(lambda regulator, key: no_vote(regulator, name, key))


def begins_at(made: Consensus, name: str) -> int:
    """The block from which on a node has every one."""
    with closing(Store.open_read_only(made.home(name) / "data")) as store:
        return store.begins_at()


def powers(made: Consensus, name: str) -> dict[str, int]:
    """Who votes, as a node's ledger has it."""
    rows: list[dict[str, Any]] = json.loads(_stdout("validators", f"--data={made.home(name) / 'data'}", "--json"))
    return {row["name"]: row["power"] for row in rows}


def _stdout(*arguments: str) -> str:
    done = subprocess.run([*COMMAND, *arguments], check=True, capture_output=True, text=True, timeout=PATIENCE_S)
    return done.stdout
