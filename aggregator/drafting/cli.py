"""este-aggregator grid: check a grid file, draft one from other programs' networks, and hand one to them."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from aggregator.terminal import err, out, plain
from protocol.errors import OperatorError

FILE_BYTES_MAX: Final = 256 << 20


class Format(StrEnum):
    """Whose files are read and written."""

    PGM = "power-grid-model"
    PANDAPOWER = "pandapower"


app = typer.Typer(no_args_is_help=True, help="Check, import and export grid files.", rich_markup_mode=None)

ProfileFolder = Annotated[list[Path] | None, typer.Option("--profile-folder", help="Folder of further meter profiles.")]
FormatOption = Annotated[Format, typer.Option("--format", help="Whose format it is.")]


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="Grid file, or the name of an example region.")],
    profile_folder: ProfileFolder = None,
) -> None:
    """Say everything that is wrong with a grid file. And what could not be known with its meters."""
    from aggregator.grid.check import check_grid
    from config.grid_model import Grid
    from config.load import grid_file, load, load_profiles

    grid = load(grid_file(file, "FILE"), Grid)
    remarks = check_grid(grid, load_profiles(tuple(profile_folder or ())))
    faults = [remark for remark in remarks if remark.is_fault]
    for remark in remarks:
        word = "[red]fault[/]" if remark.is_fault else "note"
        out.print(f"{word}  {plain(remark)}", soft_wrap=True)
    lines = len(grid.branches) + len(grid.pipes)
    told = f"{len(grid.nodes)} nodes, {lines} branches and pipes, {len(grid.meters)} meters"
    out.print(f"{told}. Faults: {len(faults)}; notes: {len(remarks) - len(faults)}")
    if faults:
        raise typer.Exit(1)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="Network as JSON.")],
    format_: FormatOption,
    region: Annotated[str, typer.Option(help="Name of the region.")],
    gateway: Annotated[str, typer.Option(help="Gateway that reads the meters.")],
    profile: Annotated[str, typer.Option(help="Profile of the meters.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New file to write; none prints it.")] = None,
) -> None:
    """Draft a grid file from another program's network.

    A meter and a participant stand for whatever is connected. Rules, sources and names are guesses, to be read and
    replaced before a region is founded on them.
    """
    import yaml

    from aggregator.grid.exchange.grid_document import draft
    from aggregator.grid.exchange.pandapower_file import from_pandapower
    from aggregator.grid.exchange.pgm_file import from_pgm
    from aggregator.grid.exchange.plain import NotThatFormat
    from config import yaml_text
    from config.grid_model import Grid
    from config.key_files import write_new
    from config.load import check as check_document

    document = _json(file)
    try:
        found = from_pgm(document) if format_ is Format.PGM else from_pandapower(document)
        drafted = draft(found, region=region, gateway=gateway, profile=profile)
    except NotThatFormat as error:
        raise _refused(file, str(error)) from error
    text = yaml.safe_dump(drafted, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    check_document(yaml_text.read(text).value, Grid, file)
    for remark in found.remarks:
        err.print(plain(remark), soft_wrap=True)
    if output is None:
        print(text, end="")
        return
    write_new(output, text.encode())
    out.print(f"Wrote {plain(output)}. Next: este-aggregator grid check {plain(output)}", soft_wrap=True)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Grid file, or the name of an example region.")],
    format_: FormatOption,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="New file to write; none prints it.")] = None,
) -> None:
    """Write a grid file's power lines and connections for another program."""
    from aggregator.grid.exchange.grid_document import plain_of
    from aggregator.grid.exchange.pandapower_file import to_pandapower
    from aggregator.grid.exchange.pgm_file import to_pgm
    from config.grid_model import Grid
    from config.key_files import write_new
    from config.load import grid_file, load

    found = plain_of(load(grid_file(file, "FILE"), Grid))
    document = to_pgm(found) if format_ is Format.PGM else to_pandapower(found)
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    for remark in found.remarks:
        err.print(plain(remark), soft_wrap=True)
    if output is None:
        print(text, end="")
        return
    write_new(output, text.encode())
    out.print(f"Wrote {plain(output)}.", soft_wrap=True)


def _json(file: Path) -> Any:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise _refused(file, f"more than {FILE_BYTES_MAX} bytes")
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(file, str(error)) from error


def _refused(file: Path, got: str) -> OperatorError:
    return OperatorError(file, "", "a network as JSON, in the format that --format names", got)
