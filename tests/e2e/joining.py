"""A fifth node beside four, through the commands: invited, joined, admitted, and wiped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from aggregator.service.store import Store
from config.key_files import load_public
from firmware_sim.free_port import free_ports
from protocol.crypto import fingerprint
from tests.e2e.consensus import PATIENCE_S, Consensus
from tests.e2e.region import mosquitto

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
    first, broker = free_ports(2), made.settings("node-1")["broker"]["port"]
    servers = [
        f"--snapshot-server=127.0.0.1:{made.settings(other)['cometbft']['rpc_port']}"
        for other in [one for one in made.names if one != name] * from_snapshot
    ]
    este(
        "join", made.home(name), f"--region={invitation}", f"--name={name}", f"--p2p-port={first}",
        f"--rpc-port={first + 1}", "--one-machine", f"--broker=127.0.0.1:{broker}", *servers,
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


@contextmanager
def a_broker(made: Consensus) -> Iterator[None]:
    """Mosquitto, where the nodes look for it."""
    conf = made.folder.parent / "mosquitto.conf"
    port = made.settings("node-1")["broker"]["port"]
    user = os.environ.get("USER", "root")
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser {user}\n")
    with (made.folder.parent / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([mosquitto(), "-c", str(conf)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def regulator(made: Consensus, *command: object) -> str:
    """What the regulator says beside node-1."""
    key, settings = made.folder / "regulator.key", made.home("node-1") / "aggregator.yaml"
    return este("regulator", *command, f"--key={key}", f"--settings={settings}", f"--wait-s={PATIENCE_S:g}")


def request_of(made: Consensus, name: str) -> Path:
    """What the regulator is brought."""
    return made.home(name) / "node.request"


def fingerprint_of(made: Consensus, name: str) -> str:
    """As the node shows it."""
    return fingerprint(load_public(made.home(name) / "aggregator.pub.pem").thumbprint)


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
