"""``este-agent trade``: offers between participants, sealed so that nobody else can read them.

A command leaves what is wanted in the outbox file, as `transfer` does, and the agent does it: at once, or when it runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent.exits import expected_errors
from protocol.answer import REASON_MAX
from protocol.contract import PRICE_MAX, QUANTITY_MAX_WH
from protocol.units import PPM

if TYPE_CHECKING:
    from agent.trade.book import Verb, Wish
    from agent.trade.offers import Offer
    from config.settings.agent import AgentSettings
    from protocol.contract import Terms

NS_PER_MS: Final = 1_000_000
VALID_S: Final = 3600
"""How long an offer is good, if nothing else is said."""

VALID_MAX_S: Final = 31_622_400
"""A year."""

TOKENS_MAX: Final = 1 << 53
"""More than any account can hold."""

trade = typer.Typer(
    name="trade",
    help="Offers between participants, which nobody else can read.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _short_enough(reason: str) -> str:
    if len(reason) > REASON_MAX:
        raise typer.BadParameter(f"at most {REASON_MAX} characters")
    return reason


SettingsOption = Annotated[Path, typer.Option("--settings", help="The agent.yaml of this gateway.")]
NumberArgument = Annotated[str, typer.Argument(metavar="NUMBER", help="The offer's number, or how it begins.")]
ReasonOption = Annotated[
    str, typer.Option("--reason", callback=_short_enough, help="What others are told, in 200 characters at most.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
WhOption = Annotated[int | None, typer.Option("--wh", min=1, max=QUANTITY_MAX_WH, help="Energy, in watt-hours.")]
PriceOption = Annotated[
    int | None, typer.Option("--price", min=0, max=PRICE_MAX, help="In minor money units per MWh: 25 ct/kWh is 25000.")
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
FeeOption = Annotated[
    int | None, typer.Option("--fee", min=0, max=TOKENS_MAX, help="Tokens of the buyer, to go before others.")
]
ValidOption = Annotated[
    int,
    typer.Option(
        "--valid-s",
        min=1,
        max=VALID_MAX_S,
        help="For how many seconds the offer is good, at most until delivery begins.",
    ),
]


@trade.command("open")
def open_letterbox(settings: SettingsOption) -> None:
    """Take part: make and publish the key that opens letters. Again, if the regulator gave a new key."""
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
    """Offer energy to somebody behind another gateway, or ask for it."""
    from agent.trade.orders import terms_of
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
        _propose(read, terms_of(read.region, fields, ANSWERS_NOTHING, valid_s, _now_ms()), number=b"")


@trade.command()
def inbox(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """Show the offers of others that wait for a decision."""
    from agent.trade.offers import Stage

    with expected_errors():
        read, now_ms = _settings(settings), _now_ms()
        found = [one for one in _offers(read) if one.stage is Stage.OPEN and one.terms.expires_ms > now_ms]
        _show(read, found, as_json, nothing="nothing waits for a decision")


@trade.command("list")
def list_offers(settings: SettingsOption, as_json: JsonOption = False) -> None:
    """Show every offer that this gateway made or got. How it stands, and what has become of the contract."""
    with expected_errors():
        read = _settings(settings)
        _show(read, _offers(read), as_json, nothing="no offers yet")


@trade.command()
def accept(settings: SettingsOption, number: NumberArgument) -> None:
    """Agree to an offer. The gateway signs, and the contract goes to the chain."""
    from agent.trade.book import Verb, Wish
    from agent.trade.orders import in_time, waiting_one
    from agent.trade.telling import sentence

    with expected_errors():
        read, now_ms = _settings(settings), _now_ms()
        offer = in_time(waiting_one(_offers(read), number, now_ms), now_ms)
        _leave(read, Wish(Verb.ACCEPT, offer.number))
        typer.echo(f"{sentence(offer)}: accepted; {_when(read)}")


@trade.command()
def decline(
    settings: SettingsOption,
    number: NumberArgument,
    reason: ReasonOption = "",
) -> None:
    """Turn an offer down."""
    from agent.trade.book import Verb, Wish
    from agent.trade.orders import waiting_one
    from agent.trade.telling import sentence

    with expected_errors():
        read = _settings(settings)
        offer = waiting_one(_offers(read), number, _now_ms())
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
    """Answer an offer with another one. What is not said stays as it was offered."""
    from dataclasses import asdict

    from agent.trade.orders import terms_of, waiting_one

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
        answered = waiting_one(_offers(read), number, _now_ms())
        fields = asdict(answered.terms) | changes
        _propose(read, terms_of(read.region, fields, answered.number, valid_s, _now_ms()), number=answered.number)


@trade.command()
def end(settings: SettingsOption, number: NumberArgument, reason: ReasonOption = "") -> None:
    """End a contract before its window does. Whoever does so pays what the terms say of the rest."""
    from agent.trade.book import Verb

    with expected_errors():
        _appeal(_settings(settings), Verb.END, number, reason)


@trade.command()
def dispute(settings: SettingsOption, number: NumberArgument, reason: ReasonOption = "") -> None:
    """Call the regulator to decide what was delivered of a contract."""
    from agent.trade.book import Verb

    with expected_errors():
        _appeal(_settings(settings), Verb.DISPUTE, number, reason)


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
    """Leave an offer, or a counter-offer to `number`."""
    from agent.keys.sealing import file_of, open_box
    from agent.outbox.memory import look
    from agent.trade.book import Verb, Wish
    from agent.trade.orders import partner_of
    from agent.trade.telling import said, short
    from protocol.errors import OperatorError

    if open_box(settings) is None:
        expected = "a key that opens the answer: este-agent trade open makes and publishes it"
        raise OperatorError(file_of(settings), "", expected, "no such file")
    partner = partner_of(terms, look(settings.data, unix_ms=_now_ms()).statement)
    _leave(settings, Wish(Verb.COUNTER if number else Verb.OFFER, number, terms, partner))
    typer.echo(f"offer {short(terms.digest)} to {partner}: {said(terms)}; {_when(settings)}")


def _appeal(settings: AgentSettings, verb: Verb, number: str, reason: str) -> None:
    """Leave what one of ours wants of a contract."""
    from agent.trade.book import Wish
    from agent.trade.orders import contract
    from agent.trade.telling import sentence

    offer = contract(_offers(settings), number)
    _leave(settings, Wish(verb, offer.number, reason=reason))
    typer.echo(f"{sentence(offer)}: {verb.value}, for {offer.participant}; {_when(settings)}")


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


def _show(settings: AgentSettings, offers: Sequence[Offer], as_json: bool, *, nothing: str) -> None:
    from agent.outbox.memory import look
    from agent.trade.telling import document_of, line_of, news_of

    now_ms = _now_ms()
    news = news_of(look(settings.data, unix_ms=now_ms).statement)
    if as_json:
        typer.echo(json.dumps([document_of(offer, news.get(offer.number)) for offer in offers], indent=2))
        return
    for offer in offers:
        typer.echo(line_of(offer, news.get(offer.number), now_ms=now_ms))
    if not offers:
        typer.echo(nothing)
