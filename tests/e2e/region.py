"""A whole region in child processes around a real Mosquitto with TLS, for stories told through the commands."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
import yaml

from aggregator.service.store import Store
from config.settings.broker import Broker
from config.settings.fleet import FleetSettings
from firmware_sim.demo.stage import SPEED, Stage, found, prepare
from firmware_sim.free_port import free_ports
from protocol.batch import Batch
from protocol.checkpoint import ChainName
from protocol.envelope import Envelope

PATIENCE_S = 60.0
"""Generous: a condition that has not come true by then never will."""

Laid = Callable[[dict[str, Any]], object]
"""Changes a grid file before it is signed."""


@dataclass
class Region:
    """Broker, fleet, aggregator and gateways; each can be killed and started again."""

    stage: Stage
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def gateways(self) -> tuple[str, ...]:
        return self.stage.scenario.gateways

    def start(self, name: str) -> None:
        """Start one of the programs."""
        log = (self.stage.logs / f"{name}.log").open("ab")
        with log:
            self.processes[name] = subprocess.Popen(
                self._command(name), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, name: str) -> None:
        """Kill one of the programs, without a word of warning."""
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def stop(self, name: str) -> None:
        """Ask one of the programs to stop, and see that it does so cleanly."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, self.log(name)

    def log(self, name: str) -> str:
        """The end of what a program said."""
        return "\n".join((self.stage.logs / f"{name}.log").read_text(errors="replace").splitlines()[-30:])

    def ask(self, *command: str) -> Any:
        """Run one of este's commands with --json."""
        return json.loads(run(*command, "--json").stdout)

    def agent(self, gateway: str) -> Any:
        """What a gateway says of itself."""
        return self.ask("este-agent", "status", f"--settings={self.stage.agent_settings(gateway)}")

    def ledger(self) -> Any:
        """What the ledger says of itself."""
        return self.ask("este-aggregator", "status", f"--data={self.stage.ledger}")

    def batches(self) -> Iterator[Batch]:
        """Every batch on the data chain, as an outsider reads it."""
        store = Store.open_read_only(self.stage.ledger)
        try:
            for leaf in store.leaves(ChainName.DATA):
                envelope = Envelope.parse(leaf.body)
                assert envelope.type == "batch"
                yield Batch.decode(envelope.payload)
        finally:
            store.close()

    def _command(self, name: str) -> list[str]:
        match name:
            case "broker":
                return [mosquitto(), "-c", str(self.stage.folder / "mosquitto.conf")]
            case "fleet":
                return [este("este-fleet"), "run", f"--settings={self.stage.fleet_settings}"]
            case "aggregator":
                return [este("este-aggregator"), "run", f"--settings={self.stage.aggregator_settings}"]
            case gateway:
                return [
                    este("este-agent"), "run", f"--settings={self.stage.agent_settings(gateway)}", "--drain-s=30",
                ]  # fmt: skip


def a_region(folder: Path, *, meters: int = 12, laid: Laid = dict.copy, **settings: Any) -> Region:
    """Write everything that a region behind TLS needs; nothing runs yet.

    Args:
        folder: where to.
        meters: how many there are.
        laid: changes the grid file before it is signed.
        settings: further ones, of the simulated meters.
    """
    port = free_ports()
    first_port = free_ports(meters // 6 + 2)
    fleet = FleetSettings(**{"meters": meters, "seed": 1, "first_port": first_port, "speed": SPEED} | settings)
    stage = prepare(folder, fleet, Broker(host="localhost", port=port))
    grid = yaml.safe_load(stage.grid_file.read_text())
    laid(grid)
    stage.grid_file.write_text(yaml.safe_dump(grid))
    asyncio.run(found(stage))
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    ca.private_key_pem.write_to_path(str(folder / "ca.key"))
    _write_certificate(ca.issue_cert("localhost"), folder, "broker")
    users = {stage.aggregator_settings: "node-1"} | {stage.agent_settings(g): g for g in stage.scenario.gateways}
    for settings_file, user in users.items():
        _write_certificate(ca.issue_cert(f"{user}.example", common_name=user), folder, user)
        settings = yaml.safe_load(settings_file.read_text())
        settings["broker"]["tls"] = {
            "ca_file": str(folder / "ca.pem"),
            "certificate_file": str(folder / f"{user}.pem"),
            "key_file": str(folder / f"{user}.tls.key"),
        }
        settings_file.write_text(yaml.safe_dump(settings))
    (folder / "store").mkdir()
    (folder / "mosquitto.conf").write_text(
        f"""\
listener {port} localhost
cafile {folder / "ca.pem"}
certfile {folder / "broker.pem"}
keyfile {folder / "broker.tls.key"}
require_certificate true
use_identity_as_username true
acl_file {folder / "aggregator" / "broker.acl"}
persistence true
persistence_location {folder / "store"}/
autosave_interval 1
message_size_limit 1048576
user {os.environ.get("USER", "root")}
"""
    )
    return Region(stage, port)


@contextmanager
def running(region: Region, *names: str) -> Iterator[Region]:
    """Run programs of a region, and leave none behind."""
    try:
        for name in names:
            region.start(name)
        yield region
    finally:
        for process in region.processes.values():
            process.kill()
            process.wait()
        region.processes.clear()


def wait_until(
    what: str, is_true: Callable[[], bool], log: Callable[[], str] = str, patience_s: float = PATIENCE_S
) -> None:
    """Wait for a condition, however slow the machine."""
    deadline = time.monotonic() + patience_s
    while not is_true():
        assert time.monotonic() < deadline, f"never came true: {what}\n{log()}"
        time.sleep(0.2)


def run(*command: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run one of este's commands to its end."""
    whole = [este(command[0]), *command[1:]]
    done = subprocess.run(whole, check=False, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def este(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def mosquitto() -> str:
    found = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, "this test needs Debian's package mosquitto: apt-get install mosquitto"
    return found


def _write_certificate(certificate: trustme.LeafCert, folder: Path, name: str) -> None:
    key = folder / f"{name}.tls.key"
    key.touch(mode=0o600)
    certificate.private_key_pem.write_to_path(str(key), append=True)
    (folder / f"{name}.pem").write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
