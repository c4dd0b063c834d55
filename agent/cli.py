"""``este-agent``: parses, calls, prints, and turns an expected error into one sentence and an exit code.

Each command imports what it needs when it runs, so that a status does not load a Modbus stack on a small machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from protocol.errors import EsteError

app = typer.Typer(
    name="este-agent",
    help="The gateway in a cellar: reads meters, signs what they show, and applies rights.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

EXIT_EXPECTED: Final = 1
EXIT_INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells count."""

NS_PER_MS: Final = 1_000_000

SettingsOption = Annotated[Path, typer.Option("--settings", help="The agent.yaml of this gateway.")]


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to make, or an existing one.")],
    region: Annotated[str, typer.Option(help="Region that the gateway belongs to.")],
    gateway: Annotated[str, typer.Option(help="The gateway's name in it.")],
    broker_host: Annotated[str, typer.Option(help="Where the MQTT broker listens.")] = "127.0.0.1",
    broker_port: Annotated[int, typer.Option(help="And on which port.")] = 1883,
) -> None:
    """Make a gateway's settings and key. Never overwrites anything."""
    from agent import scaffold
    from protocol.crypto import fingerprint

    with _expected_errors():
        key = scaffold.make(directory, region=region, gateway=gateway, broker_host=broker_host, broker_port=broker_port)
        typer.echo(f"gateway {gateway} in region {region}: key {fingerprint(key.thumbprint)}")
        for number, step in enumerate(scaffold.next_steps(directory), 1):
            typer.echo(f"{number}. {step}")


@app.command()
def run(
    settings: SettingsOption,
    drain_s: Annotated[float, typer.Option(min=0, help="At the end, wait so many seconds for receipts.")] = 10.0,
) -> None:
    """Read meters, sign and publish, until a signal ends it."""
    from agent import log, runner
    from agent.clock_port import SystemClocks
    from config.load import load
    from config.settings import AgentSettings

    with _expected_errors():
        log.configure()
        plan = runner.plan_of(load(settings, AgentSettings))
        asyncio.run(runner.run(plan, drain_s=drain_s, clocks=SystemClocks()))


@app.command()
def status(
    settings: SettingsOption,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a running or stopped agent has read, sent and heard."""
    from agent.memory import look
    from agent.status import to_json, to_text
    from config.load import load
    from config.settings import AgentSettings

    with _expected_errors():
        seen = look(load(settings, AgentSettings).data, unix_ms=time.time_ns() // NS_PER_MS)
        document = to_json(seen)
        typer.echo(json.dumps(document, indent=2) if as_json else "\n".join(to_text(document)))


@app.command()
def read(
    profile: Annotated[str, typer.Option(help="Meter profile, such as eastron_sdm630.")],
    host: Annotated[str, typer.Option(help="Modbus TCP server.")],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 502,
    unit: Annotated[int, typer.Option(min=0, max=255, help="Modbus unit identifier.")] = 1,
    timeout_ms: Annotated[int, typer.Option(min=10, max=60_000, help="How long to wait for an answer.")] = 1000,
    profile_folder: Annotated[list[Path] | None, typer.Option(help="Folder of further meter profiles.")] = None,
) -> None:
    """Read a meter once and print all it tells, with the raw words: to check its wiring. Needs no settings."""
    from agent.single_read import read_once
    from config.load import load_profiles

    with _expected_errors():
        profiles = load_profiles(tuple(profile_folder or ()))
        for line in asyncio.run(read_once(profiles, profile, host=host, port=port, unit=unit, timeout_ms=timeout_ms)):
            typer.echo(line)


@contextmanager
def _expected_errors() -> Iterator[None]:
    """One sentence and an exit code for what an operator or the world can mend; a traceback only for a bug."""
    try:
        yield
    except EsteError as error:
        typer.echo(f"este-agent: {error}", err=True)
        raise typer.Exit(EXIT_EXPECTED) from error


def main() -> None:
    """Entry point of ``este-agent``."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
