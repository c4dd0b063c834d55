"""este-demo: the whole loop in one terminal, no server needed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from config.settings import Broker
from firmware_sim.demo.runner import Interrupted, Redraw, tell
from firmware_sim.demo.stage import TIME, Stage
from firmware_sim.demo.view import Scene, Summary, picture_of, summary_table
from protocol.errors import EsteError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
out = Console()
err = Console(stderr=True)

SHORTEST_S: Final = 45
"""Shorter, and the first settlement period is not over, so the loop cannot close."""

SIGNALLED: Final = 128
"""Exit status of what a signal ended, before the signal's number is added, as shells count."""


@app.command()
def demo(
    duration: Annotated[int, typer.Option(min=SHORTEST_S, max=86_400, help="Seconds to run.")] = 90,
    meters: Annotated[int, typer.Option(min=4, max=1000, help="How many simulated meters.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Which region: the same seed, the same people.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder for everything; none makes a temporary one.")] = None,
    broker: Annotated[str | None, typer.Option(help="HOST:PORT of a broker; none starts the demo's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Save the last screen as an SVG file.")] = None,
) -> None:
    """Watch energy become readings, readings a chain, the chain tokens, and tokens a right on a device."""
    folder = data or Path(tempfile.mkdtemp(prefix="este-demo-"))
    place = _parse_broker(broker)
    quiet = as_json or not out.is_terminal
    scene = Scene(duration)

    def play(redraw: Redraw) -> tuple[Summary, Stage]:
        return asyncio.run(tell(folder, scene, meters=meters, seed=seed, broker=place, redraw=redraw))

    if quiet:
        if not as_json:
            out.print(f"running for {duration} s in {folder} …")
        summary, stage = play(lambda: None)
    else:
        with Live(console=out, refresh_per_second=4, transient=False) as live:
            summary, stage = play(lambda: live.update(scene.draw()))
    if as_json:
        print(json.dumps(asdict(summary), indent=1))
    else:
        out.print(summary_table(summary))
        _say_what_to_try(stage)
    if picture is not None:
        picture.write_text(picture_of(scene), encoding="utf-8")
    if scene.ended_by is not None:
        sys.exit(SIGNALLED + scene.ended_by)
    if summary.missing:
        for want in summary.missing:
            err.print(f"[red]did not happen:[/] {want}")
        sys.exit(1)


def main() -> None:
    """Run the demo; turn an expected error into one sentence and an exit code."""
    try:
        app()
    except EsteError as error:
        err.print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except Interrupted as interrupted:
        sys.exit(SIGNALLED + interrupted.signal_number)
    except KeyboardInterrupt:
        sys.exit(SIGNALLED + signal.SIGINT)


def _say_what_to_try(stage: Stage) -> None:
    period_s = (TIME.period_ms or 0) // 1000
    out.print(f"\nOne month lasted {period_s} s. Everything is in {stage.folder}. Look around:", highlight=False)
    for command in (
        f"este-aggregator balances --data {stage.ledger}",
        f"este-aggregator devices --data {stage.ledger}",
        f"este-aggregator prove --data {stage.ledger} --balance gas -o gas.json",
        f"este-aggregator verify gas.json --key {stage.folder / 'aggregator' / 'aggregator.pub.pem'}",
        f"este-aggregator audit --data {stage.ledger} --second-opinion",
    ):
        out.print(f"  {command}", highlight=False, soft_wrap=True)


def _parse_broker(text: str | None) -> Broker | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise typer.BadParameter(f"expected HOST:PORT, got {text!r}", param_hint="--broker")
    return Broker(host=host, port=int(port))
