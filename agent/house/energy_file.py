"""The file in the `data` folder that keeps what the house was told of its energy, whole or not at all.

Nobody else needs it: without it, the sums begin anew where the registers stand.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

FILE_NAME: Final = "house-energy.json"

FILE_BYTES_MAX: Final = 1_000_000
"""Thousands of meters; more is none of ours."""


def load(folder: Path) -> Mapping[str, Any] | None:
    """What was kept; None if nothing was.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return None
    if path.stat().st_size > FILE_BYTES_MAX:
        raise ValueError(f"more than {FILE_BYTES_MAX} bytes")
    document = json.loads(path.read_bytes())
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")
    return document


def save(folder: Path, document: Mapping[str, Any]) -> None:
    """Keep this instead of what was kept before.

    Raises:
        OSError: the disk does not take it; then the one before is still there.
    """
    path = folder / FILE_NAME
    aside = path.with_name(f"{FILE_NAME}.new")
    with aside.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    aside.chmod(0o600)
    aside.replace(path)
