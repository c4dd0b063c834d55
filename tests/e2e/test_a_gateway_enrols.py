"""A gateway comes from nothing to readings on the chain; its key is stolen, revoked and replaced; nothing is lost.

Row 10 of the pains, through the commands that people use, behind a real Mosquitto with TLS. Row 8: the certificate that
opens the broker's door is for the very key that signs.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import ssl
import time
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import yaml
from cryptography import x509

from aggregator.service.store import Store
from aggregator.service.stored import StoredEntry
from protocol.envelope import Envelope
from protocol.topics import Kind, Topic
from tests.e2e.region import Region, a_region, run, running, wait_until

pytestmark = pytest.mark.mosquitto

TOLD = re.compile(r"key ((?:[0-9a-f]{4} ){7}[0-9a-f]{4})")


def a_region_without_gateways(folder: Path) -> Region:
    """A region whose grid names gateways, none of which it has a key of. The second has a certificate of its own."""
    region = a_region(folder)
    stage = region.stage
    tls = yaml.safe_load(stage.aggregator_settings.read_text())["broker"]["tls"]
    shutil.rmtree(stage.folder / "aggregator")
    broker = ["--broker-host=localhost", f"--broker-port={region.port}"]
    done = run("este-aggregator", "init", str(folder / "aggregator"), f"--grid={stage.grid_file}", *broker)
    assert "still to enrol: gw-1, gw-2" in done.stdout
    settings = yaml.safe_load(stage.aggregator_settings.read_text())
    settings["broker"]["tls"] = tls
    settings["blocks"]["age_max_ms"] = 250
    stage.aggregator_settings.write_text(yaml.safe_dump(settings))
    change_settings(region, "gw-1", certificate_file="gateway.crt.pem", key_file="gateway.key")
    conf = folder / "mosquitto.conf"
    conf.write_text(f"{conf.read_text()}crlfile {folder / 'crl.pem'}\n")
    (folder / "crl.pem").write_text(revoked_certificates(region))
    return region


def change_settings(region: Region, gateway: str, **tls: str) -> None:
    """Have a gateway begin without the aggregator's key, and with other TLS files."""
    file = region.stage.agent_settings(gateway)
    settings = yaml.safe_load(file.read_text())
    settings["aggregator_key_file"] = "aggregator.pub.pem"
    settings["broker"]["tls"] |= tls
    settings["resend_after_ms"] = 1000
    file.write_text(yaml.safe_dump(settings))


def regulator(region: Region, *command: str, status: int = 0) -> str:
    settings = f"--settings={region.stage.aggregator_settings}"
    done = run("este-aggregator", "regulator", *command, settings, status=status)
    return done.stdout if status == 0 else done.stderr


def revoked_certificates(region: Region) -> str:
    folder = region.stage.folder
    return regulator(region, "crl", f"--ca={folder / 'ca.pem'}", f"--ca-key={folder / 'ca.key'}")


def members(region: Region) -> list[dict[str, Any]]:
    settings = f"--settings={region.stage.aggregator_settings}"
    found: list[dict[str, Any]] = region.ask("este-aggregator", "regulator", "members", settings)
    return found


def enrol(region: Region, gateway: str, *options: str) -> str:
    return run("este-agent", "enrol", f"--settings={region.stage.agent_settings(gateway)}", *options).stdout


def told_key(output: str) -> str:
    found = TOLD.search(output)
    assert found, output
    return found[1]


def admit(region: Region, request: str, fingerprint: str, name: str, *options: str) -> Path:
    """Have the regulator admit somebody; hands back the slip."""
    folder = region.stage.folder
    slip = folder / f"{name}.yaml"
    key = f"--key={folder / 'aggregator' / 'regulator.key'}"
    regulator(region, "admit", request, key, f"--fingerprint={fingerprint}", f"--output={slip}", *options)
    return slip


def with_certificate(region: Region) -> list[str]:
    return [f"--ca={region.stage.folder / 'ca.pem'}", f"--ca-key={region.stage.folder / 'ca.key'}"]


def tell_broker(region: Region) -> None:
    """What the regulator's commands say to do: the access list, the list of revoked certificates, a restart."""
    folder = region.stage.folder
    acl = run("este-aggregator", "devices", f"--data={region.stage.ledger}", "--acl").stdout
    (folder / "aggregator" / "broker.acl").write_text(acl)
    (folder / "crl.pem").write_text(revoked_certificates(region))
    region.processes["broker"].send_signal(signal.SIGTERM)
    region.processes.pop("broker").wait()
    region.start("broker")


def entries(region: Region, gateway: str) -> list[StoredEntry]:
    """A gateway's records in the ledger, oldest first."""
    store = Store.open_read_only(region.stage.ledger)
    try:
        return list(store.entries_of(gateway))[::-1]
    finally:
        store.close()


def comes_onto_the_chain(region: Region, gateway: str) -> None:
    before = len(entries(region, gateway))
    wait_until(
        f"two more records of {gateway} are on the chain",
        lambda: len(entries(region, gateway)) >= before + 2,
        lambda: region.log(gateway) + region.log("aggregator"),
    )


async def is_let_in(region: Region, folder: Path) -> bool:
    """Whether the broker lets somebody in, and lets them hear and speak, with this key and certificate."""
    try:
        context = ssl.create_default_context(cafile=str(region.stage.folder / "ca.pem"))
        context.load_cert_chain(folder / "gateway.crt.pem", folder / "gateway.key")
        async with aiomqtt.Client("localhost", region.port, tls_context=context, timeout=5) as client:
            await client.publish(str(Topic("valley", "gw-1", Kind.RECORD)), b"stolen", qos=1)
            return True
    except aiomqtt.MqttError:
        return False


def is_complete(region: Region, gateway: str) -> None:
    """Every record stands on the chain, none is missing or refused, and nothing waits."""
    found = entries(region, gateway)
    assert [entry.sequence for entry in found] == list(range(1, len(found) + 1))
    assert {entry.code for entry in found} == {0}
    agent = region.agent(gateway)
    assert (agent["records_waiting"], agent["records_refused"], agent["halted"]) == (0, 0, False)
    assert len(found) == agent["records_received"]


def test_a_gateway_enrols_is_revoked_and_is_replaced_and_no_reading_is_lost(tmp_path: Path) -> None:
    region = a_region_without_gateways(tmp_path)
    home = tmp_path / "gw-1"
    with running(region, "broker", "fleet", "aggregator"):
        # From nothing: without a certificate the broker lets nobody in, so the request is carried.
        asked = enrol(region, "gw-1")
        assert "The request is not at the broker" in asked
        first = admit(region, str(home / "request.csr"), told_key(asked), "first", *with_certificate(region))
        enrol(region, "gw-1", f"--admission={first}")
        certificate = x509.load_pem_x509_certificate((home / "gateway.crt.pem").read_bytes())
        request = x509.load_pem_x509_csr((home / "request.csr").read_bytes())
        assert certificate.public_key() == request.public_key(), "the certificate is for the key that signs"
        tell_broker(region)
        region.start("gw-1")
        comes_onto_the_chain(region, "gw-1")

        # The key is stolen, and revoked: nothing that it signs counts from the next block on.
        stolen = tmp_path / "thief"
        shutil.copytree(home, stolen, ignore=shutil.ignore_patterns("data"))
        assert asyncio.run(is_let_in(region, stolen))
        regulator(region, "revoke", "gw-1", f"--key={tmp_path / 'aggregator' / 'regulator.key'}", "--reason=stolen")
        (ended,) = [view for view in members(region) if view["state"] == "revoked"]
        signed = region.agent("gw-1")["records_signed"]
        wait_until("it goes on signing", lambda: region.agent("gw-1")["records_signed"] > signed + 1)
        time.sleep(2.0)
        assert max(entry.height for entry in entries(region, "gw-1")) <= ended["until_block"]
        region.kill("gw-1")

        # The gateway comes back with another key, and with everything that it has read meanwhile.
        asked = enrol(region, "gw-1", "--new-key")
        second = admit(region, str(home / "request.csr"), told_key(asked), "second", *with_certificate(region))
        assert "were signed again" in enrol(region, "gw-1", f"--admission={second}")
        tell_broker(region)
        assert not asyncio.run(is_let_in(region, stolen)), "the thief's certificate is for a key that has ended"
        region.start("gw-1")
        comes_onto_the_chain(region, "gw-1")
        region.stop("gw-1")
        region.stop("aggregator")
        is_complete(region, "gw-1")
    key_ids = [Envelope.parse(entry.envelope).key_id for entry in entries(region, "gw-1")]
    assert len(set(key_ids)) == 2 and key_ids == sorted(key_ids, key=key_ids.index), "one key, then the other"
    assert region.ask("este-aggregator", "audit", f"--data={region.stage.ledger}")["audit"] == "ok"


def test_a_gateway_asks_over_the_broker_and_goes_over_to_another_key_by_itself(tmp_path: Path) -> None:
    region = a_region_without_gateways(tmp_path)
    change_settings(region, "gw-2")
    with running(region, "broker", "fleet", "aggregator"):
        asked = enrol(region, "gw-2")
        assert "The request is at the broker" in asked
        settings = f"--settings={region.stage.aggregator_settings}"
        (row,) = region.ask("este-aggregator", "regulator", "requests", settings)
        assert (row["gateway"], row["fingerprint"], row["note"]) == ("gw-2", told_key(asked), "new")
        enrol(region, "gw-2", f"--admission={admit(region, 'gw-2', told_key(asked), 'slip')}")
        tell_broker(region)
        region.start("gw-2")
        comes_onto_the_chain(region, "gw-2")
        region.kill("gw-2")
        run("este-agent", "rotate", f"--settings={region.stage.agent_settings('gw-2')}")
        region.start("gw-2")
        comes_onto_the_chain(region, "gw-2")
        comes_onto_the_chain(region, "gw-2")
        region.stop("gw-2")
        region.stop("aggregator")
        is_complete(region, "gw-2")
    states = [view["state"] for view in members(region) if view["name"] == "gw-2"]
    assert states == ["live", "rotated"]
    assert region.ask("este-aggregator", "audit", f"--data={region.stage.ledger}")["audit"] == "ok"
