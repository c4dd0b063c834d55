"""este-aggregator explain, certificates and plot: what the chains say, for people and other programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aggregator.terminal import AsJson, DataFolder, out, own_command, plain
from config.tables import Table, show

if TYPE_CHECKING:
    from aggregator.service.query import LedgerFile

DATA = Path("data")


def explain(
    participant: Annotated[str, typer.Argument(help="Whose tokens.")],
    period: Annotated[str, typer.Argument(help="Month such as 2026-11, or an instant in the period.")] = "last",
    interval: Annotated[str | None, typer.Option(help="Look into the interval of this instant.")] = None,
    data: DataFolder = DATA,
    as_json: AsJson = False,
) -> None:
    """Follow somebody's tokens down to factors, energy by source, lines on the way, and signed readings. UTC."""
    from aggregator.views.explanation import explain as make
    from aggregator.views.explanation import see_that_known
    from aggregator.views.spans import asked
    from aggregator.views.telling import Heading, tell

    ledger = _open(data)
    try:
        see_that_known(ledger.five.asset.region, participant)
        explanation = make(ledger, participant, asked(ledger.five, period, interval))
    finally:
        ledger.close()
    if as_json:
        found = asdict(explanation) | {"adds_up": explanation.adds_up}
        print(json.dumps(found, indent=1, default=str))
        return
    for told in tell(explanation, f"{own_command()} prove --data {data}"):
        match told:
            case Table():
                show(told, out)
            case Heading():
                out.print(f"\n[bold]{plain(told.text)}[/]", highlight=False)
            case _:
                out.print(plain(told), highlight=False, soft_wrap=True)


def _open(data: Path) -> LedgerFile:
    from aggregator.service.query import LedgerFile

    return LedgerFile(data)
