"""Commands about events: participants are called, an event is taken back, and which ones there are."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from aggregator.regulator.shared import KeyOption, WaitOption, bring_about, open_desk
from aggregator.terminal import AsJson, DataFolder, SettingsOption, instant, instant_ms, out, plain
from config.tables import Column, Table, show

EVENTS: Final = (
    Column(heading="event", is_right=True),
    Column(heading="line"),
    Column(heading="from (UTC)"),
    Column(heading="until"),
    Column(heading="called", is_right=True),
    Column(heading=""),
)


def call(
    key: KeyOption,
    since: Annotated[str, typer.Option("--from", help="When it begins, such as 2026-11-20T17:00:00Z.")],
    until: Annotated[str, typer.Option(help="When it ends; at most a day later.")],
    branch: Annotated[str, typer.Option(help="Power line to relieve; without it, none in particular.")] = "",
    participant: Annotated[
        list[str] | None, typer.Option(help="Who is called, instead of all that respond; may be repeated.")
    ] = None,
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Call participants to take less, or feed in less, for a while. What they relieve is paid."""
    from aggregator.regulator.events import desk
    from config.key_files import load

    span, regulators_key = (instant_ms(since, "--from"), instant_ms(until, "--until")), load(key)
    with open_desk(settings) as (read, regulator):
        bring_about(desk.call(regulator, span, branch, participant or (), regulators_key), read, regulator, wait_s)
    out.print("They are called: see este-aggregator events.")


def cancel(
    event: Annotated[int, typer.Argument(min=1, help="Number of the event.")],
    key: KeyOption,
    reason: Annotated[str, typer.Option(help="For people; it stands on the operation chain for ever.")] = "",
    settings: SettingsOption = Path("aggregator.yaml"),
    wait_s: WaitOption = 30.0,
) -> None:
    """Take back an event that has not begun."""
    from aggregator.chains.congestion.events import REASON_MAX
    from aggregator.regulator.events import desk
    from config.key_files import load

    if len(reason) > REASON_MAX:
        raise typer.BadParameter(f"at most {REASON_MAX} characters", param_hint="--reason")
    regulators_key = load(key)
    with open_desk(settings) as (read, regulator):
        bring_about(desk.cancel(regulator, event, reason, regulators_key), read, regulator, wait_s)
    out.print(f"Event {event} is cancelled.")


def events(data: DataFolder = Path("data"), as_json: AsJson = False) -> None:
    """Show the events that are on or to come, and whom they call. Instants are UTC."""
    from aggregator.regulator.events.desk import events_of
    from aggregator.service.query import LedgerFile

    with closing(LedgerFile(data)) as ledger:
        views = events_of(ledger.five)
    if as_json:
        print(json.dumps([asdict(view) for view in views], indent=1))
        return
    if not views:
        out.print("Nobody is called.")
        return
    rows = [
        [
            str(view.event), plain(view.branch) or "–", instant(view.start_ms), instant(view.end_ms),
            str(len(view.called)), "on" if view.is_on else "",
        ]
        for view in views
    ]  # fmt: skip
    show(Table(EVENTS, rows), out)
