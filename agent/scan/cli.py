"""``este-agent scan``: parses, looks around, prints."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.exits import expected_errors
from config.modbus import RTU_UNIT_MAX
from protocol.errors import DeviceError, EsteError, OperatorError

if TYPE_CHECKING:
    from agent.scan.report import Surveyed
    from config.settings.bus import Bus


def scan(
    host: Annotated[str | None, typer.Option(help="Modbus TCP server, or serial server with --framing rtu.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 502,
    framing: Annotated[str, typer.Option(help="On a TCP connection: tcp, or rtu.")] = "tcp",
    device: Annotated[Path | None, typer.Option(help="Serial port of this machine, such as /dev/ttyUSB0.")] = None,
    line: Annotated[
        list[str] | None,
        typer.Option(help="Speed and format of the serial port; several are tried in turn.", show_default="9600-8N1 …"),
    ] = None,
    network: Annotated[
        str | None, typer.Option(help="Look for Modbus TCP servers here first: your own network, as 192.168.1.0/24.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="Units to ask.", show_default="1-247; in a network 1-16")] = None,
    timeout_ms: Annotated[int, typer.Option(min=10, max=60_000, help="How long to wait for an answer.")] = 200,
    profile_folder: Annotated[list[Path] | None, typer.Option(help="Folder of further meter profiles.")] = None,
) -> None:
    """Look for meters on a bus or in a network. Prints what agent.yaml would say of them; writes to no meter."""
    from agent.scan.report import lines_of
    from agent.scan.ways import LINES, bus_at, units_of
    from config.load import load_profiles

    surveys: list[Surveyed] = []
    try:
        profiles = load_profiles(tuple(profile_folder or ()))
        asked = units_of(units or (f"1-{RTU_UNIT_MAX}" if network is None else "1-16"))
        if sum(way is not None for way in (host, device, network)) != 1:
            raise OperatorError("command line", "", "one of --host, --device and --network", "none, or several")
        if network is not None:
            buses = _in_network(network, port, framing, timeout_ms)
        else:
            lines = line or LINES if device is not None else ("9600-8N1",)
            ways = [bus_at(host, port, device, framing=framing, line=one, timeout_ms=timeout_ms) for one in lines]
            buses = _each(ways)
        asyncio.run(_scan(buses, asked, profiles, timeout_ms, surveys))
    except KeyboardInterrupt:
        _tell("stopped; this was found so far", end="\n")
        raise
    except EsteError as error:
        _tell("")
        with expected_errors():
            raise error
    finally:
        for told in lines_of(surveys):
            typer.echo(told)
    if not any(survey.found for survey in surveys):
        typer.echo("este-agent: nobody answers", err=True)
        raise typer.Exit(1)


async def _each(buses: list[Bus]) -> AsyncIterator[Bus]:
    for bus in buses:
        yield bus


async def _in_network(network: str, port: int, framing: str, timeout_ms: int) -> AsyncIterator[Bus]:
    """Every Modbus server of a network, in the order of addresses."""
    from agent.scan.network_port import hosts_of, open_hosts
    from agent.scan.ways import bus_at

    hosts = hosts_of(network)
    listening = []
    async for tried, host in open_hosts(hosts, port):
        listening += [host] if host is not None else []
        _tell(f"{network}: {tried} of {len(hosts)} addresses, {len(listening)} listen")
    for host in sorted(listening, key=hosts.index):
        yield bus_at(host, port, None, framing=framing, timeout_ms=timeout_ms)


async def _scan(
    buses: AsyncIterator[Bus], units: list[int], profiles: Any, timeout_ms: int, surveys: list[Surveyed]
) -> None:
    from agent.bus.modbus_port import ModbusBus
    from agent.scan.report import Surveyed, progress_of
    from agent.scan.survey import Found, survey

    told: set[str] = set()
    async for bus in buses:
        found: list[Found] = []
        surveys.append(Surveyed(bus, found))
        port = ModbusBus(bus)
        try:
            async for unit, seen in survey(port, profiles, units, timeout_ms):
                if seen is not None and seen.is_everybody:
                    found[:] = [other for other in found if other.unit < seen.unit]
                found += [seen] if seen is not None else []
                _tell(progress_of(bus, unit, len(found)))
        except DeviceError as error:
            _tell("")
            if str(error) not in told:  # a port that is missing is so at every speed
                typer.echo(f"este-agent: {error}", err=True)
            told.add(str(error))
        finally:
            port.close()
    _tell("")


def _tell(text: str, end: str = "") -> None:
    """One line that is written over and over, if somebody watches."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}{end}")
        sys.stderr.flush()
