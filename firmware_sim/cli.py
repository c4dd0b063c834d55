"""`este-fleet`: simulated meters for development, demonstration and tests. Parses, calls, prints."""

from __future__ import annotations

import asyncio
import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer
import yaml
from rich.console import Console
from rich.table import Table

from config.load import check, load
from config.rules import TimeRule
from config.settings.fleet import FleetSettings, Transport
from config.tables import show
from config.version import VersionOption
from firmware_sim.faults import faults_in_words
from firmware_sim.listing import as_document, table_of_meters
from firmware_sim.scenario import Connection, Scenario, compose, serial_device
from protocol.errors import EsteError, OperatorError

PIPED_WIDTH: Final = 160
"""Columns of a table that goes to no terminal: nothing in it is cut."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_show_locals=False,
    help="Simulated meters: a region of households, sun, wind and a gas engine, served over Modbus. "
    "The same --meters and --seed always give the same region.",
)

_DEFAULT: Final = FleetSettings()

ALSO: Final = ("sunspec", "heat")
"""What there can be beside the meters."""

Meters = Annotated[
    str | None,
    typer.Option(
        "--meters",
        metavar="N[,sunspec=N][,heat=N]",
        help="How many meters, 4 or more; and how many SunSpec devices and heat meters beside them.",
        show_default=str(_DEFAULT.meters),
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Which region of that size.", show_default=str(_DEFAULT.seed))]
Host = Annotated[str | None, typer.Option("--host", help="Address to serve on.", show_default=_DEFAULT.host)]
FirstPort = Annotated[
    int | None,
    typer.Option(
        "--first-port", help="TCP port of the first bus; the others follow it.", show_default=str(_DEFAULT.first_port)
    ),
]
TransportOption = Annotated[
    str | None,
    typer.Option(
        "--transport",
        help="How buses are reached: tcp (Modbus TCP), rtu (RTU frames over TCP) or serial (pseudo-terminals).",
        show_default=_DEFAULT.transport.value,
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option("--run-folder", help="Folder in which a running fleet takes orders, and serial buses are linked."),
]
Settings = Annotated[
    Path | None, typer.Option("--settings", help="YAML file with fleet settings; the options above go before it.")
]


@app.callback()
def _every_command(version: VersionOption = False) -> None:
    """What is asked of the program and of no command."""


@app.command()
def run(
    meters: Meters = None,
    seed: Seed = None,
    host: Host = None,
    first_port: FirstPort = None,
    speed: Annotated[
        int | None,
        typer.Option(
            help="How much faster the day goes by. Energy always follows real time.", show_default=str(_DEFAULT.speed)
        ),
    ] = None,
    transport: TransportOption = None,
    serial: Annotated[bool, typer.Option("--serial", help="The same as --transport serial.")] = False,
    run_folder: RunFolder = None,
    settings: Settings = None,
) -> None:
    """Serve the meters until Ctrl-C or SIGTERM. Serial buses are pseudo-terminals; their paths are printed."""
    from firmware_sim.runner import run as run_fleet

    with _told_in_one_sentence():
        chosen = _settings(
            settings,
            **{"meters": meters, "seed": seed, "host": host, "first_port": first_port, "speed": speed},
            **_reached(transport, run_folder, serial=serial),
        )
        requests = asyncio.run(run_fleet(chosen, on_ready=lambda scenario: _tell_ready(scenario, chosen)))
        typer.echo(f"Stopped after {requests} requests.")


@app.command("list")
def list_meters(
    meters: Meters = None,
    seed: Seed = None,
    host: Host = None,
    first_port: FirstPort = None,
    transport: TransportOption = None,
    run_folder: RunFolder = None,
    settings: Settings = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="For machines; 'gateways' has each agent's buses, ready for its settings.")
    ] = False,
) -> None:
    """Print every meter and limiter, and where it is found."""
    with _told_in_one_sentence():
        chosen = _settings(
            settings,
            **{"meters": meters, "seed": seed, "host": host, "first_port": first_port},
            **_reached(transport, run_folder),
        )
        scenario = compose(chosen)
    if as_json:
        typer.echo(json.dumps(as_document(scenario, chosen), indent=2))
    else:
        show(table_of_meters(scenario, chosen), _console())


@app.command()
def grid(
    meters: Meters = None,
    seed: Seed = None,
    settings: Settings = None,
    interval_ms: Annotated[int, typer.Option(help="Metering interval.")] = 900_000,
    grace_ms: Annotated[int, typer.Option(help="How long a closed interval waits for readings.")] = 60_000,
    period_ms: Annotated[
        int | None,
        typer.Option(
            help="Settlement period; the gas engine's permit is sized for it.", show_default="the calendar month"
        ),
    ] = None,
) -> None:
    """Print the region's grid file. Participants, network, meters, limiters, rules: this is what gets signed."""
    with _told_in_one_sentence():
        chosen = _settings(settings, meters=meters, seed=seed)
        cut = {"interval_ms": interval_ms, "grace_ms": grace_ms, "period_ms": period_ms}
        region = compose(chosen).grid(check(cut, TimeRule, "command line"))
    more = "".join(f", {key}={number}" for key in ALSO if (number := getattr(chosen, key)))
    typer.echo(f"# Written by este-fleet grid: {chosen.meters} meters{more}, seed {chosen.seed}.")
    document = region.model_dump(mode="json")
    typer.echo(yaml.safe_dump(document, sort_keys=False, default_flow_style=None, width=120), nl=False)


@app.command()
def dump(
    meter: Annotated[str, typer.Option("--meter", help="Name of the meter, see este-fleet list.")],
    meters: Meters = None,
    seed: Seed = None,
    host: Host = None,
    first_port: FirstPort = None,
    settings: Settings = None,
) -> None:
    """Print the registers of one meter of a running fleet. To lay beside its manual."""
    from firmware_sim.dump import dump as dump_meter
    from firmware_sim.dump import mbpoll_command

    with _told_in_one_sentence():
        chosen = _settings(settings, meters=meters, seed=seed, host=host, first_port=first_port)
        connection = _find(compose(chosen), meter)
        if chosen.transport is not Transport.TCP:
            raise OperatorError("fleet", "transport", "tcp; este-agent read reads over the others", chosen.transport)
        rows = asyncio.run(dump_meter(connection, chosen.host))
    place = connection.place
    table = Table(title=f"{meter}, {connection.profile}, unit {place.unit} on {chosen.host}:{place.port}")
    for column in ("printed", "address", "words"):
        table.add_column(column, no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    for column in ("unit", "shows"):
        table.add_column(column)
    for row in rows:
        table.add_row(row.printed, row.address, row.words, row.value, row.unit, row.shows)
    _console().print(table)
    typer.echo(f"Power, read by other means:\n  {mbpoll_command(connection, chosen.host)}")


@app.command(epilog=faults_in_words())
def inject(
    meter: Annotated[str, typer.Argument(metavar="METER", help="Name of the meter, see este-fleet list.")],
    fault: Annotated[str, typer.Argument(metavar="FAULT", help="One of the list below, or none: to mend the meter.")],
    for_s: Annotated[
        float | None, typer.Option("--for", min=0, help="How many seconds it lasts.", show_default="until it is lifted")
    ] = None,
    number: Annotated[
        int | None, typer.Option("--number", min=0, help="How much of it, for the faults that take a number.")
    ] = None,
    run_folder: RunFolder = None,
    settings: Settings = None,
) -> None:
    """Break a meter of a running fleet, or mend it. The fleet must have been started with a run folder."""
    from firmware_sim.control_port import order

    with _told_in_one_sentence():
        for_ms = None if for_s is None else round(1000 * for_s)
        what = {"meter": meter, "fault": fault, "for_ms": for_ms, "number": number}
        typer.echo(asyncio.run(order(_folder_of(settings, run_folder), what)))


@app.command()
def save(
    meter: Annotated[str, typer.Argument(metavar="METER", help="Name of a household's meter, see este-fleet list.")],
    for_s: Annotated[float, typer.Option("--for", min=0, help="For how many seconds.")],
    run_folder: RunFolder = None,
    settings: Settings = None,
) -> None:
    """Have the people behind a meter take less, as when they are called. They switch off what they can do without."""
    from firmware_sim.control_port import order
    from firmware_sim.orders import SAVE

    with _told_in_one_sentence():
        what = {"meter": meter, "fault": SAVE, "for_ms": round(1000 * for_s)}
        typer.echo(asyncio.run(order(_folder_of(settings, run_folder), what)))


def _folder_of(settings: Path | None, run_folder: Path | None) -> Path:
    folder = _settings(settings, run_folder=_absolute(run_folder)).run_folder
    if folder is None:
        raise OperatorError("command line", "--run-folder", "the run folder of the running fleet", "nothing")
    return folder


def main() -> None:
    """Entry point of `este-fleet`."""
    app()


@contextmanager
def _told_in_one_sentence() -> Iterator[None]:
    """Turn what an operator can mend into a sentence and an exit code. A bug keeps its traceback."""
    try:
        yield
    except EsteError as error:
        typer.echo(f"este-fleet: {error}", err=True)
        raise typer.Exit(1) from error


def _reached(transport: str | None, run_folder: Path | None, *, serial: bool = False) -> dict[str, str | None]:
    """What was said about how buses are reached, as settings."""
    return {"transport": Transport.SERIAL if serial else transport, "run_folder": _absolute(run_folder)}


def _absolute(folder: Path | None) -> str | None:
    """A folder of the command line is meant from where one stands."""
    return None if folder is None else str(folder.absolute())


def _settings(file: Path | None, **options: int | str | None) -> FleetSettings:
    """The file's settings, or else the defaults, with what was said on the command line put over them.

    Raises:
        SettingsError: the file or an option breaks a rule.
    """
    settings = load(file, FleetSettings) if file else _DEFAULT
    given = {key: value for key, value in options.items() if value is not None}
    if isinstance(meters := given.get("meters"), str):
        given |= _how_many(meters)
    return check(settings.model_dump() | given, FleetSettings, "command line")


def _how_many(text: str) -> dict[str, int]:
    """The numbers of ``12,sunspec=3,heat=5``, as settings.

    Raises:
        OperatorError: it is no such thing.
    """
    numbers: dict[str, int] = {}
    for place, part in enumerate(text.split(",")):
        name, is_named, number = part.rpartition("=")
        key = name if is_named else "meters"
        is_known = name in ALSO if is_named else place == 0
        if not is_known or key in numbers or not number.isascii() or not number.isdecimal():
            expected = f"a number of meters, and after commas any of {', '.join(f'{also}=N' for also in ALSO)}"
            raise OperatorError("command line", "--meters", expected, text)
        numbers[key] = int(number)
    return numbers


def _tell_ready(scenario: Scenario, settings: FleetSettings) -> None:
    ports = sorted({connection.place.port for connection in scenario.connections})
    others = f" to {ports[-1]}" if len(ports) > 1 else ""
    where = f"{settings.host}:{ports[0]}{others}"
    if settings.transport is Transport.SERIAL:
        links = [serial_device(settings, port) for port in ports]
        where = ", ".join(f"{link} ({link.readlink()})" for link in links)
    elif settings.transport is Transport.RTU:
        where += " (RTU frames)"
    typer.echo(
        f"{len(scenario.connections)} meters on {where}, seed {settings.seed}, speed {settings.speed}. Ctrl-C stops."
    )


def _find(scenario: Scenario, meter: str) -> Connection:
    """The connection of one meter.

    Raises:
        OperatorError: the region has no such meter.
    """
    by_name = {connection.site.meter: connection for connection in scenario.connections}
    if meter not in by_name:
        near = difflib.get_close_matches(meter, by_name, n=1) or list(by_name)[:1]
        raise OperatorError("command line", "--meter", f"a meter of the region, such as {near[0]}", meter)
    return by_name[meter]


def _console() -> Console:
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPED_WIDTH)
