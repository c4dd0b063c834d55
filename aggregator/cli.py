"""este-aggregator: found a region, run a node, look into its chains, prove and audit."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from aggregator.regulator.cli import app as regulator
from aggregator.terminal import instant_ms, plain
from config.tables import Cell, Column, Table, show
from config.version import VersionOption
from protocol.errors import EsteError

if TYPE_CHECKING:
    from aggregator.service.query import LedgerFile
    from protocol.messages import Right

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
app.add_typer(regulator, name="regulator")
ALSO_NEEDED: Final = frozenset(("aiomqtt", "ecdsa", "numpy", "power_grid_model", "scipy", "sqlite_utils", "structlog"))
"""What a gateway is installed without."""

PIPED_WIDTH: Final = 160
"""Columns where nobody looks at a terminal: commands and digests are to be copied in one piece."""

out = Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH)
err = Console(stderr=True)

DataFolder = Annotated[
    Path,
    typer.Option("--data", help="Folder of the ledger: `data` below the folder that init made.", show_default=True),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

BALANCES: Final = (
    Column(heading="rank", drop=3),
    Column(heading="participant"),
    Column(heading="balance", is_right=True),
    Column(heading="supply factor", short="supply", drop=2),
    Column(heading="demand factor", short="demand", drop=2),
    Column(heading="rights"),
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
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write keys, settings and the ledger.")],
    grid: Annotated[Path, typer.Option(help="Grid file: participants, network, meters, permits, rules.")],
    gateway: Annotated[list[str] | None, typer.Option(help="NAME=PUBLIC_KEY.pem; others enrol later.")] = None,
    name: Annotated[str, typer.Option(help="This node's name on the asset chain.")] = "node-1",
    broker_host: Annotated[str, typer.Option(help="Where the MQTT broker listens.")] = "127.0.0.1",
    broker_port: Annotated[int, typer.Option(min=1, max=65_535, help="And on which port.")] = 1883,
    profile_folder: Annotated[list[Path] | None, typer.Option(help="Folder of further meter profiles.")] = None,
) -> None:
    """Found a region: make keys and settings, and write the genesis block."""
    from aggregator.service.founding import found
    from config.key_files import load_public
    from protocol.crypto import fingerprint

    keys = {}
    for entry in gateway or []:
        gateway_name, _, path = entry.partition("=")
        if not path:
            raise typer.BadParameter(f"expected NAME=PUBLIC_KEY.pem, got {entry!r}", param_hint="--gateway")
        keys[gateway_name] = load_public(Path(path))
    founded = found(
        folder,
        grid,
        name=name,
        gateways=keys,
        profile_folders=tuple(profile_folder or ()),
        broker=(broker_host, broker_port),
        time_ms=time.time_ns() // 1_000_000,
    )
    out.print(f"Region [bold]{founded.region}[/] is founded in {plain(folder)}.")
    out.print(f"  aggregator {fingerprint(founded.aggregator.thumbprint)}   give aggregator.pub.pem to every gateway")
    out.print(f"  regulator  {fingerprint(founded.regulator.thumbprint)}   move regulator.key to a safe place")
    out.print("  broker.acl is Mosquitto's acl_file: each gateway may publish and read only its own topics")
    if founded.not_enrolled:
        out.print(f"  still to enrol: {plain(', '.join(founded.not_enrolled))} (este-agent enrol)", highlight=False)
    out.print(f"Next: este-aggregator run --settings {plain(founded.settings_file)}")


@app.command()
def run(settings: Annotated[Path, typer.Option(help="aggregator.yaml, as init wrote it.")]) -> None:
    """Run a node until Ctrl-C."""
    from aggregator.service.runner import run as run_node
    from config.load import load
    from config.settings.aggregator import AggregatorSettings

    run_node(load(settings, AggregatorSettings))


@app.command()
def status(data: DataFolder = Path("data"), as_json: AsJson = False) -> None:
    """Show the ledger at a glance."""
    ledger = _open(data)
    found = asdict(ledger.status())
    if as_json:
        _print_json(found)
        return
    room = max(map(len, found)) + 2
    for key, value in found.items():
        said = _instant(value) if key == "last_block_ms" else plain(value)
        out.print(f"{key.replace('_', ' '):{room}}{said}", soft_wrap=True)


@app.command()
def balances(data: DataFolder = Path("data"), as_json: AsJson = False) -> None:
    """Show everybody's tokens, factors and rights, in the order of priority. Instants are UTC."""
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
def devices(
    data: DataFolder = Path("data"),
    as_json: AsJson = False,
    acl: Annotated[bool, typer.Option("--acl", help="Print Mosquitto's access list instead.")] = False,
    aggregator_user: Annotated[str, typer.Option(help="The node's user name at the broker.")] = "node-1",
) -> None:
    """Show every meter: where it hangs, what it counted, and when it was last heard."""
    from protocol.topics import access_list

    ledger = _open(data)
    if acl:
        print(
            access_list(
                ledger.five.ledger.region, ledger.gateways(), aggregator_user=aggregator_user,
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
            _kwh(meter.imported_wh), _kwh(meter.exported_wh), _instant(meter.last_ms) if meter.last_ms else "never",
        ]
        for meter in meters
    ]  # fmt: skip
    show(Table(DEVICES, rows), out)


@app.command()
def prove(
    data: DataFolder = Path("data"),
    meter: Annotated[str | None, typer.Option(help="Prove this meter's newest reading, or the one at --at.")] = None,
    at: Annotated[str | None, typer.Option(help="Instant of the reading, such as 2026-11-20T12:00:00Z.")] = None,
    balance: Annotated[str | None, typer.Option(help="Prove this participant's balance.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New file to write; none prints it.")] = None,
) -> None:
    """Write one file that proves one reading or balance to anybody who has the aggregator's public key."""
    from aggregator.service.proof import prove_balance, prove_reading, to_json
    from config.key_files import write_new

    if (meter is None) == (balance is None):
        raise typer.BadParameter("say what to prove: either --meter or --balance")
    ledger = _open(data)
    if balance is not None:
        document = prove_balance(ledger.five, ledger.store, balance)
    else:
        document = prove_reading(ledger.five, ledger.store, meter or "", None if at is None else instant_ms(at, "--at"))
    if output is None:
        print(to_json(document), end="")
        return
    write_new(output, to_json(document).encode())
    out.print(f"Wrote {plain(output)}. Check it with: este-aggregator verify {plain(output)} --key aggregator.pub.pem")


@app.command()
def verify(
    proof: Annotated[Path, typer.Argument(help="File that `prove` wrote.")],
    key: Annotated[Path, typer.Option(help="The aggregator's public key, from a source that you trust.")],
) -> None:
    """Check a proof offline, with nothing but the aggregator's public key."""
    from aggregator.service.proof import PROOF_BYTES_MAX
    from aggregator.service.proof import verify as verify_proof
    from config.key_files import load_public

    try:
        if proof.stat().st_size > PROOF_BYTES_MAX:
            raise typer.BadParameter(f"{proof} is larger than any proof")
        document = json.loads(proof.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{proof} is no readable JSON file: {error}") from error
    proven = verify_proof(document, load_public(key))
    out.print(
        f"[green]proven[/] by block {proven.height} of region {plain(proven.region)}, {_instant(proven.time_ms)} UTC:"
    )
    for name, value in proven.claim.items():
        shown = _instant(value) if name.endswith("_ms") and isinstance(value, int) else plain(value)
        out.print(f"  {plain(name)}: {shown}")


@app.command()
def audit(
    data: DataFolder = Path("data"),
    as_json: AsJson = False,
    second_opinion: Annotated[
        bool, typer.Option("--second-opinion", help="Verify every signature again with python-ecdsa; slow.")
    ] = False,
) -> None:
    """Replay the whole ledger from its genesis, and re-derive every factor, token and balance."""
    from aggregator.service.audit import AuditError
    from aggregator.service.audit import audit as replay
    from aggregator.service.store import Store
    from protocol.crypto import fingerprint

    store = Store.open_read_only(data)
    try:
        with err.status("auditing …") as spinner:
            report = replay(
                store,
                second_opinion=second_opinion,
                progress=lambda done, of: spinner.update(f"auditing block {done} of {of}"),
            )
    except AuditError as error:
        if as_json:
            _print_json({"audit": "failed", "place": error.place, "finding": error.finding})
        else:
            out.print(f"[red]audit failed[/] at {plain(error.place)}: {plain(error.finding)}")
        raise typer.Exit(1) from error
    finally:
        store.close()
    found: dict[str, Any] = asdict(report) | {
        "audit": "ok",
        "head_digest": report.head_digest.hex(),
        "regulator": report.regulator.key.thumbprint.hex(),
    }
    if as_json:
        _print_json(found)
        return
    out.print(f"[green]audit ok[/]: {report.blocks} blocks, {report.records} records, {report.readings} readings,")
    physics = f"{report.intervals} intervals, {report.restatements} restated, {report.periods} periods"
    out.print(f"  {physics}, {report.minted} tokens minted, {report.burned} charged, {report.refused} records refused")
    out.print(f"  head {report.head_digest.hex()}")
    out.print(f"  all of it rests on the regulator's key {fingerprint(report.regulator.key.thumbprint)}: compare it")


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


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _right(right: Right, at_ms: int) -> str:
    """What is held, and until when; or from when on, if that is yet to come."""
    kind = right.kind.name.lower().removeprefix("priority_")
    edge = f"from {_instant(right.start_ms)}" if right.start_ms > at_ms else f"until {_instant(right.end_ms)}"
    return f"{kind} {edge.partition('.')[0]}"


def _factor(ppm: int | None) -> str:
    return "–" if ppm is None else f"{ppm / 1e6:.3f}"


def _kwh(energy_wh: int | None) -> str:
    return "–" if energy_wh is None else f"{energy_wh / 1000:.3f}"
