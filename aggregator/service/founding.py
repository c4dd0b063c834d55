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
from aggregator.service.keeper import begin
from config.grid_model import Grid
from config.key_files import keep, write_new
from config.load import load, load_profiles
from protocol.crypto import PublicKey, SoftwareKey
from protocol.envelope import seal
from protocol.errors import OperatorError
from protocol.fields import is_name
from protocol.link import NO_RECORD, Link
from protocol.messages import MessageType
from protocol.topics import AGGREGATOR, access_list

REGULATOR: Final = "regulator"


@dataclass(frozen=True, slots=True)
class Founded:
    """What was written, for whoever has to go on from here."""

    region: str
    settings_file: Path
    aggregator: PublicKey
    regulator: PublicKey
    not_enrolled: tuple[str, ...]
    """Gateways that the grid names, and that have no key yet."""


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
        EsteError: the folder is in use, the grid file has mistakes, there is a key for a gateway that it does not
            name, or `name` is taken. Nothing has been written then.
    """
    grid = load(grid_file, Grid)
    if unknown := sorted(set(gateways) - set(grid.gateways)):
        named = f"a --gateway out of {', '.join(grid.gateways)}"
        raise OperatorError(grid_file, "meters.*.gateway", named, unknown[0])
    profiles = load_profiles(profile_folders)
    wanted = sorted({meter.profile for meter in grid.meters})
    if unknown := [profile for profile in wanted if profile not in profiles]:
        raise OperatorError(grid_file, "meters.*.profile", f"one of {', '.join(sorted(profiles))}", unknown[0])
    if not is_name(name) or name in {REGULATOR, AGGREGATOR, *grid.gateways}:
        raise OperatorError(
            "command line", "--name", "a name of letters, digits, '_', '.', '-' that nobody bears", name
        )
    regulator, node = SoftwareKey.generate(), SoftwareKey.generate()
    members = [Author(REGULATOR, Role.REGULATOR, regulator.public_key), Author(name, Role.AGGREGATOR, node.public_key)]
    members += [Author(gateway, Role.GATEWAY, key) for gateway, key in gateways.items()]
    genesis = Genesis(
        link=Link(grid.region, REGULATOR, 1, NO_RECORD),
        time_ms=time_ms,
        members=members_in_order(members),
        grid=grid,
        profiles=tuple(profiles[profile] for profile in wanted),
    )
    genesis.check()  # from here on, only the disk can fail
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(folder, "", "a folder that can be made", error.strerror or str(error)) from error
    settings_file = folder / "aggregator.yaml"
    write_new(settings_file, _settings(grid.region, name, broker).encode())
    for key_name, key in ((REGULATOR, regulator), ("aggregator", node)):
        keep(folder / f"{key_name}.key", key)
        write_new(folder / f"{key_name}.pub.pem", key.public_key.to_pem().encode())
    data = folder / "data"
    data.mkdir(mode=0o700)
    envelope = seal(regulator, region=grid.region, type_=MessageType.GENESIS, payload=genesis.encode())
    begin(data, envelope, name, node)
    not_enrolled = tuple(gateway for gateway in grid.gateways if gateway not in gateways)
    acl = access_list(
        grid.region, sorted(gateways), aggregator_user=name, regulator=REGULATOR, not_enrolled=not_enrolled
    )
    write_new(folder / "broker.acl", acl.encode())
    return Founded(grid.region, settings_file, node.public_key, regulator.public_key, not_enrolled)


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
log_level: info          # debug, info, warning or error
"""
