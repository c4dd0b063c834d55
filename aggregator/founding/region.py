"""Founding a region: keys, settings and the genesis block, written once into an empty folder.

One operator who runs a region alone is regulator and aggregator in one; the two keys are made apart, so that the
regulator's can be moved to where it belongs. A region of several nodes is founded by whoever brings it together: a
folder for each node, to be carried to where it runs (`aggregator.founding.network`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aggregator.chains.admission.genesis import Genesis, members_in_order
from aggregator.chains.admission.validators import Validator
from aggregator.ledger.record import Author, Role
from aggregator.service.keeper import begin
from config.grid_model import Grid
from config.key_files import keep, write_new
from config.load import load, load_profiles
from config.meter_profile import MeterProfile
from protocol.crypto import PublicKey, SoftwareKey
from protocol.envelope import seal
from protocol.errors import OperatorError
from protocol.fields import is_name
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType
from protocol.topics import AGGREGATOR, access_list

REGULATOR: Final = "regulator"
PRIVATE: Final = ".key"
PUBLIC: Final = ".pub.pem"
SETTINGS_NAME: Final = "aggregator.yaml"
DATA_NAME: Final = "data"
ACCESS_LIST_NAME: Final = "broker.acl"


@dataclass(frozen=True, slots=True)
class Founded:
    """What was written, for whoever has to go on from here."""

    region: str
    settings_file: Path
    aggregator: PublicKey
    regulator: PublicKey
    not_enrolled: tuple[str, ...]
    """Gateways that the grid names, and that have no key yet."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a region is to begin with, checked against its grid file."""

    grid: Grid
    profiles: tuple[MeterProfile, ...]
    gateways: Mapping[str, PublicKey]
    broker: tuple[str, int]
    time_ms: int

    @property
    def not_enrolled(self) -> tuple[str, ...]:
        """Gateways that the grid names, and that have no key yet."""
        return tuple(gateway for gateway in self.grid.gateways if gateway not in self.gateways)


def plan(
    grid_file: Path,
    *,
    names: Sequence[str],
    gateways: Mapping[str, PublicKey],
    profile_folders: tuple[Path, ...],
    broker: tuple[str, int],
    time_ms: int,
) -> Plan:
    """See that a region can be founded; nothing is written.

    Args:
        grid_file: what it consists of.
        names: of its nodes.
        gateways: public keys of those that are admitted from the beginning.
        profile_folders: further meter profiles.
        broker: host and port.
        time_ms: when it begins, UTC.

    Raises:
        EsteError: the grid file has mistakes, there is a key for a gateway that it does not name, or a name is taken.
    """
    grid = load(grid_file, Grid)
    if unknown := sorted(set(gateways) - set(grid.gateways)):
        named = f"a --gateway out of {', '.join(grid.gateways)}"
        raise OperatorError(grid_file, "meters.*.gateway", named, unknown[0])
    profiles = load_profiles(profile_folders)
    wanted = sorted({meter.profile for meter in grid.meters})
    if unknown := [profile for profile in wanted if profile not in profiles]:
        raise OperatorError(grid_file, "meters.*.profile", f"one of {', '.join(sorted(profiles))}", unknown[0])
    for name in names:
        if not is_name(name) or name in {REGULATOR, AGGREGATOR, *grid.gateways}:
            raise OperatorError(
                "command line", "--name", "a name of letters, digits, '_', '.', '-' that nobody bears", name
            )
    return Plan(grid, tuple(profiles[profile] for profile in wanted), gateways, broker, time_ms)


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
    """Found the region of a grid file in `folder`, with one node that orders blocks by itself.

    Raises:
        EsteError: as `plan`, or the folder is in use. Nothing has been written then.
    """
    region = plan(
        grid_file,
        names=[name],
        gateways=gateways,
        profile_folders=profile_folders,
        broker=broker,
        time_ms=time_ms,
    )
    regulator, node = SoftwareKey.generate(), SoftwareKey.generate()
    genesis = genesis_of(region, regulator, {name: node.public_key}, {})
    make_folder(folder, (*names_of_keys(REGULATOR, "aggregator"), SETTINGS_NAME, DATA_NAME, ACCESS_LIST_NAME))
    settings_file = folder / SETTINGS_NAME
    write_new(settings_file, settings_text(region, name).encode())
    write_keys(folder, {REGULATOR: regulator, "aggregator": node})
    write_ledger(folder, genesis, name, node)
    write_access_list(folder, region, [name])
    return Founded(region.grid.region, settings_file, node.public_key, regulator.public_key, region.not_enrolled)


def genesis_of(
    region: Plan, regulator: SoftwareKey, nodes: Mapping[str, PublicKey], validators: Mapping[str, Validator]
) -> bytes:
    """The region's first envelope. From here on, only the disk can fail."""
    members = [Author(REGULATOR, Role.REGULATOR, regulator.public_key)]
    members += [Author(name, Role.AGGREGATOR, key) for name, key in nodes.items()]
    members += [Author(gateway, Role.GATEWAY, key) for gateway, key in region.gateways.items()]
    genesis = Genesis(
        link=Link(region.grid.region, REGULATOR, 1, NO_RECORD),
        time_ms=region.time_ms,
        members=members_in_order(members),
        grid=region.grid,
        profiles=region.profiles,
        validators=validators,
    )
    genesis.check()
    return seal(regulator, region=region.grid.region, type_=MessageType.GENESIS, payload=genesis.encode())


def make_folder(folder: Path, names: Iterable[str]) -> None:
    """Make a folder, if there is none, in which nothing bears the names of what is to be written.

    Raises:
        OperatorError: it cannot be made, or something is there already, perhaps from a founding that was broken off.
    """
    if found := [name for name in names if os.path.lexists(folder / name)]:
        raise OperatorError(folder, "", "a folder in which nothing was founded yet: choose another one", found[0])
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(folder, "", "a folder that can be made", error.strerror or str(error)) from error


def names_of_keys(*names: str) -> list[str]:
    """The files of keys by these names, private and public."""
    return [name + suffix for name in names for suffix in (PRIVATE, PUBLIC)]


def write_keys(folder: Path, keys: Mapping[str, SoftwareKey]) -> None:
    """Write keys by name: the private half for its owner only, the public half as PEM."""
    for name, key in keys.items():
        private, public = names_of_keys(name)
        keep(folder / private, key)
        write_new(folder / public, key.public_key.to_pem().encode())


def write_ledger(folder: Path, genesis: bytes, name: str, key: SoftwareKey) -> None:
    """Begin the ledger of a node in `folder`/data."""
    data = folder / DATA_NAME
    data.mkdir(mode=0o700)
    begin(data, genesis, name, key)


def write_access_list(folder: Path, region: Plan, aggregators: Sequence[str]) -> None:
    """Write Mosquitto's acl_file."""
    acl = access_list(
        region.grid.region,
        sorted(region.gateways),
        aggregators=aggregators,
        regulator=REGULATOR,
        not_enrolled=region.not_enrolled,
    )
    write_new(folder / ACCESS_LIST_NAME, acl.encode())


def settings_text(region: Plan, name: str, consensus: str = "") -> str:
    """The settings file of a node; `consensus` is its part about the other nodes."""
    host, port = region.broker
    return f"""\
# An aggregator of este. Relative paths are meant from this file's folder.
region: {region.grid.region}
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
{consensus}verify_threads: 2
log_level: info          # debug, info, warning or error
"""
