"""Commands about aggregators: admitted from a node's request, given votes, and who has how much of them."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from aggregator.regulator.shared import (
    KeyOption,
    WaitOption,
    bring_about,
    compare,
    open_desk,
)
from aggregator.terminal import AsJson, DataFolder, SettingsOption, out, own_command, plain
from config.tables import Column, Table, show

if TYPE_CHECKING:
    from protocol.crypto import SigningKey

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Who has a vote when blocks are decided.",
)

PowerOption = Annotated[int, typer.Option("--power", min=1, help="How much its vote weighs.")]
VALIDATORS: Final = (
    Column(heading="name"),
    Column(heading="power", is_right=True),
    Column(heading="share", is_right=True),
    Column(heading="consensus key", drop=1),
)


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(help="Aggregator that is to vote.")],
    power: PowerOption,
    key: KeyOption,
    settings: SettingsOption = Path("aggregator.yaml"),
    request: Annotated[
        Path | None, typer.Option("--request", help="The node's request, which names the key to vote with.")
    ] = None,
    wait_s: WaitOption = 30.0,
) -> None:
    """Give an aggregator a vote, or its vote another weight or key."""
    from aggregator.regulator.files import read_file
    from aggregator.regulator.nodes.desk import vote
    from config.key_files import load
    from protocol.node_request import read_node_request

    regulators_key = load(key)
    asked = read_node_request(read_file(request)) if request else None
    with open_desk(settings) as (read, regulator):
        sealed = vote(regulator, name, power, regulators_key, request=asked)
        if sealed is not None:
            bring_about(sealed, read, regulator, wait_s)
    out.print(f"{plain(name)} votes with a power of {power}: see este-aggregator validators")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Aggregator that is to vote no more.")],
    key: KeyOption,
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Take an aggregator's vote; it stays a member."""
    from aggregator.regulator.nodes.desk import no_vote
    from config.key_files import load

    regulators_key = load(key)
    with open_desk(settings) as (read, regulator):
        bring_about(no_vote(regulator, name, regulators_key), read, regulator, wait_s)
    out.print(f"{plain(name)} votes no more.")


def validators(
    data: DataFolder = Path("data"),
    as_json: AsJson = False,
    quorum: Annotated[bool, typer.Option("--quorum", help="Print a quorum file of them, for `verify`.")] = False,
    required: Annotated[
        list[str] | None, typer.Option(help="With --quorum: one without whom nothing counts; may be repeated.")
    ] = None,
) -> None:
    """Show who votes on blocks, and with how much weight. Names whoever could stop the region alone."""
    from aggregator.regulator.nodes.desk import current_quorum, validators_of
    from aggregator.service.query import LedgerFile
    from config.quorum import to_yaml

    if required and not quorum:
        raise typer.BadParameter("is for --quorum", param_hint="--required")
    with closing(LedgerFile(data)) as ledger:
        views = validators_of(ledger.five.asset)
        if quorum:
            print(to_yaml(current_quorum(ledger.five.ledger.region, ledger.five.asset, required or ())), end="")
            return
    if as_json:
        print(json.dumps([asdict(view) for view in views], indent=1))
        return
    if not views:
        out.print("Nobody has a vote: one node orders the blocks of this region by itself.")
        return
    show(Table(VALIDATORS, [[view.name, str(view.power), f"{view.share:.1%}", view.key] for view in views]), out)
    for view in views:
        if view.blocks_alone:
            out.print(f"[red]{plain(view.name)}[/] has a third of the power or more: without it no block is decided")
        if not view.is_member:
            out.print(f"[red]{plain(view.name)}[/] is no aggregator any more: set another validator, and it goes")


def admit_node(
    data: bytes,
    regulators_key: SigningKey,
    *,
    settings: Path,
    told: str | None,
    replace: bool,
    wait_s: float,
) -> None:
    """Admit an aggregator from its request, or give it other keys, the one that it votes with too.

    Raises:
        EsteError: the request is none, the region cannot have it, or a record does not come about.
    """
    from aggregator.regulator.nodes.desk import admission_of_node, check_node_request, vote
    from protocol.crypto import fingerprint
    from protocol.node_request import read_node_request

    request = read_node_request(data)
    who = plain(request.name)
    with open_desk(settings) as (read, regulator):
        check_node_request(regulator, request)
        votes = regulator.asset.validators().get(request.name)
        out.print(f"{who} asks with the key [bold]{fingerprint(request.key.thumbprint)}[/]", highlight=False)
        compare(request.key, told, "the node")
        sealed = admission_of_node(regulator, request, regulators_key, replace=replace)
        if sealed is None:
            out.print(f"{who} is admitted with this key already.")
        else:
            bring_about(sealed, read, regulator, wait_s)
    if votes is not None:  # it goes on voting, with the key of the request
        with open_desk(settings) as (read, regulator):
            sealed = vote(regulator, request.name, votes.power, regulators_key, request=request)
            if sealed is not None:
                bring_about(sealed, read, regulator, wait_s)
    out.print(f"{who} is an aggregator of the region.")
    out.print(f"For the broker, if it has an access list: {own_command()} devices --acl", soft_wrap=True)
