"""este-aggregator market: what stands, what was traded, and what became of a quote."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from aggregator.terminal import AsJson, DataFolder, instant, out, plain
from config.tables import Cell, Column, Table, show

DATA: Final = Path("data")
MARKET_HELP: Final = "Show quotes, prices, and what became of a quote."
BOOK: Final = (
    Column(heading="quote", is_right=True),
    Column(heading="carrier", drop=3),
    Column(heading="interval from (UTC)"),
    Column(heading="participant"),
    Column(heading="node", drop=2),
    Column(heading=""),
    Column(heading="Wh", is_right=True),
    Column(heading="limit per MWh", short="limit", is_right=True),
    Column(heading="wants", drop=1),
)
PRICES: Final = (
    Column(heading="carrier"),
    Column(heading="interval from (UTC)"),
    Column(heading="contracts", is_right=True),
    Column(heading="Wh", is_right=True),
    Column(heading="lowest", drop=2, is_right=True),
    Column(heading="highest", drop=1, is_right=True),
    Column(heading="last per MWh", short="last", is_right=True),
)
NODES: Final = (Column(heading="node"), Column(heading="per MWh", is_right=True))
MATCHES: Final = (
    Column(heading="match", is_right=True),
    Column(heading="with"),
    Column(heading="Wh", is_right=True),
    Column(heading="per MWh", is_right=True),
    Column(heading="contract", drop=1),
)

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=MARKET_HELP)


@app.command()
def book(data: DataFolder = DATA, as_json: AsJson = False) -> None:
    """Show the quotes that stand, the best first. Limits are minor money units per MWh; instants are UTC."""
    from aggregator.service.query import LedgerFile
    from aggregator.views.trading.told import standing

    with closing(LedgerFile(data)) as ledger:
        views = standing(ledger)
        has_market = ledger.five.asset.region.rules.market is not None
    if as_json:
        print(json.dumps([asdict(view) for view in views], indent=1))
        return
    if not views:
        out.print("No quote stands." if has_market else "Nothing is quoted in this region: its rules have no market.")
        return
    rows: list[list[Cell]] = [
        [
            str(view.quote), view.carrier, instant(view.start_ms), view.participant, view.node, view.side,
            str(view.quantity_wh), str(view.price_per_mwh), view.wants,
        ]
        for view in views
    ]  # fmt: skip
    show(Table(BOOK, rows), out)


@app.command()
def prices(data: DataFolder = DATA, as_json: AsJson = False) -> None:
    """Show what was traded, and at which prices. For intervals to come; after a call auction, at each node."""
    from aggregator.service.query import LedgerFile
    from aggregator.views.trading.told import traded

    with closing(LedgerFile(data)) as ledger:
        views = traded(ledger)
    if as_json:
        print(json.dumps([asdict(view) for view in views], indent=1))
        return
    if not views:
        out.print("Nothing is traded for any interval that is not closed.")
        return
    rows: list[list[Cell]] = [
        [
            view.carrier, instant(view.start_ms), str(view.matches), str(view.quantity_wh), str(view.low),
            str(view.high), str(view.last),
        ]
        for view in views
    ]  # fmt: skip
    show(Table(PRICES, rows), out)
    for view in views:
        if len(set(view.nodes.values())) > 1:
            full = f"; full: {', '.join(view.full)}" if view.full else ""
            out.print(f"\n{view.carrier}, {instant(view.start_ms)}{plain(full)}", highlight=False)
            show(Table(NODES, [[node, str(price)] for node, price in view.nodes.items()]), out)


@app.command()
def quote(
    which: Annotated[
        str, typer.Argument(metavar="QUOTE", help="Its number, or gateway/sequence of the record, such as gw-1/12.")
    ],
    data: DataFolder = DATA,
    as_json: AsJson = False,
) -> None:
    """Show what became of one quote. What it traded with whom, and what of the rest."""
    from aggregator.service.query import LedgerFile
    from aggregator.views.trading.told import fate

    with closing(LedgerFile(data)) as ledger:
        view = fate(ledger, which)
    if as_json:
        print(json.dumps(asdict(view), indent=1))
        return
    number = f"quote {view.quote}" if view.quote is not None else "a quote"
    said = f"{view.participant} would {view.side} {view.quantity_wh} Wh through {view.meter} at {view.price_per_mwh}"
    out.print(plain(f"{number}: {said}, from {instant(view.start_ms)}, {view.time_in_force}"), soft_wrap=True)
    if view.matches:
        rows: list[list[Cell]] = [
            [str(one.match), one.partner, str(one.quantity_wh), str(one.price_per_mwh), one.contract]
            for one in view.matches
        ]
        show(Table(MATCHES, rows), out)
    rest_wh = view.quantity_wh - sum(one.quantity_wh for one in view.matches)
    became = f"refused: {view.refusal}" if view.refusal else view.became
    out.print(became if not rest_wh else f"{rest_wh} Wh: {became}", highlight=False)
