"""este-demo: the whole loop in one terminal, no server needed."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live

from config.settings.broker import Broker
from config.version import VersionOption
from firmware_sim.demo.children import pasted
from firmware_sim.demo.market.runner import MARKET_STORY_S, tell_market
from firmware_sim.demo.market.scene import MarketScene
from firmware_sim.demo.market.stage import MARKET_TIME
from firmware_sim.demo.market.summary import MarketSummary, market_table
from firmware_sim.demo.runner import WHOLE_STORY_S, tell
from firmware_sim.demo.stage import TIME, Stage, see_that_free
from firmware_sim.demo.theatre import Asked, Interrupted, Redraw, see_that_answers
from firmware_sim.demo.view import Scene, Summary, picture_of, summary_table
from firmware_sim.feeders import LANE_BRANCH
from protocol.errors import EsteError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
out = Console()
err = Console(stderr=True)

SHORTEST_S: Final = 45
"""Shorter, and the first settlement period is not over, so the loop cannot close."""

Try = tuple[str, tuple[str | Path, ...]]
"""What a command shows, and its arguments."""

LOWEST: Final = 24
"""Lines that the last screen takes at least, though what is said below it may then push its top out of sight."""

BELOW: Final = 30
"""Lines that are said below the last screen."""

LASTED: Final = {
    Scene: f"A day lasted {(TIME.period_ms or 0) // 1000} s",
    MarketScene: f"A quarter of an hour lasted {MARKET_TIME.interval_ms // 1000} s",
}
"""How fast time went by."""

SIGNALLED: Final = 128
"""Exit status of what a signal ended, before the signal's number is added, as shells count."""


Play = Callable[[Redraw], tuple[Summary | MarketSummary, Stage]]
"""Runs the demo; what was counted, and where everything is."""


@app.command()
def demo(  # noqa: PLR0913, PLR0917  an option each
    duration: Annotated[
        int | None,
        typer.Option(
            min=SHORTEST_S,
            max=86_400,
            help="Seconds to run; with --market, at most.",
            show_default=f"{WHOLE_STORY_S}; with --market, {MARKET_STORY_S}",
        ),
    ] = None,
    market: Annotated[
        bool, typer.Option("--market", help="Another story: quotes, contracts, and what tokens buy on a full line.")
    ] = False,
    meters: Annotated[int, typer.Option(min=4, max=1000, help="How many simulated meters.")] = 12,
    seed: Annotated[int, typer.Option(min=0, help="Which region: the same seed, the same people.")] = 1,
    data: Annotated[Path | None, typer.Option(help="Folder for everything; none makes a temporary one.")] = None,
    broker: Annotated[str | None, typer.Option(help="HOST:PORT of a broker; none starts the demo's own.")] = None,
    validators: Annotated[
        int, typer.Option(min=0, max=20, help="Nodes that agree on blocks by consensus; 0: one node by itself.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON, and nothing else.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Save the last screen as an SVG file.")] = None,
    version: VersionOption = False,
) -> None:
    """Watch energy become readings, readings a chain, the chain tokens, and tokens a right on a device."""
    place = _parse_broker(broker)
    if place is not None:
        asyncio.run(see_that_answers(place))
    scene = MarketScene(duration or MARKET_STORY_S) if market else Scene(duration or WHOLE_STORY_S)
    with _folder(data) as folder:

        def play(redraw: Redraw) -> tuple[Summary | MarketSummary, Stage]:
            asked = Asked(meters=meters, seed=seed, broker=place, validators=validators)
            if isinstance(scene, MarketScene):
                return asyncio.run(tell_market(folder, scene, asked, redraw))
            return asyncio.run(tell(folder, scene, asked, redraw))

        summary, stage = _show(play, scene, folder, is_json=as_json)
    if as_json:
        print(json.dumps(asdict(summary), indent=1))
    else:
        _show_the_end(scene, summary, stage)
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
    except KeyboardInterrupt:
        sys.exit(SIGNALLED + signal.SIGINT)


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    """The folder for everything; who ends the demo at once is told what is in it. A temporary one goes if it is empty.

    Raises:
        OperatorError: it is in use.
    """
    if data is not None:
        see_that_free(data)
    folder = data or Path(tempfile.mkdtemp(prefix="este-demo-"))
    try:
        yield folder
    except (Interrupted, KeyboardInterrupt) as error:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends already; once more would only end what it says
        left = (
            f"what was written is in {folder}" if folder.exists() and any(folder.iterdir()) else "nothing was written"
        )
        err.print(
            f"Ended at once: {left}, nothing was counted or audited.", markup=False, highlight=False, soft_wrap=True
        )
        number = error.signal_number if isinstance(error, Interrupted) else signal.SIGINT
        sys.exit(SIGNALLED + number)
    finally:
        if data is None:
            with suppress(OSError):
                folder.rmdir()  # refuses, if something is in it


def _show(
    play: Play, scene: Scene | MarketScene, folder: Path, *, is_json: bool
) -> tuple[Summary | MarketSummary, Stage]:
    """Play it, and show it on the whole terminal if there is one."""
    if out.is_terminal and not is_json:
        with Live(console=out, refresh_per_second=4, screen=True) as live:
            return play(lambda: live.update(scene.draw()))
    if not is_json:
        at_most = "at most " if isinstance(scene, MarketScene) else ""
        said = f"running for {at_most}{scene.duration_s} s in {folder} …"
        out.print(said, markup=False, highlight=False, soft_wrap=True)
    return play(lambda: None)


def _show_the_end(scene: Scene | MarketScene, summary: Summary | MarketSummary, stage: Stage) -> None:
    """The last screen, what was counted, and what to look at."""
    if out.is_terminal:
        out.print(scene.draw(), height=max(LOWEST, out.height - BELOW))
    if isinstance(summary, MarketSummary):
        out.print(market_table(summary))
    else:
        out.print(summary_table(summary, pairs=2 if out.is_terminal else 1))
    tries = _tries_of_market(stage, scene) if isinstance(scene, MarketScene) else _tries(stage, scene)
    lines = [f"\n{LASTED[type(scene)]}. Everything is in {stage.folder}. Look around:"]
    for about, arguments in tries:
        lines += [f"  # {about}"] if about else []
        lines.append(f"  {pasted('este-aggregator', *arguments)}")
    for line in lines:
        out.print(line, markup=False, highlight=False, soft_wrap=True)


def _tries_of_market(stage: Stage, scene: MarketScene) -> list[Try]:
    at = ("--data", stage.ledger)
    drawn = ("plot", "branch", LANE_BRANCH, *at, "--out", stage.folder / "lane.svg")
    clues: list[Try] = [(about, (*arguments, *at)) for about, arguments in scene.clues]
    return [
        *clues,
        ("how long the lane's cable was loaded how much", drawn),
        ("all of it again, from the first record", ("audit", *at, "--second-opinion")),
    ]


def _tries(stage: Stage, scene: Scene) -> list[Try]:
    proof, at = stage.folder / "gas.json", ("--data", stage.ledger)
    clues: list[Try] = [(clue.about, (*clue.arguments, *at)) for clue in scene.clues]
    drawn: list[Try] = [(about, (*plot, *at, "--out", stage.folder / name)) for about, plot, name in stage.pictures]
    return [
        *clues,
        *drawn,
        ("everybody's tokens, and a proof of one balance", ("balances", *at)),
        ("", ("prove", *at, "--balance", "gas", "-o", proof)),
        ("", ("verify", proof, *stage.trusts())),
        ("all of it again, from the first record", ("audit", *at, "--second-opinion")),
    ]


def _parse_broker(text: str | None) -> Broker | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65_536:
        raise typer.BadParameter(f"expected HOST:PORT, got {text!r}", param_hint="--broker")
    return Broker(host=host, port=int(port))
