"""``este-agent trade``: offers between participants, sealed so that nobody else can read them.

A command leaves what is wanted in the outbox file, as `transfer` does, and the agent does it: at once, or when it runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from agent.exits import expected_errors

if TYPE_CHECKING:
    from agent.trade.book import Wish
    from agent.trade.offers import Offer
    from config.settings.agent import AgentSettings
    from protocol.contract import Terms

NS_PER_MS: Final = 1_000_000
VALID_S: Final = 3600
"""How long an offer is good, if nothing else is said."""

MAX: Final = (1 << 63) - 1
PPM: Final = 1_000_000

trade = typer.Typer(
    name="trade",
    help="Offers between participants, sealed so that nobody else can read them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

SettingsOption = Annotated[Path, typer.Option("--settings", help="The agent.yaml of this gateway.")]
NumberArgument = Annotated[str, typer.Argument(metavar="NUMBER", help="The offer's number, or how it begins.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
WhOption = Annotated[int | None, typer.Option("--wh", min=1, help="Energy, in watt-hours.")]
PriceOption = Annotated[
    int | None, typer.Option("--price", min=0, help="In minor money units per MWh: 25 ct/kWh is 25000.")
]
StartOption = Annotated[
    str | None, typer.Option("--start", metavar="TIME", help="When delivery begins, as 2026-11-21T12:00Z.")
]
EndOption = Annotated[str | None, typer.Option("--end", metavar="TIME", help="When it ends.")]
CleanOption = Annotated[
    bool | None, typer.Option("--clean-only/--any-source", help="Whether only energy from clean sources counts.")
]
PenaltyOption = Annotated[
    int | None, typer.Option("--penalty-ppm", min=0, max=PPM, help="Of the price of what is not delivered.")
]
TerminationOption = Annotated[
    int | None, typer.Option("--termination-ppm", min=0, max=PPM, help="Of the price of the rest, for an early end.")
]
FeeOption = Annotated[int | None, typer.Option("--fee", min=0, help="Tokens of the buyer, to go before others.")]
ValidOption = Annotated[int, typer.Option("--valid-s", min=1, help="For how many seconds the offer is good.")]


@trade.command("open")
def open_letterbox(settings: SettingsOption) -> None:
    """Take part: make the key that opens letters, and have it published. Again, if the regulator gave a new key."""
    from agent.keys.sealing import file_of, make_box
    from agent.trade.book import Verb, Wish
    from protocol.crypto import fingerprint

    with expected_errors():
        read = _settings(settings)
        when = _when(read)
        box = make_box(read)
        _leave(read, Wish(Verb.OPEN))
        typer.echo(f"sealing key {fingerprint(box.public_key.thumbprint)}, in {file_of(read)}: {when}")


@trade.command()
def offer(  # noqa: PLR0913, PLR0917  an option each
    settings: SettingsOption,
    seller: Annotated[str, typer.Option(help="Participant who delivers.")],
    buyer: Annotated[str, typer.Option(help="Participant who takes, and pays. One of the two is ours.")],
    wh: WhOption,
    price: PriceOption,
    start: StartOption,
    end: EndOption,
    carrier: Annotated[str, typer.Option(help="electricity, heat, gas or hydrogen.")] = "electricity",
    clean_only: CleanOption = False,
    penalty_ppm: PenaltyOption = 0,
    termination_ppm: TerminationOption = 0,
    fee: FeeOption = 0,
    valid_s: ValidOption = VALID_S,
) -> None:
    """Offer energy to a participant behind another gateway, or ask for theirs."""
    from protocol.contract import ANSWERS_NOTHING, CARRIERS

    if carrier not in CARRIERS:
        raise typer.BadParameter(f"a carrier out of {', '.join(CARRIERS)}", param_hint="--carrier")
    fields = {
        "seller": seller,
        "buyer": buyer,
        "carrier": carrier,
        "quantity_wh": wh,
        "price_per_mwh": price,
        "start_ms": _instant(start, "--start"),
        "end_ms": _instant(end, "--end"),
        "clean_only": bool(clean_only),
        "penalty_ppm": penalty_ppm,
        "termination_ppm": termination_ppm,
        "fee": fee,
    }
    with expected_errors():
        read = _settings(settings)
        terms = _terms(read.region, fields, ANSWERS_NOTHING, valid_s)
        _propose(read, terms, number=b"")


@trade.command()
def inbox(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """Show the offers of others that wait for a decision."""
    from agent.trade.offers import Stage

    with expected_errors():
        found = [one for one in _offers(_settings(settings)) if one.stage is Stage.OPEN and not _is_over(one)]
        _show(found, as_json, nothing="nothing waits for a decision")


@trade.command("list")
def list_offers(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """Show every offer that this gateway made or got, and how it stands."""
    with expected_errors():
        _show(_offers(_settings(settings)), as_json, nothing="no offers yet")


@trade.command()
def accept(settings: SettingsOption, number: NumberArgument) -> None:
    """Agree to an offer: the gateway signs, and the contract goes to the chain."""
    from agent.trade.book import Verb, Wish
    from agent.trade.telling import sentence

    with expected_errors():
        read = _settings(settings)
        offer = _open_offer(read, number)
        _leave(read, Wish(Verb.ACCEPT, offer.number))
        typer.echo(f"{sentence(offer)}: accepted; {_when(read)}")


@trade.command()
def decline(
    settings: SettingsOption,
    number: NumberArgument,
    reason: Annotated[str, typer.Option(help="What the other party is told.")] = "",
) -> None:
    """Turn an offer down."""
    from agent.trade.book import Verb, Wish
    from agent.trade.telling import sentence
    from protocol.answer import REASON_MAX

    if len(reason) > REASON_MAX:
        raise typer.BadParameter(f"at most {REASON_MAX} characters", param_hint="--reason")
    with expected_errors():
        read = _settings(settings)
        offer = _open_offer(read, number)
        _leave(read, Wish(Verb.DECLINE, offer.number, reason=reason))
        typer.echo(f"{sentence(offer)}: declined; {_when(read)}")


@trade.command()
def counter(  # noqa: PLR0913, PLR0917  an option each
    settings: SettingsOption,
    number: NumberArgument,
    wh: WhOption = None,
    price: PriceOption = None,
    start: StartOption = None,
    end: EndOption = None,
    clean_only: CleanOption = None,
    penalty_ppm: PenaltyOption = None,
    termination_ppm: TerminationOption = None,
    fee: FeeOption = None,
    valid_s: ValidOption = VALID_S,
) -> None:
    """Answer an offer with another one: what is not said stays as it was offered."""
    from dataclasses import asdict

    changes = {
        "quantity_wh": wh,
        "price_per_mwh": price,
        "start_ms": None if start is None else _instant(start, "--start"),
        "end_ms": None if end is None else _instant(end, "--end"),
        "clean_only": clean_only,
        "penalty_ppm": penalty_ppm,
        "termination_ppm": termination_ppm,
        "fee": fee,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if not changes:
        raise typer.BadParameter("a counter-offer changes something; este-agent trade accept takes it as it is")
    with expected_errors():
        read = _settings(settings)
        answered = _open_offer(read, number)
        terms = _terms(read.region, asdict(answered.terms) | changes, answered.number, valid_s)
        _propose(read, terms, number=answered.number)


# -- What the commands have in common.


def _settings(path: Path) -> AgentSettings:
    from config.load import load
    from config.settings.agent import AgentSettings

    return load(path, AgentSettings)


def _leave(settings: AgentSettings, wish: Wish) -> None:
    from agent.trade.book import leave

    leave(settings.data, wish)


def _when(settings: AgentSettings) -> str:
    from agent.outbox.file import is_held

    return "the running agent does it now" if is_held(settings.data) else "the agent does it when it starts"


def _offers(settings: AgentSettings) -> list[Offer]:
    from agent.trade.book import look

    return look(settings.data)


def _propose(settings: AgentSettings, terms: Terms, *, number: bytes) -> None:
    """Leave an offer, or a counter-offer to `number`.

    Raises:
        OperatorError: nobody could answer it, or it is not between one of ours and somebody else.
    """
    from agent.keys.sealing import file_of, open_box
    from agent.outbox.memory import look
    from agent.trade.book import Verb, Wish
    from agent.trade.offers import other_side
    from agent.trade.telling import said, short
    from protocol.errors import OperatorError

    if open_box(settings) is None:
        expected = "a key that opens the answer: este-agent trade open makes and publishes it"
        raise OperatorError(file_of(settings), "", expected, "no such file")
    statement = look(settings.data, unix_ms=_now_ms()).statement
    ours = [one.participant for one in statement.standings] if statement else []
    sides = other_side(terms, ours)
    if sides is None:
        behind = ", ".join(ours) or "nobody: no statement has come yet"
        expected = f"one of ours and one of another gateway (behind this one: {behind})"
        raise OperatorError("command line", "--seller, --buyer", expected, f"{terms.seller} and {terms.buyer}")
    verb = Verb.COUNTER if number else Verb.OFFER
    _leave(settings, Wish(verb, number, terms, sides[1]))
    typer.echo(f"offer {short(terms.digest)} to {sides[1]}: {said(terms)}; {_when(settings)}")


def _terms(region: str, values: dict[str, Any], answers: bytes, valid_s: int) -> Terms:
    """Terms as the wire takes them.

    Raises:
        EncodingError: what was said is no contract.
    """
    from protocol.contract import NONCE_BYTES, Terms

    expires_ms = _now_ms() + valid_s * 1000
    chance = os.urandom(NONCE_BYTES)
    fields = values | {"region": region, "answers": answers, "expires_ms": expires_ms, "nonce": chance}
    return Terms.decode(Terms(**fields).encode())


def _open_offer(settings: AgentSettings, prefix: str) -> Offer:
    """The one offer that waits for a decision and whose number begins so.

    Raises:
        OperatorError: there is none, or more than one.
    """
    from agent.trade.offers import Stage
    from protocol.errors import OperatorError

    found = [one for one in _offers(settings) if one.number.hex().startswith(prefix.lower())]
    if len(found) != 1 or not prefix:
        got = f"{len(found)} whose number begins with {prefix!r:.70}"
        raise OperatorError("command line", "NUMBER", "one offer of este-agent trade inbox", got)
    (offer,) = found
    if offer.stage is not Stage.OPEN or _is_over(offer):
        got = "one that has expired" if offer.stage is Stage.OPEN else f"one that is {offer.stage.name.lower()}"
        raise OperatorError("command line", "NUMBER", "an offer that waits for our decision", got)
    return offer


def _is_over(offer: Offer) -> bool:
    return offer.terms.expires_ms <= _now_ms()


def _now_ms() -> int:
    return time.time_ns() // NS_PER_MS


def _instant(text: str | None, option: str) -> int:
    try:
        instant = datetime.fromisoformat(text or "")
    except ValueError as error:
        raise typer.BadParameter("a time, as 2026-11-21T12:00Z", param_hint=option) from error
    if instant.tzinfo is None:
        raise typer.BadParameter("a time with its zone: Z, or +01:00", param_hint=option)
    return int((instant - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1000


def _show(offers: Sequence[Offer], as_json: bool, *, nothing: str) -> None:
    from agent.trade.telling import document_of, line_of

    if as_json:
        typer.echo(json.dumps([document_of(offer) for offer in offers], indent=2))
        return
    for offer in offers:
        typer.echo(line_of(offer))
    if not offers:
        typer.echo(nothing)
