"""`--version`, which all four commands take."""

from __future__ import annotations

from typing import Annotated

import typer


def _show(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version  # noqa: PLC0415 - takes its time, and is seldom asked for

        typer.echo(f"este {version('este')}")
        raise typer.Exit


VersionOption = Annotated[
    bool, typer.Option("--version", callback=_show, is_eager=True, help="Show the version and exit.")
]
