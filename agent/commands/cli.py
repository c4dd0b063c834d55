"""``este-agent``: parses, calls, prints, and turns an expected error into one sentence and an exit code.

Each command imports what it needs when it runs, so that a status does not load a Modbus stack on a small machine.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent import start
from agent.commands.orders import channel, exchange
from agent.exits import expected_errors
from agent.library.cli import doctor, profiles, read, sunspec
from agent.quoting.cli import app as quote
from agent.scan.cli import scan
from agent.trade.cli import trade
from config.called import called
from config.version import VersionOption
from protocol.errors import EsteError

if TYPE_CHECKING:
    from agent.keys.enrolment import Asked
    from config.settings.agent import AgentSettings

PROGRAM: Final = "este-agent"

app = typer.Typer(
    name=PROGRAM,
    help="The gateway in a cellar: reads meters, signs what they show, and applies rights.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


NS_PER_MS: Final = 1_000_000

TOKENS_MAX: Final = 1 << 53
"""More than any account can hold; it keeps a slip of the finger out of the outbox."""

KEY_TRIALS: Final = 5
"""Signatures that `key` has made, to see how long one takes."""

BROKER_WAIT_S: Final = 5.0
"""How long the broker may take to show that it keeps a request."""

SettingsOption = Annotated[Path, typer.Option("--settings", help="The agent.yaml of this gateway.")]


@app.callback()
def _every_command(version: VersionOption = False) -> None:
    """What is asked of the program and of no command."""


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

    with expected_errors():
        key = scaffold.make(directory, region=region, gateway=gateway, broker_host=broker_host, broker_port=broker_port)
        typer.echo(f"gateway {gateway} in region {region}: key {fingerprint(key.thumbprint)}")
        for number, step in enumerate(scaffold.next_steps(directory, called(PROGRAM)), 1):
            typer.echo(f"{number}. {step}")


@app.command()
def run(
    settings: SettingsOption,
    drain_s: Annotated[
        float, typer.Option(min=0, help="At the end, wait so many seconds for receipts.")
    ] = start.DRAIN_S,
) -> None:
    """Read meters, sign and publish, until a signal ends it."""
    start.run(settings, drain_s)


@app.command()
def enrol(
    settings: SettingsOption,
    admission: Annotated[
        Path | None, typer.Option(help="The slip that the regulator handed back; without it, a request is made.")
    ] = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Ask for another key; it comes into force with its slip.")
    ] = False,
) -> None:
    """Ask to be admitted, or take up the regulator's answer."""
    from agent.keys import enrolment
    from config.admission import AdmissionSlip
    from config.load import load
    from config.settings.agent import AgentSettings
    from protocol.crypto import fingerprint

    if admission is not None and new_key:
        raise typer.BadParameter("either ask with --new-key, or take up a slip with --admission")
    with expected_errors():
        read, folder = load(settings, AgentSettings), settings.absolute().parent
        if admission is None:
            _ask(read, enrolment.ask(read, folder, new_key=new_key))
            return
        done = enrolment.accept(read, load(admission, AdmissionSlip), folder)
        typer.echo(f"gateway {read.gateway} in region {read.region} is a member")
        for key in done.aggregators:
            typer.echo(f"aggregator {fingerprint(key.thumbprint)}: compare it with what its operator says")
        if done.is_other_key:
            typer.echo("the new key is in force; the old one is gone")
        if done.signed_again:
            typer.echo(f"{done.signed_again} waiting records were signed again, none is lost")
        if done.certificate is not None:
            typer.echo(f"certificate: {done.certificate}, for the key in {read.key_file} (broker.tls)")
        typer.echo(f"Start with: {called(PROGRAM)} run --settings {settings}")


@app.command()
def rotate(settings: SettingsOption) -> None:
    """Go over to a new key, by the gateway's own word. Its next record says so; stop the agent first."""
    from agent.keys import enrolment
    from config.load import load
    from config.settings.agent import AgentSettings
    from protocol.crypto import fingerprint

    with expected_errors():
        key = enrolment.rotate(load(settings, AgentSettings))
        typer.echo(f"the key is now {fingerprint(key.thumbprint)}; the ledger learns it with the next record")
        typer.echo(f"Start with: {called(PROGRAM)} run --settings {settings}")


@app.command()
def key(
    settings: SettingsOption,
    make: Annotated[bool, typer.Option("--make", help="First have the chip make the key; never a second one.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the public key to this new file.")
    ] = None,
) -> None:
    """Show the gateway's key, and see that it signs. In its file or its chip."""
    from agent.keys.keystore import make_in_chip, open_key
    from config import key_files
    from config.load import load
    from config.settings.agent import AgentSettings
    from protocol.crypto import fingerprint

    with expected_errors():
        read = load(settings, AgentSettings)
        if make:
            make_in_chip(read)
        signer = open_key(read)
        took_ms = []
        for number in range(KEY_TRIALS):
            begin_ns = time.perf_counter_ns()
            signer.sign(b"este: how long does a signature take? %d" % number)
            took_ms.append((time.perf_counter_ns() - begin_ns) / NS_PER_MS)
        typer.echo(f"key {fingerprint(signer.public_key.thumbprint)}, in {_place_of_key(read)}")
        typer.echo(f"a signature takes {sorted(took_ms)[KEY_TRIALS // 2]:.1f} ms, {max(took_ms):.1f} ms at most")
        if output is not None:
            key_files.write_new(output, signer.public_key.to_pem().encode())
            typer.echo(f"public key written to {output}")


def _place_of_key(settings: AgentSettings) -> str:
    chip = settings.pkcs11
    return f"token {chip.token_label} ({chip.module.name})" if chip else f"{settings.key_file}"


@app.command()
def status(
    settings: SettingsOption,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a running or stopped agent has read, sent and heard."""
    from agent.outbox.memory import look
    from agent.status import to_json, to_text
    from config.load import load
    from config.settings.agent import AgentSettings

    with expected_errors():
        seen = look(load(settings, AgentSettings).data, unix_ms=time.time_ns() // NS_PER_MS)
        document = to_json(seen)
        typer.echo(json.dumps(document, indent=2) if as_json else "\n".join(to_text(document)))


@app.command()
def transfer(
    settings: SettingsOption,
    to: Annotated[str, typer.Argument(metavar="TO", help="Participant who gets the tokens.")],
    amount: Annotated[int, typer.Argument(metavar="AMOUNT", min=1, max=TOKENS_MAX, help="How many.")],
    sender: Annotated[str, typer.Option("--from", help="Participant of this gateway who gives them.")],
    fee: Annotated[int, typer.Option(min=0, max=TOKENS_MAX, help="Tokens on top, to go before others.")] = 0,
) -> None:
    """Give tokens of a participant of this gateway to another one. The agent signs it, at once or when it starts."""
    from agent.outbox.file import is_held
    from agent.outbox.memory import statement_in
    from agent.outbox.wishes import Wish, leave
    from agent.slips import see_ours
    from config.load import load
    from config.settings.agent import AgentSettings
    from protocol.fields import is_name

    for name in (to, sender):
        if not is_name(name):
            raise typer.BadParameter(f"{name!r} is no participant's name")
    if to == sender:
        raise typer.BadParameter("nobody gives tokens to themselves")
    with expected_errors():
        folder = load(settings, AgentSettings).data
        see_ours(sender, "--from", statement_in(folder))
        leave(folder, Wish(sender, to, amount, fee))
        when = "the running agent signs it now" if is_held(folder) else "the agent signs it when it starts"
        typer.echo(f"{amount} tokens from {sender} to {to}, with a fee of {fee}: {when}")
        typer.echo("What came of it: este-agent status, which also lists what was refused")


app.command()(channel)
app.command()(exchange)


def _ask(settings: AgentSettings, asked: Asked) -> None:
    """Show whose key it is, so that people can compare, and leave the request where the regulator finds it."""
    import segno

    from agent.mqtt_port import leave_request
    from protocol.crypto import fingerprint

    region, gateway = settings.region, settings.gateway
    typer.echo(f"gateway {gateway} in region {region}: key {fingerprint(asked.key.thumbprint)}")
    segno.make(f"este-enrol:{region}/{gateway}/{asked.key.thumbprint.hex()}").terminal(compact=True)
    try:
        leaving = leave_request(settings.broker, region=region, gateway=gateway, pem=asked.pem, wait_s=BROKER_WAIT_S)
        why = "" if asyncio.run(leaving) else "the broker does not keep it: its access list has no place for it"
    except EsteError as error:
        why = str(error)
    if why:
        typer.echo(f"The request is not at the broker: {why}")
        typer.echo(f"Carry {asked.file} to the regulator, who runs: este-aggregator regulator admit {asked.file.name}")
    else:
        typer.echo(f"The request is at the broker. The regulator runs: este-aggregator regulator admit {gateway}")
    typer.echo(f"and compares the key above. Then: {called(PROGRAM)} enrol --admission with the slip that comes back.")


app.command()(read)
app.command()(scan)
app.command()(doctor)
app.command()(sunspec)
app.add_typer(profiles, name="profiles")
app.add_typer(trade, name="trade")
app.add_typer(quote, name="quote")
