"""The folder that CometBFT reads: its settings, the network's genesis, and this node's two keys.

The keys are made by `cometbft init` (`process_port.make_keys`), so that no private key passes through this process and
their files are what the program expects. Everything that este decides about CometBFT is written here; what is not
written stays at CometBFT's default (config/config.go). CometBFT ignores a setting that it does not know without a word:
a test holds every name against the file that the program itself writes.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from aggregator.engine.cometbft.application import VALIDATOR_KEY_BYTES
from protocol.errors import OperatorError

CHAIN_ID_CHARACTERS_MAX: Final = 50
"""types/genesis.go, MaxChainIDLen."""

RPC_BATCH_MAX: Final = 100
"""Requests in one JSON-RPC call."""
RPC_BODY_BYTES_MAX: Final = 16 << 20
"""One JSON-RPC call; a transaction in it takes four thirds of its bytes."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Toml = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node, as one dials it."""

    node_id: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.node_id}@{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Peer:
        """Read what `str` writes.

        Raises:
            ValueError: it is something else.
        """
        node_id, _, place = text.partition("@")
        host, _, port = place.rpartition(":")
        return cls(node_id, host, int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How long CometBFT waits for what, in milliseconds. The defaults are for organisations with good lines."""

    propose_ms: int = 3000
    """For a proposal: what a block costs whose proposer is down."""
    vote_ms: int = 1000
    """For the votes of those who are late, once two thirds have voted."""
    delta_ms: int = 500
    """By how much both grow with each round that fails."""
    commit_ms: int = 1000
    """Between blocks: what a block's transactions wait on average is half of it."""
    empty_every_ms: int = 0
    """A block without transactions after so long, so that time goes on; 0: never one."""
    gossip_ms: int = 10
    """Between looks for what a peer lacks; CometBFT's 100 adds up to half a second per block."""
    flush_ms: int = 10
    """How long small packets wait for company; CometBFT's 100 is most of what a vote takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSync:
    """How a node begins from a snapshot of others instead of from the first block."""

    rpc_servers: tuple[str, ...]
    """Two at least, as host:port; what they say is proven by a light client."""
    trust_height: int
    trust_hash: str
    """Hash of the header at that height, in hexadecimal, from somebody who is trusted."""
    trust_period_s: int = 7 * 86_400
    discovery_s: int = 15
    """How long snapshots are looked for before the best is taken; 5 at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """What este decides about one node."""

    name: str
    app_socket: Path
    rpc_port: int
    rpc_host: str = "127.0.0.1"
    """Whoever reaches it may send transactions and ask questions, but stop nothing. Elsewhere than on loopback only
    where others are to begin from our snapshots: their light client asks here."""
    p2p_host: str
    p2p_port: int
    external_address: str = ""
    """host:port that others dial, if it is not the one that the node sees itself."""
    peers: tuple[Peer, ...] = ()
    """Dialled for ever."""
    is_on_one_machine: bool = False
    """The whole network is: addresses of loopback count, and many peers may have one."""
    pacing: Pacing = Pacing()
    txs_max: int = 10_000
    """Transactions that wait for a block, and"""
    txs_bytes_max: int = 256 << 20
    """what they come to, at most."""
    tx_bytes_max: int = 1 << 20
    recheck: bool = True
    """Whether those that still wait are checked again after each block."""
    rate_bytes_per_s: int = 20 << 20
    """To and from each peer. Alike on all nodes: where it differs, the slower side stalls the faster."""
    sync: StateSync | None = None


@dataclass(frozen=True, slots=True)
class GenesisValidator:
    """Somebody who votes from the first block on."""

    name: str
    key: bytes
    """Ed25519, 32 bytes."""
    power: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkGenesis:
    """What a network begins with: the same file, byte for byte, on every node."""

    chain_id: str
    """The region."""
    time_ms: int
    validators: tuple[GenesisValidator, ...]
    block_bytes_max: int = 4 << 20
    evidence_age_blocks: int = 100_000
    evidence_age_s: int = 48 * 3600
    """Both must have passed before a double signature goes unpunished."""
    evidence_bytes_max: int = 1 << 18
    app_version: int = 0
    app_state: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Identity:
    """A node as others know it."""

    node_id: str
    """Who it is on the line: 20 bytes of a hash of its key there, in hexadecimal."""
    validator_key: bytes
    """What it votes with, whether or not anybody lets it: Ed25519, 32 bytes."""

    @property
    def address(self) -> bytes:
        """How its votes are marked."""
        return address_of(self.validator_key)


def address_of(key: bytes) -> bytes:
    """How CometBFT names a key: the first 20 bytes of its SHA-256 (crypto/ed25519)."""
    return sha256(key).digest()[:20]


def read_identity(folder: Path) -> Identity:
    """The public halves of a node's keys.

    Raises:
        OperatorError: the key files are missing or not CometBFT's.
    """
    node = _read_key(folder / "config/node_key.json", "priv_key")[-VALIDATOR_KEY_BYTES:]
    validator = _read_key(folder / "config/priv_validator_key.json", "pub_key")
    return Identity(address_of(node).hex(), validator)


def write_genesis(folder: Path, genesis: NetworkGenesis) -> None:
    """Write the network's genesis file.

    Raises:
        OperatorError: CometBFT would not take it, or it cannot be written.
    """
    path = folder / "config/genesis.json"
    if not 0 < len(genesis.chain_id) <= CHAIN_ID_CHARACTERS_MAX:
        raise OperatorError(path, "chain_id", f"1 to {CHAIN_ID_CHARACTERS_MAX} characters", repr(genesis.chain_id))
    if not genesis.validators or any(validator.power <= 0 for validator in genesis.validators):
        raise OperatorError(path, "validators", "one at least, each with a power above 0", "others")
    _replace(path, json.dumps(_genesis_document(genesis), indent=2, sort_keys=True) + "\n")


def write_config(folder: Path, config: NodeConfig) -> None:
    """Write the settings of a node, instead of those that are there.

    Raises:
        OperatorError: they cannot be written.
    """
    tables = config_document(config)
    lines = [f"{name} = {_toml(value)}" for name, value in tables[""].items()]
    for table, values in tables.items():
        if table:
            lines += ["", f"[{table}]", *(f"{name} = {_toml(value)}" for name, value in values.items())]
    note = "# Written by este at every start from its own settings; what is changed here is lost.\n"
    _replace(folder / "config/config.toml", note + "\n".join(lines) + "\n")


def config_document(config: NodeConfig) -> dict[str, Toml]:
    """CometBFT's settings by table; "" for those before the first."""
    return {
        "": {
            "proxy_app": f"unix://{config.app_socket}",
            "abci": "socket",
            "moniker": config.name,
            "db_backend": "goleveldb",
            "log_level": "main:info,statesync:info,*:error",
            "log_format": "plain",
            "filter_peers": False,
        },
        "rpc": {
            "laddr": f"tcp://{config.rpc_host}:{config.rpc_port}",
            "grpc_laddr": "",
            "pprof_laddr": "",
            "unsafe": False,
            "max_body_bytes": RPC_BODY_BYTES_MAX,
            "max_request_batch_size": RPC_BATCH_MAX,
        },
        "p2p": {
            "laddr": f"tcp://{config.p2p_host}:{config.p2p_port}",
            "external_address": config.external_address,
            "persistent_peers": ",".join(map(str, config.peers)),
            "persistent_peers_max_dial_period": "10s",  # without it, a peer that was away for a day is dialled rarely
            "addr_book_strict": not config.is_on_one_machine,
            "allow_duplicate_ip": config.is_on_one_machine,
            "pex": not config.is_on_one_machine,
            "flush_throttle_timeout": f"{config.pacing.flush_ms}ms",
            "send_rate": config.rate_bytes_per_s,
            "recv_rate": config.rate_bytes_per_s,
        },
        "mempool": {
            "type": "flood",
            "recheck": config.recheck,
            "size": config.txs_max,
            "max_txs_bytes": config.txs_bytes_max,
            "cache_size": 2 * config.txs_max,
            "keep-invalid-txs-in-cache": False,  # what is refused today may be in order tomorrow
            "max_tx_bytes": config.tx_bytes_max,
        },
        "statesync": _sync_table(config.sync),
        "consensus": _consensus_table(config.pacing),
        "storage": {"discard_abci_responses": True},  # the ledger keeps what became of each
        "tx_index": {"indexer": "null"},  # half of the disk, and the ledger answers every such question
        "instrumentation": {"prometheus": False},
    }


def _consensus_table(pacing: Pacing) -> Toml:
    return {
        "timeout_propose": f"{pacing.propose_ms}ms",
        "timeout_propose_delta": f"{pacing.delta_ms}ms",
        "timeout_prevote": f"{pacing.vote_ms}ms",
        "timeout_prevote_delta": f"{pacing.delta_ms}ms",
        "timeout_precommit": f"{pacing.vote_ms}ms",
        "timeout_precommit_delta": f"{pacing.delta_ms}ms",
        "timeout_commit": f"{pacing.commit_ms}ms",
        "skip_timeout_commit": False,
        "create_empty_blocks": False,
        "create_empty_blocks_interval": f"{pacing.empty_every_ms}ms",
        "peer_gossip_sleep_duration": f"{pacing.gossip_ms}ms",
    }


def _sync_table(sync: StateSync | None) -> Toml:
    if sync is None:
        return {"enable": False}
    return {
        "enable": True,
        "rpc_servers": ",".join(sync.rpc_servers),
        "trust_height": sync.trust_height,
        "trust_hash": sync.trust_hash,
        "trust_period": f"{sync.trust_period_s}s",
        "discovery_time": f"{sync.discovery_s}s",
    }


def _genesis_document(genesis: NetworkGenesis) -> dict[str, Any]:
    """CometBFT's JSON: integers of 64 bits are text (libs/json)."""
    document: dict[str, Any] = {
        "chain_id": genesis.chain_id,
        "genesis_time": f"{_EPOCH + timedelta(milliseconds=genesis.time_ms):%Y-%m-%dT%H:%M:%S.%fZ}",
        "initial_height": "1",
        "consensus_params": {
            "block": {"max_bytes": str(genesis.block_bytes_max), "max_gas": "-1"},
            "evidence": {
                "max_age_num_blocks": str(genesis.evidence_age_blocks),
                "max_age_duration": str(genesis.evidence_age_s * 1_000_000_000),
                "max_bytes": str(genesis.evidence_bytes_max),
            },
            "validator": {"pub_key_types": ["ed25519"]},
            "version": {"app": str(genesis.app_version)},
            "abci": {"vote_extensions_enable_height": "0"},
        },
        "validators": [
            {
                "address": address_of(validator.key).hex().upper(),
                "name": validator.name,
                "power": str(validator.power),
                "pub_key": {"type": "tendermint/PubKeyEd25519", "value": base64.b64encode(validator.key).decode()},
            }
            for validator in genesis.validators
        ],
        "app_hash": "",
    }
    if genesis.app_state is not None:
        document["app_state"] = genesis.app_state
    return document


def _read_key(path: Path, name: str) -> bytes:
    try:
        return base64.b64decode(json.loads(path.read_text())[name]["value"], validate=True)
    except OSError as error:
        raise OperatorError(path, name, "a key file of CometBFT's", error.strerror or str(error)) from error
    except (ValueError, TypeError, LookupError) as error:
        raise OperatorError(path, name, "a key as CometBFT writes it", "something else") from error


def _toml(value: str | int | bool) -> str:
    """A TOML value; for these three types, and without control characters, JSON spells it alike."""
    return json.dumps(value, ensure_ascii=False)


def _replace(path: Path, text: str) -> None:
    """Write a file so that it is the old one or the new one, whenever the process dies."""
    beside = path.with_suffix(".new")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise OperatorError(path, "", "a file that can be written", error.strerror or str(error)) from error
