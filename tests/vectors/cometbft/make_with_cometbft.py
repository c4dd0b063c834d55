"""Runs four CometBFT validators with upstream's kvstore, and writes down what their RPC answers.

    python -m tests.vectors.cometbft.make_with_cometbft PATH_OF_COMETBFT

Takes about half a minute. The chain lives through what a light client has to stand: a validator that stops, so that
its precommits are absent, and a set that changes from block to block, by the transactions that kvstore takes for it.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parent / "kvstore_chain.json"
NODES = 4
PORT = 36_600
PATIENCE_S = 120


def main(cometbft: str) -> None:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        run([cometbft, "testnet", "--v", str(NODES), "--o", folder])
        ids = [run([cometbft, "show-node-id", "--home", f"{folder}/node{i}"]).strip() for i in range(NODES)]
        peers = ",".join(f"{id_}@127.0.0.1:{PORT + 10 * i}" for i, id_ in enumerate(ids))
        nodes = [start(stack, [cometbft, "--home", f"{folder}/node{i}"], i, peers) for i in range(NODES)]
        wait_for(4)
        nodes[3].terminate()
        nodes[3].wait()
        stopped = wait_for(height() + 3)
        send(f"val=ed25519!{key_of(f'{folder}/node0')}!3")
        raised = wait_for(height() + 4)
        send(f"val=ed25519!{newcomer(cometbft, folder)}!1")
        last = wait_for(height() + 4)
        heights = sorted({1, 2, 3, stopped - 1, stopped, *range(raised - 3, raised), last - 1, last})
        version = run([cometbft, "version"]).strip()
        blocks = [{"commit": ask(f"commit?height={h}"), "validators": ask(f"validators?height={h}")} for h in heights]
    source = f"CometBFT {version}, four validators and kvstore on one machine: make_with_cometbft.py"
    lines = ",\n".join("  " + json.dumps(block) for block in blocks)
    OUTPUT.write_text(f'{{\n "source": {json.dumps(source)},\n "blocks": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    print(f"{OUTPUT.name}: heights {heights}")


def start(stack: ExitStack, command: list[str], index: int, peers: str) -> subprocess.Popen[bytes]:
    options = {
        "--proxy_app": "kvstore",
        "--p2p.laddr": f"tcp://127.0.0.1:{PORT + 10 * index}",
        "--rpc.laddr": f"tcp://127.0.0.1:{PORT + 10 * index + 1}",
        "--p2p.persistent_peers": peers,
    }
    settings = {"CMT_P2P_ALLOW_DUPLICATE_IP": "true", "CMT_P2P_ADDR_BOOK_STRICT": "false", "CMT_RPC_PPROF_LADDR": ""}
    node = subprocess.Popen(
        [*command, "start", *(f"{name}={value}" for name, value in options.items())],
        env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stack.callback(node.wait)
    stack.callback(node.terminate)
    return node


def newcomer(cometbft: str, folder: str) -> str:
    """The key of a validator that never runs."""
    run([cometbft, "init", "--home", f"{folder}/newcomer"])
    return key_of(f"{folder}/newcomer")


def key_of(home: str) -> str:
    key: str = json.loads(Path(home, "config/priv_validator_key.json").read_text())["pub_key"]["value"]
    assert len(base64.b64decode(key)) == 32
    return key


def send(transaction: str) -> None:
    answer = ask(f"broadcast_tx_sync?tx={urllib.parse.quote(json.dumps(transaction))}")
    assert answer["code"] == 0, answer


def height() -> int:
    return int(ask("status")["sync_info"]["latest_block_height"])


def wait_for(wanted: int) -> int:
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        try:
            if height() > wanted:  # the commit of the last block is not final yet
                return wanted
        except OSError:
            pass  # not up yet
        time.sleep(0.2)
    raise SystemExit(f"the chain does not reach height {wanted}")


def ask(question: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT + 1}/{question}", timeout=10) as answer:
        return json.loads(answer.read())["result"]


def run(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1])
