"""este-aggregator regulator: who asks to be admitted, who is a member, admit, revoke, correct, call, freeze, arbitrate.

The regulator's key stands in a file and never in an argument; nothing here prints or logs it.
"""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from aggregator.regulator.contracts.cli import approve, arbitrate, freeze
from aggregator.regulator.events.cli import call, cancel
from aggregator.regulator.laws.cli import amend
from aggregator.regulator.money.cli import paid, rate
from aggregator.regulator.nodes.cli import admit_node
from aggregator.regulator.nodes.cli import app as validator
from aggregator.regulator.shared import (
    KeyOption,
    WaitOption,
    bring_about,
    compare,
    open_desk,
)
from aggregator.terminal import AsJson, SettingsOption, err, instant_ms, out, own_command, plain
from config.tables import Cell, Column, Table, show
from protocol.errors import EsteError

if TYPE_CHECKING:
    from config.settings.aggregator import AggregatorSettings
    from protocol.certificates import Authority, Request

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help="Who may sign in the region."
)
app.add_typer(validator, name="validator")
for verb in (amend, call, cancel, approve, freeze, arbitrate, rate, paid):
    app.command()(verb)

LISTEN_S: Final = 2.0
"""How long to listen for the requests that the broker keeps."""

REQUESTS: Final = (Column(heading="gateway"), Column(heading="fingerprint"), Column(heading=""))
MEMBERS: Final = (
    Column(heading="name"),
    Column(heading="role", drop=1),
    Column(heading="fingerprint"),
    Column(heading="state"),
)

AuthorityOption = Annotated[
    Path | None, typer.Option("--ca", help="Certificate of the authority that the broker trusts.")
]
AuthorityKeyOption = Annotated[Path | None, typer.Option("--ca-key", help="And its private key.")]
FingerprintOption = Annotated[
    str | None, typer.Option("--fingerprint", help="As the gateway shows it; without it you are asked to compare.")
]


@app.command()
def requests(settings: SettingsOption = Path("aggregator.yaml"), as_json: AsJson = False) -> None:
    """Show who asks to be admitted. As far as the broker keeps their requests."""
    from protocol.crypto import fingerprint

    with open_desk(settings) as (read, regulator):
        rows: list[dict[str, str]] = []
        for gateway, payload in sorted(_listen(read).items()):
            try:
                request = _checked(payload, gateway)
                regulator.check_request(request)
            except EsteError as error:
                rows.append({"gateway": gateway, "fingerprint": "", "note": str(error)})
                continue
            member = regulator.member(gateway)
            is_same = member is not None and member.key == request.key
            note = "admitted" if is_same else "has another key now: admit with --replace" if member else "new"
            rows.append({"gateway": gateway, "fingerprint": fingerprint(request.key.thumbprint), "note": note})
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        out.print("Nobody asks. A request can be carried here as a file, too.")
        return
    show(Table(REQUESTS, [list(row.values()) for row in rows]), out)


@app.command()
def members(settings: SettingsOption = Path("aggregator.yaml"), as_json: AsJson = False) -> None:
    """Show every key that was ever admitted. Also what became of it, and which gateways have none."""
    with open_desk(settings) as (_, regulator):
        views = regulator.members()
    if as_json:
        print(json.dumps([asdict(view) for view in views], indent=1))
        return
    rows: list[list[Cell]] = []
    for view in views:
        until = f" after block {view.until_block}" if view.until_block is not None else ""
        rows.append([view.name, view.role, view.key or "–", f"{view.state}{until}"])
    show(Table(MEMBERS, rows), out)


@app.command()
def admit(
    request: Annotated[
        str, typer.Argument(help="request.csr, a node's request, or a gateway whose request the broker keeps.")
    ],
    key: KeyOption,
    settings: SettingsOption = Path("aggregator.yaml"),
    told: FingerprintOption = None,
    replace: Annotated[bool, typer.Option("--replace", help="End the key that the member has now.")] = False,
    ca: AuthorityOption = None,
    ca_key: AuthorityKeyOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Slip to write; NAME.admission.yaml.")] = None,
    wait_s: WaitOption = 30.0,
) -> None:
    """Admit a gateway or a node, or give it another key. A gateway gets the slip that it needs to go on."""
    from config.key_files import load, write_new
    from protocol.crypto import fingerprint

    regulators_key, authority = load(key), _authority(ca, ca_key)
    if (asked := _node_request(request)) is not None:
        if ca or output:
            raise typer.BadParameter("--ca and --output are for gateways: a node gets no slip")
        admit_node(asked, regulators_key, settings=settings, told=told, replace=replace, wait_s=wait_s)
        return
    with open_desk(settings) as (read, regulator):
        found = _find(request, read)
        regulator.check_request(found)
        regulator.aggregator()
        slip_file = output or Path(f"{found.gateway}.admission.yaml")
        _must_be_new(slip_file)
        out.print(
            f"{plain(found.gateway)} asks with the key [bold]{fingerprint(found.key.thumbprint)}[/]", highlight=False
        )
        compare(found.key, told, "the gateway")
        certificate = _certificate(found, authority)
        sealed = regulator.admission(found, regulators_key, replace=replace)
        if sealed is None:
            out.print(f"{plain(found.gateway)} is admitted with this key already.")
        else:
            bring_about(sealed, read, regulator, wait_s)
    with open_desk(settings) as (_, regulator):
        write_new(slip_file, regulator.slip(found, certificate).to_yaml().encode())
    out.print(f"{plain(found.gateway)} is a member. Carry {plain(slip_file)} to it, and there:", soft_wrap=True)
    out.print(f"  este-agent enrol --settings agent.yaml --admission {plain(slip_file.name)}", soft_wrap=True)
    _tell_broker(replace=replace)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Gateway, or aggregator, whose key is to end.")],
    key: KeyOption,
    settings: SettingsOption = Path("aggregator.yaml"),
    reason: Annotated[str, typer.Option(help="For people; it stands on the asset chain for ever.")] = "",
    wait_s: WaitOption = 30.0,
) -> None:
    """End a member's key. From the next block on, nothing that it signs counts."""
    from aggregator.chains.admission.membership import REASON_MAX
    from config.key_files import load

    if len(reason) > REASON_MAX:
        raise typer.BadParameter(f"at most {REASON_MAX} characters", param_hint="--reason")
    regulators_key = load(key)
    with open_desk(settings) as (read, regulator):
        sealed = regulator.revocation(name, reason, regulators_key)
        bring_about(sealed, read, regulator, wait_s)
    out.print(f"The key of {plain(name)} has ended.")
    _tell_broker(replace=True)


@app.command()
def accuse(
    one: Annotated[Path, typer.Argument(help="File with an envelope, as it was sent.")],
    other: Annotated[Path, typer.Argument(help="File with another one of the same key.")],
    key: KeyOption,
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """End a key that has signed two stories. Both go onto the asset chain, as the proof."""
    from aggregator.regulator.files import read_envelope
    from config.key_files import load

    regulators_key, first, second = load(key), read_envelope(one), read_envelope(other)
    with open_desk(settings) as (read, regulator):
        bring_about(regulator.accusation(first, second, regulators_key), read, regulator, wait_s)
    out.print("The key has ended; the evidence is on the asset chain.")
    _tell_broker(replace=True)


@app.command()
def correct(
    meter: Annotated[str, typer.Argument(help="Meter whose energy is to be corrected.")],
    key: KeyOption,
    times: Annotated[str, typer.Option(help="What its energy is multiplied by: 0.5, or 0 for a meter that lied.")],
    since: Annotated[str, typer.Option("--from", help="First interval, such as 2026-11-20T12:00:00Z.")],
    until: Annotated[str, typer.Option(help="Intervals that begin from here on stay as they are.")],
    reason: Annotated[str, typer.Option(help="For people; it stands on the data chain for ever.")],
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Correct what a meter counted. Its intervals are restated, and settled periods made up for."""
    from aggregator.chains.metering.correction import REASON_MAX
    from config.key_files import load

    if not 0 < len(reason) <= REASON_MAX:
        raise typer.BadParameter(f"1 to {REASON_MAX} characters", param_hint="--reason")
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?", times):
        raise typer.BadParameter("expected a factor of 0 or more, such as 0.5", param_hint="--times")
    span, regulators_key = (instant_ms(since, "--from"), instant_ms(until, "--until")), load(key)
    with open_desk(settings) as (read, regulator):
        sealed, deltas = regulator.correction(meter, span, Decimal(times), reason, regulators_key)
        bring_about(sealed, read, regulator, wait_s)
    imported, exported = sum(delta.imported_wh for delta in deltas), sum(delta.exported_wh for delta in deltas)
    out.print(f"{plain(meter)}: {len(deltas)} intervals, {imported:+} Wh imported, {exported:+} Wh exported.")


@app.command()
def crl(
    ca: Annotated[Path, typer.Option("--ca", help="Certificate of the authority that the broker trusts.")],
    ca_key: Annotated[Path, typer.Option("--ca-key", help="And its private key.")],
    settings: SettingsOption = Path("aggregator.yaml"),
) -> None:
    """Print the certificates that the broker must refuse. As Mosquitto's `crlfile`."""
    from aggregator.regulator.files import load_authority

    authority = load_authority(ca, ca_key)
    with open_desk(settings) as (_, regulator):
        print(regulator.revoked_certificates(authority, _now()).decode("ascii"), end="")


def _listen(settings: AggregatorSettings, gateway: str | None = None) -> dict[str, bytes]:
    """The requests that the broker keeps, or that of one gateway."""
    from aggregator.service.mqtt_port import Visit
    from protocol.certificates import REQUEST_BYTES_MAX
    from protocol.topics import Kind

    with err.status("listening to the broker …"):
        visit = Visit(settings.broker, settings.region)
        return asyncio.run(visit.retained(Kind.ENROL, LISTEN_S, bytes_max=REQUEST_BYTES_MAX, name=gateway))


def _find(request: str, settings: AggregatorSettings) -> Request:
    """The request in a file, or the one that the broker keeps under a gateway's name."""
    from aggregator.regulator.desk import RegulatorError
    from aggregator.regulator.files import read_file
    from protocol.certificates import read_request
    from protocol.fields import is_name

    path = Path(request)
    if path.is_file() or not is_name(request):
        return read_request(read_file(path))
    payload = _listen(settings, request).get(request)
    if payload is None:
        raise RegulatorError(f"there is no file {request}, and the broker keeps no request of a gateway of that name")
    return _checked(payload, request)


def _node_request(request: str) -> bytes | None:
    """What is in a file, if that is the request of a node."""
    from aggregator.regulator.files import read_file
    from protocol.node_request import is_node_request

    path = Path(request)
    data = read_file(path) if path.is_file() else b""
    return data if is_node_request(data) else None


def _checked(payload: bytes, gateway: str) -> Request:
    """A request that came over the broker: it must be about whoever's topic it stands on."""
    from aggregator.regulator.desk import RegulatorError
    from protocol.certificates import read_request

    request = read_request(payload)
    if request.gateway != gateway:
        raise RegulatorError(f"on the topic of {gateway} stands a request of {request.gateway}")
    return request


def _authority(ca: Path | None, ca_key: Path | None) -> Authority | None:
    from aggregator.regulator.files import load_authority

    if (ca is None) != (ca_key is None):
        raise typer.BadParameter("--ca and --ca-key together, or neither")
    return load_authority(ca, ca_key) if ca and ca_key else None


def _certificate(request: Request, authority: Authority | None) -> bytes | None:
    from aggregator.regulator.desk import certificate_for

    return certificate_for(request, authority, _now()) if authority else None


def _must_be_new(path: Path) -> None:
    """Before anything is signed: nothing is overwritten, and nothing is admitted that cannot be handed out."""
    from protocol.errors import OperatorError

    if path.exists():
        raise OperatorError(path, "", "no file yet, since nothing is ever overwritten", "one that exists")
    if not path.absolute().parent.is_dir():
        raise OperatorError(path.parent, "", "a folder to write the slip to", "no such folder")


def _tell_broker(*, replace: bool) -> None:
    program = own_command()
    out.print(f"For the broker, if it has an access list: {program} devices --acl", soft_wrap=True)
    if replace:
        out.print(f"and if it wants certificates: {program} regulator crl, then restart it", soft_wrap=True)


def _now() -> datetime:
    return datetime.now(UTC)
