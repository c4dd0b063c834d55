"""``este-agent quote``: quotes for the region's market, which the agent signs."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from agent.exits import expected_errors
from protocol.contract import PRICE_MAX, QUANTITY_MAX_WH

if TYPE_CHECKING:
    from config.settings.agent import AgentSettings

NS_PER_MS: Final = 1_000_000
TIMES_IN_FORCE: Final = {"gtc": 1, "ioc": 2, "fok": 3}

app = typer.Typer(
    help="Quotes for the region's market, which the agent signs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

SettingsOption = Annotated[Path, typer.Option("--settings", help="The agent.yaml of this gateway.")]
Quantity = Annotated[int, typer.Argument(metavar="WH", min=1, max=QUANTITY_MAX_WH, help="Watt-hours at most.")]
MeterOption = Annotated[str, typer.Option("--meter", help="Through which meter of theirs.")]
ParticipantOption = Annotated[str, typer.Option("--for", help="Participant of this gateway.")]
LimitOption = Annotated[
    int, typer.Option("--limit", min=0, max=PRICE_MAX, help="Minor money units per MWh: 25 ct/kWh is 25000.")
]
StartOption = Annotated[
    str, typer.Option("--start", metavar="TIME", help="Start of the interval, as 2026-11-21T12:00Z.")
]
InForceOption = Annotated[
    str, typer.Option("--in-force", help="gtc: till cancelled; ioc: at once or not; fok: all at once or not.")
]
LocalOption = Annotated[bool, typer.Option("--local", help="Not with the network outside.")]
PartnerOption = Annotated[str, typer.Option("--partner", help="Only with this participant.")]
CleanOption = Annotated[bool, typer.Option("--clean-only", help="Only energy from clean sources.")]


@app.command()
def sell(
    wh: Quantity, participant: ParticipantOption, meter: MeterOption, limit: LimitOption, start: StartOption,
    settings: SettingsOption, in_force: InForceOption = "gtc", local: LocalOption = False, partner: PartnerOption = "",
) -> None:  # fmt: skip
    """Quote energy to sell, for no less than the limit."""
    _leave(settings, "SELL", start, in_force, participant=participant, meter=meter, quantity_wh=wh,
           price_per_mwh=limit, is_local=local, partner=partner)  # fmt: skip


@app.command()
def buy(  # noqa: PLR0913, PLR0917 - an option each
    wh: Quantity, participant: ParticipantOption, meter: MeterOption, limit: LimitOption, start: StartOption,
    settings: SettingsOption, in_force: InForceOption = "gtc", local: LocalOption = False, partner: PartnerOption = "",
    clean_only: CleanOption = False,
) -> None:  # fmt: skip
    """Quote energy to buy, for no more than the limit."""
    _leave(settings, "BUY", start, in_force, participant=participant, meter=meter, quantity_wh=wh,
           price_per_mwh=limit, is_local=local, partner=partner, clean_only=clean_only)  # fmt: skip


@app.command("list")
def list_(
    settings: SettingsOption, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """Show this gateway's quotes for intervals to come. What became of them: este-aggregator market quote."""
    from agent.outbox.quotes import look
    from agent.slips import utc

    with expected_errors():
        read = _settings(settings)
        ordered = look(read.data, _now_ms())
    rows = [
        {
            "number": one.number, "record": None if one.sequence is None else f"{read.gateway}/{one.sequence}",
            "participant": one.quote.participant, "side": one.quote.side.name.lower(),
            "wh": one.quote.quantity_wh, "limit_per_mwh": one.quote.price_per_mwh,
            "start_ms": one.quote.start_ms, "taken_back": one.is_taken_back,
            "state": one.state, "refused_by": None if one.code is None else one.code.name, "detail": one.detail,
        }
        for one in ordered
    ]  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    for row, one in zip(rows, ordered, strict=True):
        record = f"{row['record']}, " if row["record"] else ""
        why = "" if one.code is None else f" ({one.code.name}: {one.detail})"
        taken = ", taken back" if one.is_taken_back else ""
        typer.echo(f"{one.number}: {row['participant']} {row['side']}s {row['wh']} Wh at {row['limit_per_mwh']}, "
                   f"from {utc(one.quote.start_ms)}, {record}{one.state}{why}{taken}")  # fmt: skip


@app.command()
def cancel(
    number: Annotated[int, typer.Argument(metavar="NUMBER", min=1, help="Its number in este-agent quote list.")],
    settings: SettingsOption,
) -> None:
    """Take back what is left of a quote."""
    from agent.outbox.quotes import take_back

    with expected_errors():
        ordered = take_back(_settings(settings).data, number, _now_ms())
        said = "it was never signed" if ordered.sequence is None else "the agent signs that, unless it has already"
        typer.echo(f"quote {number} is taken back: {said}")


def _leave(settings: Path, side: str, start: str, in_force: str, **fields: object) -> None:
    from agent.outbox.memory import statement_in
    from agent.outbox.quotes import leave, unsigned
    from agent.slips import see_meter, see_ours
    from protocol.fields import is_name
    from protocol.quote import Quote, Side, TimeInForce

    for option in ("participant", "meter", "partner"):
        if (name := fields[option]) and not (isinstance(name, str) and is_name(name)):
            raise typer.BadParameter(f"{name!r} is no name", param_hint=f"--{option}")
    if in_force not in TIMES_IN_FORCE:
        raise typer.BadParameter(f"one of {', '.join(TIMES_IN_FORCE)}", param_hint="--in-force")
    start_ms = _instant(start)
    with expected_errors():
        read = _settings(settings)
        quote = Quote(
            link=unsigned(read.region, read.gateway), side=Side[side], start_ms=start_ms,
            time_in_force=TimeInForce(TIMES_IN_FORCE[in_force]), **fields,  # type: ignore[arg-type]
        )  # fmt: skip
        see_ours(quote.participant, "--for", statement_in(read.data))
        see_meter(quote.meter, read)
        number = leave(read.data, quote, _now_ms())
        typer.echo(f"quote {number} is ordered: the agent signs it, at once if it runs, or when it starts")
        typer.echo("What came of it: este-aggregator market quote; what was refused: este-agent status")


def _settings(path: Path) -> AgentSettings:
    from config.load import load
    from config.settings.agent import AgentSettings

    return load(path, AgentSettings)


def _instant(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter("an instant such as 2026-11-21T12:00Z", param_hint="--start") from error
    if moment.tzinfo is None:
        raise typer.BadParameter(f"say which time zone: {text}Z for UTC", param_hint="--start")
    return round(moment.timestamp() * 1000)


def _now_ms() -> int:
    return time.time_ns() // NS_PER_MS
