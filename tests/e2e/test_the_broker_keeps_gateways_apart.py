"""The access list that este writes: a gateway publishes and reads below its own name, and nowhere else."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiomqtt
import pytest

from protocol.topics import AGGREGATOR, Kind, Topic
from tests.e2e.region import Region, a_region, running, wait_until

pytestmark = pytest.mark.mosquitto


def client_of(region: Region, user: str) -> aiomqtt.Client:
    folder = region.stage.folder
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / f"{user}.pem", folder / f"{user}.tls.key")
    return aiomqtt.Client("localhost", region.port, protocol=aiomqtt.ProtocolVersion.V311, tls_context=context)


def is_up(region: Region) -> bool:
    return "running" in region.log("broker")


async def test_a_gateway_cannot_speak_or_listen_as_another(tmp_path: Path) -> None:
    region = await asyncio.to_thread(a_region, tmp_path)
    with running(region, "broker"):
        wait_until("the broker is up", lambda: is_up(region), lambda: region.log("broker"))
        async with client_of(region, "node-1") as node, client_of(region, "gw-1") as first:
            await node.subscribe("este/1/valley/+/record", qos=1)
            await first.subscribe("este/1/valley/+/statement", qos=1)
            await first.publish(str(Topic("valley", "gw-2", Kind.RECORD)), b"forged", qos=1)
            await first.publish(str(Topic("valley", AGGREGATOR, Kind.SUMMARY)), b"forged", qos=1)
            await first.publish(str(Topic("valley", "gw-1", Kind.RECORD)), b"mine", qos=1)
            await node.publish(str(Topic("valley", "gw-2", Kind.STATEMENT)), b"not for gw-1", qos=1)
            await node.publish(str(Topic("valley", "gw-1", Kind.STATEMENT)), b"for gw-1", qos=1)
            assert (await anext(aiter(node.messages))).payload == b"mine"
            assert (await anext(aiter(first.messages))).payload == b"for gw-1"


async def test_nobody_without_a_certificate_is_let_in(tmp_path: Path) -> None:
    region = await asyncio.to_thread(a_region, tmp_path)
    with running(region, "broker"):
        wait_until("the broker is up", lambda: is_up(region), lambda: region.log("broker"))
        context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("localhost", region.port, tls_context=context) as client:
                await client.publish("este/1/valley/gw-1/record", b"x", qos=1)
