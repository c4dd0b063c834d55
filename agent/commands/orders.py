"""Orders beside transfers: a channel, and tokens for money. Each is left in the outbox for the agent to sign."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent.exits import expected_errors

if TYPE_CHECKING:
    from agent.outbox.wishes import Order

TOKENS_MAX: Final = 1 << 53
"""More than any account can hold; it keeps a slip of the finger out of the outbox."""
MONEY_MAX: Final = 1 << 53

SettingsOption = Annotated[Path, typer.Option("--settings", help="The agent.yaml of this gateway.")]
ParticipantOption = Annotated[str, typer.Option("--for", help="Participant of this gateway.")]
FeeOption = Annotated[int, typer.Option(min=0, max=TOKENS_MAX, help="Tokens on top, to go before others.")]


class What(StrEnum):
    """What is changed for what."""

    BILL_CREDIT = "bill"
    FINE = "fine"
    BUY = "buy"
    SELL = "sell"


def channel(
    settings: SettingsOption,
    line: Annotated[str, typer.Argument(metavar="LINE", help="Power line, as the grid file names it.")],
    power_w: Annotated[int, typer.Argument(metavar="WATTS", min=1, max=10**12, help="Capacity.")],
    participant: ParticipantOption,
    since: Annotated[str, typer.Option("--from", help="Start, such as 2026-11-20T17:00:00Z, of an interval to come.")],
    until: Annotated[str, typer.Option(help="End; at most a day later.")],
    price_max: Annotated[int, typer.Option(min=0, max=TOKENS_MAX, help="The most tokens that it may cost.")],
    fee: FeeOption = 0,
) -> None:
    """Buy capacity of a power line. Whoever has it is limited last while the line is congested."""
    from agent.outbox.wishes import UNLINKED
    from protocol.channel import ChannelPurchase

    start_ms, end_ms = _instant_ms(since, "--from"), _instant_ms(until, "--until")
    if end_ms <= start_ms:
        raise typer.BadParameter("it ends before it begins", param_hint="--until")
    order = ChannelPurchase(
        link=UNLINKED,
        participant=_name(participant),
        branch=_name(line),
        power_w=power_w,
        start_ms=start_ms,
        end_ms=end_ms,
        price_max=price_max,
        fee=fee,
    )
    _leave(settings, order, f"{power_w} W of {line} for {participant}")


def exchange(
    settings: SettingsOption,
    what: Annotated[
        What,
        typer.Argument(
            metavar="WHAT", help="bill: tokens for what is owed in money; fine: money for what is owed in tokens."
        ),
    ],
    tokens: Annotated[int, typer.Argument(metavar="TOKENS", min=1, max=TOKENS_MAX, help="How many.")],
    participant: ParticipantOption,
    money: Annotated[
        int,
        typer.Option(min=0, max=MONEY_MAX, help="Minor units: the least that it must bring, or the most it may cost."),
    ],
    fee: FeeOption = 0,
) -> None:
    """Change tokens and money at the rate in force. For a bill, for a fine, bought, or sold."""
    from agent.outbox.wishes import UNLINKED
    from protocol.exchange import Exchange, ExchangeKind

    kind = ExchangeKind[what.name]
    name = _name(participant)
    order = Exchange(link=UNLINKED, participant=name, kind=kind, tokens=tokens, money_limit=money, fee=fee)
    side = "for at least" if kind.gives_tokens else "for at most"
    _leave(settings, order, f"{what.value}: {tokens} tokens of {participant} {side} {money} minor units")


def _leave(settings: Path, order: Order, said: str) -> None:
    from agent.outbox.file import is_held
    from agent.outbox.memory import statement_in
    from agent.outbox.wishes import leave
    from agent.slips import see_ours
    from config.load import load
    from config.settings.agent import AgentSettings

    with expected_errors():
        folder = load(settings, AgentSettings).data
        see_ours(order.participant, "--for", statement_in(folder))
        leave(folder, order)
        when = "the running agent signs it now" if is_held(folder) else "the agent signs it when it starts"
        typer.echo(f"{said}, with a fee of {order.fee}: {when}")
        typer.echo("What came of it: este-agent status, which also lists what was refused")


def _name(text: str) -> str:
    from protocol.fields import is_name

    if not is_name(text):
        raise typer.BadParameter(f"{text!r} is no name")
    return text


def _instant_ms(text: str, hint: str) -> int:
    """An instant with its time zone, in milliseconds."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"expected an instant such as 2026-11-20T12:00:00Z, got {text!r}") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"say which time zone: {text}Z for UTC", param_hint=hint)
    return round(moment.timestamp() * 1000)
