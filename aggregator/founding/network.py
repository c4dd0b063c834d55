"""Founding a region of several nodes: a folder for each, to be carried to where it runs, and one file to join by.

<folder>/node-1/      its settings, its key, its ledger with the genesis, and CometBFT's home
<folder>/…
<folder>/regulator.key, regulator.pub.pem, broker.acl
<folder>/aggregators.pem    the public keys of all nodes, for gateways
<folder>/quorum.yaml        who has to have signed what is to be believed, for whoever verifies proofs
<folder>/region.json        what everybody else needs to join: public, and bound to the genesis by its digest
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.chains.admission.validators import Validator, quorum_of
from aggregator.engine.cometbft.home import (
    CHAIN_ID_CHARACTERS_MAX,
    GenesisValidator,
    Identity,
    NetworkGenesis,
    Peer,
    write_genesis,
)
from aggregator.engine.cometbft.process_port import make_keys, see_that_free
from aggregator.engine.cometbft.rpc_port import VALIDATORS_PER_PAGE
from aggregator.founding.joining import HOME, Invitation
from aggregator.founding.region import (
    ACCESS_LIST_NAME,
    REGULATOR,
    SETTINGS_NAME,
    Plan,
    genesis_of,
    make_folder,
    names_of_keys,
    settings_text,
    write_access_list,
    write_keys,
    write_ledger,
)
from config.key_files import write_new
from config.quorum import to_yaml
from protocol.crypto import PublicKey, SoftwareKey, digest_of
from protocol.errors import OperatorError

POWER: Final = 10
"""Of each validator in the beginning: alike, and with room for the regulator to shift."""

KEYS_NAME: Final = "aggregators.pem"
QUORUM_NAME: Final = "quorum.yaml"
INVITATION: Final = "region.json"


@dataclass(frozen=True, slots=True)
class Network:
    """What was written, for whoever has to go on from here."""

    region: str
    nodes: Mapping[str, PublicKey]
    regulator: PublicKey
    not_enrolled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Node:
    """One node while it is being made."""

    folder: Path
    key: SoftwareKey
    identity: Identity
    p2p_port: int

    @property
    def peer(self) -> Peer:
        """How the others reach it, for as long as all are on one machine."""
        return Peer(self.identity.node_id, "127.0.0.1", self.p2p_port)


def names_of(count: int) -> list[str]:
    """Names for so many nodes; the last of several is the regulator's."""
    names = [f"node-{number}" for number in range(1, count + 1)]
    return [*names[:-1], "regulator-node"] if count > 1 else names


def found_network(folder: Path, region: Plan, names: list[str], *, program: Path, first_port: int) -> Network:
    """Found a region of several nodes in `folder`.

    Args:
        folder: must be empty or absent.
        region: what to begin with.
        names: of the nodes.
        program: CometBFT.
        first_port: of two ports for each node: peers, and its own questions.

    Raises:
        EsteError: there can be no such network, a port is taken, the folder is in use, or CometBFT's keys cannot be
            made.
    """
    _check(region.grid.region, len(names), first_port)
    make_folder(folder, (*names, *names_of_keys(REGULATOR), ACCESS_LIST_NAME, KEYS_NAME, QUORUM_NAME, INVITATION))
    regulator = SoftwareKey.generate()
    write_keys(folder, {REGULATOR: regulator})
    nodes = {name: _make_node(folder / name, program, first_port + 2 * n) for n, name in enumerate(names)}
    validators = {name: Validator(node.identity.validator_key, POWER) for name, node in nodes.items()}
    keys = {name: node.key.public_key for name, node in nodes.items()}
    genesis = genesis_of(region, regulator, keys, validators)
    for name, node in nodes.items():
        write_ledger(node.folder, genesis, name, node.key)
    network = NetworkGenesis(
        chain_id=region.grid.region,
        time_ms=region.time_ms,
        validators=tuple(GenesisValidator(name, one.key, one.power) for name, one in validators.items()),
        app_state={"genesis": digest_of(genesis).hex()},
    )
    for name, node in nodes.items():
        write_genesis(node.folder / HOME, network)
        peers = [str(other.peer) for other in nodes.values() if other is not node]
        write_new(node.folder / SETTINGS_NAME, settings_text(region, name, _consensus(node, peers)).encode())
    write_new(folder / KEYS_NAME, "".join(key.to_pem() for key in keys.values()).encode())
    write_access_list(folder, region, names)
    write_new(folder / QUORUM_NAME, to_yaml(quorum_of(region.grid.region, validators, keys)).encode())
    everybody = [str(node.peer) for node in nodes.values()]
    network_file = (next(iter(nodes.values())).folder / HOME / "config/genesis.json").read_text(encoding="utf-8")
    invitation = Invitation(genesis, json.loads(network_file), tuple(everybody))
    write_new(folder / INVITATION, invitation.to_json().encode())
    return Network(region.grid.region, keys, regulator.public_key, region.not_enrolled)


def _check(region: str, nodes: int, first_port: int) -> None:
    """See that CometBFT can have such a network, before anything is written.

    Raises:
        OperatorError: it cannot.
    """
    if len(region) > CHAIN_ID_CHARACTERS_MAX:
        expected = f"a name of at most {CHAIN_ID_CHARACTERS_MAX} characters where several nodes agree"
        raise OperatorError("grid file", "region", expected, f"{len(region)}")
    if nodes > VALIDATORS_PER_PAGE:
        raise OperatorError("command line", "--validators", f"at most {VALIDATORS_PER_PAGE} nodes", str(nodes))
    see_that_free(range(first_port, first_port + 2 * nodes))


def _make_node(folder: Path, program: Path, p2p_port: int) -> _Node:
    folder.mkdir(mode=0o700)
    key = SoftwareKey.generate()
    write_keys(folder, {"aggregator": key})
    return _Node(folder, key, make_keys(program, folder / HOME), p2p_port)


def _consensus(node: _Node, peers: list[str]) -> str:
    listed = "".join(f"\n    - {peer}" for peer in peers) or " []"
    return f"""\
cometbft:                # blocks are agreed on with the other nodes
  home: {HOME}
  p2p_host: 127.0.0.1    # where other nodes reach this one: 0.0.0.0 once they are on other machines,
  p2p_port: {node.p2p_port}
  rpc_port: {node.p2p_port + 1}
  is_on_one_machine: true # and then false
  block_pause_ms: 1000   # between blocks
  empty_every_ms: 5000   # a block without records after so long, so that time goes on
  peers:{listed}
"""
