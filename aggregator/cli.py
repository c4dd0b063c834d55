"""este-aggregator: found a region, run a node, look into its chains, prove and audit."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer
from rich.text import Text

from aggregator.auditor.cli import audit, export, publish
from aggregator.drafting.cli import app as grid
from aggregator.founding.cli import init, invite, join
from aggregator.proving.cli import cosign, prove, verify
from aggregator.regulator.cli import app as regulator
from aggregator.regulator.contracts.cli import contracts
from aggregator.regulator.events.cli import events
from aggregator.regulator.laws.cli import rules
from aggregator.regulator.money.cli import bank_file, money
from aggregator.regulator.nodes.cli import validators
from aggregator.terminal import AsJson, DataFolder, err, instant, out, plain
from aggregator.views.cli import certificates, explain, plot
from aggregator.views.trading.cli import app as market
from config.tables import Cell, Column, Table, show
from config.version import VersionOption
from protocol.errors import EsteError
from protocol.limits import Tier

if TYPE_CHECKING:
    from aggregator.service.query import LedgerFile
    from protocol.messages import Right

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None, help=__doc__
)
app.add_typer(regulator, name="regulator")
app.add_typer(grid, name="grid")
app.add_typer(plot, name="plot")
app.add_typer(market, name="market")
VERBS: Final = (
    *(init, invite, join, validators, rules, events, contracts, money, bank_file),
    *(explain, certificates, prove, verify, audit, cosign, export, publish),
)
for verb in VERBS:
    app.command()(verb)
ALSO_NEEDED: Final = frozenset(
    ("aiomqtt", "ecdsa", "highspy", "matplotlib", "numpy", "power_grid_model", "scipy", "sqlite_utils", "structlog")
)
"""What a gateway is installed without."""
STANDS_STILL_S: Final = 30
"""Where several nodes agree, a block without records comes every few seconds: this long without one is a standstill."""


BALANCES: Final = (
    Column(heading="rank", drop=3),
    Column(heading="participant"),
    Column(heading="balance", is_right=True),
    Column(heading="supply factor", short="supply", drop=2),
    Column(heading="demand factor", short="demand", drop=2),
    Column(heading="rights"),
)
LIMITS: Final = (
    Column(heading="participant"),
    Column(heading="line"),
    Column(heading=""),
    Column(heading="W at most", is_right=True),
    Column(heading="share", is_right=True, drop=3),
    Column(heading="tier", drop=2),
    Column(heading="line loaded", is_right=True, drop=4),
    Column(heading="since (UTC)", drop=1),
)
DEVICES: Final = (
    Column(heading="meter"),
    Column(heading="participant", drop=2),
    Column(heading="gateway", drop=3),
    Column(heading="profile", drop=5),
    Column(heading="serial", drop=4),
    Column(heading="readings", drop=1, is_right=True),
    Column(heading="unexplained", is_right=True),
    Column(heading="kWh in", is_right=True),
    Column(heading="kWh out", is_right=True),
    Column(heading="last heard (UTC)"),
)


@app.callback()
def _every_command(version: VersionOption = False) -> None:
    """What is asked of the program and of no command."""


@app.command()
def run(settings: Annotated[Path, typer.Option(help="aggregator.yaml, as init wrote it.")]) -> None:
    """Run a node until Ctrl-C."""
    from config.load import load
    from config.settings.aggregator import AggregatorSettings

    loaded = load(settings, AggregatorSettings)
    if loaded.cometbft is not None:
        from aggregator.engine.cometbft.home import read_identity
        from aggregator.service.consensus.runner import run as run_replica

        read_identity(loaded.cometbft.home)  # where keys are missing, CometBFT makes others, which nobody has admitted
        run_replica(loaded, loaded.cometbft)
        return
    from aggregator.service.runner import run as run_node

    run_node(loaded)


@app.command()
def status(data: DataFolder = Path("data"), as_json: AsJson = False) -> None:
    """Show the ledger at a glance."""
    from aggregator.service.sqlite_port import LOCK_NAME
    from config import lock

    ledger = _open(data)
    found = asdict(ledger.status())
    if as_json:
        _print_json(found)
        return
    age_s = max(0.0, time.time() - ledger.status().last_block_ms / 1000)
    runs = lock.is_held(data / LOCK_NAME)
    room = max(map(len, found)) + 2
    for key, value in found.items():
        heading, said = key.replace("_", " "), plain(value)
        if key == "last_block_ms":
            heading, said = "last block (UTC)", f"{instant(value)}, {age_s:.0f} s ago"
        out.print(f"{heading:{room}}{said}", soft_wrap=True)
    out.print(f"{'node':{room}}{'runs' if runs else 'does not run on this ledger'}", soft_wrap=True)
    if runs and age_s > STANDS_STILL_S and ledger.five.asset.validators():
        out.print("No block is decided: that takes nodes with more than two thirds of the votes that reach each other.")


@app.command()
def balances(data: DataFolder = Path("data"), as_json: AsJson = False) -> None:
    """Show everybody's tokens, factors and rights. In the order of priority; instants are UTC."""
    ledger = _open(data)
    standings = ledger.standings()
    if as_json:
        _print_json([asdict(standing) for standing in standings])
        return
    at_ms = ledger.status().last_block_ms
    rows: list[list[Cell]] = []
    for standing in standings:
        style = "red" if standing.is_restricted else ""
        rights = [Text("restricted", style=style)] if standing.is_restricted else []
        first, *others = [*rights, *(Text(_right(right, at_ms)) for right in standing.rights)] or [Text()]
        rows.append([
            str(standing.rank), standing.participant, Text(str(standing.balance), style=style),
            _factor(standing.supply_factor_ppm), _factor(standing.demand_factor_ppm), first,
        ])  # fmt: skip
        rows += [["", "", "", "", "", other] for other in others]
    show(Table(BALANCES, rows), out)


@app.command()
def limits(data: DataFolder = Path("data"), as_json: AsJson = False) -> None:
    """Show who is limited for which power line's sake. Instants are UTC."""
    five = _open(data).five
    rows = [
        {"participant": name, "branch": branch, "direction": way.name.lower()}
        | asdict(row)
        | {"tier": Tier(row.tier).name.lower(), "share_ppm": row.share_ppm(five.asset.region.limitable_w[name, way])}
        for name, limited in five.analysis.curtailments.by_participant().items()
        for branch, way, row in limited
    ]
    if as_json:
        _print_json(rows)
        return
    if not rows:
        out.print("Nobody is limited for a power line's sake.")
        return
    show(
        Table(
            LIMITS,
            [
                [
                    plain(row["participant"]), plain(row["branch"]), plain(row["direction"].replace("_", " ")),
                    str(row["allowed_w"]), _share(row["share_ppm"]), plain(row["tier"]), _share(row["loading_ppm"]),
                    instant(row["since_ms"]),
                ]
                for row in rows
            ],
        ),
        out,
    )  # fmt: skip


@app.command()
def devices(
    data: DataFolder = Path("data"),
    as_json: AsJson = False,
    acl: Annotated[bool, typer.Option("--acl", help="Print Mosquitto's access list instead.")] = False,
    aggregator_user: Annotated[
        list[str] | None,
        typer.Option(
            help="A node's user name at the broker; may be repeated.", show_default="all nodes, by their names"
        ),
    ] = None,
) -> None:
    """Show every meter: where it is, and what it counted. Also when it was last heard."""
    from aggregator.ledger.record import Role
    from protocol.topics import access_list

    ledger = _open(data)
    if acl:
        print(
            access_list(
                ledger.five.ledger.region, ledger.gateways(),
                aggregators=aggregator_user or [node.name for node in ledger.five.asset.members(Role.AGGREGATOR)],
                regulator=ledger.regulator(), not_enrolled=ledger.not_enrolled(),
            ),
            end="",
        )  # fmt: skip
        return
    meters = ledger.meters()
    if as_json:
        _print_json([asdict(meter) for meter in meters])
        return
    rows: list[list[Cell]] = [
        [
            meter.meter, meter.participant, meter.gateway, meter.profile, meter.serial, str(meter.readings),
            Text(str(meter.unexplained), style="red" if meter.unexplained else ""),
            _kwh(meter.imported_wh), _kwh(meter.exported_wh), instant(meter.last_ms) if meter.last_ms else "never",
        ]
        for meter in meters
    ]  # fmt: skip
    show(Table(DEVICES, rows), out)


def main() -> None:
    """Run a command; turn an expected error into one sentence and an exit code."""
    _run(app)


def _run(command: Callable[[], None]) -> NoReturn:
    try:
        command()
    except EsteError as error:
        err.print(f"[red]error:[/] {plain(error)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if error.name in ALSO_NEEDED:
            err.print(
                f"[red]error:[/] this installation is a gateway's and lacks {error.name}: make setup", soft_wrap=True
            )
            sys.exit(1)
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _open(data: Path) -> LedgerFile:
    from aggregator.service.query import LedgerFile

    return LedgerFile(data)


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=1, default=str))


def _right(right: Right, at_ms: int) -> str:
    """What is held, and until when; or from when on, if that is yet to come."""
    kind = f"{right.power_w} W of {right.branch}" if right.branch else right.kind.name.lower().removeprefix("priority_")
    edge = f"from {instant(right.start_ms)}" if right.start_ms > at_ms else f"until {instant(right.end_ms)}"
    return f"{kind} {edge.partition('.')[0]}"


def _factor(ppm: int | None) -> str:
    return "–" if ppm is None else f"{ppm / 1e6:.3f}"


def _kwh(energy_wh: int | None) -> str:
    return "–" if energy_wh is None else f"{energy_wh / 1000:.3f}"


def _share(ppm: int) -> str:
    return f"{ppm / 1e4:.1f} %"
