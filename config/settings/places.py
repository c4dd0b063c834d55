"""Where things are: files and folders, hosts and ports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from config.model import mistake


def _to_path(value: object) -> object:
    if not isinstance(value, (str, Path)) or not str(value):
        raise mistake("the path of a file or folder")
    return Path(value)


FilePath = Annotated[Path, BeforeValidator(_to_path)]
"""Relative paths are meant from the folder of the settings file; `config.load` makes them absolute."""


def _to_host(value: str) -> str:
    if not value or any(c.isspace() or c == "/" for c in value):
        raise mistake("a host name or address")
    return value


Host = Annotated[str, AfterValidator(_to_host)]
Port = Annotated[int, Field(ge=1, le=65535)]
