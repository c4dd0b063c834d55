"""Joining a region of several nodes: what one node hands out, and what another makes of it.

An invitation is public. Whoever takes it compares one thing, the regulator's fingerprint: the genesis in it is signed
with that key, CometBFT's network is bound to that genesis, and every block to both. A new node begins with the region's
first block and catches up, or takes up a snapshot of others behind a header that somebody they trust has named.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from aggregator.chains.admission.genesis import Genesis, open_genesis
from aggregator.engine.cometbft.home import Peer
from aggregator.engine.cometbft.process_port import make_keys
from aggregator.engine.cometbft.rpc_port import ANY_HOST, Rpc
from aggregator.founding.region import (
    DATA_NAME,
    SETTINGS_NAME,
    make_folder,
    names_of_keys,
    write_keys,
    write_ledger,
)
from aggregator.service.store import Store
from config.key_files import write_new
from config.settings.aggregator import PEER, AggregatorSettings, CometBft
from protocol.crypto import PublicKey, SoftwareKey, ValidatorSigner, digest_of
from protocol.errors import EsteError, LinkError, OperatorError
from protocol.fields import is_name
from protocol.node_request import request_of_node
from protocol.topics import AGGREGATOR

FORMAT: Final = "este-region-1"
INVITATION_BYTES_MAX: Final = 200 << 20
"""A genesis of a million participants in hexadecimal, and some."""
HOME: Final = "cometbft"
REQUEST_NAME: Final = "node.request"


@dataclass(frozen=True, slots=True)
class Trust:
    """A header of CometBFT's, behind which snapshots are believed."""

    height: int
    hash: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """What it takes to join a region."""

    genesis: bytes
    network: Mapping[str, Any]
    """CometBFT's genesis file."""
    peers: tuple[str, ...]
    trust: Trust | None = None

    def to_json(self) -> str:
        """The invitation as a file."""
        document: dict[str, Any] = {"format": FORMAT, "peers": list(self.peers)}
        if self.trust is not None:
            document["trust"] = {"height": self.trust.height, "hash": self.trust.hash}
        return json.dumps(document | {"network": self.network, "genesis": self.genesis.hex()}, indent=1) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a new node is to be reached, and whom it reaches."""

    broker: tuple[str, int]
    p2p_port: int
    rpc_port: int
    is_on_one_machine: bool
    snapshot_servers: tuple[str, ...] = ()
    """RPC of nodes to check a snapshot against, two or more; none to begin with the first block."""


@dataclass(frozen=True, slots=True)
class Joined:
    """What was written."""

    region: str
    settings_file: Path
    request: Path
    node: PublicKey
    regulator: PublicKey
    """Whose genesis it is: to be compared with what the regulator publishes."""
    is_known: bool
    """Whether the region was founded with a node of this name, which this one is to replace."""


async def invite(settings: AggregatorSettings, cometbft: CometBft, here: str | None) -> Invitation:
    """What this running node hands out.

    Args:
        settings: the node's.
        cometbft: its part about consensus.
        here: host that others reach it by, where its settings do not say.

    Raises:
        EsteError: there is no ledger, the node does not run, or nobody elsewhere would reach it.
    """
    host = _place_of(cometbft, here)
    store = Store.open_read_only(settings.data)
    try:
        genesis = store.entries(1)[0].envelope
    finally:
        store.close()
    rpc = Rpc.where_it_listens(cometbft.rpc_host, cometbft.rpc_port)
    try:
        status = await rpc.status()
    except LinkError as error:
        raise OperatorError(settings.data, "", "a node that runs: este-aggregator run", str(error)) from error
    finally:
        rpc.close()
    others = [peer for peer in cometbft.peers if _is_here(host) or not _is_here(_host_of(peer))]
    peers = (str(Peer(status.node_id, host, cometbft.p2p_port)), *others)
    network = json.loads((cometbft.home / "config/genesis.json").read_text(encoding="utf-8"))
    return Invitation(genesis, network, peers, Trust(status.height, status.block_hash.hex().upper()))


def read_invitation(path: Path) -> Invitation:
    """Read an invitation. Nothing in it is trusted yet.

    Raises:
        OperatorError: it is none.
    """
    try:
        if path.stat().st_size > INVITATION_BYTES_MAX:
            raise OperatorError(path, "", f"an invitation of at most {INVITATION_BYTES_MAX} bytes", "more")
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT:
            raise OperatorError(path, "format", FORMAT, repr(document["format"])[:40])
        trust = document.get("trust")
        return Invitation(
            genesis=bytes.fromhex(document["genesis"]),
            network=dict(document["network"]),
            peers=tuple(map(str, document["peers"])),
            trust=Trust(int(trust["height"]), str(trust["hash"])) if trust else None,
        )
    except OSError as error:
        raise OperatorError(path, "", "an invitation, as region.json is one", error.strerror or str(error)) from error
    except (ValueError, TypeError, LookupError) as error:
        raise OperatorError(path, "", "an invitation, as region.json is one", "something else") from error


def join(folder: Path, invitation: Invitation, name: str, place: Place, *, program: Path) -> Joined:
    """Make a new node in `folder`: keys, settings, a ledger with the genesis, and the request to be admitted.

    It follows the chain as soon as it runs. Once the regulator has admitted it, what it signs counts; and once it has
    given it a vote, it votes.

    Raises:
        EsteError: the folder is in use, the invitation does not hang together, or CometBFT's keys cannot be made.
    """
    genesis = _checked(invitation)
    region = genesis.link.region
    if not is_name(name) or name in {genesis.regulator.name, AGGREGATOR, *genesis.grid.gateways}:
        expected = "a name of letters, digits, '_', '.', '-' that is no gateway's or regulator's"
        raise OperatorError("command line", "--name", expected, name)
    if place.snapshot_servers and invitation.trust is None:
        raise OperatorError("invitation", "trust", "a header to believe, as este-aggregator invite writes it", "none")
    make_folder(folder, (*names_of_keys("aggregator"), SETTINGS_NAME, DATA_NAME, HOME, REQUEST_NAME))
    key = SoftwareKey.generate()
    write_keys(folder, {"aggregator": key})
    identity = make_keys(program, folder / HOME)
    (folder / HOME / "config/genesis.json").write_text(json.dumps(invitation.network, indent=2), encoding="utf-8")
    write_ledger(folder, invitation.genesis, name, key)
    peers = [peer for peer in invitation.peers if not peer.startswith(identity.node_id)]
    settings = _settings(region, name, place, peers, invitation.trust)
    settings_file = folder / SETTINGS_NAME
    write_new(settings_file, yaml.safe_dump(settings, sort_keys=False).encode())
    request = request_of_node(region=region, name=name, key=key, consensus=_consensus_signer(folder / HOME))
    write_new(folder / REQUEST_NAME, request)
    is_known = any(member.name == name for member in genesis.members)
    return Joined(region, settings_file, folder / REQUEST_NAME, key.public_key, genesis.regulator.key, is_known)


def _checked(invitation: Invitation) -> Genesis:
    """The genesis of an invitation whose parts belong together.

    Raises:
        OperatorError: they do not.
    """
    try:
        genesis: Genesis = open_genesis(invitation.genesis).message
    except EsteError as error:
        raise OperatorError("invitation", "genesis", "the first record of a region", str(error)) from error
    if invitation.network.get("chain_id") != genesis.link.region:
        raise OperatorError("invitation", "network.chain_id", genesis.link.region, "another")
    if invitation.network.get("app_state") != {"genesis": digest_of(invitation.genesis).hex()}:
        raise OperatorError("invitation", "network.app_state", "the digest of the genesis beside it", "another")
    for peer in invitation.peers:
        if not re.fullmatch(PEER, peer):
            raise OperatorError("invitation", "peers", "nodes as ID@HOST:PORT", repr(peer)[:80])
    return genesis


def _place_of(cometbft: CometBft, here: str | None) -> str:
    """The host that others reach this node by.

    Raises:
        OperatorError: it is not known, or the node listens where only this machine reaches it.
    """
    host = here or cometbft.external_address.rpartition(":")[0] or cometbft.p2p_host
    if host == ANY_HOST:
        expected = "the host that others reach this node by; or say it with --host"
        raise OperatorError(SETTINGS_NAME, "cometbft.external_address", expected, "nothing")
    if _is_here(cometbft.p2p_host) and not _is_here(host):
        expected = f"{ANY_HOST}, or an address that others reach as {host}"
        raise OperatorError(SETTINGS_NAME, "cometbft.p2p_host", expected, cometbft.p2p_host)
    return host


def _host_of(peer: str) -> str:
    return peer.partition("@")[2].rpartition(":")[0]


def _is_here(host: str) -> bool:
    return host == "localhost" or host.startswith("127.")


def _settings(region: str, name: str, place: Place, peers: list[str], trust: Trust | None) -> dict[str, Any]:
    host, port = place.broker
    cometbft: dict[str, Any] = {
        "home": HOME,
        "p2p_host": "127.0.0.1" if place.is_on_one_machine else ANY_HOST,
        "p2p_port": place.p2p_port,
        "rpc_port": place.rpc_port,
        "is_on_one_machine": place.is_on_one_machine,
        "peers": peers,
    }
    if place.snapshot_servers and trust is not None:
        servers = list(place.snapshot_servers)
        cometbft["sync"] = {"rpc_servers": servers, "trust_height": trust.height, "trust_hash": trust.hash}
    return {
        "region": region,
        "name": name,
        "data": "data",
        "key_file": "aggregator.key",
        "broker": {"host": host, "port": port},
        "cometbft": cometbft,
    }


def _consensus_signer(home: Path) -> ValidatorSigner:
    """CometBFT's validator key, to vouch for the request with."""
    document = json.loads((home / "config/priv_validator_key.json").read_text(encoding="utf-8"))
    return ValidatorSigner(base64.b64decode(document["priv_key"]["value"])[:32])
