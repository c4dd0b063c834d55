"""este-aggregator explain, certificates and plot: what the chains say, for people and other programs."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aggregator.terminal import AsJson, DataFolder, err, out, own_command, plain
from config.tables import Table, show

if TYPE_CHECKING:
    from aggregator.service.query import LedgerFile

DATA = Path("data")
OutFile = Annotated[Path, typer.Option("--out", "-o", help="File to write; it ends in .svg or .png.")]
FromOption = Annotated[str | None, typer.Option("--from", help="First interval, such as 2026-11-20T12:00:00Z.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Intervals from here on are left out.")]


def explain(
    participant: Annotated[str, typer.Argument(help="Whose tokens.")],
    period: Annotated[str, typer.Argument(help="Month such as 2026-11, an instant in the period, or now.")] = "last",
    interval: Annotated[str | None, typer.Option(help="Look into the interval of this instant.")] = None,
    data: DataFolder = DATA,
    as_json: AsJson = False,
) -> None:
    """Follow somebody's tokens down to signed readings. On the way: factors, energy by source, lines. UTC."""
    from aggregator.views.dealings import dealings_of, tell_dealings
    from aggregator.views.explanation import explain as make
    from aggregator.views.explanation import see_that_known
    from aggregator.views.spans import asked
    from aggregator.views.telling import tell
    from aggregator.views.words import Heading

    ledger = _open(data)
    try:
        see_that_known(ledger.five.asset.region, participant)
        time = asked(ledger.five, period, interval)
        explanation = make(ledger, participant, time)
        dealings = dealings_of(ledger, participant, time.interval or time.period)
    finally:
        ledger.close()
    if as_json:
        found = asdict(explanation) | {"adds_up": explanation.adds_up, "dealings": asdict(dealings)}
        print(json.dumps(found, indent=1, default=str))
        return
    for told in chain(tell(explanation, f"{own_command()} prove --data {data}"), tell_dealings(dealings)):
        match told:
            case Table():
                show(told, out)
            case Heading():
                out.print(f"\n[bold]{plain(told.text)}[/]", highlight=False)
            case _:
                out.print(plain(told), highlight=False, soft_wrap=True)


def certificates(
    data: DataFolder = DATA,
    participant: Annotated[
        str | None, typer.Option(help="Only what this participant's devices made, or they used.")
    ] = None,
    period: Annotated[str | None, typer.Option(help="Month, instant in a settled period, or last.")] = None,
    from_: FromOption = None,
    to: ToOption = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV; the default.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print granular certificates. Every watt-hour that a device fed in, numbered, and who has claimed it. UTC."""
    from aggregator.service.past import Past
    from aggregator.views import certificate_file as file
    from aggregator.views.certificates import certify
    from aggregator.views.explanation import see_that_known
    from aggregator.views.spans import closed_span, restatable_ms

    if as_csv and as_json:
        raise typer.BadParameter("either --csv or --json")
    if period is not None and (from_ is not None or to is not None):
        raise typer.BadParameter("either --period, or --from and --to")
    ledger = _open(data)
    try:
        region, past = ledger.five.asset.region, Past(ledger.store)
        if participant is not None:
            see_that_known(region, participant)
        span = closed_span(ledger.five, from_, to, period)
        begin_ms = region.begin_ms if region.grid.storages else span.start_ms
        intervals = past.intervals(begin_ms, span.end_ms, restatable_ms(region))
        certified = [one for one in certify(region, intervals) if one.stated.start_ms >= span.start_ms]
        name = region.grid.region
        rows = list(file.rows(name, certified, participant, past.time_ms))
        rest = file.uncertified_rows(certified, participant)
    finally:
        ledger.close()
    shown = file.to_json(name, (span.start_ms, span.end_ms), rows, rest) if as_json else file.to_csv(rows)
    print(shown, end="")
    if rest and not as_json:
        quantity = sum(one["quantity"] for one in rest)
        err.print(f"{quantity:,} Wh that were used have no certificate: see --json", highlight=False)


plot = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Draw pictures as SVG or PNG.")


@plot.command()
def network(
    file: OutFile,
    at: Annotated[str | None, typer.Option(help="Instant in the interval; the last closed one if none.")] = None,
    data: DataFolder = DATA,
) -> None:
    """Draw the network at an interval. Loading by colour, and what was used at each node by source."""
    from aggregator.views.drawing import Drawing
    from aggregator.views.pictures.network import draw_network

    drawing = Drawing(file, data)
    drawing.keep(draw_network(drawing.region, drawing.interval(at)))


@plot.command()
def origin(
    participant: Annotated[str, typer.Argument(help="Whose energy.")],
    file: OutFile,
    day: Annotated[str | None, typer.Option(help="Day such as 2026-11-20, in the region's time zone.")] = None,
    from_: FromOption = None,
    to: ToOption = None,
    data: DataFolder = DATA,
) -> None:
    """Draw where a participant's energy came from over a day. What was in store stands below it."""
    from aggregator.views.drawing import Drawing
    from aggregator.views.explanation import see_that_known
    from aggregator.views.pictures.origin import draw_origin

    if day is not None and (from_ is not None or to is not None):
        raise typer.BadParameter("either --day, or --from and --to")
    drawing = Drawing(file, data)
    see_that_known(drawing.region, participant)
    drawing.keep(draw_origin(drawing.region, participant, drawing.day(day, from_, to)))


@plot.command()
def branch(
    name: Annotated[str, typer.Argument(help="Of a branch or pipe.")],
    file: OutFile,
    from_: FromOption = None,
    to: ToOption = None,
    data: DataFolder = DATA,
) -> None:
    """Draw how long a branch was loaded how much, beside its rating."""
    from aggregator.views.drawing import Drawing
    from aggregator.views.pictures.branch import draw_branch

    drawing = Drawing(file, data)
    drawing.see_that_line(name)
    drawing.keep(draw_branch(name, drawing.span(from_, to)))


@plot.command()
def sankey(file: OutFile, from_: FromOption = None, to: ToOption = None, data: DataFolder = DATA) -> None:
    """Draw where a region's energy came from and where it went."""
    from aggregator.views.drawing import Drawing
    from aggregator.views.pictures.sankey import draw_sankey

    drawing = Drawing(file, data)
    drawing.keep(draw_sankey(drawing.region, drawing.span(from_, to)))


def _open(data: Path) -> LedgerFile:
    from aggregator.service.query import LedgerFile

    return LedgerFile(data)
