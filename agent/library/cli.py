"""``este-agent profiles``, ``read``, ``doctor`` and ``sunspec``: parses, looks, prints."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from agent.exits import EXIT_EXPECTED, expected_errors
from config.modbus import UNIT_MAX
from protocol.errors import OperatorError

profiles = typer.Typer(
    help="Meter profiles: which there are, and whether one is right.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

HostOption = Annotated[str | None, typer.Option(help="Modbus TCP server, or serial server with --framing rtu.")]
PortOption = Annotated[int, typer.Option(min=1, max=65535)]
FramingOption = Annotated[str, typer.Option(help="On a TCP connection: tcp, or rtu.")]
DeviceOption = Annotated[Path | None, typer.Option(help="Serial port of this machine, such as /dev/ttyUSB0.")]
LineOption = Annotated[str, typer.Option(help="Speed and format of the serial port.")]
UnitOption = Annotated[int, typer.Option(min=0, max=UNIT_MAX, help="Modbus unit identifier.")]
TimeoutOption = Annotated[int, typer.Option(min=10, max=60_000, help="How long to wait for an answer.")]
FoldersOption = Annotated[list[Path] | None, typer.Option("--profile-folder", help="Folder of further meter profiles.")]


@profiles.command("list")
def list_profiles(profile_folder: FoldersOption = None) -> None:
    """List all meter profiles, each with its grade. It says how far a map may be trusted."""
    from agent.library.desk import listed
    from config.load import load_profiles

    with expected_errors():
        for line in listed(load_profiles(tuple(profile_folder or ()))):
            typer.echo(line)


@profiles.command("check")
def check_profile(file: Annotated[Path, typer.Argument(metavar="FILE", help="A meter profile.")]) -> None:
    """Explain every mistake of a meter profile. Where, what was expected, what stands there, what to do."""
    from agent.library.desk import checked, explained
    from config.load import SettingsError

    try:
        for line in checked(file):
            typer.echo(line)
    except SettingsError as error:
        for line in explained(error):
            typer.echo(line, err=True)
        raise typer.Exit(EXIT_EXPECTED) from error


def doctor(  # noqa: PLR0913, PLR0917  an option each
    profile: Annotated[str | None, typer.Option(help="Meter profile, with --host or --device.")] = None,
    host: HostOption = None,
    port: PortOption = 502,
    framing: FramingOption = "tcp",
    device: DeviceOption = None,
    line: LineOption = "9600-8N1",
    unit: UnitOption = 1,
    settings: Annotated[Path | None, typer.Option(help="Instead of all these: an agent.yaml, with --meter.")] = None,
    meter: Annotated[
        str | None, typer.Option(help="A meter of the settings. On a serial port, stop the agent.")
    ] = None,
    wait_s: Annotated[float, typer.Option(min=0, max=86_400, help="Between the two looks.")] = 10.0,
    timeout_ms: TimeoutOption = 1000,
    profile_folder: FoldersOption = None,
) -> None:
    """Hold a live meter to the laws of its profile, by two looks. Status 1 if one fails."""
    from agent.clock_port import SystemClocks
    from agent.library.checkup import examine
    from agent.library.doctor import Verdict, lines
    from agent.library.look import meter_at, meter_of
    from agent.scan.ways import bus_at
    from config.load import load, load_profiles
    from config.settings.agent import AgentSettings

    with expected_errors():
        folders, is_by_way = tuple(profile_folder or ()), host is not None or device is not None
        if settings is not None and meter is not None and not is_by_way:
            given = load(settings, AgentSettings)
            wired, folders = meter_of(given, meter), (*given.profile_folders, *folders)
        elif profile is not None and is_by_way and settings is None:
            bus = bus_at(host, port, device, framing=framing, line=line, timeout_ms=timeout_ms)
            wired = meter_at(bus, unit, profile)
        else:
            expected = "--host or --device with --profile, or --settings with --meter"
            raise OperatorError("command line", "", expected, "something else")
        examined = examine(wired, load_profiles(folders), wait_ms=round(wait_s * 1000), clock=SystemClocks())
        who, findings = asyncio.run(examined)
    for told in (who, *lines(findings)):
        typer.echo(told)
    if any(finding.verdict is Verdict.FAILS for finding in findings):
        raise typer.Exit(EXIT_EXPECTED)


def read(
    profile: Annotated[str, typer.Option(help="Meter profile, such as eastron_sdm630.")],
    host: HostOption = None,
    port: PortOption = 502,
    framing: FramingOption = "tcp",
    device: DeviceOption = None,
    line: LineOption = "9600-8N1",
    unit: UnitOption = 1,
    timeout_ms: TimeoutOption = 1000,
    profile_folder: FoldersOption = None,
) -> None:
    """Read a meter once, and print all it tells. With the raw words, to check its wiring; needs no settings."""
    from agent.library.single_read import read_once
    from agent.scan.ways import bus_at
    from config.load import load_profiles

    with expected_errors():
        profiles = load_profiles(tuple(profile_folder or ()))
        bus = bus_at(host, port, device, framing=framing, line=line, timeout_ms=timeout_ms)
        for told in asyncio.run(read_once(profiles, profile, settings=bus, unit=unit)):
            typer.echo(told)


def sunspec(
    folder: Annotated[Path, typer.Option(help="Where to write profiles: one of your profile_folders.")],
    host: Annotated[
        str | None, typer.Argument(metavar="HOST", help="Modbus TCP server of a SunSpec device, or serial server.")
    ] = None,
    port: PortOption = 502,
    framing: Annotated[str, typer.Option(help="On a TCP connection: tcp, or rtu.")] = "tcp",
    device: Annotated[Path | None, typer.Option(help="Serial port of this machine, instead of HOST.")] = None,
    line: Annotated[str, typer.Option(help="Speed and format of the serial port.")] = "9600-8N1",
    unit: UnitOption = 1,
    timeout_ms: TimeoutOption = 1000,
    energy_only: Annotated[
        bool, typer.Option("--energy-only", help="For a device that changes its powers of ten as it goes.")
    ] = False,
) -> None:
    """Write meter profiles for one SunSpec device, by its models. Never overwrites anything."""
    from agent.library.sunspec import survey, write_profiles
    from agent.scan.ways import bus_at

    with expected_errors():
        bus = bus_at(host, port, device, framing=framing, line=line, timeout_ms=timeout_ms)
        for told in write_profiles(asyncio.run(survey(bus, unit)), folder, energy_only=energy_only):
            typer.echo(told)
