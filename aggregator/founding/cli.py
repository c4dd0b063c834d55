"""Commands of the beginning: found a region, invite to one, join one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from aggregator.terminal import SettingsOption, err, out, own_command, plain

if TYPE_CHECKING:
    from aggregator.founding.network import Network
    from protocol.crypto import PublicKey


NAME: Final = "node-1"
VALIDATORS: Final = 4
FIRST_PORT: Final = 26656
FAULTS_MAX: Final = 10
"""Faults of the grid file that are told when a region is founded on it."""


class Engine(StrEnum):
    """Who orders blocks."""

    LOCAL = "local"
    COMETBFT = "cometbft"


def init(  # noqa: PLR0913, PLR0917 - one for each option
    folder: Annotated[Path, typer.Argument(help="Where to write keys, settings and the ledger.")],
    grid: Annotated[Path, typer.Option(help="Grid file, or the name of an example region.")],
    gateway: Annotated[list[str] | None, typer.Option(help="NAME=PUBLIC_KEY.pem; others enrol later.")] = None,
    name: Annotated[
        str | None, typer.Option(help="This node's name on the asset chain.", show_default="node-1")
    ] = None,
    broker_host: Annotated[str, typer.Option(help="Where the MQTT broker listens.")] = "127.0.0.1",
    broker_port: Annotated[int, typer.Option(min=1, max=65_535, help="And on which port.")] = 1883,
    profile_folder: Annotated[list[Path] | None, typer.Option(help="Folder of further meter profiles.")] = None,
    engine: Annotated[
        Engine, typer.Option(help="Who orders blocks: this node by itself, or several by consensus.")
    ] = Engine.LOCAL,
    validators: Annotated[
        int | None,
        typer.Option(min=1, max=100, help="With cometbft: how many nodes, the last the regulator's.", show_default="4"),
    ] = None,
    first_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65_000, help="With cometbft: the first of two ports for each node.", show_default="26656"
        ),
    ] = None,
) -> None:
    """Found a region: keys, settings and the genesis block."""
    from aggregator.founding.region import found, plan
    from config.load import grid_file
    from protocol.crypto import fingerprint

    if engine is Engine.LOCAL and (validators, first_port) != (None, None):
        raise typer.BadParameter("--validators and --first-port are for --engine cometbft")
    if engine is Engine.COMETBFT and name is not None:
        raise typer.BadParameter("is for one node by itself; several are named by their numbers", param_hint="--name")
    file = grid_file(grid)
    wanted: dict[str, Any] = {
        "gateways": _keys_of(gateway or []),
        "profile_folders": tuple(profile_folder or ()),
        "broker": (broker_host, broker_port),
        "time_ms": time.time_ns() // 1_000_000,
    }
    if engine is Engine.COMETBFT:
        from aggregator.engine.cometbft.process_port import find_program
        from aggregator.founding.network import found_network, names_of

        names = names_of(validators or VALIDATORS)
        region, program, first = plan(file, names=names, **wanted), find_program(), first_port or FIRST_PORT
        with _in_one_go(folder):
            network = found_network(folder, region, names, program=program, first_port=first)
        _tell_network(network, folder)
        _tell_faults(file, wanted["profile_folders"])
        return
    with _in_one_go(folder):
        founded = found(folder, file, name=name or NAME, **wanted)
    out.print(f"Region [bold]{founded.region}[/] is founded in {plain(folder)}.")
    out.print(f"  aggregator {fingerprint(founded.aggregator.thumbprint)}   give aggregator.pub.pem to every gateway")
    out.print(f"  regulator  {fingerprint(founded.regulator.thumbprint)}   move regulator.key to a safe place")
    out.print("  broker.acl is Mosquitto's acl_file: each gateway may publish and read only its own topics")
    _tell_not_enrolled(founded.not_enrolled)
    out.print(f"Next: {own_command()} run --settings {plain(founded.settings_file)}")
    _tell_faults(file, wanted["profile_folders"])


def _tell_not_enrolled(gateways: tuple[str, ...]) -> None:
    if gateways:
        out.print(f"  still to enrol: {plain(', '.join(gateways))} (este-agent enrol)", highlight=False)


def _tell_faults(file: Path, profile_folders: tuple[Path, ...]) -> None:
    """Say what makes results of this region wrong, while it can still be founded anew."""
    from aggregator.grid.check import check_grid
    from config.grid_model import Grid
    from config.load import load, load_profiles

    remarks = check_grid(load(file, Grid), load_profiles(profile_folders))
    faults = [remark for remark in remarks if remark.is_fault]
    for remark in faults[:FAULTS_MAX]:
        err.print(f"fault  {plain(remark)}", soft_wrap=True)
    if faults:
        told = f"{len(faults)} of the grid file: mend it and found the region anew, before anybody joins"
        err.print(f"Faults: {told}. All that there is to say: {own_command()} grid check {plain(file)}", soft_wrap=True)


def _keys_of(gateways: list[str]) -> dict[str, PublicKey]:
    from config.key_files import load_public

    keys = {}
    for entry in gateways:
        name, _, path = entry.partition("=")
        if not path:
            raise typer.BadParameter(f"expected NAME=PUBLIC_KEY.pem, got {entry!r}", param_hint="--gateway")
        keys[name] = load_public(Path(path))
    return keys


def _tell_network(network: Network, folder: Path) -> None:
    from protocol.crypto import fingerprint

    out.print(f"Region [bold]{network.region}[/] is founded in {plain(folder)}, with {len(network.nodes)} nodes.")
    for name, key in network.nodes.items():
        out.print(f"  {plain(name)}  {fingerprint(key.thumbprint)}   its folder goes to where it is to run")
    out.print(f"  regulator  {fingerprint(network.regulator.thumbprint)}   move regulator.key to a safe place")
    out.print("  aggregators.pem has the nodes' public keys: give it to every gateway")
    out.print("  quorum.yaml says who has to have signed: for whoever verifies proofs")
    out.print("  region.json is for whoever joins later on this machine; elsewhere, with what invite writes")
    _tell_not_enrolled(network.not_enrolled)
    out.print(f"Next, for each node: {own_command()} run --settings {plain(folder)}/NAME/aggregator.yaml")


@contextmanager
def _in_one_go(folder: Path) -> Iterator[None]:
    """Make a folder; whoever breaks that off is told that what is in it is of no use."""
    try:
        yield
    except KeyboardInterrupt:
        err.print(f"Broken off: what is in {plain(folder)} is not complete. Begin again in another folder.")
        raise


def invite(
    settings: SettingsOption = Path("aggregator.yaml"),
    output: Annotated[Path, typer.Option("--output", "-o", help="New file to write.")] = Path("region.json"),
    host: Annotated[str | None, typer.Option(help="Host that others reach this node by.")] = None,
) -> None:
    """Write what it takes to join this region. It is public, and made by a node that runs."""
    from aggregator.founding.joining import invite as make
    from config.key_files import write_new
    from config.load import load
    from config.settings.aggregator import AggregatorSettings
    from protocol.errors import OperatorError

    loaded = load(settings, AggregatorSettings)
    if loaded.cometbft is None:
        raise OperatorError(settings, "cometbft", "a node among several", "one that orders blocks by itself")
    invitation = asyncio.run(make(loaded, loaded.cometbft, host))
    write_new(output, invitation.to_json().encode())
    out.print(f"Wrote {plain(output)}: {own_command()} join FOLDER --region {plain(output)} --name NAME")


def join(
    folder: Annotated[Path, typer.Argument(help="Where to write keys, settings and the ledger.")],
    region: Annotated[Path, typer.Option(help="The region's invitation: region.json, as init and invite write it.")],
    name: Annotated[str, typer.Option(help="This node's name on the asset chain, once it is admitted.")],
    broker: Annotated[str, typer.Option(help="HOST:PORT of the MQTT broker.")] = "127.0.0.1:1883",
    p2p_port: Annotated[int, typer.Option(min=1, max=65_535, help="Where other nodes reach this one.")] = 26656,
    rpc_port: Annotated[int, typer.Option(min=1, max=65_535, help="For this node's own questions.")] = 26657,
    snapshot_server: Annotated[
        list[str] | None, typer.Option(help="HOST:PORT of a node's RPC, twice: begin with a snapshot, checked there.")
    ] = None,
    one_machine: Annotated[bool, typer.Option("--one-machine", help="All nodes run on this machine.")] = False,
) -> None:
    """Make a node that follows a region, and its request. With that the regulator admits it."""
    from aggregator.engine.cometbft.process_port import find_program
    from aggregator.founding.joining import Place, read_invitation
    from aggregator.founding.joining import join as make
    from protocol.crypto import fingerprint

    host, _, port = broker.rpartition(":")
    if not host or not port.isdigit():
        raise typer.BadParameter(f"expected HOST:PORT, got {broker!r}", param_hint="--broker")
    if len(snapshot_server or ()) == 1:
        raise typer.BadParameter(
            "give two nodes at least: each is checked by the other", param_hint="--snapshot-server"
        )
    place = Place(
        broker=(host, int(port)),
        p2p_port=p2p_port,
        rpc_port=rpc_port,
        is_on_one_machine=one_machine,
        snapshot_servers=tuple(snapshot_server or ()),
    )
    invitation, program = read_invitation(region), find_program()
    with _in_one_go(folder):
        joined = make(folder, invitation, name, place, program=program)
    replace = " --replace" if joined.is_known else ""
    out.print(f"{plain(folder)} is a node of region [bold]{joined.region}[/].")
    out.print(f"  the region is the one of the regulator {fingerprint(joined.regulator.thumbprint)}: compare it")
    out.print(f"  this node is {fingerprint(joined.node.thumbprint)}; the regulator admits it:")
    out.print(f"    {own_command()} regulator admit {plain(joined.request)} --key regulator.key{replace}")
    out.print("  and gives it a vote, once it has caught up:")
    out.print(
        f"    {own_command()} regulator validator set {plain(name)} --power 10 --request {plain(joined.request)}"
        " --key regulator.key"
    )
    out.print(f"Next: {own_command()} run --settings {plain(joined.settings_file)}")
