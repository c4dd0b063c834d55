"""Founding a region: keys, settings and the genesis block, written once into an empty folder.

One operator who runs a region alone is regulator and aggregator in one; the two keys are made apart, so that the
regulator's can be moved to where it belongs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.chains.genesis import Genesis, members_in_order
from aggregator.ledger.record import Author, Role
from aggregator.service.node import Node
from config.grid_model import Grid
from config.key_files import create, write_new
from config.load import load, load_profiles
from protocol.crypto import PublicKey, SoftwareKey
from protocol.envelope import seal
from protocol.errors import OperatorError
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType
from protocol.topics import access_list

REGULATOR: Final = "regulator"


@dataclass(frozen=True, slots=True)
class Founded:
    """What was written, for whoever has to go on from here."""

    region: str
    settings_file: Path
    aggregator: PublicKey
    regulator: PublicKey
    gateways: tuple[str, ...]


def found(
    folder: Path,
    grid_file: Path,
    *,
    name: str,
    gateways: Mapping[str, PublicKey],
    profile_folders: tuple[Path, ...],
    broker: tuple[str, int],
    time_ms: int,
) -> Founded:
    """Found the region of a grid file in `folder`.

    Raises:
        EsteError: the folder is in use, the grid file has mistakes, or a gateway's key is missing.
    """
    grid = load(grid_file, Grid)
    if missing := sorted(set(grid.gateways) - set(gateways)):
        raise OperatorError(grid_file, "meters.*.gateway", f"a --gateway {missing[0]}=KEY.pem for each", "none")
    profiles = load_profiles(profile_folders)
    wanted = sorted({meter.profile for meter in grid.meters})
    if unknown := [profile for profile in wanted if profile not in profiles]:
        raise OperatorError(grid_file, "meters.*.profile", f"one of {', '.join(sorted(profiles))}", unknown[0])
    folder.mkdir(parents=True, exist_ok=True)
    settings_file = folder / "aggregator.yaml"
    write_new(settings_file, _settings(grid.region, name, broker).encode())
    regulator, node = _new_key(folder, REGULATOR), _new_key(folder, "aggregator")
    members = [Author(REGULATOR, Role.REGULATOR, regulator.public_key), Author(name, Role.AGGREGATOR, node.public_key)]
    members += [Author(gateway, Role.GATEWAY, gateways[gateway]) for gateway in grid.gateways]
    genesis = Genesis(
        link=Link(grid.region, REGULATOR, 1, NO_RECORD),
        time_ms=time_ms,
        members=members_in_order(members),
        grid=grid,
        profiles=tuple(profiles[profile] for profile in wanted),
    )
    genesis.check()
    data = folder / "data"
    data.mkdir(mode=0o700)
    envelope = seal(regulator, region=grid.region, type_=MessageType.GENESIS, payload=genesis.encode())
    Node.found(data, envelope, name, node)
    write_new(folder / "broker.acl", access_list(grid.region, list(grid.gateways), aggregator_user=name).encode())
    return Founded(grid.region, settings_file, node.public_key, regulator.public_key, grid.gateways)


def _new_key(folder: Path, name: str) -> SoftwareKey:
    key = create(folder / f"{name}.key")
    write_new(folder / f"{name}.pub.pem", key.public_key.to_pem().encode())
    return key


def _settings(region: str, name: str, broker: tuple[str, int]) -> str:
    host, port = broker
    return f"""\
# An aggregator of este. Relative paths are meant from this file's folder.
region: {region}
name: {name}             # this node's name on the asset chain
data: data               # the ledger
key_file: aggregator.key # chmod 600; the regulator's key may be moved away from here
broker:
  host: {host}
  port: {port}
  # tls: {{ca_file: ca.pem, certificate_file: node.pem, key_file: node-tls.key}}
  # username: {name}
  # password_file: broker.password
blocks:
  entries_max: 1000      # a block closes when so many records wait,
  age_max_ms: 1000       # or when the oldest has waited so long
verify_threads: 2
"""
